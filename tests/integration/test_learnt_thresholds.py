"""A budget becomes a threshold: the real daemon as a process, recorded scores, a restart in the middle."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from monitor.demo.stage import free_port
from monitor.detect.budget import PER_DAY
from monitor.detect.ladder import log_odds_of, score_of
from monitor.store import audit
from monitor.store.database import Database
from tests.fakes import replaying_daemon
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.timeout(180)

STREAMS, HOURS = 6, 2.5


@asynccontextmanager
async def running(folder: Path, url: str, *, clips: int) -> AsyncIterator[None]:
    """Run the daemon until so many clips have been scored; end it as systemd would."""
    script, config, scores = replaying_daemon.__file__, folder / "config.yaml", folder / "scores.json"
    with (folder / "daemon.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), str(config), str(scores), stdout=log, stderr=log
        )
    try:

        async def played() -> bool:
            assert process.returncode is None, (folder / "daemon.log").read_text()[-3000:]
            return await value(url, "livecordon_clips_total") >= clips

        await eventually(played, deadline_s=90)
        yield
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def value(url: str, sample: str) -> float:
    """Return a metric's value; 0 while the daemon does not answer or has none."""
    try:
        async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as answer:
            text = await answer.text()
    except aiohttp.ClientError:
        return 0.0
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def thresholds_of(url: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/api/v1/thresholds") as answer:
        found: list[dict[str, Any]] = (await answer.json())["thresholds"]
    return found


async def test_a_budget_becomes_a_threshold_over_a_restart_in_the_middle(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    streams = [{"name": f"cam{number}", "url": "rtmp://127.0.0.1:9/x"} for number in range(STREAMS)]
    config = {
        "data_dir": "data",
        "web": {"listen": f"127.0.0.1:{port}"},
        "servers": [{"name": "cams", "kind": "static", "streams": streams}],
        "detection": {"review": {"threshold": 0.8, "budget": "200 per 1000 stream-hours"}},
        "protocol": {"default": "observe"},
        "watch": {"ring": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    # Once an hour something happens that is less than the default asks for, and more often than the budget allows: so the
    # threshold comes down, by one step a day.
    hour = [0.2] * 200 + [0.6] * 3 + [0.2] * 197
    (tmp_path / "scores.json").write_text(json.dumps((hour * 3)[: int(400 * HOURS)]))
    clips = STREAMS * int(400 * HOURS)
    threshold = 'livecordon_threshold_score{app="*",label="violence",server="cams",severity="review"}'
    async with running(tmp_path, url, clips=clips):
        assert await value(url, threshold) == 0.8
    async with running(tmp_path, url, clips=clips):
        # Fifteen of the 24 hours that it takes.
        assert await value(url, threshold) == 0.8
        (shown,) = [one for one in await thresholds_of(url) if one["severity"] == "review"]
        assert (shown["threshold"], shown["learnt"], shown["hours_needed"]) == (0.8, False, 24)
        assert 12 < shown["hours"] <= 15
    async with running(tmp_path, url, clips=1):
        learnt = await value(url, threshold)
        assert learnt == pytest.approx(score_of(log_odds_of(0.8) - PER_DAY))
        # Counting has begun anew.
        assert await value(url, threshold.replace("threshold_score", "threshold_learnt_hours")) < 1
        assert await value(url, threshold.replace("threshold_score", "threshold_frozen")) == 0
        assert await value(url, threshold.replace('"review"', '"act"')) == pytest.approx(0.904, abs=0.05)
        (shown,) = [one for one in await thresholds_of(url) if one["severity"] == "review"]
        assert shown["threshold"] == pytest.approx(learnt, abs=1e-3)
        assert (shown["learnt"], shown["default"], shown["budget_per_1000_h"]) == (True, 0.8, 200)
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert f"{learnt:.3f}" in await answer.text()
    async with Database(tmp_path / "data/livecordon.sqlite3") as database, database.reading() as connection:
        log = await audit.entries(connection)
    (entry,) = [one for one in log if one.action == "threshold_learnt"]
    assert (entry.actor, entry.detail["before"], entry.detail["app"]) == ("daemon", 0.8, "*")
    assert entry.detail["after"] == pytest.approx(learnt, abs=1e-3)
    assert 24 < float(entry.detail["hours"]) <= 30
    assert audit.first_broken(log) is None

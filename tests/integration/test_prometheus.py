"""The dashboard's queries and the alert rules, by a real Prometheus that scrapes a real daemon at work."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from tests.fakes.checkout import ROOT
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.prometheus import PROMETHEUS, Prometheus, prometheus_scraping
from tests.fakes.waiting import eventually

pytestmark = [
    pytest.mark.real_server,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        PROMETHEUS is None and os.environ.get("CI") != "true", reason="needs prometheus: make packages installs it"
    ),
]

DASHBOARD = ROOT / "deploy" / "grafana" / "livecordon.json"
RULES = ROOT / "deploy" / "prometheus" / "livecordon.rules.yaml"
VARIABLES = {"$job": "livecordon", "$instance": ".*", "$__rate_interval": "2m", "$__range": "5m"}

RIGHTLY_EMPTY = {"Certificates expire in": "the partner of this test has no certificate"}

DEADLINE_S = 60.0


def queries() -> list[tuple[str, str]]:
    """Return title and expression of every query on the dashboard, as Grafana would send it."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.append((panel["title"], expression))
    return found


async def unanswered(prometheus: Prometheus) -> set[tuple[str, str]]:
    return {(title, expression) for title, expression in queries() if not await prometheus.values(expression)}


def at_work(relay: str, partner: Partner) -> dict[str, Any]:
    return {
        "web": {"listen": f"127.0.0.1:{free_port()}"},
        "servers": [{"name": "edge", "kind": "embedded", "url": relay, "list_interval": "500ms"}],
        "protocol": {
            "default": "immediate",
            "rules": [{"name": "asked", "protocol": "assisted", "parameters": {"decide_within": "10s"}}],
        },
        "alerts": {"receivers": [receiver_entry(partner)]},
        "responders": {
            "groups": [
                {"name": "duty", "receivers": ["partner"], "within": "10m"},
                {"name": "leads", "receivers": ["partner"], "within": "10m"},
            ]
        },
    }


async def incident_of(daemon: RealDaemon, name: str, *states: str) -> Any:
    async def look() -> Any:
        for one in await daemon.incidents():
            if one["title"] == f"live/{name}" and one["state"] in states:
                return one
        return None

    return await eventually(look, deadline_s=DEADLINE_S, interval_s=0.1)


async def complaints(exposition: str) -> str:
    """Return what Prometheus's own tool finds wrong with names, units and help."""
    # The library adds these itself.
    lines = [line for line in exposition.splitlines() if "_created" not in line and "python_gc" not in line]
    tool = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"), stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, said = await tool.communicate("\n".join([*lines, ""]).encode())
    return said.decode()


async def test_every_query_of_the_dashboard_has_an_answer_while_the_daemon_is_at_work(
    tmp_path: Path, brawl: Path, calm: Path
) -> None:
    relay = f"http://127.0.0.1:{free_port()}"
    async with (
        Partner() as partner,
        RealDaemon(tmp_path, at_work(relay, partner), partner=partner) as daemon,
        prometheus_scraping(daemon.url, tmp_path / "prometheus", RULES) as prometheus,
        ffmpeg_copying(calm, f"{relay}/live/quiet"),
        ffmpeg_copying(brawl, f"{relay}/live/loud") as loud,
        ffmpeg_copying(brawl, f"{relay}/live/asked"),
    ):
        async with asyncio.timeout(DEADLINE_S):
            assert await loud.wait() != 0
        contained = await incident_of(daemon, "loud", "contained")
        await incident_of(daemon, "asked", "held")
        path = f"/api/v1/incidents/{contained['incident_id']}/review"
        assert (await daemon.post(path, {"decision": "confirm", "why": "it was a brawl"}))[0] == 200

        async def answered() -> bool:
            return {title for title, _ in await unanswered(prometheus)} == set(RIGHTLY_EMPTY)

        try:
            await eventually(answered, deadline_s=30, interval_s=1)
        except TimeoutError:
            assert {title for title, _ in await unanswered(prometheus)} == set(RIGHTLY_EMPTY)

        # What was measured of these two is what happened: one was cut at once, the other held after its ten seconds.
        for route in ("direct", "waited"):
            onset, detection = [
                await prometheus.values(f'livecordon_{since}_to_contained_seconds_sum{{route="{route}"}}')
                for since in ("onset", "detection")
            ]
            assert onset > detection > [0.0]
            count = f'livecordon_detection_to_contained_seconds_count{{route="{route}"}}'
            assert await prometheus.values(count) == [1.0]
        assert await prometheus.values('livecordon_detection_to_contained_seconds_sum{route="waited"}') > [10.0]

        # The daemon's own page says the same.
        async def drawn() -> str:
            shown = await daemon.text("/status")
            return shown if shown.count("<polyline") > 10 else ""

        page = await eventually(drawn, deadline_s=30, interval_s=1)
        numbers = dict(re.findall(r"<dt>(.*?)</dt><dd>(?:<span.*?</span>)?(.*?)</dd>", page))
        assert (numbers["taken off the air at once"], numbers["cuts and holds"]) == ("1", "2")

        groups = (await prometheus.ask("rules"))["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
        alerts = {one["labels"]["alertname"] for one in (await prometheus.ask("alerts"))["alerts"]}
        assert "LivecordonWatchdog" in alerts
        assert await complaints(await daemon.text("/metrics")) == ""
        assert alerts.isdisjoint(
            {"LivecordonDown", "LivecordonCutFailed", "LivecordonStoreFailing", "LivecordonClockSkew"}
        )

"""A real Alertmanager accepts what it is sent, groups it, tells its own receiver, and resolves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from monitor.alerts.port import Outcome
from monitor.alerts.receivers import build_receivers
from monitor.clock import SystemClock
from monitor.config.models import AlertsSection
from monitor.demo.stage import free_port
from monitor.vocabulary import AlertEvent, Severity
from tests.fakes.alerts import an_alert
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.alertmanager


@asynccontextmanager
async def alertmanager(folder: Path, hook: str) -> AsyncIterator[str]:
    """Run one that tells `hook`, and yield its address."""
    config = {
        "route": {
            "receiver": "hook",
            "group_by": ["server", "severity"],
            "group_wait": "200ms",
            "group_interval": "300ms",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "hook", "webhook_configs": [{"url": hook, "send_resolved": True}]}],
    }
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(trust_env=False) as client:

            async def ready() -> bool:
                assert process.returncode is None, (folder / "log").read_text()
                try:
                    async with client.get(f"http://{address}/-/ready") as reply:
                        return reply.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(ready, deadline_s=30.0)
        yield f"http://{address}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def webhook(heard: list[dict[str, Any]]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_it_accepts_groups_and_resolves(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    async with webhook(heard) as hook, alertmanager(tmp_path, hook) as url, aiohttp.ClientSession() as client:
        section = AlertsSection.model_validate({"receivers": [{"name": "am", "kind": "alertmanager", "url": url}]})
        (receiver,) = build_receivers(section.receivers, {})
        began = datetime.now(UTC) - timedelta(seconds=5)

        async def send(number: int, kind: AlertEvent, severity: Severity) -> None:
            alert = an_alert(
                kind,
                incident_id=f"incident-{number}",
                stream_id=f"edge-{number}",
                severity=severity,
                opened_at=began,
                changed_at=datetime.now(UTC),
            )
            assert (await carrier.attempt(alert)).outcome is Outcome.DELIVERED

        async def active() -> list[tuple[str, str]]:
            async with client.get(f"{url}/api/v2/alerts?active=true") as reply:
                found = [one["labels"] for one in await reply.json() if one["status"]["state"] == "active"]
            return sorted((one["incident_id"], one["severity"]) for one in found)

        async def has_told(status: str, wanted: set[tuple[str, str]]) -> bool:
            return wanted <= told(status)

        def told(status: str) -> set[tuple[str, str]]:
            return {
                (alert["labels"]["incident_id"], alert["labels"]["severity"])
                for one in heard
                for alert in one["alerts"]
                if alert["status"] == status
            }

        async with receiver.carrier(SystemClock()) as carrier:
            await send(1, AlertEvent.RAISED, Severity.REVIEW)
            await send(2, AlertEvent.RAISED, Severity.REVIEW)
            assert await active() == [("incident-1", "warning"), ("incident-2", "warning")]
            await eventually(lambda: has_told("firing", {("incident-1", "warning"), ("incident-2", "warning")}))
            assert max(len(one["alerts"]) for one in heard) == 2, "both in one message"
            await send(1, AlertEvent.UPDATED, Severity.ACT)
            assert await active() == [("incident-1", "critical"), ("incident-2", "warning")], "one alert each"
            await eventually(lambda: has_told("firing", {("incident-1", "critical")}))
            await send(1, AlertEvent.CLOSED, Severity.NONE)
            await send(2, AlertEvent.DISMISSED, Severity.REVIEW)
            assert await active() == []
            await eventually(lambda: has_told("resolved", {("incident-1", "critical"), ("incident-2", "warning")}))
        assert {severity for _, severity in told("firing") | told("resolved")} == {"warning", "critical"}, (
            "of the end of what never began nobody is told"
        )

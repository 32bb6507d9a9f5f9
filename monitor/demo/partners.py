"""The demo of two platforms: an attack on one is contained, the other hears of it, watches more closely and contains a copy; then it is taken back."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml
from rich.console import Console

from monitor import shipped
from monitor.demo.stage import DaemonClient, daemon_process, free_port, publisher
from monitor.demo.story import BRAWL_SEED, CALM_SEED
from monitor.demo.timeline import DemoFailed, Timeline

Found = TypeVar("Found")

NORTH, SOUTH = "north", "south"
_SECRET_VARIABLE = "LIVECORDON_DEMO_SHARED_SECRET"  # noqa: S105 - the variable's name, not its value
_PROTOCOL = "immediate"
_RELEASES = "- {partner: withdrawn, to: releasing}"
_POLL_S = 0.1
_START_DEADLINE_S = 60.0
_STEP_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Platform:
    """One of the two: its daemon, and where its streams are published."""

    name: str
    folder: Path
    web_port: int
    relay_port: int

    @property
    def url(self) -> str:
        """Where its page and API are."""
        return f"http://127.0.0.1:{self.web_port}"

    def address(self, stream: str) -> str:
        """Where a stream of this name is published."""
        return f"http://127.0.0.1:{self.relay_port}/live/{stream}"

    def write_config(self, other: Platform) -> Path:
        """Write its configuration: a relay of its own, and the other platform as its partner."""
        self.folder.mkdir()
        protocols = self.folder / "protocols"
        protocols.mkdir()
        (protocols / f"{_PROTOCOL}.yaml").write_text(protocol_that_releases())
        config: dict[str, Any] = {
            "data_dir": "data",
            "web": {"listen": f"127.0.0.1:{self.web_port}"},
            "servers": [
                {
                    "name": self.name,
                    "kind": "embedded",
                    "url": f"http://127.0.0.1:{self.relay_port}",
                    "list_interval": "500ms",
                }
            ],
            "watch": {"watchers": 1},
            "protocol": {"default": _PROTOCOL, "directory": "protocols"},
            "alerts": {"source": f"livecordon-demo-{self.name}"},
            "partners": [
                {
                    "name": other.name,
                    "url": f"{other.url}/api/v1/partners/{self.name}/events",
                    "secrets": [{"env": _SECRET_VARIABLE}],
                }
            ],
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path


def protocol_that_releases() -> str:
    """Return the protocol `immediate`, which here also releases what is contained when a partner takes its warning back."""
    text = (shipped.protocols_dir() / f"{_PROTOCOL}.yaml").read_text()
    head, state, rest = text.partition("\n  contained:\n")
    return head + state + rest.replace("    on:\n", f"    on:\n      {_RELEASES}\n", 1)


async def play_partners(folder: Path, console: Console, *, calm_s: float) -> None:
    """Play it in `folder`, printing each step when it has happened.

    Raises:
        DemoFailed: a step did not happen.
    """
    timeline = Timeline(console)
    north = Platform(NORTH, folder / NORTH, free_port(), free_port())
    south = Platform(SOUTH, folder / SOUTH, free_port(), free_port())
    environ = {_SECRET_VARIABLE: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()}
    async with AsyncExitStack() as stack:
        timeline.expected("starting two daemons, each with a media server of its own")
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), trust_env=False)
        )
        clients = []
        for one, other in ((north, south), (south, north)):
            process = await stack.enter_async_context(daemon_process(one.write_config(other), environ))
            clients.append(DaemonClient(session, one.url, process))
        a, b = clients
        for client in clients:
            await _until(client.ready, _START_DEADLINE_S, "a daemon did not become ready")
        timeline.happened("daemons ready", f"{NORTH}: {north.url}   {SOUTH}: {south.url}")
        await stack.enter_async_context(publisher(south.address("calm"), seed=CALM_SEED, calm_s=None))
        await stack.enter_async_context(publisher(north.address("brawl"), seed=BRAWL_SEED, calm_s=calm_s))
        await _until(lambda: _posture_is(b, "calm"), _STEP_DEADLINE_S, "the calm stream was not listed")
        incident_id = await _attack(a, timeline)
        await _hear(b, timeline)
        await _copy(stack, b, south, timeline)
        await _told_back(a, incident_id, timeline)
        await _take_back(session, north, b, incident_id, timeline)
        timeline.summary(since="attack contained")


async def _attack(a: DaemonClient, timeline: Timeline) -> str:
    timeline.expected(f"waiting: a brawl begins on {NORTH}")
    incident = await _until(lambda: _incident(a, "contained"), 2 * _STEP_DEADLINE_S, "the brawl was not contained")
    timeline.happened("attack contained", f"on {NORTH}")
    return str(incident["incident_id"])


async def _hear(b: DaemonClient, timeline: Timeline) -> None:
    async def heard() -> Any:
        alerts = (await b.get("partners/alerts"))["alerts"]
        return next((one for one in alerts if one["state"] == "standing" and one["watched_until"]), None)

    alert = await _until(heard, _STEP_DEADLINE_S, f"{SOUTH} did not hear of it")
    timeline.happened("partner heard", f"{SOUTH} has verified it: {alert['label']}, {alert['word']}")
    await _until(lambda: _posture_is(b, "close"), _STEP_DEADLINE_S, "streams are not watched more closely")
    timeline.happened("watched closely", f"every stream on {SOUTH}, until {alert['watched_until']}")
    if (await b.get("blocks"))["blocks"] or (await b.get("incidents"))["incidents"]:
        raise DemoFailed("a partner's word alone did something to a stream")


async def _copy(stack: AsyncExitStack, b: DaemonClient, south: Platform, timeline: Timeline) -> None:
    began_s = time.monotonic()
    await stack.enter_async_context(publisher(south.address("copy"), seed=BRAWL_SEED, calm_s=0.0))
    await _until(lambda: _incident(b, "contained"), _STEP_DEADLINE_S, "the copy was not contained")
    timeline.happened("copy contained", f"on {SOUTH}, {time.monotonic() - began_s:.1f} s after it began")


async def _told_back(a: DaemonClient, incident_id: str, timeline: Timeline) -> None:
    async def receipt() -> bool:
        timeline_of = (await a.get(f"incidents/{incident_id}"))["timeline"]
        return any(SOUTH in str(entry["actor"]) and "contained" in str(entry["detail"]) for entry in timeline_of)

    await _until(receipt, _STEP_DEADLINE_S, f"{NORTH} was not told what {SOUTH} did")
    timeline.happened("receipt", f"{NORTH} knows what {SOUTH} did")


async def _take_back(
    session: aiohttp.ClientSession, north: Platform, b: DaemonClient, incident_id: str, timeline: Timeline
) -> None:
    body = {"decision": "dismiss", "why": "the demo takes it back", "reason": "staged_or_game"}
    async with session.post(f"{north.url}/api/v1/incidents/{incident_id}/review", json=body) as answer:
        if answer.status != 200:
            raise DemoFailed(f"the dismissal was answered with {answer.status}")

    async def released() -> bool:
        alerts = (await b.get("partners/alerts"))["alerts"]
        withdrawn = any(one["state"] == "withdrawn" for one in alerts)
        return withdrawn and not (await b.get("blocks"))["blocks"]

    timeline.happened("taken back", f"a responder on {NORTH} dismissed it")
    await _until(released, _STEP_DEADLINE_S, f"{SOUTH} did not release")
    await _until(lambda: _posture_is(b, "calm"), _STEP_DEADLINE_S, "streams are still watched more closely")
    timeline.happened("released", f"{SOUTH} let the publisher in again, and watches as before")


async def _incident(client: DaemonClient, state: str) -> Any:
    found = (await client.get("incidents"))["incidents"]
    return next((one for one in found if one["state"] == state), None)


async def _posture_is(client: DaemonClient, posture: str) -> bool:
    streams = (await client.get("streams"))["streams"]
    return any(one["title"].endswith("calm") and one["posture"] == posture for one in streams)


async def _until(condition: Callable[[], Awaitable[Found | None]], deadline_s: float, otherwise: str) -> Found:
    try:
        async with asyncio.timeout(deadline_s):
            while not (found := await condition()):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(_POLL_S)
            return found
    except TimeoutError:
        raise DemoFailed(f"{otherwise} within {deadline_s:.0f} s") from None

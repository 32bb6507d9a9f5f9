"""The demo: one stream turns violent and is cut, another stays on air; every step is checked, none is taken on trust."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from rich.console import Console

from monitor.config.servers import EmbeddedServer
from monitor.demo.partner import Partner, TakenAlert
from monitor.demo.publisher import EXIT_REFUSED
from monitor.demo.stage import (
    DaemonClient,
    ServerKind,
    free_port,
    media_server,
    publisher,
    running_daemon,
    write_config,
)
from monitor.demo.timeline import DemoFailed, Timeline
from monitor.servers.factory import build_server
from monitor.servers.port import MediaServer

Found = TypeVar("Found")

BRAWL_SEED, CALM_SEED = 6, 18
VIOLENT_NAME, CALM_NAME = "brawl", "calm"

_POLL_S = 0.1
_START_DEADLINE_S = 60.0
_STEP_DEADLINE_S = 20.0
_DETECT_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How the demo is played.

    Attributes:
        server: Which media server.
        calm_s: Seconds of calm before the brawl.
        keep: Stay up afterwards until `stop` is set.
    """

    server: ServerKind = "embedded"
    calm_s: float = 30.0
    keep: bool = False


async def play(settings: DemoSettings, folder: Path, console: Console, stop: asyncio.Event) -> None:
    """Play the whole demo in `folder`, printing each step when it has happened.

    Raises:
        DemoFailed: a step did not happen.
        NginxUnavailable: nginx was asked for and is not installed.
    """
    timeline = Timeline(console)
    async with AsyncExitStack() as stack:
        web_port = free_port()
        url = f"http://127.0.0.1:{web_port}"
        partner = await stack.enter_async_context(Partner())
        entry, publish_below = await stack.enter_async_context(media_server(settings.server, folder, web_port))
        config = write_config(folder, entry, partner, web_port)
        process = await stack.enter_async_context(running_daemon(config, partner))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), trust_env=False)
        )
        client = DaemonClient(session, url, process)
        timeline.expected("starting the daemon: media server, model, watchers")
        await _until(client.ready, _START_DEADLINE_S, "the daemon did not become ready")
        timeline.happened("daemon ready", f"page: {url}")
        # Asks the media server itself, past the daemon.
        asked = entry.model_copy(update={"serve": False}) if isinstance(entry, EmbeddedServer) else entry
        server = await stack.enter_async_context(build_server(asked, gate_url=""))
        address = f"{publish_below}/live/{VIOLENT_NAME}"
        calm = await stack.enter_async_context(
            publisher(f"{publish_below}/live/{CALM_NAME}", seed=CALM_SEED, calm_s=None)
        )
        violent = await stack.enter_async_context(publisher(address, seed=BRAWL_SEED, calm_s=settings.calm_s))
        brawl_at_s = time.monotonic() + settings.calm_s
        await _watch(client, timeline)
        incident_id = await _detect(client, timeline, brawl_at_s)
        await _contain(client, server, violent, timeline, incident_id)
        await _tell(partner, timeline)
        await _refuse(server, address, timeline)
        if calm.returncode is not None or not await _is_live(server, CALM_NAME):
            raise DemoFailed("the calm stream beside it did not stay on air")
        timeline.happened("calm stream", "still on air, untouched")
        timeline.summary(since="brawl begins")
        if settings.keep:
            console.print(
                f"\nStaying up: {url}/incidents/{incident_id}   (Ctrl-C ends)", highlight=False, soft_wrap=True
            )
            await stop.wait()


async def _watch(client: DaemonClient, timeline: Timeline) -> None:
    async def listed() -> bool:
        return len((await client.get("streams"))["streams"]) == 2

    async def watched() -> bool:
        streams = (await client.get("streams"))["streams"]
        return len(streams) == 2 and all(stream["last_scores"] for stream in streams)

    await _until(listed, _STEP_DEADLINE_S, "the streams were not listed")
    timeline.happened("live", "two streams are published, both calm")
    await _until(watched, _STEP_DEADLINE_S, "the streams were not scored")
    stream = await _stream(client, VIOLENT_NAME)
    timeline.happened("watched", f"first score of the first stream: {_score(stream)}")


async def _detect(client: DaemonClient, timeline: Timeline, brawl_at_s: float) -> str:
    async def untimely() -> bool:
        if (await client.get("incidents"))["incidents"]:
            raise DemoFailed("an incident began before anything had happened")
        return time.monotonic() >= brawl_at_s

    async def detected() -> str | None:
        found = (await client.get("incidents"))["incidents"]
        if any(not incident["title"].endswith(VIOLENT_NAME) for incident in found):
            raise DemoFailed("an incident began on the calm stream")
        return found[0]["incident_id"] if found else None

    timeline.expected(f"waiting: the brawl begins in {max(0.0, brawl_at_s - time.monotonic()):.0f} s")
    await _until(untimely, _STEP_DEADLINE_S + max(0.0, brawl_at_s - time.monotonic()), "the calm did not end")
    timeline.happened("brawl begins", f"last score: {_score(await _stream(client, VIOLENT_NAME))}")
    incident_id = await _until(detected, _DETECT_DEADLINE_S, "the brawl was not detected")
    stream = await _stream(client, VIOLENT_NAME)
    timeline.happened("detected", f"severity {stream['severity']}, score {_score(stream)}" if stream else "")
    return str(incident_id)


async def _contain(
    client: DaemonClient,
    server: MediaServer,
    violent: asyncio.subprocess.Process,
    timeline: Timeline,
    incident_id: str,
) -> None:
    async def blocked() -> bool:
        return bool((await client.get("blocks"))["blocks"])

    async def effect_of(kind: str) -> Any:
        incident = await client.get(f"incidents/{incident_id}")
        ended = [effect for effect in incident["effects"] if effect["kind"] == kind and effect["outcome"]]
        return ended[-1] if ended else None

    await _until(blocked, _DETECT_DEADLINE_S, "the publisher was not blocked")
    block = (await client.get("blocks"))["blocks"][0]
    timeline.happened("blocked", f"until {block['until']}")
    cut = await _until(lambda: effect_of("cut"), _STEP_DEADLINE_S, "the stream was not cut")
    if cut["outcome"] != "succeeded":
        raise DemoFailed(f"the cut ended as {cut['outcome']}: {cut['detail']}")
    if await _is_live(server, VIOLENT_NAME):
        raise DemoFailed("the media server still lists the stream that was said to be cut")
    async with asyncio.timeout(_STEP_DEADLINE_S):
        await violent.wait()
    timeline.happened("cut (verified)", "the media server lists it no more, and its publisher was disconnected")
    preserved = await _until(lambda: effect_of("preserve"), _STEP_DEADLINE_S, "no evidence was preserved")
    timeline.happened("evidence kept", f"{preserved['outcome']}: {preserved['detail']}")


async def _tell(partner: Partner, timeline: Timeline) -> None:
    async def contained() -> TakenAlert | None:
        return next((alert for alert in partner.taken if alert.type.endswith(".contained")), None)

    alert = await _until(contained, _STEP_DEADLINE_S, "the partner was not told")
    if partner.refused:
        raise DemoFailed(f"{partner.refused} alerts had no valid signature")
    told = ", ".join(one.type.rsplit(".", 1)[-1] for one in partner.taken)
    timeline.happened("partner told", f"signature verified; {told}; state {alert.event['data']['state']}")


async def _refuse(server: MediaServer, address: str, timeline: Timeline) -> None:
    async with publisher(address, seed=BRAWL_SEED, calm_s=0.0) as again:
        try:
            async with asyncio.timeout(_STEP_DEADLINE_S):
                status = await again.wait()
        except TimeoutError:
            raise DemoFailed("the blocked publisher was let in again") from None
    if status != EXIT_REFUSED or await _is_live(server, VIOLENT_NAME):
        raise DemoFailed(f"the blocked publisher was not refused (status {status})")
    timeline.happened("re-publish refused", "the publish gate keeps the publisher out")


async def _stream(client: DaemonClient, name: str) -> Any:
    streams = (await client.get("streams"))["streams"]
    return next((stream for stream in streams if stream["title"].endswith(name)), None)


def _score(stream: Any) -> str:
    scores = stream["last_scores"] if stream else {}
    return ", ".join(f"{label} {score:.2f}" for label, score in scores.items()) or "none"


async def _is_live(server: MediaServer, name: str) -> bool:
    return any(stream.ref.name == name for stream in await server.list_streams())


async def _until(condition: Callable[[], Awaitable[Found | None]], deadline_s: float, otherwise: str) -> Found:
    try:
        async with asyncio.timeout(deadline_s):
            while not (found := await condition()):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(_POLL_S)
            return found
    except TimeoutError:
        raise DemoFailed(f"{otherwise} within {deadline_s:.0f} s") from None

"""The tests that every adapter must pass, against a live media server or a fake that answers like one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import pytest

from monitor.errors import MediaServerRefused, MediaServerUnreachable, SourceError, UnsafeCallRefused
from monitor.servers.contract.site import HasViewers, Site
from monitor.servers.port import LiveStream
from monitor.video.opening import open_container
from monitor.vocabulary import StreamRef

_T = TypeVar("_T")

HOSTILE_NAMES: Final = (
    "../cam1",
    "cam1/..",
    "cam1&name=cam2",
    "x&app=&name=",
    "cam1%00",
    "cam%31",
    "cam1 ",
    " cam1",
    "cam1\n",
    "cam1\r\nX-Injected: 1",
    "cam1#",
    "cam1?",
    "cam1?name=cam2",
    "'cam1'",
    '"cam1"',
    "cаm1",  # noqa: RUF001 - the second letter is Cyrillic: that is the trick
    "*",
    "cam1;cam2",
    "cam1,cam2",
    "cam1\0",
    "\ud800",
    ".",
    "..",
    "",
)
"""Names with which a publisher may try to have somebody else cut, or watched in its stead."""

_DEADLINE_S: Final = 15.0
_ENCODER_ENDS_WITHIN_S: Final = 10.0
_READ_TIMEOUT_S: Final = 8.0


@pytest.mark.asyncio
class MediaServerContract:
    """Inherit from it in a class whose name begins with ``Test``, and define the fixture ``media_server_site``."""

    async def test_a_published_stream_is_listed_with_all_that_is_known(self, media_server_site: Site) -> None:
        site = media_server_site
        await site.publish("cam1")

        stream = await _listed(site, "cam1")

        assert stream.ref == StreamRef("edge", site.app, "cam1")
        assert stream.session
        assert stream.started_at is not None
        assert abs(datetime.now(UTC) - stream.started_at) < timedelta(seconds=30)
        if site.server.capabilities.publisher_address:
            assert stream.publisher_address == "127.0.0.1"
        assert not stream.held
        assert site.server.name == "edge"

    async def test_a_probe_of_a_healthy_server_does_not_fail(self, media_server_site: Site) -> None:
        warnings = await media_server_site.server.probe()

        assert all("edge" not in warning and "http" not in warning for warning in warnings)

    async def test_a_watcher_reads_the_stream_under_its_pull_url(self, media_server_site: Site) -> None:
        site = media_server_site
        await site.publish("cam1")
        await _listed(site, "cam1")
        url = site.server.pull_url(StreamRef("edge", site.app, "cam1"))

        assert await _eventually(lambda: can_be_watched(url))

    async def test_a_cut_ends_exactly_the_stream_that_is_meant(self, media_server_site: Site) -> None:
        site = media_server_site
        first, second = await site.publish("cam1"), await site.publish("cam2")
        stream = await _listed(site, "cam1")
        await _listed(site, "cam2")

        result = await site.server.cut(stream.ref, stream.session)

        assert (result.matched, result.verified) == (1, True)
        await asyncio.wait_for(first.ended(), _ENCODER_ENDS_WITHIN_S)
        assert [stream.ref.name for stream in await site.server.list_streams()] == ["cam2"]
        assert second.live
        assert await can_be_watched(site.server.pull_url(StreamRef("edge", site.app, "cam2")))

    async def test_a_cut_without_a_session_ends_whoever_publishes_now(self, media_server_site: Site) -> None:
        site = media_server_site
        encoder = await site.publish("cam1")
        stream = await _listed(site, "cam1")

        result = await site.server.cut(stream.ref)

        assert (result.matched, result.verified) == (1, True)
        await asyncio.wait_for(encoder.ended(), _ENCODER_ENDS_WITHIN_S)

    async def test_a_second_cut_finds_nothing_and_says_so(self, media_server_site: Site) -> None:
        site = media_server_site
        await site.publish("cam1")
        stream = await _listed(site, "cam1")
        await site.server.cut(stream.ref)

        again = await site.server.cut(stream.ref)

        assert (again.matched, again.verified) == (0, True)

    async def test_a_stream_that_nobody_publishes_counts_as_cut(self, media_server_site: Site) -> None:
        result = await media_server_site.server.cut(StreamRef("edge", media_server_site.app, "nobody"))

        assert (result.matched, result.verified) == (0, True)

    async def test_a_cut_of_an_earlier_session_leaves_the_present_one_alone(self, media_server_site: Site) -> None:
        site = media_server_site
        encoder = await site.publish("cam1")
        stream = await _listed(site, "cam1")
        earlier = str(int(stream.session) + 1_000_000) if stream.session.isdigit() else "0123456789abcdef"

        result = await site.server.cut(stream.ref, earlier)

        assert (result.matched, result.verified) == (0, True)
        assert encoder.live
        assert (await _listed(site, "cam1")).session == stream.session

    async def test_a_publisher_that_comes_back_after_a_cut_has_another_session(self, media_server_site: Site) -> None:
        site = media_server_site
        if not site.has_gate:
            pytest.skip("nothing tells when a publisher comes back")
        await site.publish("cam1")
        stream = await _listed(site, "cam1")
        await site.server.cut(stream.ref, stream.session)
        await site.publish("cam1")

        assert (await _listed(site, "cam1")).session != stream.session

    async def test_a_stream_that_ends_by_itself_is_listed_no_more(self, media_server_site: Site) -> None:
        site = media_server_site
        if not site.has_gate:
            pytest.skip("nothing tells when a publisher leaves")
        encoder = await site.publish("cam1")
        await _listed(site, "cam1")

        await encoder.stop()

        await _gone(site, "cam1")

    async def test_the_gate_lets_in_and_keeps_out(self, media_server_site: Site) -> None:
        site = media_server_site
        if not site.has_gate:
            pytest.skip("there is no gate")
        site.refused.add("banned")
        banned, welcome = await site.publish("banned"), await site.publish("welcome")

        await asyncio.wait_for(banned.ended(), _ENCODER_ENDS_WITHIN_S)
        await _listed(site, "welcome")
        assert welcome.live
        if not site.server.capabilities.synchronous_block:
            await _gone(site, "banned")
        assert [stream.ref.name for stream in await site.server.list_streams()] == ["welcome"]

    async def test_holding_hides_a_stream_from_viewers_alone_and_releasing_shows_it_again(
        self, media_server_site: Site
    ) -> None:
        site = media_server_site
        encoder = await site.publish("cam1")
        stream = await _listed(site, "cam1")
        if not site.server.capabilities.hold:
            for refused in (site.server.hold, site.server.release):
                with pytest.raises(MediaServerRefused) as caught:
                    await refused(stream.ref, stream.session)
                assert (caught.value.reason, caught.value.retryable) == ("cannot_hold", False)
            return

        assert isinstance(site, HasViewers), "where do viewers see it?"
        seen = site.view_url("cam1")
        assert await _eventually(lambda: can_be_watched(seen))

        held = await site.server.hold(stream.ref)

        assert (held.matched, held.verified) == (1, True)
        assert (await _listed(site, "cam1")).held
        assert encoder.live
        assert not await can_be_watched(seen, timeout_s=4.0)
        # Whoever is to say whether it can be released has to see it; its address may be another one meanwhile.
        if site.server.capabilities.seen_while_held:
            assert await _eventually(lambda: can_be_watched(site.server.pull_url(stream.ref)))
        released = await site.server.release(stream.ref)
        assert (released.matched, released.verified) == (1, True)
        assert not (await _listed(site, "cam1")).held
        assert encoder.live
        assert await _eventually(lambda: can_be_watched(seen))

    async def test_hostile_names_are_cut_without_hitting_anybody_else(self, media_server_site: Site) -> None:
        site = media_server_site
        encoder = await site.publish("cam1")
        innocent = await _listed(site, "cam1")
        hostile = [StreamRef("edge", site.app, name) for name in HOSTILE_NAMES]
        hostile += [StreamRef("edge", app, "cam1") for app in HOSTILE_NAMES]

        for ref in hostile:
            for session in (None, innocent.session):
                try:
                    result = await site.server.cut(ref, session)
                except UnsafeCallRefused:
                    continue
                assert (result.matched, result.verified) == (0, True), ascii(ref)

        assert encoder.live
        assert (await _listed(site, "cam1")).session == innocent.session

    async def test_the_address_of_a_hostile_name_is_nobody_elses(self, media_server_site: Site) -> None:
        site = media_server_site
        await site.publish("cam1")
        await _listed(site, "cam1")
        addresses = {site.server.pull_url(StreamRef("edge", site.app, "cam1"))}

        for name in HOSTILE_NAMES:
            try:
                address = site.server.pull_url(StreamRef("edge", site.app, name))
            except UnsafeCallRefused:
                continue
            assert address not in addresses, ascii(name)
            assert address.isprintable()
            addresses.add(address)

    async def test_a_server_that_is_down_is_unreachable_and_not_empty(self, media_server_site: Site) -> None:
        server = media_server_site.unreachable()
        if server is None:
            pytest.skip("there is nothing that could be down")
        async with server:
            with pytest.raises(MediaServerUnreachable):
                await server.list_streams()
            with pytest.raises(MediaServerUnreachable):
                await server.cut(StreamRef("edge", media_server_site.app, "cam1"))
            with pytest.raises(MediaServerUnreachable):
                await server.probe()


async def can_be_watched(url: str, *, frames: int = 3, timeout_s: float = _READ_TIMEOUT_S) -> bool:
    """Whether a watcher could open `url` and decode so many frames."""
    return await asyncio.to_thread(_decodes, url, frames, timeout_s)


def _decodes(url: str, frames: int, timeout_s: float) -> bool:
    try:
        opened = open_container(url, open_timeout_s=timeout_s, read_timeout_s=timeout_s, live=True)
    except SourceError:
        return False
    decoded = 0
    with opened.container as container:
        try:
            for _ in container.decode(opened.stream):
                decoded += 1
                if decoded == frames:
                    return True
        except OSError:
            return False
    return False


async def _listed(site: Site, name: str) -> LiveStream:
    async def look() -> LiveStream | None:
        ref = StreamRef("edge", site.app, name)
        return next((stream for stream in await site.server.list_streams() if stream.ref == ref), None)

    return await _eventually(look)


async def _gone(site: Site, name: str) -> None:
    async def look() -> bool:
        return all(stream.ref.name != name for stream in await site.server.list_streams())

    await _eventually(look)


async def _eventually(look: Callable[[], Awaitable[_T | None]]) -> _T:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _DEADLINE_S
    while True:
        value = await look()
        if value:
            return value
        if loop.time() > give_up_at:
            pytest.fail(f"still {value!r} after {_DEADLINE_S:g} s", pytrace=False)
        await asyncio.sleep(0.05)

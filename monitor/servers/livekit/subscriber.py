"""Joining a LiveKit room unseen, with LiveKit's own client (the extra ``livekit``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final

import numpy as np
from livekit import rtc
from livekit.rtc.room import EventTypes
from numpy.typing import NDArray

from monitor.errors import MediaServerUnreachable
from monitor.servers.livekit.pictures import Picture
from monitor.video.live_encoder import FRAMES_PER_S

_CONNECT_TIMEOUT_S = 5.0
_LOOK_AGAIN_S = 2.0
_CHANGES: Final[tuple[EventTypes, ...]] = (
    "participant_connected",
    "participant_disconnected",
    "track_published",
    "track_unpublished",
    "track_subscribed",
    "track_unsubscribed",
    "track_muted",
    "track_unmuted",
    "disconnected",
)
_QUARTER_TURNS: Final[Mapping[object, int]] = {
    # How far each picture has to be turned, in quarters, anticlockwise as numpy counts.
    rtc.VideoRotation.VIDEO_ROTATION_0: 0,
    rtc.VideoRotation.VIDEO_ROTATION_90: 3,
    rtc.VideoRotation.VIDEO_ROTATION_180: 2,
    rtc.VideoRotation.VIDEO_ROTATION_270: 1,
}


class _Gone(Enum):
    """Nobody of that identity is in the room any more."""

    GONE = 1


_GONE = _Gone.GONE


class HiddenSubscriber:
    """Subscribes to one participant's newest video at a time, in LiveKit's middle quality where it has several.

    Args:
        url: ``ws`` or ``wss`` address of the server.
        token_for: Gives a token to join a room unseen.
    """

    def __init__(self, url: str, token_for: Callable[[str], Awaitable[str]]) -> None:
        self._url = url
        self._token_for = token_for

    @asynccontextmanager
    async def __call__(self, room: str, identity: str) -> AsyncIterator[AsyncIterator[Picture]]:
        """Join `room` and give the pictures of `identity`; see `Subscribe`."""
        joined = rtc.Room()
        changed = asyncio.Event()
        for event in _CHANGES:
            joined.on(event, lambda *_: changed.set())
        options = rtc.RoomOptions(auto_subscribe=False, connect_timeout=_CONNECT_TIMEOUT_S)
        try:
            async with asyncio.timeout(2 * _CONNECT_TIMEOUT_S):
                await joined.connect(self._url, await self._token_for(room), options)
        except (rtc.ConnectError, TimeoutError) as error:
            # Its text may quote the address with the token.
            raise MediaServerUnreachable(f"the room could not be joined ({type(error).__name__})") from None
        try:
            yield _pictures(joined, identity, changed)
        finally:
            await joined.disconnect()


async def _pictures(room: rtc.Room, identity: str, changed: asyncio.Event) -> AsyncIterator[Picture]:
    last_s = 0.0
    while (track := _current(room, identity)) is not _GONE:
        changed.clear()
        if track is None:
            await _wait(changed)
            continue
        # Of more pictures than can be handled, the newest counts.
        stream = rtc.VideoStream.from_track(track=track, format=rtc.VideoBufferType.RGB24, capacity=1)
        try:
            while _current(room, identity) is track:
                try:
                    event = await asyncio.wait_for(anext(stream), _LOOK_AGAIN_S)
                except TimeoutError:
                    # Nothing to show: the watcher is to see that nothing comes.
                    continue
                except StopAsyncIteration:
                    await _wait(changed)
                    break
                now_s = time.monotonic()
                if now_s - last_s < 0.9 / FRAMES_PER_S:
                    continue
                last_s = now_s
                yield Picture(upright(event.frame, event.rotation), now_s)
        finally:
            await stream.aclose()


def _current(room: rtc.Room, identity: str) -> rtc.RemoteVideoTrack | _Gone | None:
    participant = room.remote_participants.get(identity)
    return _GONE if participant is None or not room.isconnected() else _subscribe_to_newest(participant)


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_LOOK_AGAIN_S):
            await changed.wait()
    except TimeoutError:
        pass


def _subscribe_to_newest(participant: rtc.RemoteParticipant) -> rtc.RemoteVideoTrack | None:
    """Subscribe to the video that was published last and is not muted, and to no other; None while it is not here."""
    videos = [each for each in participant.track_publications.values() if each.kind == rtc.TrackKind.KIND_VIDEO]
    shown = next((each for each in reversed(videos) if not each.muted), None)
    for each in videos:
        if each.subscribed != (each is shown):
            each.set_subscribed(each is shown)
            if each is shown and each.simulcasted:
                each.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_MEDIUM)
    track = None if shown is None else shown.track
    return track if isinstance(track, rtc.RemoteVideoTrack) else None


def upright(frame: rtc.VideoFrame, rotation: rtc.VideoRotation) -> NDArray[np.uint8]:
    """Return the picture as a viewer sees it: cameras of phones say how they were held instead of turning it."""
    picture = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3)
    return np.rot90(picture, _QUARTER_TURNS.get(rotation, 0))

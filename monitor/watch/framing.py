"""Frames on the pipe between daemon and watcher: written, read and judged.

The daemon takes what comes up as data from a stranger. So a frame is bounded before it is read, its type is known
before its body is decoded, and only evidence may be large.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
from typing import BinaryIO

import msgspec

from monitor.errors import WatcherError
from monitor.watch.messages import MAX_FRAME_BYTES, Downward, Evidence, Message, Observation, Upward, Video

MAX_SMALL_FRAME_BYTES = 64 * 1024
"""Largest frame of any type but `Evidence`: a typed decoder makes objects far larger than the bytes behind them."""

_LENGTH = struct.Struct(">I")
# msgspec lets the error of a string that is no UTF-8 through as it is.
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.msgpack.Encoder()
_downward: msgspec.msgpack.Decoder[Downward] = msgspec.msgpack.Decoder(Downward)
_upward: msgspec.msgpack.Decoder[Upward] = msgspec.msgpack.Decoder(Upward)


class _Envelope(msgspec.Struct):
    """Only the type of a message; its body is skipped, not built."""

    type: str


_envelope = msgspec.msgpack.Decoder(_Envelope)


def encode_frame(message: Message) -> bytes:
    """Return `message` as one frame, length included.

    Raises:
        WatcherError: reason ``frame_too_large``; the other side would refuse it.
    """
    body = _encoder.encode(message)
    if len(body) > _largest(is_evidence=isinstance(message, Evidence)):
        raise WatcherError("a message is larger than the seam allows", reason="frame_too_large", retryable=False)
    return _LENGTH.pack(len(body)) + body


def decode_downward(body: bytes) -> Downward:
    """Decode one frame's body as a message from the daemon.

    Raises:
        WatcherError: reason ``bad_message``.
    """
    try:
        return _downward.decode(body)
    except _UNDECODABLE as error:
        raise _bad_message() from error


def decode_upward(body: bytes) -> Upward:
    """Decode one frame's body as a message from a watcher; every number in it is finite and every score in [0, 1].

    Raises:
        WatcherError: reason ``bad_message`` or ``frame_too_large``.
    """
    try:
        kind = _envelope.decode(body).type
        if len(body) > _largest(is_evidence=kind == Evidence.__struct_config__.tag):
            raise _too_large()
        message = _upward.decode(body)
    except _UNDECODABLE as error:
        raise _bad_message() from error
    if isinstance(message, Observation):
        times = (message.clip_start_s, message.clip_end_s, message.arrived_at, message.scored_at)
        if not (all(map(math.isfinite, times)) and all(map(_is_score, message.scores))):
            raise _bad_message()
    elif isinstance(message, Video):
        times_of = [(file.start_s, file.end_s, file.arrived_from, file.arrived_to) for file in message.files]
        if not all(map(math.isfinite, itertools.chain(*times_of))):
            raise _bad_message()
    elif isinstance(message, Evidence):
        kept = [(frame.time_s, frame.arrived_at) for frame in message.frames]
        kept += [(score.clip_start_s, score.clip_end_s) for score in message.scores]
        if not all(math.isfinite(time) for pair in kept for time in pair) or not all(
            _is_score(value) for score in message.scores for value in score.scores
        ):
            raise _bad_message()
    return message


def read_frame(stream: BinaryIO) -> bytes | None:
    """Read one frame's body from a blocking binary stream; None at its end.

    Raises:
        WatcherError: reason ``frame_too_large``, or ``truncated`` when the stream ends inside a frame.
    """
    head = stream.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise _truncated()
    length = _checked_length(head)
    body = stream.read(length)
    if len(body) < length:
        raise _truncated()
    return body


async def receive_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Read one frame's body; None at the end of the stream. Cancellation may leave the stream inside a frame.

    Raises:
        WatcherError: as `read_frame`.
    """
    try:
        head = await reader.readexactly(_LENGTH.size)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise _truncated() from None
    length = _checked_length(head)
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise _truncated() from None


def _checked_length(head: bytes) -> int:
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise _too_large()
    return int(length)


def _largest(*, is_evidence: bool) -> int:
    return MAX_FRAME_BYTES if is_evidence else MAX_SMALL_FRAME_BYTES


def _is_score(value: float) -> bool:
    return 0.0 <= value <= 1.0


def _bad_message() -> WatcherError:
    return WatcherError("a message that the seam does not allow", reason="bad_message")


def _too_large() -> WatcherError:
    return WatcherError("a frame larger than the seam allows", reason="frame_too_large")


def _truncated() -> WatcherError:
    return WatcherError("the pipe ended inside a frame", reason="truncated")

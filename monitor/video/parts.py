"""How compressed packets lie on disk until they are wanted as evidence: two kinds of small files.

A *reel* is what one connection sent. ``<reel>.like`` says what its packets are: time base, the container they fit into,
and a tiny file with one keyframe, from which the codec's parameters can be read once the connection is gone.
``<reel>.<number>.part`` holds packets in the order in which they came, from one keyframe to the next if there is one.
A part may end anywhere, for its writer may die at any time: what is cut off is left out. Whoever reads takes the files
for a stranger's, since watchers meet hostile video.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

PART_NAME: Final = re.compile(r"(?P<reel>[0-9a-f]{1,32}-[0-9]{6,12})\.(?P<number>[0-9]{6,12})\.part", re.ASCII)
LIKE_NAME: Final = re.compile(r"(?P<reel>[0-9a-f]{1,32}-[0-9]{6,12})\.like", re.ASCII)

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""A larger file is none of ours."""

CONTAINERS: Final = {"mp4": "mp4", "matroska": "mkv"}
"""FFmpeg's name of each container that is written, and the suffix of its files."""

_LIKE_HEAD = struct.Struct(">4sII16s")
_PART_HEAD = struct.Struct(">4s?")
_RECORD = struct.Struct(">qqI?ddI")
_LIKE_MAGIC, _PART_MAGIC = b"LCL1", b"LCP1"
_LONGEST_DURATION = 2**32 - 1


@dataclass(frozen=True, slots=True)
class StoredPacket:
    """One packet: `pts`, `dts` and `duration` in the reel's time base, `time_s` in stream seconds, `arrived_at` Unix time."""

    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    time_s: float
    arrived_at: float
    data: memoryview


@dataclass(frozen=True, slots=True)
class Like:
    """What a reel's packets are; `template` is a Matroska file with one of its keyframes."""

    time_base: Fraction
    container: str
    template: bytes


def pack_like(like: Like) -> bytes:
    """Return the content of a ``.like`` file."""
    base = like.time_base
    return _LIKE_HEAD.pack(_LIKE_MAGIC, base.numerator, base.denominator, like.container.encode()) + like.template


def parse_like(content: bytes) -> Like | None:
    """Return what a ``.like`` file says, or None if it is none."""
    if len(content) <= _LIKE_HEAD.size:
        return None
    magic, numerator, denominator, name = _LIKE_HEAD.unpack_from(content)
    container = name.rstrip(b"\0").decode("ascii", "replace")
    if magic != _LIKE_MAGIC or not numerator or not denominator or container not in CONTAINERS:
        return None
    return Like(Fraction(numerator, denominator), container, content[_LIKE_HEAD.size :])


def part_head(*, keyframe_first: bool) -> bytes:
    """Return the first bytes of a ``.part`` file."""
    return _PART_HEAD.pack(_PART_MAGIC, keyframe_first)


def packet_head(
    *, pts: int, dts: int, duration: int, is_keyframe: bool, time_s: float, arrived_at: float, size_bytes: int
) -> bytes:
    """Return what goes before each packet's `size_bytes` of data; units as in `StoredPacket`."""
    duration = min(max(duration, 0), _LONGEST_DURATION)
    return _RECORD.pack(pts, dts, duration, is_keyframe, time_s, arrived_at, size_bytes)


def starts_with_keyframe(content: bytes) -> bool | None:
    """Return whether a part's first packet is a keyframe, or None if it is no part."""
    if len(content) < _PART_HEAD.size:
        return None
    magic, keyframe_first = _PART_HEAD.unpack_from(content)
    return bool(keyframe_first) if magic == _PART_MAGIC else None


def packets_of(content: bytes) -> Iterator[StoredPacket]:
    """Yield a part's packets up to its end, or up to where it is cut off or makes no sense."""
    if starts_with_keyframe(content) is None:
        return
    view, offset = memoryview(content), _PART_HEAD.size
    while offset + _RECORD.size <= len(view):
        pts, dts, duration, is_keyframe, time_s, arrived_at, size_bytes = _RECORD.unpack_from(view, offset)
        offset += _RECORD.size
        if (
            not size_bytes
            or offset + size_bytes > len(view)
            or not (math.isfinite(time_s) and math.isfinite(arrived_at))
        ):
            return
        yield StoredPacket(pts, dts, duration, is_keyframe, time_s, arrived_at, view[offset : offset + size_bytes])
        offset += size_bytes

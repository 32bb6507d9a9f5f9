"""From stored parts to files that play, without encoding anything again."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error

from monitor.video.parts import (
    CONTAINERS,
    MAX_FILE_BYTES,
    PART_NAME,
    Like,
    StoredPacket,
    packets_of,
    parse_like,
    starts_with_keyframe,
)
from monitor.video.ring import mux

MOST_FILES: Final = 16
"""Most files that one request makes: a stream that reconnects all the time has a reel for each connection."""

_HASH_BLOCK_BYTES = 1024 * 1024
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file that was written.

    Attributes:
        name: Its name in the folder that was asked for.
        start_s, end_s: First and last packet in stream seconds.
        arrived_from, arrived_to: Unix times at which those had been read.
    """

    name: str
    size_bytes: int
    sha256: str
    start_s: float
    end_s: float
    arrived_from: float
    arrived_to: float


@dataclass(frozen=True, slots=True)
class _StoredPart:
    path: Path
    reel: str
    number: int
    size_bytes: int
    keyframe_first: bool
    first: StoredPacket
    last: StoredPacket


def remux(parts_folder: Path, into: Path, *, max_age_s: float, max_bytes: int) -> tuple[VideoFile, ...]:
    """Write a playable file for each reel in `parts_folder`, oldest first. Blocking; takes about 10 ms for each MB.

    MP4, or Matroska for codecs that MP4 does not carry. Each file starts at the oldest keyframe kept; where there is none
    any more, at the oldest packet, and shows a picture as soon as the codec can. Files that are being written or removed
    meanwhile do no harm: what cannot be read is left out.

    Args:
        parts_folder: One stream's parts.
        into: An existing folder of the caller's; files there are named ``0.mp4``, ``1.mkv`` …
        max_age_s: Groups of pictures that ended so long before the newest packet, in seconds, are left out.
        max_bytes: So are the oldest ones beyond so many bytes.

    Raises:
        OSError: `into` cannot be written; files written before stay.
    """
    reels: dict[str, list[_StoredPart]] = {}
    for part in _wanted(_stored_parts(parts_folder), max_age_s=max_age_s, max_bytes=max_bytes):
        reels.setdefault(part.reel, []).append(part)
    files: list[VideoFile] = []
    for reel, parts in list(reels.items())[-MOST_FILES:]:
        like = parse_like(_read(parts_folder / f"{reel}.like"))
        if like is None:
            continue
        name = f"{len(files)}.{CONTAINERS[like.container]}"
        if (file := _write(into / name, like, parts)) is not None:
            files.append(file)
    return tuple(files)


def _stored_parts(folder: Path) -> list[_StoredPart]:
    """Return every part that holds a packet, in the order in which they came."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if (match := PART_NAME.fullmatch(path.name)) is None:
                continue
            content = _read(path)
            packets = list(packets_of(content))
            if packets:
                first, last = (_without_data(packet) for packet in (packets[0], packets[-1]))
                head = bool(starts_with_keyframe(content))
                found.append(_StoredPart(path, match["reel"], int(match["number"]), len(content), head, first, last))
    begun_at: dict[str, float] = {}
    for part in found:
        begun_at[part.reel] = min(begun_at.get(part.reel, part.first.arrived_at), part.first.arrived_at)
    return sorted(found, key=lambda part: (begun_at[part.reel], part.reel, part.number))


def _wanted(parts: Sequence[_StoredPart], *, max_age_s: float, max_bytes: int) -> list[_StoredPart]:
    groups: list[list[_StoredPart]] = []
    for part in parts:
        if not groups or part.keyframe_first or groups[-1][-1].reel != part.reel:
            groups.append([])
        groups[-1].append(part)
    newest_at = max((part.last.arrived_at for part in parts), default=0.0)
    wanted: list[_StoredPart] = []
    left_bytes = max_bytes
    for group in reversed(groups):
        if newest_at - group[-1].last.arrived_at > max_age_s:
            continue
        for part in reversed(group):
            left_bytes -= part.size_bytes
            if left_bytes < 0:
                return wanted[::-1]
            wanted.append(part)
    return wanted[::-1]


def _write(path: Path, like: Like, parts: Sequence[_StoredPart]) -> VideoFile | None:
    """Write one file; None, and no file, where its reel makes no sense to FFmpeg."""
    try:
        with (
            av.open(io.BytesIO(like.template), "r", format="matroska") as described,
            # With the prefix, FFmpeg takes the rest literally.
            av.open(f"file:{path}", "w", format=like.container) as container,
        ):
            if not described.streams.video:
                return None
            mux(container, described.streams.video[0], _packets(parts), like.time_base)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            os.fchmod(descriptor, 0o600)
            digest, size_bytes = hashlib.sha256(), 0
            while block := file.read(_HASH_BLOCK_BYTES):
                digest.update(block)
                size_bytes += len(block)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        path.unlink(missing_ok=True)
        if (number := getattr(error, "errno", None)) in _DISK_ERRORS:
            raise OSError(number, os.strerror(number)) from None
        return None
    first, last = parts[0].first, parts[-1].last
    return VideoFile(
        name=path.name,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        start_s=first.time_s,
        end_s=last.time_s,
        arrived_from=first.arrived_at,
        arrived_to=last.arrived_at,
    )


def _packets(parts: Sequence[_StoredPart]) -> Iterator[StoredPacket]:
    shown = False
    anywhere = not any(part.keyframe_first for part in parts)
    for part in parts:
        # One part at a time in memory.
        for packet in packets_of(_read(part.path)):
            shown = shown or anywhere or packet.is_keyframe
            if shown:
                yield packet


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            return b""
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _without_data(packet: StoredPacket) -> StoredPacket:
    return StoredPacket(
        packet.pts,
        packet.dts,
        packet.duration,
        packet.is_keyframe,
        packet.time_s,
        packet.arrived_at,
        memoryview(b""),
    )

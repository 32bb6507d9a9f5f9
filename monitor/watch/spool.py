"""Where a watcher keeps the compressed video of each stream's last minute: on disk, so that memory stays small.

Every stream has a folder below the spool, named by its `stream_id` alone; its files are described in
`monitor.video.parts`. One thread writes and removes, so that no disk, however slow, holds up a stream: what it cannot
take in time is counted and left out. The folder outlives the process: whichever watcher is asked later, and also after a
crash, finds there what others wrote. The daemon removes what no watcher comes back for (`monitor.watch.spool_folder`).
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from monitor.video.remux import VideoFile, remux
from monitor.video.ring import LikeFile, PacketRing, Part
from monitor.watch.recent import KEEP_AFTER_RELEASE_S, KEEP_S
from monitor.watch.spool_folder import STREAM_FOLDER

log = structlog.get_logger()

LEAVE_FREE_BYTES: Final = 256 * 1024 * 1024
"""The store and the evidence may lie on the same disk, and matter more: the last bytes are theirs."""

_QUEUE_BYTES: Final = 16 * 1024 * 1024
_BARRIER_S: Final = 2.0
_RECOVERED_AFTER_S: Final = 30.0


@dataclass(slots=True, eq=False)
class _Shelf:
    """One stream's parts, as this process wrote them. `parts` belongs to the writing thread."""

    spool: Spool
    stream_id: str
    part_bytes: int
    parts: deque[Part] = field(default_factory=deque)
    size_bytes: int = 0
    rings: list[PacketRing] = field(default_factory=list)
    released_at_s: float | None = None

    @property
    def folder(self) -> Path:
        return self.spool.folder / self.stream_id

    def new_reel(self) -> str:
        return self.spool.new_reel()

    def write_like(self, like: LikeFile, content: bytes) -> None:
        self.spool.put(self, like, content)

    def append(self, part: Part, data: bytearray) -> None:
        self.spool.put(self, part, data)


@dataclass(frozen=True, slots=True)
class _Write:
    shelf: _Shelf
    file: Part | LikeFile
    data: bytes | bytearray


@dataclass(slots=True, eq=False)
class Spool:
    """The spool of one watcher process. Thread-safe; nothing here raises because of a disk.

    Attributes:
        folder: The spool's folder; it exists and is nobody else's.
        stream_bytes: Most that is kept of one stream; its oldest groups of pictures go first.
        known_as: How the daemon calls the folder, where this process has another name for it.
    """

    folder: Path
    stream_bytes: int
    leave_free_bytes: int = LEAVE_FREE_BYTES
    monotonic_s: Callable[[], float] = time.monotonic
    on_thread: Callable[[], None] = lambda: None
    known_as: Path | None = None
    _owner: str = field(default_factory=lambda: f"{os.getpid():x}{secrets.token_hex(4)}")
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _shelves: dict[str, _Shelf] = field(default_factory=dict)
    _queue: deque[_Write | Callable[[], None]] = field(default_factory=deque)
    _queued_bytes: int = 0
    _failures: int = 0
    _failing: bool = False
    _failed_at_s: float = 0.0
    _closing: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s` seconds, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    @property
    def failures(self) -> int:
        """How many pieces could not be kept so far, because the disk refused or was too slow."""
        return self._failures

    def ring(self, stream_id: str) -> PacketRing | None:
        """Return a ring for a stream that is watched from now on; None for an id that is no fit name for a folder."""
        if not STREAM_FOLDER.fullmatch(stream_id):
            return None
        with self._changed:
            shelf = self._shelves.get(stream_id)
            if shelf is None:
                shelf = self._shelves[stream_id] = _Shelf(self, stream_id, max(1, self.stream_bytes // 8))
            shelf.released_at_s = None
            ring = PacketRing(shelf)
            shelf.rings.append(ring)
        return ring

    def release(self, stream_id: str, ring: PacketRing) -> None:
        """The stream is not watched through this ring any more; what is kept stays for two minutes."""
        ring.close()
        with self._changed:
            if (shelf := self._shelves.get(stream_id)) is not None and ring in shelf.rings:
                shelf.rings.remove(ring)
                if not shelf.rings:
                    shelf.released_at_s = self.monotonic_s()

    def expire(self) -> None:
        """Remove what is left of streams that were released more than two minutes ago."""
        before_s = self.monotonic_s() - KEEP_AFTER_RELEASE_S
        with self._changed:
            for stream_id, shelf in list(self._shelves.items()):
                if shelf.released_at_s is not None and shelf.released_at_s < before_s:
                    del self._shelves[stream_id]
                    self._queue.append(lambda shelf=shelf: self._remove(shelf))  # type: ignore[misc] # bound early
                    self._changed.notify()

    def remux(self, stream_id: str, into: Path) -> tuple[VideoFile, ...]:
        """Write what the spool holds of a stream, whoever put it there, as files that play. Blocking.

        Raises:
            OSError: `into` cannot be written.
        """
        if not STREAM_FOLDER.fullmatch(stream_id):
            return ()
        with self._changed:
            shelf = self._shelves.get(stream_id)
            rings = [] if shelf is None else list(shelf.rings)
        for ring in rings:
            ring.flush()
        if self.known_as is not None and into.is_relative_to(self.known_as):
            into = self.folder / into.relative_to(self.known_as)
        written = threading.Event()
        with self._changed:
            self._queue.append(written.set)
            self._changed.notify()
        # A disk that hangs costs the newest seconds, not the minute before them.
        written.wait(_BARRIER_S)
        return remux(self.folder / stream_id, into, max_age_s=KEEP_S, max_bytes=self.stream_bytes)

    def new_reel(self) -> str:
        """Return a name that no other watcher, earlier or now, gives away."""
        return f"{self._owner}-{next(self._numbers):06d}"

    def put(self, shelf: _Shelf, file: Part | LikeFile, data: bytes | bytearray) -> None:
        """Have `data` appended to a part of `shelf`, or written as a description, unless too much waits already."""
        with self._changed:
            if self._queued_bytes + len(data) > _QUEUE_BYTES:
                too_slow = True
            else:
                too_slow = False
                self._queue.append(_Write(shelf, file, data))
                self._queued_bytes += len(data)
                self._changed.notify()
        if too_slow:
            self._lost(file, "too_slow", None)

    def _run(self) -> None:
        self.on_thread()
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                task = self._queue.popleft()
            if isinstance(task, _Write):
                self._write(task)
                with self._changed:
                    self._queued_bytes -= len(task.data)
            else:
                task()

    def _write(self, task: _Write) -> None:
        shelf, file = task.shelf, task.file
        if file.lost:
            return
        how = os.O_TRUNC
        if isinstance(file, Part):
            how = os.O_APPEND
            if not shelf.parts or shelf.parts[-1] is not file:
                shelf.parts.append(file)
            shelf.size_bytes += len(task.data)
        try:
            self._put_down(shelf.folder, file.name, task.data, how)
        except OSError as error:
            self._lost(file, "disk", error.errno)
        else:
            if self._failing and self.monotonic_s() - self._failed_at_s > _RECOVERED_AFTER_S:
                self._failing = False
                log.info("spool_recovered")
        self._drop_old(shelf)

    def _put_down(self, folder: Path, name: str, data: bytes | bytearray, how: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | how | os.O_NOFOLLOW
        system = os.statvfs(self.folder)
        if system.f_bavail * system.f_frsize < self.leave_free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            descriptor = os.open(folder / name, flags, 0o600)
        except FileNotFoundError:
            # The first part, or the daemon has just tidied away an empty folder.
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            descriptor = os.open(folder / name, flags, 0o600)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def _lost(self, file: Part | LikeFile, why: str, number: int | None) -> None:
        file.lost = True
        self._failures += 1
        self._failed_at_s = self.monotonic_s()
        if not self._failing:
            self._failing = True
            log.error("spool_failed", reason=why, errno=number)

    def _drop_old(self, shelf: _Shelf) -> None:
        """Remove groups of pictures that ended a minute ago; beyond the bound also newer ones, or the head of the only one."""
        parts = shelf.parts
        while len(parts) > 1:
            group = 1
            while group < len(parts) and not parts[group].keyframe_first and parts[group].reel == parts[0].reel:
                group += 1
            over = shelf.size_bytes > self.stream_bytes
            aged = parts[-1].ended_at - parts[group - 1].ended_at > KEEP_S
            if group < len(parts) and (over or aged):
                for _ in range(group):
                    self._drop(shelf, parts.popleft())
            elif over:
                self._drop(shelf, parts.popleft())
            else:
                return

    def _drop(self, shelf: _Shelf, part: Part) -> None:
        shelf.size_bytes -= part.size_bytes
        _unlink(shelf.folder / part.name)
        if all(other.reel != part.reel for other in shelf.parts):
            _unlink(shelf.folder / f"{part.reel}.like")

    def _remove(self, shelf: _Shelf) -> None:
        for reel in Counter(part.reel for part in shelf.parts):
            _unlink(shelf.folder / f"{reel}.like")
        for part in shelf.parts:
            _unlink(shelf.folder / part.name)
        shelf.parts.clear()
        with suppress(OSError):
            shelf.folder.rmdir()


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()

"""The spool as the daemon keeps it in order: a folder of its own, bounded in all, and empty when nobody needs it.

Watchers remove what they wrote as it gets old (`monitor.watch.spool`). But a watcher that died cannot, and none knows
what the others use. The daemon touches only names that Livecordon gives, so a folder named by mistake loses nothing else.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from monitor.video.parts import LIKE_NAME, PART_NAME
from monitor.watch.recent import KEEP_AFTER_RELEASE_S, KEEP_S
from monitor.watch.users import WatcherUser

log = structlog.get_logger()

STREAM_FOLDER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}-[0-9a-f]{16}", re.ASCII)
"""What `StreamRef.stream_id` looks like; nothing that a publisher wrote is in it."""

ABANDONED_AFTER_S: Final = KEEP_S + KEEP_AFTER_RELEASE_S
"""Nobody has written for so long, in seconds: whatever wrote this, the stream is gone or its watcher is."""

_HANDOVER: Final = "handover"
_TOKEN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    reel: str
    size_bytes: int
    written_at: float
    is_part: bool


@dataclass(slots=True)
class SpoolFolder:
    """The daemon's side of the spool. Everything blocks.

    Attributes:
        stream_bytes: Most that is kept of one stream, whichever watchers wrote it.
        total_bytes: Most that is kept in all.
        user: Who writes, where watchers are not who the daemon is. Such a user makes folders of streams here, and may not
            touch what the daemon puts beside them.
    """

    path: Path
    stream_bytes: int
    total_bytes: int
    unix_s: Callable[[], float] = time.time
    user: WatcherUser | None = None
    _failing: bool = field(default=False)

    def prepare(self) -> bool:
        """Make the folder, mode 0700, and remove what an earlier daemon left too long ago; whether it can be used.

        The last minute before a crash of the daemon stays: an effect that was under way may still ask for it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.lstat()
            allowed = 0o070 if found.st_gid in self._groups() else 0
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077 & ~allowed:
                log.error("spool_unusable", reason="not_private")
                return False
            shutil.rmtree(self.path / _HANDOVER, ignore_errors=True)
            (self.path / _HANDOVER).mkdir(mode=0o700)
            self._let_in()
        except OSError as error:
            log.error("spool_unusable", reason="disk", errno=error.errno)  # noqa: TRY400 - errno says it all
            return False
        self.tidy()
        return True

    def tidy(self) -> int:
        """Remove what is abandoned or too much, oldest first; return how many bytes stay."""
        try:
            total_bytes = self._tidy()
        except OSError as error:
            if not self._failing:
                self._failing = True
                log.error("spool_not_tidied", errno=error.errno)  # noqa: TRY400 - errno says it all
            return 0
        self._failing = False
        return total_bytes

    def clear(self) -> None:
        """Remove everything that watchers wrote; none may run any more."""
        with suppress(OSError):
            for folder in self._stream_folders():
                for file in _files(folder):
                    _remove(file.path)
                _remove_folder(folder)
        shutil.rmtree(self.path / _HANDOVER, ignore_errors=True)

    @contextmanager
    def handover(self) -> Iterator[Path]:
        """Make a folder into which one watcher may write files for the daemon; it is gone afterwards.

        Raises:
            OSError: there can be none.
        """
        folder = self.path / _HANDOVER / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        try:
            if self.user is not None:
                os.chown(folder, self.user.user_id, self.user.group_id)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _groups(self) -> tuple[int, ...]:
        return () if self.user is None else (self.user.group_id,)

    def _let_in(self) -> None:
        user = self.user
        if user is None:
            self.path.chmod(0o700)
            return
        os.chown(self.path, -1, user.group_id)
        # Sticky: what is not its own, it cannot replace.
        self.path.chmod(0o1770)
        (self.path / _HANDOVER).chmod(0o711)
        for folder in self._stream_folders():
            for path in (folder, *(file.path for file in _files(folder))):
                os.chown(path, user.user_id, user.group_id, follow_symlinks=False)

    def _tidy(self) -> int:
        now = self.unix_s()
        everything: list[_File] = []
        for folder in self._stream_folders():
            files = _files(folder)
            try:
                touched_at = max([folder.lstat().st_mtime, *(file.written_at for file in files)])
            except FileNotFoundError:
                continue
            files = _without_abandoned_reels(files, now - ABANDONED_AFTER_S)
            if not files and now - touched_at > ABANDONED_AFTER_S:
                _remove_folder(folder)
            everything += _bounded(files, self.stream_bytes)
        everything = _bounded(everything, self.total_bytes)
        for folder in (self.path / _HANDOVER).iterdir():
            if _TOKEN.fullmatch(folder.name) and now - folder.lstat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
        return sum(file.size_bytes for file in everything)

    def _stream_folders(self) -> list[Path]:
        return [
            path
            for path in self.path.iterdir()
            if STREAM_FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        ]


def _files(folder: Path) -> list[_File]:
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            part = PART_NAME.fullmatch(entry.name)
            if (named := part or LIKE_NAME.fullmatch(entry.name)) is not None:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    file = _File(
                        folder / entry.name, named["reel"], status.st_size, status.st_mtime, is_part=part is not None
                    )
                    found.append(file)
    return found


def _without_abandoned_reels(files: list[_File], before_unix_s: float) -> list[_File]:
    """Remove reels to which nobody has written since; return what stays.

    The stream may go on: in another reel, written by whichever watcher has it now, who knows nothing of a dead one's. Single
    parts tell nothing by their age, for a long group of pictures needs its first.
    """
    in_use = {file.reel for file in files if file.written_at >= before_unix_s}
    for file in files:
        if file.reel not in in_use:
            _remove(file.path)
    return [file for file in files if file.reel in in_use]


def _bounded(files: list[_File], most_bytes: int) -> list[_File]:
    """Remove the oldest parts beyond `most_bytes`; return what stays."""
    left_bytes = sum(file.size_bytes for file in files)
    if left_bytes <= most_bytes:
        return files
    kept = [file for file in files if not file.is_part]
    for file in sorted((file for file in files if file.is_part), key=lambda file: file.written_at):
        if left_bytes > most_bytes:
            _remove(file.path)
            left_bytes -= file.size_bytes
        else:
            kept.append(file)
    return kept


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _remove_folder(path: Path) -> None:
    # A watcher may have begun to write there again.
    with suppress(OSError):
        path.rmdir()

"""HLS and DASH that a media server has written for one stream: counted, and deleted where the operator wants that.

Names come from publishers, and deleting is done with the daemon's rights: so nothing outside the given folder is ever
touched, no link is followed, and of the folder only what can belong to this one stream.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import UnsafeCallRefused

_SAFE = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,199}")
_APPLICATION = "{app}"
# Playlist and segments beside those of other streams: `cam.m3u8`, `cam-17.ts`, `cam-init.m4v`. What comes between the
# name and the ending must be a number or a fixed word, or `cam` would take `cam-2` with it.
_BESIDE = r"(\.(m3u8|mpd)|-([0-9]+|init|raw)\.(ts|m4s|m4v|m4a|mp4|aac|key|vtt))"
# In a folder of its own: `cam/index.m3u8`, `cam/17.ts`. No more, since a stream may be called like an application's folder.
_IN_OWN_FOLDER = re.compile(r"index\.(m3u8|mpd)|([0-9]+|init|raw)\.(ts|m4s|m4v|m4a|mp4|aac|key|vtt)")
_PLAYLIST = re.compile(r".*\.(m3u8|mpd)")
_MOST_FILES = 100_000


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """What there is of one stream.

    Attributes:
        files: How many files.
        bytes: How large together.
        playlists: How many of them are playlists.
        deleted: How many of them have been deleted since.
    """

    files: int = 0
    bytes: int = 0
    playlists: int = 0
    deleted: int = 0


def written_files(folder: Path, app: str, name: str, *, delete: bool) -> WrittenFiles:
    """Count what a stream has in `folder`, and delete it if so wished, playlists first. Blocking.

    Args:
        folder: The operator's; ``{app}`` in it stands for the application.
        app: Application.
        name: Name of the stream.
        delete: Whether what was found is deleted.

    Raises:
        UnsafeCallRefused: application or name could lead elsewhere; nothing was touched.
        OSError: the folder cannot be read; one that is not there counts as empty.
    """
    for part in (app, name):
        if not _SAFE.fullmatch(part):
            raise UnsafeCallRefused("the stream's name cannot be looked for among files")
    place = Path(str(folder).replace(_APPLICATION, app))
    found: list[tuple[int, str, int]] = []
    with contextlib.ExitStack() as stack:
        try:
            top = _open_folder(stack, str(place), None)
        except FileNotFoundError:
            return WrittenFiles()
        found += _matching(top, re.compile(re.escape(name) + _BESIDE))
        with contextlib.suppress(OSError):
            found += _matching(_open_folder(stack, name, top), _IN_OWN_FOLDER)
        found.sort(key=lambda file: _PLAYLIST.fullmatch(file[1]) is None)
        deleted = sum(_delete(where, file) for where, file, _ in found) if delete else 0
    return WrittenFiles(
        files=len(found),
        bytes=sum(size for _, _, size in found),
        playlists=sum(_PLAYLIST.fullmatch(file) is not None for _, file, _ in found),
        deleted=deleted,
    )


def _open_folder(stack: contextlib.ExitStack, name: str, parent: int | None) -> int:
    # Only the operator's own folder may be a link: below it, one could have been put there by somebody else.
    follow = 0 if parent is None else os.O_NOFOLLOW
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=parent)
    stack.callback(os.close, descriptor)
    return descriptor


def _matching(folder: int, pattern: re.Pattern[str]) -> Iterator[tuple[int, str, int]]:
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= _MOST_FILES:
                return
            if pattern.fullmatch(entry.name) is None:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield folder, entry.name, status.st_size


def _delete(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

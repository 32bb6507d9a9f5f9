"""Evidence packages: a folder of sampled frames and scores, each file hashed, written whole or not at all.

A package lies at ``<evidence>/<incident id>/<effect key>/``: ``frames/000.jpg`` …, ``video.mp4`` or ``.mkv`` (``video-1.mp4`` …
where the stream was connected several times), ``scores.json`` and ``manifest.json``, which names every file with its SHA-256.
Names hold nothing that a publisher wrote.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from monitor import faults
from monitor.errors import EffectError

MANIFEST = "manifest.json"

_BLOCK_BYTES = 1024 * 1024

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}", re.ASCII)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Frame:
    """One sampled frame: JPEG bytes, its time in stream seconds and the Unix time at which it arrived."""

    time_s: float
    arrived_at: float
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class ScoredClip:
    """The scores of one clip, by label, with the clip's bounds in stream seconds."""

    start_s: float
    end_s: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Video:
    """A file of compressed video that somebody else wrote, to be copied into the package.

    Attributes:
        path: Where it lies. Links, pipes and the like are refused.
        suffix: What its copy is to be called by: ``mp4`` or ``mkv``.
        most_bytes: A larger file is refused.
        sha256: What its writer says; a file that is another is refused.
        start_s, end_s: First and last packet in stream seconds.
        arrived_from, arrived_to: Unix times at which those arrived.
    """

    path: Path
    suffix: str
    most_bytes: int
    sha256: str
    start_s: float
    end_s: float
    arrived_from: float
    arrived_to: float


@dataclass(frozen=True, slots=True)
class PackageSummary:
    """What a finished package holds; `sha256` is that of its manifest and thereby covers every file.

    Attributes:
        videos, video_s, video_bytes: How many files of video there are, and how many seconds and bytes they hold.
    """

    reference: str
    preserved_at: float
    frames: int
    scores: int
    size_bytes: int
    sha256: str
    videos: int = 0
    video_s: float = 0.0
    video_bytes: int = 0


def write_package(
    root: Path,
    *,
    incident_id: str,
    key: str,
    about: Mapping[str, Any],
    preserved_at: float,
    frames: Sequence[Frame],
    scores: Sequence[ScoredClip],
    videos: Sequence[Video] = (),
) -> PackageSummary:
    """Write one package below `root`; a package that is there already is returned as it is. Blocking.

    A video that cannot be taken over is left out and logged; frames and scores are not lost by it.

    Raises:
        EffectError: the folder cannot be written (`reason` ``evidence_not_written``; nothing half-written stays), what
            is there already cannot be read (``evidence_damaged``), or a name could lead elsewhere (``unsafe_name``).
    """
    for name in (incident_id, key):
        if not _SAFE_NAME.fullmatch(name):
            raise EffectError("evidence is only kept under plain names", reason="unsafe_name", retryable=False)
    target = root / incident_id / key
    if (target / MANIFEST).exists():
        return read_summary(root, target)
    unfinished = target.with_name(f".{key}.unfinished")
    try:
        for folder in (root, target.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o750)
        (unfinished / "frames").mkdir(mode=0o750)
        files: dict[str, dict[str, Any]] = {}
        for number, frame in enumerate(frames):
            name = f"frames/{number:03d}.jpg"
            files[name] = _write(unfinished, name, frame.jpeg) | {
                "time_s": frame.time_s,
                "arrived_at": frame.arrived_at,
            }
        for number, video in enumerate(videos, start=1):
            name = f"video.{video.suffix}" if len(videos) == 1 else f"video-{number}.{video.suffix}"
            if (entry := _copy(unfinished, name, video)) is not None:
                files[name] = entry
        rows = [{"start_s": clip.start_s, "end_s": clip.end_s, "scores": dict(clip.scores)} for clip in scores]
        files["scores.json"] = _write(unfinished, "scores.json", _json(rows))
        faults.reach("evidence_half_written")
        manifest = {"version": 1, **about, "incident_id": incident_id, "preserved_at": preserved_at, "files": files}
        _write(unfinished, MANIFEST, _json(manifest))
        # Names are data, too: without these a power cut could leave a package whose files are not in their folder.
        _sync_folder(unfinished / "frames")
        _sync_folder(unfinished)
        unfinished.rename(target)
        _sync_folder(target.parent)
        _sync_folder(root)
        faults.reach("evidence_written")
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise EffectError(
            f"the evidence folder cannot be written ({type(error).__name__})", reason="evidence_not_written"
        ) from error
    return read_summary(root, target)


def packages_of(root: Path, incident_id: str) -> list[PackageSummary]:
    """Return an incident's finished packages, oldest first; one that cannot be read is left out and logged. Blocking."""
    found = []
    for manifest in sorted((root / incident_id).glob(f"*/{MANIFEST}")) if _SAFE_NAME.fullmatch(incident_id) else ():
        if manifest.parent.name.startswith("."):
            continue
        try:
            found.append(read_summary(root, manifest.parent))
        except EffectError:
            log.error("evidence_damaged", incident_id=incident_id, package=manifest.parent.name)  # noqa: TRY400 - said all
    return sorted(found, key=lambda package: package.preserved_at)


def read_summary(root: Path, package: Path) -> PackageSummary:
    """Return what the package in this folder holds.

    Raises:
        EffectError: it cannot be read (`reason` ``evidence_damaged``).
    """
    try:
        content = (package / MANIFEST).read_bytes()
        manifest = json.loads(content)
        names = manifest["files"]
        videos = [entry for name, entry in names.items() if name.startswith("video")]
        return PackageSummary(
            reference=package.relative_to(root).as_posix(),
            preserved_at=manifest["preserved_at"],
            frames=sum(name.startswith("frames/") for name in names),
            scores=len(json.loads((package / "scores.json").read_bytes())),
            size_bytes=sum(entry["size_bytes"] for entry in names.values()),
            sha256=hashlib.sha256(content).hexdigest(),
            videos=len(videos),
            video_s=sum(max(0.0, entry["end_s"] - entry["start_s"]) for entry in videos),
            video_bytes=sum(entry["size_bytes"] for entry in videos),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EffectError(
            f"an evidence package cannot be read ({type(error).__name__})", reason="evidence_damaged", retryable=False
        ) from error


def damaged_files(package: Path) -> list[str]:
    """Return the files that are missing, no longer have the hash that the manifest names, or are not named there."""
    manifest = json.loads((package / MANIFEST).read_bytes())
    damaged = []
    for name, entry in manifest["files"].items():
        path = package / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            damaged.append(name)
    present = {path.relative_to(package).as_posix() for path in package.rglob("*") if not path.is_dir()}
    return damaged + sorted(present - manifest["files"].keys() - {MANIFEST})


def _write(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _copy(folder: Path, name: str, video: Video) -> dict[str, Any] | None:
    """Copy and hash in one go, so that the hash is that of what is kept, whatever the file's writer does meanwhile."""
    target = folder / name
    reason = "unreadable"
    try:
        with _opened(video.path) as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                reason = "not_a_file"
            elif not (digest := _copy_bytes(descriptor, target, video.most_bytes)):
                reason = "wrong_size"
            elif digest.hexdigest() != video.sha256:
                reason = "other_content"
            else:
                return {
                    "sha256": digest.hexdigest(),
                    "size_bytes": target.stat().st_size,
                    "start_s": video.start_s,
                    "end_s": video.end_s,
                    "arrived_from": video.arrived_from,
                    "arrived_to": video.arrived_to,
                }
    except OSError as error:
        reason = "no_space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else reason
    target.unlink(missing_ok=True)
    log.error("evidence_video_refused", reason=reason)
    return None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    # Without blocking: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copy_bytes(source: int, target: Path, most_bytes: int) -> hashlib._Hash | None:
    """Return the SHA-256 of what was copied; None if there is more than `most_bytes`, or nothing."""
    digest, left_bytes = hashlib.sha256(), most_bytes
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file:
        while block := os.read(source, _BLOCK_BYTES):
            left_bytes -= len(block)
            if left_bytes < 0:
                return None
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest if left_bytes < most_bytes else None


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

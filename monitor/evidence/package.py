"""Evidence packages: a folder of sampled frames and scores, each file hashed, written whole or not at all.

A package lies at ``<evidence>/<incident id>/<effect key>/``: ``frames/000.jpg`` …, ``scores.json`` and ``manifest.json``,
which names every file with its SHA-256. Names hold nothing that a publisher wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from monitor.errors import EffectError

MANIFEST = "manifest.json"

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
class PackageSummary:
    """What a finished package holds; `sha256` is that of its manifest and thereby covers every file."""

    reference: str
    preserved_at: float
    frames: int
    scores: int
    size_bytes: int
    sha256: str


def write_package(
    root: Path,
    *,
    incident_id: str,
    key: str,
    about: Mapping[str, Any],
    preserved_at: float,
    frames: Sequence[Frame],
    scores: Sequence[ScoredClip],
) -> PackageSummary:
    """Write one package below `root`; a package that is there already is returned as it is. Blocking.

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
        rows = [{"start_s": clip.start_s, "end_s": clip.end_s, "scores": dict(clip.scores)} for clip in scores]
        files["scores.json"] = _write(unfinished, "scores.json", _json(rows))
        manifest = {"version": 1, **about, "incident_id": incident_id, "preserved_at": preserved_at, "files": files}
        _write(unfinished, MANIFEST, _json(manifest))
        # Names are data, too: without these a power cut could leave a package whose files are not in their folder.
        _sync_folder(unfinished / "frames")
        _sync_folder(unfinished)
        unfinished.rename(target)
        _sync_folder(target.parent)
        _sync_folder(root)
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
        return PackageSummary(
            reference=package.relative_to(root).as_posix(),
            preserved_at=manifest["preserved_at"],
            frames=sum(name.startswith("frames/") for name in names),
            scores=len(json.loads((package / "scores.json").read_bytes())),
            size_bytes=sum(entry["size_bytes"] for entry in names.values()),
            sha256=hashlib.sha256(content).hexdigest(),
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


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

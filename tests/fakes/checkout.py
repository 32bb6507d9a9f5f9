"""The checkout that the tests run in: its files, and copies of it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

NODE_MEDIA_SERVER = ROOT / ".node" / "node_modules" / "node-media-server" / "bin" / "app.js"
"""Its program, once `make packages` has installed it."""

WEBHOOK_VERIFIER = ROOT / ".node" / "standard-webhooks" / "node_modules" / "standardwebhooks"
"""The package of npm that verifies Standard Webhooks, once `make packages` has installed it."""

_MADE = frozenset({".git", ".venv", ".setup", ".node", "dist", "livecordon-data", "__pycache__"})


@cache
def checked_in_files() -> tuple[Path, ...]:
    """Return every file that belongs to the repository: tracked, or new and not ignored."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not _MADE.intersection(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


def copy_checkout(target: Path) -> Path:
    """Copy every file of the repository below `target`, and return it."""
    for path in checked_in_files():
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return target

"""Where the files that come with Livecordon lie: models, protocols, the example configuration."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def models_dir() -> Path:
    """Return the folder of model packages."""
    return _shipped("models")


def protocols_dir() -> Path:
    """Return the folder of protocol files."""
    return _shipped("protocols")


def example_config() -> Path:
    """Return the commented config.yaml."""
    return _shipped("config.yaml")


def _shipped(name: str) -> Path:
    # A wheel carries them inside the package; a checkout has them beside it.
    inside = _PACKAGE / "shipped" / name
    return inside if inside.exists() else _PACKAGE.parent / name

from __future__ import annotations

from pathlib import Path

import pytest

from monitor import shipped


def test_a_checkout_has_them_beside_the_package() -> None:
    root = Path(__file__).parents[2]
    assert shipped.models_dir() == root / "models"
    assert shipped.protocols_dir() == root / "protocols"
    assert shipped.example_config() == root / "config.yaml"


def test_a_wheel_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "monitor"
    (package / "shipped" / "models").mkdir(parents=True)
    (package / "shipped" / "protocols").mkdir()
    (package / "shipped" / "config.yaml").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    assert shipped.models_dir() == package / "shipped" / "models"
    assert shipped.protocols_dir() == package / "shipped" / "protocols"
    assert shipped.example_config() == package / "shipped" / "config.yaml"

from __future__ import annotations

from pathlib import Path

import numpy as np

from monitor.evaluation.pictures import picture_of, veil
from tests.fakes.footage import Footage, counting_grey, film, garbage


def test_the_picture_is_the_one_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", Footage(duration_s=6, frame_rate=10), counting_grey(320, 180, 60))
    shown = [picture_of(path, at_s, veiled=False) for at_s in (0.0, 5.5)]
    dark, bright = (one.picture for one in shown if one is not None)
    assert dark.shape == (180, 320, 3)
    assert dark.mean() < 80
    assert bright.mean() > 160


def test_nothing_sharp_is_left_under_a_veil(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", Footage(duration_s=2, frame_rate=10))
    sharp, veiled = (picture_of(path, 1.0, veiled=hidden) for hidden in (False, True))
    assert sharp is not None
    assert veiled is not None
    steps = [np.abs(np.diff(one.picture.astype(float), axis=1)).max() for one in (sharp, veiled)]
    assert steps[0] > 80
    assert steps[1] < 12
    assert veiled.picture.shape == sharp.picture.shape


def test_a_veil_cannot_be_lifted() -> None:
    # Two pictures that differ in every detail but not in their large areas become the same.
    random = np.random.default_rng(2)
    coarse = np.kron(random.integers(60, 190, (6, 8, 1), dtype=np.uint8), np.ones((30, 30, 3), np.uint8))
    noise = np.kron(random.integers(0, 2, (90, 120, 1)) * 2 - 1, np.ones((2, 2, 3), int)) * 50
    one, other = veil(coarse), veil(np.clip(coarse + noise, 0, 255).astype(np.uint8))
    assert np.abs(coarse.astype(int) - (coarse + noise)).mean() == 50
    assert np.abs(one.astype(int) - other).max() <= 20


def test_what_shows_nothing_has_no_picture(tmp_path: Path) -> None:
    assert picture_of(garbage(tmp_path / "a.mp4"), 0.0, veiled=True) is None
    assert picture_of(tmp_path / "missing.mp4", 0.0, veiled=True) is None

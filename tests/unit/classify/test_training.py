"""The parts of the recipe on which honest numbers rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.clips import Video, assign_folds
from models.training.motion_features import FRAMES, HEIGHT, SPACING_S, WIDTH
from models.training.windows import Disturbance, hard_normal, pick_frames, plain_window, starts


def video(
    group: str = "g", fps: float = 30.0, seconds: float = 2.0, violent: bool = False, dataset: str = "scfd"
) -> Video:
    count = int(fps * seconds)
    luma = np.random.default_rng(count).integers(0, 256, (count, 144, 192), np.uint8)
    return Video("v", violent, dataset, group, luma, np.arange(count) / fps)


listed = st.lists(
    st.tuples(st.integers(0, 20), st.booleans(), st.sampled_from(["scfd", "benign"])), min_size=5, max_size=80
)


@given(listed=listed, seed=st.integers(0, 3))
def test_folds_never_split_a_group(listed: list[tuple[int, bool, str]], seed: int) -> None:
    empty, none = np.zeros((0, 1, 1), np.uint8), np.zeros(0)
    videos = [Video("v", violent, dataset, f"{dataset}-{group}", empty, none) for group, violent, dataset in listed]
    folds = assign_folds(videos, 5, seed)
    fold_of = {clip.group: fold for clip, fold in zip(videos, folds, strict=True)}
    assert [fold_of[clip.group] for clip in videos] == folds.tolist()
    assert set(folds.tolist()) <= set(range(5))


def test_folds_share_the_clips_about_evenly() -> None:
    empty, none = np.zeros((0, 1, 1), np.uint8), np.zeros(0)
    videos = [Video("v", bool(i % 2), "scfd", f"scfd-{i // 4}", empty, none) for i in range(100)]
    assert np.bincount(assign_folds(videos, 5, 0)).tolist() == [20] * 5


@pytest.mark.parametrize("fps", [10.0, 12.0, 15.0, 24.0, 25.0, 30.0, 50.0, 60.0])
@pytest.mark.parametrize("on_grid", [True, False])
def test_frames_are_picked_as_a_live_stream_gives_them(fps: float, on_grid: bool) -> None:
    times_s = np.arange(int(fps * 2)) / fps
    picked = pick_frames(times_s, 3, SPACING_S, on_grid)
    assert picked is not None
    assert len(picked) == FRAMES
    gaps_s = np.diff(times_s[picked])
    assert np.all(gaps_s > 0)
    assert np.all(np.abs(gaps_s - max(SPACING_S, 1 / fps)) <= 1 / fps + 1e-9)


def test_no_window_crosses_a_hole() -> None:
    times_s = np.concatenate([np.arange(20) / 30, 5 + np.arange(40) / 30])
    assert pick_frames(times_s, 10, SPACING_S, True) is None
    assert pick_frames(times_s, 20, SPACING_S, True) is not None


def test_a_clip_too_short_for_a_window_gives_none() -> None:
    assert starts(video(seconds=0.2), 5) == []


@pytest.mark.parametrize("seed", range(40))
def test_disturbed_windows_keep_the_model_s_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clip = video()
    made = [
        plain_window(clip, 0),
        Disturbance(rng).apply(clip, 0),
        Disturbance(rng, strong=True).apply(clip, 0),
        hard_normal(clip, video(seconds=1.5), rng),
    ]
    windows = [window for window in made if window is not None]
    assert len(windows) >= 2
    for window in windows:
        assert window.luma.shape == (FRAMES, HEIGHT, WIDTH)
        assert window.luma.dtype == np.uint8
        assert window.gaps_s.shape == (FRAMES - 1,)
        assert np.all(window.gaps_s > 0)


def test_the_same_seed_makes_the_same_windows() -> None:
    one, two = (Disturbance(np.random.default_rng(5)).apply(video(), 0) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.luma, two.luma)

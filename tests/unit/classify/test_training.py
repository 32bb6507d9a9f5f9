"""The parts of the recipe on which honest numbers rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training import workshop
from models.training.clips import Labelled, Video, assign_folds
from models.training.conditions import NAMES, conditioned_windows
from models.training.hard_normals import hard_normal
from models.training.mixing import Rows, with_mixtures
from models.training.picking import at_frame_rate, pick_frames, random_starts, starts
from models.training.velocity import FRAMES, HEIGHT, SPACING_S, WIDTH
from models.training.windows import STRONG, Disturbance, plain_window
from models.training.workshop import Arrays, Workshop
from monitor.video.clip import ClipSpec
from monitor.video.sampling import Candidate, WindowSampler
from monitor.vocabulary import Posture
from tests.fakes.waiting import eventually


def video(
    group: str = "g", fps: float = 30.0, seconds: float = 2.0, violent: bool = False, dataset: str = "scfd"
) -> Video:
    count = int(fps * seconds)
    luma = np.random.default_rng(count).integers(0, 256, (count, 144, 192), np.uint8)
    return Video("v", violent, dataset, group, "MIT", luma, np.arange(count) / fps)


listed = st.lists(
    st.tuples(st.integers(0, 20), st.booleans(), st.sampled_from(["scfd", "benign"])), min_size=5, max_size=80
)


@given(listed=listed, seed=st.integers(0, 3))
def test_folds_never_split_a_group(listed: list[tuple[int, bool, str]], seed: int) -> None:
    clips = [Labelled("v", violent, dataset, f"{dataset}-{group}", "MIT") for group, violent, dataset in listed]
    folds = assign_folds(clips, 5, seed)
    fold_of = {clip.group: fold for clip, fold in zip(clips, folds, strict=True)}
    assert [fold_of[clip.group] for clip in clips] == folds.tolist()
    assert set(folds.tolist()) <= set(range(5))


def test_folds_share_the_clips_about_evenly() -> None:
    clips = [Labelled("v", bool(i % 2), "scfd", f"scfd-{i // 4}", "MIT") for i in range(100)]
    assert np.bincount(assign_folds(clips, 5, 0)).tolist() == [20] * 5


@pytest.mark.parametrize("fps", [8.0, 10.0, 12.0, 12.5, 15.0, 24.0, 25.0, 30.0, 50.0, 60.0])
@pytest.mark.parametrize("jitter_s", [0.0, 0.01])
def test_frames_are_picked_as_a_live_stream_gives_them(fps: float, jitter_s: float) -> None:
    times_s = np.arange(int(fps * 2)) / fps + np.random.default_rng(1).uniform(0, jitter_s, int(fps * 2))
    spec = ClipSpec(FRAMES, SPACING_S, WIDTH, HEIGHT)
    sampler: WindowSampler[int] = WindowSampler(
        spec, Posture.CALM, float(times_s[3]), lambda _: np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    )
    clips = (sampler.offer(Candidate(float(time_s), 0.0, index)) for index, time_s in enumerate(times_s))
    clip = next(clip for clip in clips if clip is not None)
    picked = pick_frames(times_s, 3)
    assert picked is not None
    # Sampling takes a frame a tenth of the spacing early without waiting for a nearer one.
    np.testing.assert_allclose(
        times_s[picked], clip.times_s, atol=1 / fps * 0.5 + 1e-9 if jitter_s else SPACING_S * 0.1
    )


def test_no_window_crosses_a_hole() -> None:
    times_s = np.concatenate([np.arange(20) / 30, 5 + np.arange(40) / 30])
    before, after = pick_frames(times_s, 10), pick_frames(times_s, 20)
    assert before is not None
    assert after is not None
    assert max(before) < 20 <= min(after)


def test_a_clip_too_short_for_a_window_gives_none() -> None:
    short = video(seconds=0.2)
    assert starts(short, 5) == []
    assert random_starts(short, 5, np.random.default_rng(0)) == []


def test_a_slower_camera_takes_as_many_frames_as_it_says() -> None:
    times_s = np.arange(300) / 30
    for rate in (10.0, 12.5, 15.0, 25.0):
        kept = at_frame_rate(times_s, rate)
        assert len(kept) <= rate * 10 + 1
        assert len(kept) >= rate * 10 - 1
    assert len(at_frame_rate(times_s, 60.0)) == len(times_s)


@pytest.mark.parametrize("seed", range(60))
def test_disturbed_windows_keep_the_model_s_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clip = video()
    made = [
        plain_window(clip, 0),
        Disturbance(rng).apply(clip, 0),
        Disturbance(rng, camera=STRONG).apply(clip, 0),
        hard_normal(clip, video(seconds=1.5), rng),
    ]
    windows = [window for window in made if window is not None]
    assert len(windows) >= 2
    for window in windows:
        assert window.luma.shape == (FRAMES, HEIGHT, WIDTH)
        assert window.luma.dtype == np.uint8
        assert window.gaps_s.shape == (FRAMES - 1,)
        assert np.all(window.gaps_s >= 0)
        assert window.gaps_s.sum() > 0


def test_made_cameras_never_see_past_the_edge_of_the_picture() -> None:
    # A bright rim: a view that reached it would be brighter than the dark middle.
    clip = video()
    rimmed = np.full_like(clip.luma, 255)
    rimmed[:, 1:-1, 1:-1] = 10
    bright = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shaking = Disturbance(rng, camera=STRONG, speed=1.0)
        picked = shaking._picked(clip.times_s)
        assert picked is not None
        filmed = shaking._filmed([rimmed[index] for index in picked[0]], picked[1])
        bright += int(filmed.max(initial=0) > 200)
    assert bright <= 10


def test_every_condition_yields_windows() -> None:
    found = {number for number, _ in conditioned_windows(video(), np.random.default_rng(0))}
    assert found == set(range(len(NAMES)))


def test_the_same_seed_makes_the_same_windows() -> None:
    one, two = (Disturbance(np.random.default_rng(5)).apply(video(), 0) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.luma, two.luma)


@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_mixtures_lie_between_two_rows_and_weigh_as_much_as_all_of_them(seed: int, spread: float) -> None:
    # What a row holds says its label: 0 for normal ones, 1 for violent ones. So a mixture's weights must say the same.
    violent = np.arange(60) < 12
    weights = np.where(violent, 5.0, 1.25)
    rows = Rows(violent[:, None].astype(np.float32), violent, weights)
    mixed = with_mixtures(rows, spread, seed)
    np.testing.assert_array_equal(mixed.features[:60], rows.features)
    np.testing.assert_array_equal(mixed.weights[:60], weights)
    one, other = mixed.features[60:120, 0], mixed.features[120:, 0]
    np.testing.assert_array_equal(one, other)
    assert mixed.weights[60:].sum() == pytest.approx(weights.sum())
    first, second = mixed.violent[60:120], mixed.violent[120:]
    said = (mixed.weights[60:120] * first + mixed.weights[120:] * second) / weights.mean()
    np.testing.assert_allclose(said, one, atol=1e-5)
    assert with_mixtures(rows, spread, seed).features.tolist() == mixed.features.tolist()


def test_mixtures_draw_by_weight() -> None:
    violent = np.arange(1000) < 20
    rows = Rows(np.zeros((1000, 1), np.float32), violent, np.where(violent, 49.0, 1.0))
    mixed = with_mixtures(rows, 0.4, 0)
    assert mixed.violent[1000:].mean() == pytest.approx(0.5, abs=0.05)


def test_pictures_that_a_stream_repeats_are_shown_again() -> None:
    clip = video(fps=10.0)
    window = plain_window(clip, 0)
    assert np.count_nonzero(window.gaps_s == 0) >= 2
    assert window.gaps_s.max() == pytest.approx(0.1)


def squared(number: int) -> Arrays:
    return {"value": np.array(number**2)}


def test_finished_steps_are_not_done_again(tmp_path: Path) -> None:
    tasks = [(number,) for number in range(4)]
    first = Workshop(tmp_path)
    assert [int(done["value"]) for done in first.do("squares", squared, tasks, "squaring")] == [0, 1, 4, 9]
    kept = tmp_path / "squares" / "00002.npz"
    np.savez(kept, value=np.array(-1), cpu_s=np.array(5.0))
    again = Workshop(tmp_path)
    assert [int(done["value"]) for done in again.do("squares", squared, tasks, "squaring")] == [0, 1, -1, 9]
    assert again.cpu_s >= 5.0


INTERRUPTED = """
import os, sys, time
from pathlib import Path
import numpy as np
from models.training.workshop import _kept

def slow(number):
    if number == 2:
        Path(sys.argv[1], "third").touch()
        time.sleep(60)
    return {"value": np.array(number**2)}

folder = Path(sys.argv[1], "squares")
folder.mkdir()
for number in range(4):
    _kept(slow, (number,), folder / f"{number:05d}.npz")
"""


async def test_what_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    root = Path(workshop.__file__).parents[2]

    async def reached() -> bool:
        return (tmp_path / "third").exists()

    working = subprocess.Popen(  # noqa: ASYNC220 - it is killed below
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    try:
        await eventually(reached, deadline_s=60.0)
    finally:
        working.send_signal(signal.SIGKILL)
        working.wait()
    assert sorted(path.name for path in (tmp_path / "squares").glob("*.npz")) == ["00000.npz", "00001.npz"]
    done = Workshop(tmp_path).do("squares", squared, [(number,) for number in range(4)], "squaring")
    assert [int(one["value"]) for one in done] == [0, 1, 4, 9]

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.video.clip import Clip, ClipSpec
from monitor.video.sampling import Candidate, SlidingSampler, WindowSampler
from monitor.vocabulary import Posture

SPEC = ClipSpec(frames=4, spacing_s=0.1, width=2, height=2)


def scale(picture: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), picture % 256, dtype=np.uint8)


def window(spec: ClipSpec, start_s: float, times_s: list[float]) -> Clip | None:
    sampler: WindowSampler[int] = WindowSampler(spec, Posture.CALM, start_s, scale)
    for number, time_s in enumerate(times_s):
        clip = sampler.offer(Candidate(time_s, 1000 + time_s, number))
        if clip is not None:
            return clip
    return None


def sliding(spec: ClipSpec, stride_s: float, times_s: list[float]) -> list[Clip]:
    sampler: SlidingSampler[int] = SlidingSampler(spec, Posture.CLOSE, start_s=0.0, stride_s=stride_s, scale=scale)
    clips = [sampler.offer(Candidate(time_s, 1000 + time_s, number)) for number, time_s in enumerate(times_s)]
    return [clip for clip in clips if clip is not None]


def at(frame_rate: float, duration_s: float) -> list[float]:
    return [n / frame_rate for n in range(round(duration_s * frame_rate) + 1)]


def test_the_frames_nearest_to_the_grid_are_taken() -> None:
    clip = window(SPEC, 0.0, at(30, 1))
    assert clip is not None
    assert clip.times_s == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert clip.spacing_honoured
    assert clip.arrived_at == pytest.approx(1000.3)


def test_frames_beside_the_grid_are_taken_where_they_are_nearest() -> None:
    clip = window(SPEC, 0.0, [0.0, 0.07, 0.12, 0.19, 0.33, 0.40])
    assert clip is not None
    assert clip.times_s == (0.0, 0.12, 0.19, 0.33)
    assert clip.spacing_honoured


def test_frames_before_the_start_are_left_out() -> None:
    clip = window(SPEC, 5.0, [4.5, 4.9, 5.0, 5.1, 5.2, 5.3])
    assert clip is not None
    assert clip.times_s == (5.0, 5.1, 5.2, 5.3)


def test_too_few_frames_repeat_and_say_so() -> None:
    clip = window(SPEC, 0.0, at(4, 2))
    assert clip is not None
    assert clip.times_s == (0.0, 0.0, 0.25, 0.25)
    assert not clip.spacing_honoured


@pytest.mark.parametrize(("offset_s", "honoured"), [(0.034, True), (0.036, False)])
def test_spacing_is_honoured_up_to_35_percent(offset_s: float, honoured: bool) -> None:
    clip = window(SPEC, 0.0, [0.0, 0.1 + offset_s, 0.2, 0.3])
    assert clip is not None
    assert clip.spacing_honoured is honoured


def test_a_window_that_ends_early_repeats_its_last_frame() -> None:
    sampler: WindowSampler[int] = WindowSampler(SPEC, Posture.CALM, 0.0, scale)
    assert sampler.offer(Candidate(0.0, 1.0, 0)) is None
    assert sampler.offer(Candidate(0.1, 2.0, 1)) is None
    clip = sampler.finish()
    assert clip is not None
    assert clip.times_s == (0.0, 0.1, 0.1, 0.1)
    assert not clip.spacing_honoured


def test_a_window_without_frames_gives_no_clip() -> None:
    assert WindowSampler(SPEC, Posture.CALM, 0.0, scale).finish() is None


def test_single_image_models_get_the_first_frame() -> None:
    clip = window(ClipSpec(frames=1, spacing_s=0.0, width=2, height=2), 2.0, [1.9, 2.0, 2.1])
    assert clip is not None
    assert clip.times_s == (2.0,)
    assert clip.spacing_honoured


def test_sliding_clips_overlap_at_the_stride() -> None:
    clips = sliding(SPEC, 0.2, at(30, 1))
    assert [clip.times_s[0] for clip in clips] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert all(clip.times_s[-1] - clip.times_s[0] == pytest.approx(0.3) for clip in clips)


def test_a_spacing_wider_than_the_stride_gets_a_finer_grid() -> None:
    clips = sliding(ClipSpec(frames=3, spacing_s=1.0, width=2, height=2), 0.5, at(10, 4))
    assert [clip.times_s for clip in clips] == [
        pytest.approx((start, start + 1, start + 2)) for start in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]


def test_single_images_slide_at_the_stride() -> None:
    clips = sliding(ClipSpec(frames=1, spacing_s=0.0, width=2, height=2), 0.5, at(10, 2))
    assert [clip.times_s[0] for clip in clips] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_a_gap_in_the_pictures_gives_one_clip_not_a_flood() -> None:
    clips = sliding(SPEC, 0.2, [*at(30, 0.3), 8.0])
    assert len(clips) == 2


def test_a_change_of_stride_keeps_what_has_been_picked() -> None:
    sampler: SlidingSampler[int] = SlidingSampler(SPEC, Posture.CLOSE, start_s=0.0, stride_s=0.5, scale=scale)
    clips = []
    for number, time_s in enumerate(at(30, 2)):
        if number == 30:
            sampler.change(Posture.FULL, 0.25)
        if (clip := sampler.offer(Candidate(time_s, 0.0, number))) is not None:
            clips.append(clip)
    ends_s = [clip.times_s[-1] for clip in clips]
    assert max(later - earlier for earlier, later in pairwise(ends_s)) < 0.55
    assert {clip.posture for clip in clips} == {Posture.CLOSE, Posture.FULL}


@given(
    st.lists(st.floats(0.001, 0.7), min_size=1, max_size=80),
    st.integers(1, 8),
    st.floats(0.02, 1.5),
    st.sampled_from([0.25, 0.5]),
)
def test_clips_are_whole_and_their_times_never_decrease(
    gaps_s: list[float], frames: int, spacing_s: float, stride_s: float
) -> None:
    spec = ClipSpec(frames=frames, spacing_s=spacing_s, width=2, height=2)
    times_s = np.cumsum(gaps_s).tolist()
    for clip in [*sliding(spec, stride_s, times_s), window(spec, times_s[0], times_s)]:
        if clip is None:
            continue
        assert clip.frames.shape == (frames, 2, 2, 3)
        assert len(clip.times_s) == frames
        assert list(clip.times_s) == sorted(clip.times_s)
        # The picture that was scaled is the one that the time belongs to.
        assert clip.frames[:, 0, 0, 0].tolist() == [times_s.index(time_s) for time_s in clip.times_s]


@given(
    references=st.lists(st.booleans(), min_size=20, max_size=40).map(lambda rest: [True, *rest, True]),
    spacing_frames=st.integers(min_value=1, max_value=4),
    start_frames=st.integers(min_value=0, max_value=3),
)
def test_frames_that_are_not_wanted_are_not_missed(
    references: list[bool], spacing_frames: int, start_frames: int
) -> None:
    spec = ClipSpec(frames=4, spacing_s=spacing_frames / 30, width=1, height=1)
    sampler: WindowSampler[int] = WindowSampler(spec, Posture.CALM, start_frames / 30, scale)
    come_s: list[float] = []
    decoded: list[int] = []
    waiting: list[int] = []
    # In decoding order, as with B-frames: each reference comes before the disposable frames that are shown before it.
    for number, is_reference in enumerate(references):
        if not is_reference:
            waiting.append(number)
            continue
        come_s.append(number / 30)
        for n in waiting:
            if sampler.wants(n / 30, come_s, near=True):
                decoded.append(n)
                come_s.append(n / 30)
        decoded.append(number)
        waiting = []
    clip = None
    for number in decoded:
        clip = clip or sampler.offer(Candidate(number / 30, 0.0, number))
    everything = window(spec, start_frames / 30, [n / 30 for n in range(len(references))])
    assert everything is not None
    assert everything.spacing_honoured
    assert clip is not None
    assert clip.spacing_honoured


def test_a_frame_is_not_wanted_where_another_is_near_enough_or_no_place_is_open() -> None:
    sampler: WindowSampler[int] = WindowSampler(SPEC, Posture.CALM, 0.0, scale)
    assert sampler.wants(0.1, [0.0, 0.2], near=True)
    assert not sampler.wants(0.1, [0.0, 0.13, 0.2], near=True)
    assert sampler.wants(0.1, [0.0, 0.136, 0.2], near=True)
    assert not sampler.wants(0.05, [0.0, 0.1], near=True)
    assert not sampler.wants(0.4, [0.3], near=True)
    assert not sampler.wants(-0.1, [0.0], near=True)
    sampler.offer(Candidate(0.0, 0.0, 0))
    sampler.offer(Candidate(0.1, 0.0, 1))
    assert not sampler.wants(0.1, [], near=True)
    assert sampler.wants(0.2, [], near=True)


def test_a_frame_off_its_place_is_wanted_only_where_none_is_near() -> None:
    sampler: WindowSampler[int] = WindowSampler(SPEC, Posture.CALM, 0.0, scale)
    assert not sampler.wants(0.06, [0.0, 0.2], near=True)
    assert sampler.wants(0.06, [0.0, 0.2], near=False)
    assert not sampler.wants(0.06, [0.0, 0.08, 0.2], near=False)


def test_close_up_frames_are_wanted_without_end() -> None:
    sampler: SlidingSampler[int] = SlidingSampler(SPEC, Posture.CLOSE, start_s=0.0, stride_s=0.5, scale=scale)
    assert sampler.wants(100.0, [99.9], near=True)
    assert not sampler.wants(100.0, [100.01], near=True)


def test_a_single_frame_without_spacing_is_wanted_once() -> None:
    single = ClipSpec(frames=1, spacing_s=0.0, width=1, height=1)
    sampler: WindowSampler[int] = WindowSampler(single, Posture.CALM, 5.0, scale)
    assert sampler.wants(5.0, [], near=True)
    sampler.offer(Candidate(5.0, 0.0, 0))
    assert not sampler.wants(5.0, [], near=True)

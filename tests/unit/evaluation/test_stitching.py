from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.scoring import join
from monitor.evaluation.stitching import LabelledTrack, stitch
from monitor.vocabulary import Posture
from tests.fakes.scored_tracks import labelled, steady, track

CLIPS = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.sampled_from([2.0, 4.0, 10.0])), max_size=60)


def clips_of(drawn: list[tuple[int, bool, float]]) -> list[LabelledTrack]:
    return [
        labelled(f"{number:03}", f"g{group}", violent=violent, length_s=length_s)
        for number, (group, violent, length_s) in enumerate(drawn)
    ]


def test_joined_tracks_follow_one_another() -> None:
    joined = join([track([0.1, 0.2], [0.3] * 8), track([0.4], [0.5] * 4)])
    assert joined.length_s == 6.0
    assert [(one.end_s, one.scores["violence"]) for one in joined.windows[Posture.CALM]] == [
        (2.0, 0.1),
        (4.0, 0.2),
        (6.0, 0.4),
    ]
    assert [one.end_s for one in joined.windows[Posture.CLOSE]] == [number / 2 for number in range(1, 13)]


def test_only_postures_that_all_have_are_joined() -> None:
    assert set(join([steady(4, 0.1), track([0.1])]).windows) == {Posture.CALM}


@given(CLIPS)
def test_parts_come_from_groups_held_apart_and_each_clip_serves_once(drawn: list[tuple[int, bool, float]]) -> None:
    clips = {clip.name: clip for clip in clips_of(drawn)}
    streams = stitch(list(clips.values()), lead_s=8, violence_s=4, tail_s=4)
    names = Counter(name for stream in streams for name in stream.clips)
    assert all(count == 1 for count in names.values())
    home: dict[str, tuple[int, int]] = {}
    for number, stream in enumerate(streams):
        at_s = 0.0
        labels = []
        for name in stream.clips:
            clip = clips[name]
            part = 0 if at_s < stream.onset_s else 1 if at_s < stream.end_s else 2
            assert clip.violent is (part == 1)
            assert home.setdefault(clip.group, (number, part)) == (number, part)
            labels.append(part)
            at_s += clip.track.length_s
        assert stream.track.length_s == pytest.approx(at_s)
        assert set(labels) == {0, 1, 2}
        assert labels == sorted(labels)
        assert stream.end_s - stream.onset_s >= 2


@given(CLIPS, st.integers(0, 5))
def test_the_order_of_the_list_does_not_matter(drawn: list[tuple[int, bool, float]], seed: int) -> None:
    clips = clips_of(drawn)
    shuffled = random.Random(seed).sample(clips, len(clips))
    assert stitch(clips, seed=seed) == stitch(shuffled, seed=seed)


def test_enough_clips_give_streams_and_another_seed_gives_others() -> None:
    clips = [labelled(f"v{n}", f"v{n}", violent=True, length_s=10) for n in range(4)]
    clips += [labelled(f"n{n}", f"n{n}", violent=False, length_s=10) for n in range(12)]
    streams = stitch(clips, seed=1)
    assert len(streams) == 4
    assert {(stream.onset_s, stream.end_s, stream.track.length_s) for stream in streams} == {(20.0, 30.0, 40.0)}
    assert streams != stitch(clips, seed=2)


def test_too_few_clips_give_none() -> None:
    assert stitch([]) == ()
    assert stitch([labelled("v", "a", violent=True, length_s=20)]) == ()
    # One group cannot be on both sides.
    both = [labelled("v", "a", violent=True, length_s=20), labelled("n", "a", violent=False, length_s=60)]
    assert stitch(both) == ()

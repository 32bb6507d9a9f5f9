from __future__ import annotations

import pytest

from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.evaluation.judging import Judged, judge, onsets_of_cut, onsets_of_detection
from monitor.evaluation.scoring import Track, join
from monitor.evaluation.stitching import StitchedStream, stitch
from monitor.vocabulary import Posture, Severity
from tests.fakes.protocols import shipped
from tests.fakes.scored_tracks import labelled, steady, track

RULES = {"violence": DetectionRule(LevelRule(0.6, 3, 5), LevelRule(0.9, 4, 6), 0.8, 10.0)}


def judged(scores: Track, protocol: str, sampling: Posture = Posture.CLOSE, *, dismiss: bool = True) -> Judged:
    return judge(scores, shipped()[protocol], RULES, sampling=sampling, dismiss_reviews=dismiss)


def test_ordinary_video_bothers_nobody() -> None:
    found = judged(steady(60, 0.3), "assisted")
    assert (found.changes, found.reviews_s, found.cuts_s) == ((), (), ())
    assert len(found.seen) == 120


def test_persistence_stands_between_scores_and_people() -> None:
    # Every third window is a hit: never three of five.
    assert judged(track([], [0.95, 0.1, 0.1] * 20), "assisted").reviews_s == ()
    assert judged(track([], [0.95, 0.1] * 20), "assisted").reviews_s == (2.5,)


def test_each_false_review_counts_once_it_has_cleared_and_risen_again() -> None:
    scores = [0.7] * 6 + [0.1] * 30
    found = judged(track([], scores * 2), "assisted")
    assert found.reviews_s == (1.5, 19.5)
    # Whom nobody answers, the first review keeps waiting.
    assert judged(track([], scores * 2), "assisted", dismiss=False).reviews_s == (1.5,)


def test_review_then_act_asks_twice() -> None:
    assert judged(track([], [0.7] * 6 + [0.95] * 6), "assisted").reviews_s == (1.5, 5.0)


def test_a_stream_that_was_cut_comes_back_and_can_be_cut_again() -> None:
    found = judged(track([], [0.95] * 12), "immediate")
    assert found.cuts_s == (2.0, 4.0, 6.0)
    assert found.severity_at(2.0, "violence") is Severity.REVIEW
    assert found.severity_at(2.4, "violence") is Severity.NONE


def test_nobody_answers_so_assisted_cuts_after_its_minute() -> None:
    (cut_s,) = judged(steady(70, 0.95), "assisted", dismiss=False).cuts_s
    assert cut_s == pytest.approx(2.0 + 60)


def test_calm_sampling_looks_closer_once_it_suspects_something() -> None:
    calm, close = [0.1] * 5 + [0.7] + [0.1] * 14, [0.1] * 80
    found = judged(track(calm, close), "assisted", Posture.CALM)
    postures = [posture for _, posture in found.seen]
    # Calm up to the hit at 12 s, close for as long as suspicion lasts (10 s), then calm again.
    assert postures[:6] == [Posture.CALM] * 6
    assert postures[6:27] == [Posture.CLOSE] * 21
    assert postures[-1] is Posture.CALM
    times_s = [window.end_s for window, _ in found.seen]
    assert times_s == sorted(set(times_s))


def test_without_closer_windows_calm_ones_serve() -> None:
    found = judged(track([0.95] * 10), "immediate", Posture.CALM)
    assert found.cuts_s == (8.0, 16.0)


def streams() -> tuple[StitchedStream, ...]:
    clips = [labelled(f"v{n}", f"v{n}", violent=True, length_s=10) for n in range(3)]
    clips += [labelled(f"n{n}", f"n{n}", violent=False, length_s=20) for n in range(6)]
    return stitch(clips)


@pytest.mark.parametrize(("sampling", "review_s", "cut_s"), [(Posture.CLOSE, 1.5, 2.0), (Posture.CALM, 3.0, 3.5)])
def test_onset_to_notice(sampling: Posture, review_s: float, cut_s: float) -> None:
    stitched = streams()
    assert len(stitched) == 3
    noticed = [judged(stream.track, "assisted", sampling) for stream in stitched]
    found = onsets_of_detection(stitched, noticed, "violence", Severity.REVIEW)
    assert (found.streams, found.delays_s, found.before, found.missed) == (3, (review_s,) * 3, 0, 0)
    cut = onsets_of_cut(stitched, [judged(stream.track, "immediate", sampling) for stream in stitched])
    assert cut.delays_s == (cut_s,) * 3


def test_an_alarm_that_stands_already_is_luck_and_silence_is_a_miss() -> None:
    lucky = StitchedStream(join([steady(20, 0.7), steady(10, 0.95), steady(10, 0.1)]), 20.0, 30.0, ())
    blind = StitchedStream(steady(40, 0.1), 20.0, 30.0, ())
    late = StitchedStream(join([steady(30, 0.1), steady(10, 0.95)]), 20.0, 30.0, ())
    stitched = [lucky, blind, late]
    found = onsets_of_detection(
        stitched, [judged(one.track, "assisted") for one in stitched], "violence", Severity.REVIEW
    )
    assert (found.delays_s, found.before, found.missed) == ((), 1, 2)

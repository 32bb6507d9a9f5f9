from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.persistence import Cleared, DetectionRule, Detector, LevelRule, Raised
from monitor.vocabulary import Severity

NONE, REVIEW, ACT = Severity.NONE, Severity.REVIEW, Severity.ACT
RULE = DetectionRule(
    review=LevelRule(threshold=0.5, hits=3, of=5),
    act=LevelRule(threshold=0.8, hits=3, of=4),
    clear_ratio=0.8,
    clear_after_s=10.0,
)
QUIET, BETWEEN, LOUD, GRAVE = 0.1, 0.45, 0.6, 0.9


def fresh() -> Detector:
    return Detector({"fight": RULE})


def feed(detector: Detector, scores: Iterable[float], begin_s: float = 0.0) -> list[Raised | Cleared]:
    """One clip a second."""
    return [
        change for number, score in enumerate(scores) for change in detector.observe(begin_s + number, {"fight": score})
    ]


def test_enough_hits_among_the_last_clips_raise() -> None:
    detector = fresh()

    assert feed(detector, [LOUD, QUIET, LOUD, QUIET]) == []
    assert feed(detector, [LOUD], 4) == [Raised("fight", REVIEW, LOUD)]
    assert detector.severities == {"fight": REVIEW}


def test_hits_too_far_apart_do_not() -> None:
    assert feed(fresh(), [LOUD, QUIET, QUIET, LOUD, QUIET, LOUD, QUIET, QUIET, LOUD]) == []


def test_a_score_at_the_threshold_is_a_hit() -> None:
    assert feed(fresh(), [0.5] * 3) == [Raised("fight", REVIEW, 0.5)]


def test_review_rises_to_act() -> None:
    assert feed(fresh(), [LOUD] * 3 + [GRAVE] * 4) == [Raised("fight", REVIEW, LOUD), Raised("fight", ACT, GRAVE)]


def test_act_may_come_at_once() -> None:
    assert feed(fresh(), [GRAVE] * 5) == [Raised("fight", ACT, GRAVE)]


def test_it_is_said_once() -> None:
    assert len(feed(fresh(), [LOUD] * 50)) == 1


def test_quiet_for_long_enough_clears() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3)

    assert feed(detector, [QUIET] * 10, 3) == []
    assert feed(detector, [QUIET], 13) == [Cleared("fight", NONE)]
    assert detector.severities == {}


def test_one_clip_in_between_begins_the_wait_anew() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3)

    assert feed(detector, [QUIET] * 9 + [BETWEEN] + [QUIET] * 10, 3) == []
    assert feed(detector, [QUIET], 23) == [Cleared("fight", NONE)]


def test_between_the_thresholds_nothing_changes() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3)

    assert feed(detector, [BETWEEN] * 60, 3) == []
    assert detector.severities == {"fight": REVIEW}


def test_act_falls_to_review_while_review_holds_and_then_to_none() -> None:
    detector = fresh()
    feed(detector, [GRAVE] * 4)

    assert feed(detector, [LOUD] * 11, 4) == [Cleared("fight", REVIEW)]
    assert feed(detector, [QUIET] * 11, 15) == [Cleared("fight", NONE)]


def test_act_clears_at_once_when_all_is_quiet() -> None:
    detector = fresh()
    feed(detector, [GRAVE] * 4)

    assert feed(detector, [QUIET] * 11, 4) == [Cleared("fight", NONE)]


def test_old_hits_do_not_raise_again_after_a_clear_between_sparse_clips() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3)

    assert detector.observe(10.0, {"fight": QUIET}) == ()
    assert detector.observe(20.0, {"fight": QUIET}) == (Cleared("fight", NONE),)
    assert detector.observe(30.0, {"fight": LOUD}) == ()


def test_one_quiet_clip_after_a_silence_clears_nothing() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3)

    assert detector.observe(40.0, {"fight": QUIET}) == ()


def test_a_stream_that_began_anew_is_counted_anew_and_keeps_its_severity() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3, 100)
    feed(detector, [GRAVE] * 2, 103)

    assert feed(detector, [GRAVE] * 2, 0) == []
    assert detector.severities == {"fight": REVIEW}
    assert feed(detector, [GRAVE], 2) == [Raised("fight", ACT, GRAVE)]


def test_time_that_goes_back_begins_the_quiet_anew() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3 + [QUIET] * 9)

    assert feed(detector, [QUIET] * 10, 0) == []
    assert feed(detector, [QUIET], 10) == [Cleared("fight", NONE)]


def test_hits_are_not_added_up_over_a_long_gap() -> None:
    assert feed(fresh(), [LOUD] * 2) + feed(fresh(), [LOUD] * 2, 1000) == []
    detector = Detector({"fight": RULE}, max_gap_s=5)
    feed(detector, [LOUD] * 2)

    assert feed(detector, [LOUD] * 2, 7) == []
    assert feed(detector, [LOUD], 9) == [Raised("fight", REVIEW, LOUD)]


def test_clips_of_one_time_count() -> None:
    detector = fresh()

    changes = [detector.observe(5.0, {"fight": LOUD}) for _ in range(3)]

    assert changes[-1] == (Raised("fight", REVIEW, LOUD),)


def test_it_goes_on_from_a_known_severity() -> None:
    detector = Detector({"fight": RULE}, severities={"fight": ACT, "gone": ACT})

    assert detector.severities == {"fight": ACT}
    assert feed(detector, [GRAVE] * 4) == []
    assert feed(detector, [QUIET] * 11, 4) == [Cleared("fight", NONE)]


def test_labels_are_judged_apart() -> None:
    detector = Detector({"fight": RULE, "weapon": RULE})
    changes = [
        change
        for number in range(3)
        for change in detector.observe(number, {"weapon": LOUD, "fight": QUIET, "unjudged": 1.0})
    ]

    assert changes == [Raised("weapon", REVIEW, LOUD)]


def test_a_missing_label_is_neither_loud_nor_quiet() -> None:
    detector = fresh()
    feed(detector, [LOUD] * 3)
    feed(detector, [QUIET], 3)

    assert [detector.observe(4 + number, {}) for number in range(20)] == [()] * 20
    assert detector.severities == {"fight": REVIEW}


def test_suspicion_comes_before_a_detection_and_goes_after_a_quiet_while() -> None:
    detector = fresh()
    suspicious = [detector.suspicious]
    for number, score in enumerate([LOUD, *[QUIET] * 11]):
        detector.observe(number, {"fight": score})
        suspicious.append(detector.suspicious)

    assert suspicious == [False, *[True] * 11, False]
    assert detector.severities == {}


def test_suspicion_lasts_over_a_whole_window_of_sparse_clips() -> None:
    detector = fresh()
    detector.observe(0.0, {"fight": LOUD})
    for number in range(1, 5):
        detector.observe(20.0 * number, {"fight": QUIET})
        assert detector.suspicious
    detector.observe(100.0, {"fight": QUIET})

    assert not detector.suspicious


def test_suspicion_is_forgotten_when_a_stream_begins_anew() -> None:
    detector = fresh()
    feed(detector, [LOUD], 100)
    feed(detector, [QUIET], 0)

    assert not detector.suspicious


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1])
def test_a_broken_score_is_an_error_and_changes_nothing(score: float) -> None:
    detector = Detector({"weapon": RULE, "fight": RULE})
    for number in range(2):
        detector.observe(number, {"weapon": LOUD, "fight": LOUD})

    with pytest.raises(ValueError, match="'fight'"):
        detector.observe(2.0, {"weapon": LOUD, "fight": score})
    with pytest.raises(ValueError, match="time"):
        detector.observe(math.nan, {"weapon": LOUD, "fight": LOUD})

    assert len(detector.observe(3.0, {"weapon": LOUD, "fight": LOUD})) == 2


@pytest.mark.parametrize(
    ("threshold", "hits", "of"), [(0.0, 1, 1), (1.1, 1, 1), (math.nan, 1, 1), (0.5, 0, 1), (0.5, 2, 1)]
)
def test_a_level_that_makes_no_sense_is_refused(threshold: float, hits: int, of: int) -> None:
    with pytest.raises(ValueError, match=r"threshold|hits"):
        LevelRule(threshold, hits, of)


@pytest.mark.parametrize(
    ("review", "act", "ratio", "after_s"),
    [(0.8, 0.5, 0.8, 10), (0.5, 0.8, 0, 10), (0.5, 0.8, 1.1, 10), (0.5, 0.8, 0.8, 0), (0.5, 0.8, 0.8, math.inf)],
)
def test_a_rule_that_makes_no_sense_is_refused(review: float, act: float, ratio: float, after_s: float) -> None:
    with pytest.raises(ValueError, match=r"threshold|clear"):
        DetectionRule(LevelRule(review, 1, 1), LevelRule(act, 1, 1), ratio, after_s)


# ---- properties ------------------------------------------------------------------------------------------------------

SCORES = st.one_of(st.sampled_from([QUIET, BETWEEN, LOUD, GRAVE, 0.4, 0.5, 0.64, 0.8]), st.floats(0, 1))
CLIPS = st.lists(st.tuples(st.one_of(st.floats(0, 15), st.sampled_from([-5.0, 61.0])), SCORES), max_size=60)


@st.composite
def rules(draw: st.DrawFn) -> DetectionRule:
    def level(threshold: float) -> LevelRule:
        of = draw(st.integers(1, 6))
        return LevelRule(threshold, draw(st.integers(1, of)), of)

    review, act = sorted((draw(st.floats(0.1, 1)), draw(st.floats(0.1, 1))))
    return DetectionRule(level(review), level(act), draw(st.floats(0.1, 1)), draw(st.floats(0.1, 30)))


def run(rule: DetectionRule, clips: list[tuple[float, float]]) -> list[tuple[float, float, Raised | Cleared | None]]:
    """Return time, score and change of every clip, and check each against what the detector says of itself."""
    detector = Detector({"fight": rule})
    now_s, severity = 100.0, NONE
    story: list[tuple[float, float, Raised | Cleared | None]] = []
    for wait_s, score in clips:
        now_s += wait_s
        changes = detector.observe(now_s, {"fight": score})
        assert len(changes) <= 1
        for change in changes:
            assert change.severity > severity if isinstance(change, Raised) else change.severity < severity
            severity = change.severity
        assert detector.severities.get("fight", NONE) is severity
        story.append((now_s, score, changes[0] if changes else None))
    return story


@given(rules(), CLIPS)
def test_raised_only_with_enough_hits_since_the_last_break(
    rule: DetectionRule, clips: list[tuple[float, float]]
) -> None:
    story = run(rule, clips)

    begin = 0
    for index, (now_s, _, change) in enumerate(story):
        if index and not 0 <= now_s - story[index - 1][0] <= 60:
            begin = index
        if isinstance(change, Raised):
            level = rule.act if change.severity is ACT else rule.review
            window = story[max(begin, index + 1 - level.of) : index + 1]
            assert sum(score >= level.threshold for _, score, _ in window) >= level.hits


@given(rules(), CLIPS)
def test_cleared_only_after_nothing_but_quiet(rule: DetectionRule, clips: list[tuple[float, float]]) -> None:
    story = run(rule, clips)

    for index, (now_s, _, change) in enumerate(story):
        if isinstance(change, Cleared):
            level = rule.review if change.severity is NONE else rule.act
            run_of_quiet: list[tuple[float, float, Raised | Cleared | None]] = []
            for clip in reversed(story[: index + 1]):
                if clip[1] >= level.threshold * rule.clear_ratio:
                    break
                if run_of_quiet and not 0 <= run_of_quiet[-1][0] - clip[0] <= 60:
                    break
                run_of_quiet.append(clip)
            assert now_s - run_of_quiet[-1][0] >= rule.clear_after_s


@given(rules(), st.lists(st.floats(0, 15), max_size=60), st.data())
def test_below_the_threshold_nothing_is_ever_raised(
    rule: DetectionRule, waits_s: list[float], data: st.DataObject
) -> None:
    below = st.floats(0, rule.review.threshold, exclude_max=True)

    assert all(change is None for _, _, change in run(rule, [(wait_s, data.draw(below)) for wait_s in waits_s]))


@given(rules(), CLIPS)
def test_long_enough_above_act_is_always_raised(rule: DetectionRule, clips: list[tuple[float, float]]) -> None:
    detector = Detector({"fight": rule})
    now_s = 100.0
    for wait_s, score in [*clips, *[(1.0, 1.0)] * rule.act.hits]:
        now_s += wait_s
        detector.observe(now_s, {"fight": score})

    assert detector.severities == {"fight": ACT}
    assert detector.suspicious


def test_a_detection_says_since_when() -> None:
    detector = fresh()
    changes: list[Raised | Cleared] = []
    for number, score in enumerate([QUIET, LOUD, QUIET, LOUD, LOUD, GRAVE, GRAVE, GRAVE, GRAVE]):
        changes += detector.observe(100 + number, {"fight": score})
    assert [(change.severity, change.since_s) for change in changes if isinstance(change, Raised)] == [
        (REVIEW, 101),
        (ACT, 105),
    ]

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.persistence import Cleared, DetectionRule, Detector, LevelRule, Raised
from monitor.vocabulary import Severity


def rules(review: float, act: float = 0.95) -> dict[str, DetectionRule]:
    return {"fight": DetectionRule(LevelRule(review, 3, 5), LevelRule(act, 4, 6), 0.8, 5.0)}


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_clips_from_before_count_by_the_new_threshold(before: list[float], after: list[float]) -> None:
    changed, always = Detector(rules(0.9999, 1.0)), Detector(rules(0.6))
    raised_before = False
    for number, score in enumerate(before):
        changed.observe(float(number), {"fight": min(score, 0.99)})
        raised_before |= bool(always.observe(float(number), {"fight": min(score, 0.99)}))
    if raised_before:
        return
    changed.use(rules(0.6))
    for number, score in enumerate(after, start=len(before)):
        kept = min(score, 0.99)
        assert changed.observe(float(number), {"fight": kept})[:1] == always.observe(float(number), {"fight": kept})[:1]
        if always.severities:
            return


def test_what_stands_stays_until_scores_change_it_and_quiet_begins_anew() -> None:
    detector = Detector(rules(0.6))
    changes = [change for at in range(3) for change in detector.observe(float(at), {"fight": 0.7})]
    assert [type(change) for change in changes] == [Raised]
    for at in range(3, 8):
        detector.observe(float(at), {"fight": 0.4})
    detector.use(rules(0.4))
    assert detector.severities == {"fight": Severity.REVIEW}
    # 0.4 was quiet under 0.6, and is not under 0.4.
    for at in range(8, 20):
        assert detector.observe(float(at), {"fight": 0.4}) == ()
    quiet = [change for at in range(20, 26) for change in detector.observe(float(at), {"fight": 0.1})]
    assert quiet == [Cleared("fight", Severity.NONE)]

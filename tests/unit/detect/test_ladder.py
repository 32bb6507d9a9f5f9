from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detect.ladder import LADDER, RUNGS, EpisodeCounter, log_odds_of, rung_log_odds, score_of
from monitor.detect.persistence import DetectionRule, Detector, LevelRule, Raised

scores = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, *map(float, LADDER[::10])]))
clips = st.lists(st.tuples(st.floats(-5, 70), scores), max_size=60)


@settings(max_examples=60, deadline=None)
@given(clips=clips, hits=st.integers(1, 4), spare=st.integers(0, 3), ratio=st.floats(0.3, 1), after=st.floats(0.5, 30))
def test_every_rung_raises_when_a_detector_at_its_threshold_would(
    clips: list[tuple[float, float]], hits: int, spare: int, ratio: float, after: float
) -> None:
    counter = EpisodeCounter(hits, hits + spare, ratio, after)
    rungs = range(0, RUNGS, 12)
    detectors = []
    for rung in rungs:
        level = LevelRule(float(LADDER[rung]), hits, hits + spare)
        detectors.append(Detector({"fight": DetectionRule(level, LevelRule(1.0, 1000, 1000), ratio, after)}))
    time_s = 0.0
    for gap_s, score in clips:
        time_s += gap_s
        rising = counter.observe(time_s, score)
        for rung, detector in zip(rungs, detectors, strict=True):
            raised = any(isinstance(change, Raised) for change in detector.observe(time_s, {"fight": score}))
            assert rising[rung] == raised, (rung, time_s, score)


def test_rungs_rise_evenly_from_a_score_of_two_hundredths_to_almost_one() -> None:
    assert (np.diff(LADDER) > 0).all()
    assert rung_log_odds(0) == -4.0
    assert rung_log_odds(RUNGS - 1) == 8.0
    assert 0.017 < LADDER[0] < 0.019
    assert LADDER[-1] > 0.999


@given(st.floats(-8, 8))
def test_log_odds_and_scores_go_back_and_forth(log_odds: float) -> None:
    assert abs(log_odds_of(score_of(log_odds)) - log_odds) < 1e-6

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any

import pytest

from monitor.daemon.evidence import kept_of
from monitor.watch.messages import Evidence, EvidenceFrame, EvidenceScore

GOOD_FRAME = EvidenceFrame(1.0, 2.0, b"jpeg")
GOOD_SCORE = EvidenceScore(0.0, 1.0, (0.9,))


def test_samples_and_scores_are_kept_under_their_labels() -> None:
    kept = kept_of(Evidence(1, "edge-1", (GOOD_FRAME,), (GOOD_SCORE,)), ("violence",))
    assert [frame.jpeg for frame in kept.frames] == [b"jpeg"]
    assert [clip.scores for clip in kept.scores] == [{"violence": 0.9}]


@pytest.mark.parametrize(
    ("frame", "score"),
    [
        (EvidenceFrame(math.nan, 2.0, b"x"), EvidenceScore(0.0, 1.0, (0.9, 0.1))),
        (EvidenceFrame(1.0, math.inf, b"x"), EvidenceScore(0.0, 1.0, ())),
        (EvidenceFrame(-math.inf, 2.0, b"x"), EvidenceScore(0.0, 1.0, (math.nan,))),
        (EvidenceFrame(math.nan, 2.0, b"x"), EvidenceScore(0.0, math.inf, (0.5,))),
    ],
)
def test_what_makes_no_sense_costs_nothing_but_itself(
    frame: EvidenceFrame, score: EvidenceScore, logged: list[MutableMapping[str, Any]]
) -> None:
    kept = kept_of(Evidence(1, "edge-1", (frame, GOOD_FRAME), (score, GOOD_SCORE)), ("violence",))
    assert (len(kept.frames), len(kept.scores)) == (1, 1)
    assert [(event["event"], event["items"]) for event in logged] == [("evidence_refused", 2)]

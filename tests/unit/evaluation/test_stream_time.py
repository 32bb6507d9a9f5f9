from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.errors import LivecordonError
from monitor.evaluation.stream_time import Record, StreamTimeRun
from monitor.protocol.definition import Definition, Effect, OnDetection, OnEffect, State, Transition
from monitor.vocabulary import EffectKind, EffectOutcome, Posture, Severity
from tests.fakes.protocols import definitions, shipped

RULES = {"violence": DetectionRule(LevelRule(0.6, 2, 3), LevelRule(0.9, 2, 3), 0.8, 5.0)}
FIGHT_RULES = dict.fromkeys(("fight", "weapon"), RULES["violence"])


def run_of(protocol: str) -> StreamTimeRun:
    return StreamTimeRun(shipped()[protocol], RULES)


def watch(run: StreamTimeRun, scores: Sequence[float], *, spacing_s: float = 1.0) -> list[Record]:
    records: list[Record] = []
    for number, score in enumerate(scores, start=1):
        records += run.observe(number * spacing_s, {"violence": score})
    return records


def test_every_line_has_just_the_documented_fields() -> None:
    run = run_of("immediate")
    records = [*watch(run, [0.1, 0.95, 0.95]), run.summary("clip.mp4", 3.5)]
    assert records[:2] == [
        {"type": "score", "t": 1.0, "scores": {"violence": 0.1}},
        {"type": "score", "t": 2.0, "scores": {"violence": 0.95}},
    ]
    assert records[3:7] == [
        {"type": "detection", "t": 3.0, "label": "violence", "severity": "act", "raised": True},
        {"type": "transition", "t": 3.0, "from": "calm", "to": "containing", "reason": "detection_raised"},
        {"type": "effect", "t": 3.0, "effect": "alert", "dry_run": True},
        {"type": "effect", "t": 3.0, "effect": "preserve", "dry_run": True},
    ]
    assert {tuple(record) for record in records if record["type"] == "effect"} == {("type", "t", "effect", "dry_run")}
    assert records[-1] == {
        "type": "summary",
        "source": "clip.mp4",
        "duration_s": 3.5,
        "clips": 3,
        "max_severity": "act",
        "final_state": "contained",
    }


def test_a_cleared_detection_is_no_raised_one() -> None:
    records = watch(run_of("observe"), [0.7, 0.7, *[0.1] * 7])
    detections = [record for record in records if record["type"] == "detection"]
    assert [(one["raised"], one["severity"]) for one in detections] == [(True, "review"), (False, "none")]


def test_deadlines_run_in_stream_time_and_fire_at_their_own_time() -> None:
    run = run_of("assisted")
    records = watch(run, [0.95] * 3, spacing_s=1.0)
    assert run.state == "urgent"
    # The next clip comes long after the minute is over.
    records += run.observe(100.0, {"violence": 0.95})
    (contained,) = [record for record in records if record["type"] == "transition" and record["to"] == "containing"]
    assert contained["t"] == 62.0
    assert [record["effect"] for record in records if record["type"] == "effect" and record["t"] == 62.0][:2] == [
        "block",
        "cut",
    ]


def test_the_rest_of_a_file_lets_deadlines_pass() -> None:
    run = run_of("observe")
    watch(run, [0.7, 0.7])
    assert run.state == "noticed"
    list(run.advance(902.0))
    assert run.state == "unanswered"


def test_the_posture_rises_with_suspicion_and_with_the_protocol() -> None:
    run = run_of("assisted")
    postures = [run.posture]
    for scores in ([0.7], [0.95] * 3):
        watch(run, scores)
        postures.append(run.posture)
    assert postures == [Posture.CALM, Posture.CLOSE, Posture.FULL]


def test_time_never_goes_back_whatever_the_publisher_says() -> None:
    run = run_of("assisted")
    records = [*run.observe(50.0, {"violence": 0.95}), *run.observe(3.0, {"violence": 0.95})]
    assert [record["t"] for record in records] == sorted(record["t"] for record in records)


@given(definitions(), st.lists(st.tuples(st.floats(0, 400), st.floats(0, 1), st.floats(0, 1)), max_size=15))
def test_any_protocol_comes_to_an_end_and_its_records_are_in_order(
    definition: Definition, clips: list[tuple[float, float, float]]
) -> None:
    run = StreamTimeRun(definition, FIGHT_RULES)
    records: list[Record] = []
    now_s = 0.0
    try:
        for later_s, fight, weapon in clips:
            now_s += later_s
            for record in run.observe(now_s, {"fight": fight, "weapon": weapon}):
                records.append(record)  # noqa: PERF402 - what came before an error counts
        for record in run.advance(now_s + 1000):
            records.append(record)  # noqa: PERF402 - as above
    except LivecordonError as error:
        assert error.reason == "endless_protocol"  # noqa: PT017 - either way is an end
    times = [record["t"] for record in records]
    assert times == sorted(times)
    state = definition.initial
    for record in records:
        if record["type"] == "transition":
            assert record["from"] in (state, definition.initial)
            state = record["to"]
    assert run.summary("x", None)["final_state"] == state


def test_a_protocol_that_answers_itself_is_stopped_in_words() -> None:
    again = Transition(OnEffect(EffectKind.PRESERVE, tuple(EffectOutcome)), None, None, (Effect(EffectKind.PRESERVE),))
    definition = Definition(
        "echo",
        1,
        "",
        "calm",
        {
            "calm": State(Posture.CALM, transitions=(Transition(OnDetection(Severity.REVIEW), None, "open"),)),
            "open": State(Posture.CLOSE, enter=(Effect(EffectKind.PRESERVE),), transitions=(again,)),
        },
    )
    with pytest.raises(LivecordonError, match="echo answers its own effects without end, in state open"):
        watch(StreamTimeRun(definition, RULES), [0.7] * 3)

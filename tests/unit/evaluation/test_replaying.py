from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.errors import ProblemsError
from monitor.evaluation.recorded_scores import is_recorded, read_scores
from monitor.evaluation.replaying import Choice, Span, replay
from monitor.evaluation.scoring import Window
from monitor.evidence.package import ScoredClip, write_package
from monitor.protocol.binding import bound
from monitor.vocabulary import EffectKind, Posture
from tests.fakes.protocols import shipped
from tests.fakes.scored_tracks import track

RULE = DetectionRule(LevelRule(0.6, 2, 3), LevelRule(0.9, 2, 3), clear_ratio=0.8, clear_after_s=5.0)


def choice(name: str, rule: DetectionRule = RULE, *, can_hold: bool = False) -> Choice:
    return Choice(name, bound(shipped()[name], can_hold=can_hold), {"violence": rule})


def test_a_stream_that_is_cut_is_not_looked_at_any_more() -> None:
    attack = track([0.1] * 10 + [0.95] * 10 + [0.1] * 80)

    found = replay(attack, choice("immediate"), sampling=Posture.CALM)

    first_s = found.first_s(EffectKind.CUT)
    assert first_s is not None
    assert [span.what for span in found.states] == ["calm", "contained"]
    assert found.off_air == (Span(first_s, attack.length_s, "cut"),)
    assert found.off_air_s == attack.length_s - first_s
    assert found.watched == sum(window.end_s <= first_s for window in attack.windows[Posture.CALM])
    assert found.count(EffectKind.CUT) == 1


def test_a_held_stream_is_looked_at_and_silent_once() -> None:
    long = track([0.95] * 500)

    found = replay(long, choice("assisted", can_hold=True), sampling=Posture.CALM)

    assert [span.what for span in found.off_air] == ["held", "cut"]
    held, cut = found.off_air
    assert held.end_s == cut.start_s == found.first_s(EffectKind.CUT)
    assert found.watched == sum(window.end_s <= cut.start_s for window in long.windows[Posture.CALM])


def test_states_have_no_gaps() -> None:
    stream = track([0.1] * 5 + [0.7] * 10 + [0.1] * 200)

    found = replay(stream, choice("observe"), sampling=Posture.CALM)

    assert found.states[0].start_s == 0
    assert found.states[-1].end_s == stream.length_s
    assert all(one.end_s == next_.start_s for one, next_ in zip(found.states, found.states[1:], strict=False))
    assert found.off_air == ()


def test_other_thresholds_find_other_things() -> None:
    stream = track([0.7] * 30)
    stricter = replace(RULE, review=replace(RULE.review, threshold=0.8))

    assert replay(stream, choice("immediate"), sampling=Posture.CALM).count(EffectKind.REQUEST_REVIEW) == 1
    assert replay(stream, choice("immediate", stricter), sampling=Posture.CALM).records == ()


def test_scores_of_watch_are_read(tmp_path: Path) -> None:
    file = tmp_path / "w.ndjson"
    lines = [
        {"type": "score", "t": 1.0, "scores": {"violence": 0.2}},
        {"type": "detection", "t": 1.0, "label": "violence", "severity": "act", "raised": True},
        {"type": "score", "t": 2.0, "start": 1.5, "scores": {"violence": 0.3}},
        {"type": "summary", "source": "a.mp4", "duration_s": 4.5},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))

    read = read_scores(file)

    assert is_recorded(str(file))
    assert read.length_s == 4.5
    assert read.windows == {Posture.CALM: (Window(1.0, 1.0, {"violence": 0.2}), Window(1.5, 2.0, {"violence": 0.3}))}


def test_scores_of_a_table_are_read(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("t,violence,weapon\n0.5,0.1,0\n1,0.25,1\n")

    assert read_scores(file).windows[Posture.CALM] == (
        Window(0.5, 0.5, {"violence": 0.1, "weapon": 0.0}),
        Window(1.0, 1.0, {"violence": 0.25, "weapon": 1.0}),
    )


def test_scores_of_an_evidence_package_begin_at_their_own_time(tmp_path: Path) -> None:
    clips = [ScoredClip(5000.0 + n, 5001.0 + n, {"violence": 0.5}) for n in range(3)]
    write_package(tmp_path, incident_id="i1", key="1.0.preserve", about={}, preserved_at=0, frames=(), scores=clips)
    package = tmp_path / "i1" / "1.0.preserve"

    assert is_recorded(str(package))
    assert [(w.start_s, w.end_s) for w in read_scores(package).windows[Posture.CALM]] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "time,violence\n1,0.5\n", "a.csv:1: there is no column t"),
        ("a.csv", "t,violence\n1,much\n", "a.csv:2: a time or a score is no number"),
        ("a.csv", "t,violence\n1,0.5\n2,1.5\n", "a.csv:3: a score lies outside of 0 to 1"),
        ("a.csv", "t,violence\n", "a.csv: there is not one score in it"),
        ("a.ndjson", "{}\n", "a.ndjson:1: this score has no scores"),
        ("a.ndjson", "nonsense\n", "a.ndjson:1: this is no JSON object"),
        ("a.ndjson", '{"t": 1, "scores": {"a": 0}}\n{"t": 2, "scores": {"b": 0}}', "score 2 has other labels"),
        (
            "a.ndjson",
            '{"type": "summary", "duration_s": 1}\n{"type": "score", "t": 2, "scores": {"b": 0}}',
            "a.ndjson:2: here begins a second source",
        ),
        ("scores.json", "[1]", "this holds something else than scores"),
    ],
)
def test_what_is_no_score_is_refused(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(ProblemsError, match=said):
        read_scores(tmp_path / name)

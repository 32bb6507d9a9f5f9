from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.shipped import protocols_dir

EXAMPLES = protocols_dir() / "examples"


def simulated(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["protocol", "simulate", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
@pytest.mark.parametrize("protocol", ["observe", "assisted", "immediate"])
def test_examples_can_be_played_through_every_protocol(
    protocol: str, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["protocol", "simulate", protocol, str(EXAMPLES / example)]) == 0
    assert "ends in" in capsys.readouterr().out


def test_the_timeline_tells_reasons_effects_and_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    example = str(EXAMPLES / "nobody-decides.yaml")

    assert main(["protocol", "simulate", "assisted", example, "--server-can", "hold", "-p", "decide_within=30s"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]

    assert "00:00:04.0  violence raised to act (0.96)" in lines
    assert "under_review -> urgent  [detection_raised]" in lines
    assert "/ request_review (within 30s)" in lines
    assert "00:00:34.0: after 30s if (severity act and can hold) -> holding" in lines
    assert "00:00:34.0  time is up: after 30s if (severity act and can hold)" in lines
    assert lines[-1] == "ends in closed"


def test_what_the_server_can_do_counts(capsys: pytest.CaptureFixture[str]) -> None:
    example = str(EXAMPLES / "nobody-decides.yaml")

    with_hold = [moment["to"] for moment in simulated(capsys, "assisted", example, "--server-can", "hold")]
    without = [moment["to"] for moment in simulated(capsys, "assisted", example)]

    assert "held" in with_hold
    assert "held" not in without


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["assisted"], "name a script, or an incident"),
        (["assisted", "nothing.yaml"], "the file cannot be read"),
        (["assisted", str(EXAMPLES / "a-mistake.yaml"), "--incident", "1"], "name a script, or an incident"),
        (["nothing", str(EXAMPLES / "a-mistake.yaml")], "there is no such protocol"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocol", "simulate", *arguments]) == 2
    assert said in capsys.readouterr().err


def entry(number: int, at: float, cause: dict[str, object], effects: tuple[str, ...] = ()) -> dict[str, object]:
    detail = {"caused_by": cause, "effects": list(effects)}
    return {
        "number": number,
        "at": at,
        "incident_id": "i1",
        "actor": "protocol",
        "action": "transition",
        "detail": detail,
        "previous_hash": "",
        "hash": "",
        "time": "2026-11-23T12:00:00+00:00",
    }


RECORDED = [
    entry(
        1,
        1000.0,
        {"event": "DetectionRaised", "label": "fight", "severity": "act", "score": 0.9},
        ("1.0.alert", "1.1.preserve", "1.2.block", "1.3.cut"),
    ),
    entry(2, 1004.5, {"event": "EffectFinished", "key": "1.3.cut", "kind": "cut", "outcome": "unverified"}),
    entry(3, 1060.0, {"event": "Reviewed", "decision": "dismiss", "by": "ada", "why": "a film"}),
    entry(4, 1100.0, {"event": "DeadlinePassed", "key": "2:cut_failed:5"}),
]


def test_a_recorded_incident_is_played_through_another_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "audit.ndjson"
    other = entry(5, 1200.0, {"event": "StreamEnded"}) | {"incident_id": "i2"}
    log.write_text("\n".join(json.dumps(line) for line in [*RECORDED, other]))

    moments = simulated(capsys, "immediate", "--incident", "i1", "--log", str(log))

    # As it happened: the cut could not be verified after 4.5 s, and a minute after the beginning somebody dismissed it.
    assert [(m["t"], m["to"]) for m in moments if m["from"] != m["to"]][:3] == [
        (0.0, "containing"),
        (4.5, "cut_failed"),
        (60.0, "releasing"),
    ]
    assert [m["to"] for m in simulated(capsys, "observe", "--incident", "i1", "--log", str(log))][-1] == "dismissed"


def test_an_unknown_incident_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "audit.ndjson"
    log.write_text(json.dumps(RECORDED[0]))

    assert main(["protocol", "simulate", "observe", "--incident", "i9", "--log", str(log)]) == 1
    assert "holds no incident of this id" in capsys.readouterr().err

    log.write_text("{}\n")
    assert main(["protocol", "simulate", "observe", "--incident", "i9", "--log", str(log)]) == 2
    assert f"{log}:1: this is no entry of an audit log" in capsys.readouterr().err

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.cli import doctor_machine, doctor_speed
from monitor.cli.doctor_finding import Grade
from monitor.cli.main import main

CANARY = "c4n4ry-0f6e2"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

Lines = list[tuple[str, str, str]]
Doctor = Callable[..., tuple[int, Lines]]


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs it on a fast machine whose clock is kept right; returns status, and grade, subject and text of each line."""
    monkeypatch.setattr(doctor_speed, "seconds_per_clip", lambda _: 0.010)
    monkeypatch.setattr(doctor_machine, "synchronised", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PARTNER", SECRET)

    def run(text: str = "", *options: str) -> tuple[int, Lines]:
        (tmp_path / "a.mp4").touch()
        (tmp_path / "config.yaml").write_text(
            "web: {listen: '127.0.0.1:0'}\nwatch: {watchers: 2}\n"
            "servers:\n"
            "  - {name: cameras, kind: static, cut_command: ['true'], streams: [{name: a, url: a.mp4}]}\n" + text
        )
        status = main(["doctor", "--json", "--config", str(tmp_path / "config.yaml"), *options])
        shown = capsys.readouterr().out
        assert CANARY not in shown
        rows = [json.loads(line) for line in shown.splitlines()]
        return status, [(row["grade"], row["subject"], f"{row['what']}: {row['mend']}") for row in rows]

    return run


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def of(lines: Lines, subject: str) -> list[tuple[str, str]]:
    return [(grade, text) for grade, about, text in lines if about == subject]


def test_nothing_is_wrong_with_a_machine_that_will_do(doctor: Doctor) -> None:
    status, lines = doctor()
    assert status == 0
    subjects = {subject for _, subject, _ in lines}
    assert {
        "codecs",
        "hwaccel",
        "permissions",
        "disk",
        "ports",
        "server cameras",
        "speed",
        "memory",
        "clock",
    } < subjects
    assert [line for line in lines if line[0] == Grade.WRONG] == []


def test_a_configuration_that_cannot_be_used_is_told_alone(doctor: Doctor) -> None:
    status, lines = doctor(f"dri_run: {CANARY}\n")
    assert status == 2
    assert [(grade, subject) for grade, subject, _ in lines] == [("wrong", "configuration")]


def test_too_many_streams_are_wrong_and_nearly_too_many_a_warning(doctor: Doctor) -> None:
    # 10 ms for a clip every two seconds and 20 ms a second for decoding make 25 ms: two cores bear 80.
    for streams, wanted, graded in ((40, 0, "ok"), (60, 0, "warning"), (80, 1, "wrong")):
        status, lines = doctor("", "--no-probe", "--streams", str(streams))
        assert (status, [grade for grade, _ in of(lines, "speed")]) == (wanted, [graded])
    assert doctor("", "--no-probe", "--streams", "60", "--strict")[0] == 1


def test_who_does_not_answer_is_named_and_nothing_else_of_them(doctor: Doctor, closed_port: int) -> None:
    status, lines = doctor(
        "  - name: nginx\n    kind: nginx_rtmp\n    rtmp_url: rtmp://127.0.0.1\n"
        f"    stat_url: http://127.0.0.1:{closed_port}/stat?key={CANARY}\n"
        f"    control_url: http://127.0.0.1:{closed_port}/{CANARY}\n"
        "alerts:\n  receivers:\n"
        f"    - {{name: partner, url: 'http://127.0.0.1:{closed_port}/{CANARY}', secrets: [{{env: PARTNER}}]}}\n"
    )
    assert status == 1
    assert [grade for grade, _ in of(lines, "server nginx")] == ["wrong"]
    assert of(lines, "receiver partner") == [
        ("wrong", "cannot be reached (refused): is it running, and the port right?")
    ]


def test_a_receiver_that_answers_anything_at_all_is_reached(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(65536).split(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        heard: list[bytes] = []
        answering = threading.Thread(target=answer)
        answering.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/{CANARY}"
        _, lines = doctor(f"alerts: {{receivers: [{{name: partner, url: '{url}', secrets: [{{env: PARTNER}}]}}]}}\n")
        answering.join(10)
    assert of(lines, "receiver partner") == [("ok", "answers: ")]
    assert heard == [b"HEAD / HTTP/1.1"]


def test_a_folder_that_cannot_be_written_and_one_that_all_can_read(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    status, lines = doctor("data_dir: file/data\nevidence: {directory: open}\n", "--no-probe")
    assert status == 1
    assert {(grade, text.partition(":")[0]) for grade, text in of(lines, "permissions")} == {
        ("wrong", "data_dir"),
        ("warning", "evidence"),
        ("wrong", "spool"),
        ("wrong", "store"),
    }


def test_a_full_disk_is_wrong(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**8, 10**8))
    status, lines = doctor("", "--no-probe")
    assert (status, {grade for grade, _ in of(lines, "disk")}) == (1, {"wrong"})


def test_a_clock_that_jumps_or_is_left_alone_is_a_warning(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "synchronised", lambda: False)
    wall_s = iter((1000.0, 1007.0))
    monkeypatch.setattr(doctor_machine, "clocks", lambda: doctor_machine.Clocks(next(wall_s), 5.0))
    _, lines = doctor("", "--no-probe")
    told = of(lines, "clock")
    assert [grade for grade, _ in told] == ["warning", "warning"]
    assert "+7.00 s" in told[0][1]


def test_missing_codecs_are_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "missing_decoders", lambda: ("av1",))
    assert of(doctor("", "--no-probe")[1], "codecs")[0][0] == "warning"
    monkeypatch.setattr(doctor_machine, "missing_decoders", lambda: ("h264",))
    assert of(doctor("", "--no-probe")[1], "codecs")[0][0] == "wrong"

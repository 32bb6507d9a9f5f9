from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from monitor.watch.heartbeat import Heartbeat
from monitor.watch.settings import WatchSettings
from monitor.watch.vital_signs import VitalSigns, look_at
from tests.fakes.recorder import until

SETTINGS = WatchSettings(model="any", suspect_after_s=0.5, pong_timeout_s=3.0, progress_timeout_s=20.0)
INTERVAL_S = 0.25


class Process:
    """A process whose signs the test sets; it takes this share of a processor."""

    def __init__(self, *, stopped: bool = False, wants_to_run: bool = True, share: float = 0.0) -> None:
        self.now_s = 100.0
        self.stopped, self.wants_to_run, self.share = stopped, wants_to_run, share
        self.looks = 0
        self.heartbeat = Heartbeat(SETTINGS, self.look)
        self.heartbeat.begin(self.now_s)

    def look(self) -> VitalSigns | None:
        self.looks += 1
        return VitalSigns(self.stopped, self.wants_to_run, cpu_s=self.share * self.now_s)

    def falls_silent_for_s(self, at_most_s: float) -> float | None:
        """Ping without an answer; return after how many seconds it counts as hung, or None if it does not."""
        silent_from_s = self.now_s
        while self.now_s - silent_from_s <= at_most_s:
            if self.heartbeat.judge(self.now_s, watching=True) is not None:
                return self.now_s - silent_from_s
            self.heartbeat.ping(self.now_s)
            self.now_s += INTERVAL_S
        return None


def test_a_stopped_process_is_found_out_at_the_first_look() -> None:
    assert Process(stopped=True).falls_silent_for_s(10) == SETTINGS.suspect_after_s + INTERVAL_S


def test_one_that_sleeps_although_it_was_asked_is_found_out_a_moment_later() -> None:
    found_out_s = Process(wants_to_run=False).falls_silent_for_s(10)
    assert found_out_s == 2 * SETTINGS.suspect_after_s + INTERVAL_S


def test_one_that_computes_all_the_time_has_the_whole_timeout_and_no_more() -> None:
    assert Process(share=0.9).falls_silent_for_s(10) == SETTINGS.pong_timeout_s + INTERVAL_S


def test_one_that_gets_no_processor_is_late_and_not_dead() -> None:
    process = Process(share=0.1)
    assert process.falls_silent_for_s(10) is None
    for number in list(process.heartbeat.pings_s):
        assert process.heartbeat.pong(number, 1, process.now_s)
    assert process.heartbeat.judge(process.now_s, watching=True) is None
    # But nobody is waited for without end.
    assert process.falls_silent_for_s(60) == 4 * SETTINGS.pong_timeout_s + INTERVAL_S


def test_one_that_sleeps_between_pieces_of_work_is_not_taken_for_hung_at_once() -> None:
    assert Process(wants_to_run=False, share=0.2).falls_silent_for_s(10) == SETTINGS.pong_timeout_s + INTERVAL_S


def test_where_the_system_tells_nothing_the_timeout_decides() -> None:
    process = Process()
    process.heartbeat.look = lambda: None
    assert process.falls_silent_for_s(10) == SETTINGS.pong_timeout_s + INTERVAL_S


def test_whoever_answers_is_not_even_looked_at() -> None:
    process = Process(stopped=True)
    number = 0
    for progress in range(100):
        number = process.heartbeat.ping(process.now_s)
        process.now_s += INTERVAL_S
        assert process.heartbeat.pong(number, progress, process.now_s)
        assert process.heartbeat.judge(process.now_s, watching=True) is None
    assert process.looks == 0
    assert not process.heartbeat.pong(number, 0, process.now_s)


def test_a_daemon_that_stood_still_blames_nobody_else() -> None:
    process = Process(stopped=True)
    process.heartbeat.ping(process.now_s)
    process.now_s += 30
    process.heartbeat.excuse(process.now_s)
    assert process.heartbeat.judge(process.now_s, watching=True) is None


def test_no_progress_counts_only_while_something_is_watched() -> None:
    process = Process()
    process.now_s += 21
    assert process.heartbeat.judge(process.now_s, watching=False) is None
    process.now_s += 19
    assert process.heartbeat.judge(process.now_s, watching=True) is None
    process.now_s += 2
    assert process.heartbeat.judge(process.now_s, watching=True) == "no_progress"


def test_a_timeout_shorter_than_suspicion_holds() -> None:
    process = Process(share=0.9)
    process.heartbeat.settings = replace(SETTINGS, pong_timeout_s=0.3)
    assert process.falls_silent_for_s(10) == 2 * INTERVAL_S


@pytest.fixture
def started() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    with ExitStack() as stack:

        def start(program: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program]))
            stack.callback(process.kill)
            return process

        yield start


async def test_what_the_system_says_of_a_process_that_sleeps_stops_and_dies(
    started: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = started("import time; time.sleep(600)")
    await until(lambda: (signs := look_at(process.pid)) is not None and not signs.wants_to_run)
    process.send_signal(signal.SIGSTOP)
    await until(lambda: (signs := look_at(process.pid)) is not None and signs.stopped)
    process.kill()
    process.wait()
    assert look_at(process.pid) is None


async def test_what_the_system_says_of_a_process_that_computes(
    started: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = started("while True: pass")
    signs = await until(lambda: (seen := look_at(process.pid)) is not None and seen.cpu_s > 0.05 and seen)
    assert signs
    assert signs.wants_to_run
    assert not signs.stopped

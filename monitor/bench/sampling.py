"""What each way of sampling costs: every one in fresh processes, in turns, so that a busy machine is unfair to all alike."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import monitor
from monitor.bench.methods import Job, Outcome
from monitor.bench.results import Row
from monitor.bench.scene import FRAME_RATE
from monitor.errors import LivecordonError
from monitor.video.clip import ClipSpec

SPACED_FPS: Final = 2.0
"""What the usual loops take, and the like-for-like rows: an evenly spaced frame every half second."""

_JOB_TIMEOUT_S: Final = 300.0


class MeasurementFailed(LivecordonError):
    """One way of sampling could not be measured."""

    reason = "measurement_failed"


@dataclass(frozen=True, slots=True)
class Contender:
    """One row to be: a method, and how it is used.

    Attributes:
        what: The row in words.
        spaced: Whether it takes single frames at `SPACED_FPS`; otherwise the model's clips.
    """

    method: str
    what: str
    spaced: bool


CONTENDERS: Final = (
    Contender("calm", "calm posture: a clip at each keyframe", spaced=False),
    Contender("close", "close posture: a clip every 0.5 s", spaced=False),
    Contender("full", "full posture: a clip every 0.25 s", spaced=False),
    Contender("keyframe", "keyframes only", spaced=False),
    Contender("close", "Livecordon's decoder, 2 frames a second", spaced=True),
    Contender("opencv", "OpenCV, read() every frame", spaced=True),
    Contender("ffmpeg", "ffmpeg -vf fps=2,scale to a pipe", spaced=True),
    Contender("pyav", "PyAV, decode every frame", spaced=True),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A stream on disk: its recipe's name, the file, a short one of the same kind, and the first one's length in seconds."""

    name: str
    file: Path
    warm_up_file: Path
    length_s: float


def measure(
    recordings: Sequence[Recording],
    spec: ClipSpec,
    *,
    contenders: Sequence[Contender] = CONTENDERS,
    rounds: int,
    budget_s: float | None = None,
    on_run: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[list[Row], dict[str, str]]:
    """Run every contender on every recording, `rounds` times in turns.

    Args:
        recordings: What is sampled.
        spec: The model's clip; all samples have its size.
        contenders: Who takes part.
        rounds: How often; medians are reported.
        budget_s: No round but the first is begun where the time that it will take goes beyond so many seconds.
        on_run: Called with how many runs are done and how many there will be.

    Returns:
        The rows, and why those that are missing are.
    """
    outcomes: dict[tuple[Recording, Contender], list[Outcome]] = {}
    failures: dict[str, str] = {}
    pairs = [(recording, contender) for recording in recordings for contender in contenders]
    done = 0
    began_s = time.monotonic()
    for number in range(rounds):
        spent_s = time.monotonic() - began_s
        if number and budget_s is not None and spent_s + spent_s / number > budget_s:
            break
        # In another order each time, so that nobody always runs in the wake of the same neighbour.
        for recording, contender in random.Random(number).sample(pairs, len(pairs)):
            name = f"{contender.method} on {recording.name}"
            if name not in failures:
                try:
                    outcome = run_job(_job(contender, recording, spec))
                    outcomes.setdefault((recording, contender), []).append(outcome)
                except MeasurementFailed as error:
                    failures[name] = str(error)
            done += 1
            on_run(done, len(pairs) * rounds)
    rows = [_row(*pair, outcomes[pair]) for pair in pairs if pair in outcomes and _name(pair) not in failures]
    return rows, failures


def _name(pair: tuple[Recording, Contender]) -> str:
    return f"{pair[1].method} on {pair[0].name}"


def _job(contender: Contender, recording: Recording, spec: ClipSpec) -> Job:
    single = contender.spaced or contender.method == "keyframe"
    return Job(
        method=contender.method,
        file=str(recording.file),
        warm_up_file=str(recording.warm_up_file),
        frames=1 if single else spec.frames,
        spacing_s=1 / SPACED_FPS if single else spec.spacing_s,
        width=spec.width,
        height=spec.height,
        every=round(FRAME_RATE / SPACED_FPS),
        sampled_fps=SPACED_FPS,
    )


def run_job(job: Job) -> Outcome:
    """Run one job in a fresh process.

    Raises:
        MeasurementFailed: it did not work, or took more than five minutes.
    """
    # The children must run this code, wherever it lies, and nothing that happens to stand in the working directory.
    environment = os.environ | {"PYTHONPATH": str(Path(monitor.__file__).resolve().parent.parent)}
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and arguments
            [sys.executable, "-P", "-m", "monitor.bench.methods", json.dumps(asdict(job))],
            capture_output=True,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=_JOB_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementFailed("it took more than five minutes") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise MeasurementFailed(last[:300])
    outcome = Outcome(**json.loads(done.stdout))
    if not outcome.samples:
        raise MeasurementFailed("it gave no samples")
    return outcome


def _row(recording: Recording, contender: Contender, outcomes: Sequence[Outcome]) -> Row:
    costs = [outcome.cpu_s / recording.length_s for outcome in outcomes]
    return Row(
        method=contender.method,
        stream=recording.name,
        what=contender.what,
        sampled_fps=statistics.median(outcome.samples for outcome in outcomes) / recording.length_s,
        cpu_s_per_stream_s=statistics.median(costs),
        lowest_cpu_s=min(costs),
        highest_cpu_s=max(costs),
        rounds=len(costs),
        like_for_like=contender.spaced,
    )

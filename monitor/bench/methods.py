"""One way of getting samples from a stream, run once in a process of its own: ``python -m monitor.bench.methods JOB``.

`JOB` is a `Job` as JSON; one `Outcome` as JSON is printed. Before the counting starts everything is imported, and the
libraries have opened a short file once, for they set themselves up then, and a process that watches many streams does
that once. Opening the file counts. So does the start of the ffmpeg command, for there each stream has a process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

import av
import cv2

from monitor.video.clip import ClipSpec
from monitor.video.source import VideoSource
from monitor.vocabulary import Posture

METHODS: Final = ("calm", "close", "full", "keyframe", "opencv", "ffmpeg", "pyav")


@dataclass(frozen=True, slots=True)
class Job:
    """What to run.

    Attributes:
        method: One of `METHODS`.
        file: The recorded stream.
        warm_up_file: A short one of the same kind.
        frames, spacing_s: The clip that is asked for: the model's, or single frames. Of no effect on the methods that
            sample evenly.
        width, height: Size in pixels of each sample.
        every: Methods that sample evenly take every n-th frame.
        sampled_fps: The same, in frames per second of stream.
    """

    method: str
    file: str
    warm_up_file: str
    frames: int
    spacing_s: float
    width: int
    height: int
    every: int
    sampled_fps: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What it took.

    Attributes:
        cpu_s: Processor time, user and system, of this process and its children.
        samples: Distinct frames that were scaled to the wanted size.
    """

    cpu_s: float
    samples: int


def run(job: Job) -> Outcome:
    """Run `job` in this process and count."""
    work = _WORK[job.method]
    if job.method != "ffmpeg":
        work(replace(job, file=job.warm_up_file))
    before_s = _cpu_s()
    samples = work(job)
    return Outcome(cpu_s=_cpu_s() - before_s, samples=samples)


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _posture(posture: Posture) -> Callable[[Job], int]:
    def work(job: Job) -> int:
        spec = ClipSpec(frames=job.frames, spacing_s=job.spacing_s, width=job.width, height=job.height)
        times_s: set[float] = set()
        with VideoSource.open(job.file, open_timeout_s=10, read_timeout_s=10, live=False) as source:
            for clip in source.clips(
                spec, posture=lambda: posture, keep=None, stop=threading.Event(), decode_slots=None
            ):
                times_s.update(clip.times_s)
        return len(times_s)

    return work


def _opencv(job: Job) -> int:
    capture = cv2.VideoCapture(job.file)
    number = samples = 0
    while True:
        there_is, picture = capture.read()
        if not there_is:
            break
        if number % job.every == 0:
            cv2.resize(picture, (job.width, job.height))
            samples += 1
        number += 1
    capture.release()
    return samples


def _pyav(job: Job) -> int:
    samples = 0
    with av.open(job.file) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % job.every == 0:
                frame.reformat(job.width, job.height, "rgb24").to_ndarray()
                samples += 1
    return samples


def _ffmpeg(job: Job) -> int:
    # As network video recorders run it: raw yuv420p, which spares ffmpeg the conversion to RGB.
    chain = f"fps={job.sampled_fps:g},scale={job.width}:{job.height}"
    frame_bytes = job.width * job.height * 3 // 2
    samples = 0
    arguments = ("-v", "error", "-nostdin", "-i", job.file, "-an", "-vf", chain, "-pix_fmt", "yuv420p")
    with subprocess.Popen(  # noqa: S603 - our own arguments
        ("ffmpeg", *arguments, "-f", "rawvideo", "pipe:1"),  # noqa: S607 - the user's own ffmpeg
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for mypy: PIPE was asked for
        while process.stdout.read(frame_bytes):
            samples += 1
    if process.returncode:
        message = f"ffmpeg ended with status {process.returncode}"
        raise RuntimeError(message)
    return samples


_WORK: Final[dict[str, Callable[[Job], int]]] = {
    "calm": _posture(Posture.CALM),
    "close": _posture(Posture.CLOSE),
    "full": _posture(Posture.FULL),
    # One frame per clip: calm posture then takes the keyframe and nothing else.
    "keyframe": _posture(Posture.CALM),
    "opencv": _opencv,
    "pyav": _pyav,
    "ffmpeg": _ffmpeg,
}


def main() -> None:
    """Run the job on the command line."""
    print(json.dumps(asdict(run(Job(**json.loads(sys.argv[1]))))))  # noqa: T201 - its whole purpose


if __name__ == "__main__":
    main()

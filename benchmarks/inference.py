"""What a clip costs with a classifier in every watcher and with one for all: ``python benchmarks/inference.py``.

Measures the shipped model on a processor: resident memory that loading it takes, processor time per clip over every process
involved, and the time from handing a clip over to having its scores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from monitor.classify.package import find_package, load_package, read_manifest
from monitor.classify.port import Classifier
from monitor.classify.shared import peers
from monitor.classify.shared.client import SharedClassifier
from monitor.clock import SystemClock
from monitor.video.clip import Clip
from monitor.vocabulary import Posture
from monitor.watch.classifier_duty import ClassifierDuty
from monitor.watch.confinement import resident_bytes
from monitor.watch.settings import WatchSettings

MODEL = "violent-motion"
WARM_UP = 50


def main() -> None:
    """Measure and print, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--be", choices=["own", "shared"])
    parser.add_argument("--address")
    options = parser.parse_args()
    if options.be == "own":
        print(json.dumps(_own(options.clips)))
    elif options.be == "shared":
        print(json.dumps(_shared(options.clips, options.address)))
    else:
        _measure(options.clips)


def _measure(clips: int) -> None:
    own = _run("own", clips)
    shared = asyncio.run(_with_classifier(clips))
    print(f"loading the model: {own['memory_mib']:.1f} MiB resident, its session {own['session_mib']:.1f} MiB of them")
    for name, figures in (("own", own), ("shared", shared)):
        wall_ms = figures["wall_ms"]
        print(
            f"{name}: {figures['cpu_ms']:.2f} ms of processor time per clip; "
            f"scores after {wall_ms[0]:.2f} ms (5 %), {wall_ms[1]:.2f} ms (median), {wall_ms[2]:.2f} ms (95 %)"
        )


async def _with_classifier(clips: int) -> dict[str, Any]:
    duty = ClassifierDuty(SystemClock(), lambda fault: print(fault, file=sys.stderr))
    settings = duty.prepare(WatchSettings(model=MODEL, classifier="shared", log_level="error"))
    running = asyncio.create_task(duty.run())
    try:
        while duty.pid is None or not duty.ready:  # noqa: ASYNC110 - the duty tells nobody when it is ready
            await asyncio.sleep(0.05)
        before_s = _cpu_s(duty.pid)
        figures = await asyncio.to_thread(_run, "shared", clips, f"--address={settings.classifier_address}")
        figures["cpu_ms"] += (_cpu_s(duty.pid) - before_s) * 1000 / (clips + WARM_UP)
        return figures
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        duty.close()


def _run(be: str, clips: int, *more: str) -> dict[str, Any]:
    command = [sys.executable, __file__, f"--be={be}", f"--clips={clips}", *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _own(clips: int) -> dict[str, Any]:
    import cv2  # noqa: PLC0415, F401 - what every watcher has loaded anyway is not the model's

    before = resident_bytes()
    from monitor.classify.onnx_classifier import OnnxClassifier  # noqa: PLC0415 - its import is part of what is measured

    package = load_package(find_package(MODEL))
    imported = resident_bytes()
    classifier = OnnxClassifier(package)
    loaded = resident_bytes()
    figures = _score(classifier, clips)
    return {**figures, "memory_mib": (loaded - before) / 2**20, "session_mib": (loaded - imported) / 2**20}


def _shared(clips: int, address: str) -> dict[str, Any]:
    manifest, _ = read_manifest(find_package(MODEL))
    parent = os.getppid()
    client = SharedClassifier(manifest, None, address, is_trusted=lambda one: peers.belongs_to(one, parent))
    return _score(client, clips)


def _score(classifier: Classifier, clips: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    spec = classifier.clip_spec
    shape = (spec.frames, spec.height, spec.width, 3)
    some = [rng.integers(0, 256, shape, np.uint8) for _ in range(16)]
    times_s = tuple(index * spec.spacing_s for index in range(spec.frames))
    made = [Clip(frames, times_s, 0.0, Posture.CALM, spacing_honoured=True) for frames in some]
    for index in range(WARM_UP):
        classifier.classify([made[index % 16]])
    began_cpu_s = time.process_time()
    waits_ms = [_timed(lambda index=index: classifier.classify([made[index % 16]])) for index in range(clips)]  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
    cpu_ms = (time.process_time() - began_cpu_s) * 1000 / clips
    return {"cpu_ms": cpu_ms, "wall_ms": np.percentile(waits_ms, [5, 50, 95]).tolist()}


def _timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return (time.perf_counter() - began_s) * 1000


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

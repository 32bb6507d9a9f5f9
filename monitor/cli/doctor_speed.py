"""How fast this machine runs the model, and for how many streams that does."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from monitor.cli.doctor_finding import Finding, Grade

if TYPE_CHECKING:
    from monitor.config.loading import LoadedConfig

_MEASURE_S: Final = 1.0
_KEYFRAME_EVERY_S: Final = 2.0
"""What most encoders of live video are set to: calm posture scores a clip at each keyframe."""
_DECODING_CORES: Final = 0.020
"""What calm posture takes besides the model for a stream of 720p30, in core seconds per second (docs/performance.md)."""
_FULL: Final = 1.0
_NEARLY_FULL: Final = 0.7


def model(loaded: LoadedConfig, streams: int) -> Iterator[Finding]:
    """Say which providers there are, and whether this machine keeps up with `streams` (0: nobody knows how many).

    The model has been checked before.
    """
    import onnxruntime  # noqa: PLC0415 - takes a while

    from monitor.classify.provider import PROVIDERS  # noqa: PLC0415 - imports it
    from monitor.daemon.model import chosen_package  # noqa: PLC0415

    watch = loaded.config.watch
    there = [name for name, own in PROVIDERS.items() if own in onnxruntime.get_available_providers()]
    package = chosen_package(loaded)
    if package.manifest.remote is not None:
        yield Finding(Grade.OK, "model", f"{package.name}, on its inference server")
        return
    yield Finding(
        Grade.OK,
        "model",
        f"{package.name} runs, its self-test included, by {watch.provider} (there are: {', '.join(there)})",
    )
    clip_s = seconds_per_clip(loaded)
    cores = watch.watchers or len(os.sched_getaffinity(0))
    yield judged(clip_s, cores=cores, streams=streams)


def seconds_per_clip(loaded: LoadedConfig) -> float:
    """Return what one clip takes of a core, in seconds; measured for about a second, one clip at a time.

    It is processor time, so that other work does not count; with another provider than ``cpu`` it is time as it passes.
    """
    from monitor.classify.onnx_classifier import OnnxClassifier  # noqa: PLC0415 - imports onnxruntime
    from monitor.classify.self_test import stored_clips  # noqa: PLC0415
    from monitor.daemon.model import chosen_package  # noqa: PLC0415

    package = chosen_package(loaded)
    classifier = OnnxClassifier.untested(package, loaded.config.watch.provider)
    clips, _ = stored_clips(package)
    classifier.classify(clips[:1])
    now_s = time.process_time if loaded.config.watch.provider == "cpu" else time.perf_counter
    scored, began_s = 0, now_s()
    while (took_s := now_s() - began_s) < _MEASURE_S:
        classifier.classify([clips[scored % len(clips)]])
        scored += 1
    return took_s / scored


def judged(clip_s: float, *, cores: int, streams: int) -> Finding:
    """Return what such a speed means.

    Args:
        clip_s: Time for one clip, in seconds.
        cores: How many watchers share the work, one on each core.
        streams: How many streams there are; 0 if nobody knows.
    """
    each = clip_s / _KEYFRAME_EVERY_S + _DECODING_CORES
    most = math.floor(cores / each)
    speed = f"a clip takes {1000 * clip_s:.1f} ms; about {most} calm streams of 720p30 fill {cores} cores"
    load = streams * each / cores
    if streams == 0:
        return Finding(Grade.OK, "speed", speed)
    what = f"{speed}; {streams} take {load:.0%}"
    if load >= _FULL:
        return Finding(
            Grade.WRONG,
            "speed",
            what,
            "add cores, watch fewer streams here, or take a smaller model or another provider",
        )
    if load >= _NEARLY_FULL:
        return Finding(
            Grade.WARNING, "speed", what, "little is left for streams that must be watched closely; add cores"
        )
    return Finding(Grade.OK, "speed", what)

"""The shared classifier: ``python -m monitor.watch.classifier_process``, started by the daemon and by nobody else.

It speaks to the daemon as a watcher does: ready once its model is loaded and tested, pongs while it lives, a fault before
it gives up. Watchers reach it by a socket that the daemon listens on and hands over. It ends when standard input ends,
when its parent dies, or after a fault that it has reported.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, NoReturn

import numpy as np
import structlog

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.classify.preparation import feeds_of
from monitor.classify.self_test import stored_clips
from monitor.classify.shared import peers
from monitor.classify.shared.server import ClassifierServer
from monitor.classify.shared.slots import SlotLayout
from monitor.errors import ClassifierError, LivecordonError, WatcherError
from monitor.watch import confinement
from monitor.watch.framing import decode_downward, read_frame
from monitor.watch.messages import Ping, Pong, Ready, WatcherFault, WatcherStats
from monitor.watch.process import (
    EXIT_DONE,
    EXIT_FAULT,
    EXIT_SEAM,
    EXIT_UNUSABLE_MODEL,
    SeamWriter,
    begin,
    parse_options,
)
from monitor.watch.settings import MAX_BATCH, MAX_FILL_S

log = structlog.get_logger()

_HUNG_S = 10.0
"""A batch that runs longer, in seconds, will not come back."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the shared classifier until it is no longer needed; never returns."""
    options = parse_options("monitor.watch.classifier_process", __doc__, arguments)
    seam_in, writer = begin(options)
    # Every watcher's clips pass through here; no watcher may look.
    confinement.forbid_inspection()
    os._exit(_run(options, seam_in, writer))


def _run(options: argparse.Namespace, seam_in: BinaryIO, writer: SeamWriter) -> int:
    batch, fill_s = max(1, min(options.batch, MAX_BATCH)), max(0.0, min(options.fill_s, MAX_FILL_S))
    try:
        package = load_package(find_package(options.model, options.models_dir), options.model_variant)
        classifier = OnnxClassifier(package, options.provider)
        if classifier.provider != "cpu":
            _warm_up(classifier, package, batch)
    except LivecordonError as error:
        log.error("classifier_unusable", reason=error.reason)  # noqa: TRY400 - a mistake in a file needs no traceback
        writer.send(WatcherFault(reason=error.reason, detail=str(error)[:2000]))
        return EXIT_UNUSABLE_MODEL

    def fail(reason: str, detail: str) -> NoReturn:
        writer.send(WatcherFault(reason=reason, detail=detail))
        os._exit(EXIT_FAULT)

    server = ClassifierServer(
        scorer=classifier,
        layout=SlotLayout.of(package.manifest, package.variant, MAX_BATCH),
        listener=socket.socket(fileno=options.classifier_listener),
        admit=lambda connection: peers.child_of(connection, options.parent_pid),
        is_sound=_probe(classifier, package),
        on_fault=fail,
        batch=batch,
        fill_s=fill_s,
    )
    server.start()
    writer.send(Ready(model=classifier.name, labels=classifier.labels, provider=classifier.provider))
    try:
        while (body := read_frame(seam_in)) is not None:
            if not isinstance(message := decode_downward(body), Ping):
                continue
            if server.running_for_s() > _HUNG_S:
                fail("classifier_hung", "a batch did not come back from the model")
            writer.send(Pong(number=message.number, progress=server.clips_scored, stats=_stats(server)))
    except WatcherError as error:
        log.error("seam_broken", reason=error.reason)  # noqa: TRY400 - the frame's content is nobody's business
        return EXIT_SEAM
    return EXIT_DONE


def _warm_up(classifier: OnnxClassifier, package: ModelPackage, batch: int) -> None:
    """Run every size of batch once: accelerators choose and compile their code when they first see a shape."""
    clips, _ = stored_clips(package)
    for size in range(1, batch + 1):
        classifier.classify([clips[index % len(clips)] for index in range(size)])


def _probe(classifier: OnnxClassifier, package: ModelPackage) -> Callable[[], bool]:
    """Return a question: does a stored clip still get its stored scores?"""
    clips, wanted = stored_clips(package)
    feeds = feeds_of(package.manifest, clips[:1])

    def is_sound() -> bool:
        try:
            scores = classifier.score_prepared(feeds, 1)
        except ClassifierError:
            return False
        return float(np.abs(scores - wanted[:1]).max()) <= package.tolerance

    return is_sound


def _stats(server: ClassifierServer) -> WatcherStats:
    return WatcherStats(
        clips_scored=server.clips_scored,
        clips_dropped={},
        decode_cpu_s=0.0,
        inference_s=server.inference_s,
        resident_bytes=confinement.resident_bytes(),
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""The watcher process: ``python -m monitor.watch.watcher``, started by the supervisor and by nobody else.

Standard input and output carry the seam's messages, standard error carries log lines as JSON. The process ends when
standard input ends, when its parent dies, or after a fault that it has reported.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import cv2
import structlog

from monitor.classify.adaptation import FedFrom, why_clips_do_not_do
from monitor.classify.package import ModelPackage, find_package, load_package, read_manifest
from monitor.classify.shared import peers
from monitor.classify.shared.client import SharedClassifier
from monitor.errors import ClassifierError, LivecordonError, WatcherError
from monitor.video.clip import ClipSpec
from monitor.video.source import VideoSource
from monitor.watch import confinement
from monitor.watch.engine import Engine, EngineSettings
from monitor.watch.framing import decode_downward, read_frame
from monitor.watch.messages import Downward, Ping, Ready, WatcherFault
from monitor.watch.process import (
    EXIT_DONE,
    EXIT_FAULT,
    EXIT_SEAM,
    EXIT_UNUSABLE_MODEL,
    SeamWriter,
    begin,
    parse_options,
)
from monitor.watch.shadow import ShadowModel
from monitor.watch.spool import Spool
from monitor.watch.users import confine

if TYPE_CHECKING:
    from monitor.classify.kserve_guard import GuardedClassifier
    from monitor.classify.onnx_classifier import OnnxClassifier

log = structlog.get_logger()

_CLASSIFIER_PATIENCE_S = 10.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one watcher until it is no longer needed; never returns."""
    options = parse_options("monitor.watch.watcher", __doc__, arguments)
    seam_in, writer = begin(options)
    # One stream thread or the inference thread works at a time; OpenCV's own pool would only fight them.
    cv2.setNumThreads(1)
    os._exit(_run(options, seam_in, writer))


def _run(options: argparse.Namespace, seam_in: BinaryIO, writer: SeamWriter) -> int:
    try:
        classifier = _classifier(options)
    except LivecordonError as error:
        log.error("classifier_unusable", reason=error.reason)  # noqa: TRY400 - a mistake in a file needs no traceback
        writer.send(WatcherFault(reason=error.reason, detail=str(error)[:2000]))
        return EXIT_UNUSABLE_MODEL
    shadow, shadow_trouble = _shadow(options, classifier.clip_spec)
    try:
        spool_folder = confine(
            user_name=options.run_as_user,
            refuse_system_calls=options.refuse_system_calls == "yes",
            spool=options.spool,
            parent_pid=options.parent_pid,
        )
    except (WatcherError, OSError) as error:
        log.error("watcher_not_confined", error=type(error).__name__)  # noqa: TRY400 - says it all
        writer.send(WatcherFault(reason="not_confined", detail=type(error).__name__))
        return EXIT_UNUSABLE_MODEL
    settings = EngineSettings(
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
        decode_slots=options.decode_slots,
        nice=options.nice,
        batch=options.batch,
        fill_s=options.fill_s,
    )
    spool = None
    if spool_folder is not None:
        spool = Spool(
            spool_folder, options.ring_bytes, on_thread=lambda: _go_last(options.nice), known_as=options.spool
        )
    engine = Engine(
        classifier,
        settings,
        VideoSource.open,
        writer.send,
        fail=_exit_after_fault,
        spool=spool,
        shadow=shadow,
        shadow_trouble=shadow_trouble,
    )
    engine.start()
    writer.send(
        Ready(
            model=classifier.name,
            labels=classifier.labels,
            provider=classifier.provider,
            shadow="" if shadow is None else shadow.classifier.name,
            shadow_labels=() if shadow is None else shadow.classifier.labels,
        )
    )
    orders: SimpleQueue[Downward] = SimpleQueue()
    threading.Thread(target=_obey, args=(engine, orders), name="orders", daemon=True).start()
    try:
        while (body := read_frame(seam_in)) is not None:
            message = decode_downward(body)
            if isinstance(message, Ping):
                # Starting a hundred streams on a busy machine takes seconds, in which this process is not dead.
                engine.handle(message)
            else:
                orders.put(message)
    except WatcherError as error:
        log.error("seam_broken", reason=error.reason)  # noqa: TRY400 - the frame's content is nobody's business
        return EXIT_SEAM
    # Threads may sit in the network for seconds; the kernel closes their connections faster than they can.
    return EXIT_DONE


def _classifier(options: argparse.Namespace) -> OnnxClassifier | SharedClassifier | GuardedClassifier:
    """Return a classifier that works: this process's own, or the daemon's, for which it waits as long as that takes."""
    folder = find_package(options.model, options.models_dir)
    if options.classifier_address is None:
        # Who has clips scored elsewhere has no use for the 40 MiB of this library.
        from monitor.classify.onnx_classifier import OnnxClassifier  # noqa: PLC0415 - see above

        package = load_package(folder, options.model_variant)
        return (
            OnnxClassifier(package, options.provider) if package.manifest.remote is None else _remote(package, options)
        )
    # Other watchers' clips lie in memory of processes of this same user.
    confinement.forbid_inspection()
    manifest, _ = read_manifest(folder)
    shared = SharedClassifier(
        manifest,
        options.model_variant,
        options.classifier_address,
        is_trusted=lambda connection: peers.belongs_to(connection, options.parent_pid),
    )
    while not shared.wait_until_there(_CLASSIFIER_PATIENCE_S):
        log.warning("waiting_for_classifier")
    return shared


def _shadow(options: argparse.Namespace, clip_spec: ClipSpec) -> tuple[ShadowModel | None, str]:
    """Return the model beside the acting one, if there is to be one; else why it cannot be used. Never raises."""
    if options.shadow_model is None:
        return None, ""
    # Only who needs it pays for it.
    from monitor.classify.onnx_classifier import OnnxClassifier  # noqa: PLC0415 - see above

    try:
        package = load_package(find_package(options.shadow_model, options.models_dir))
        classifier = FedFrom(OnnxClassifier(package, options.provider), clip_spec)
    except Exception as error:
        # Whatever it is: streams are watched without it.
        log.exception("shadow_unusable", error=type(error).__name__)
        return None, error.reason if isinstance(error, LivecordonError) else ClassifierError.reason
    if what := why_clips_do_not_do(classifier.name, package.clip_spec, clip_spec):
        log.error("shadow_unusable", problem=what)
        return None, "clips_do_not_do"
    return ShadowModel(classifier, options.shadow_share), ""


def _obey(engine: Engine, orders: SimpleQueue[Downward]) -> NoReturn:
    try:
        while True:
            engine.handle(orders.get())
    except Exception as error:
        log.exception("order_failed", error=type(error).__name__)
        os._exit(EXIT_FAULT)


def _remote(package: ModelPackage, options: argparse.Namespace) -> GuardedClassifier:
    """Return the classifier of a model on an inference server; raises as `remote_classifier` does."""
    # Only who needs it pays for it.
    from monitor.classify.kserve_guard import remote_classifier  # noqa: PLC0415 - see above
    from monitor.classify.remote import take_from  # noqa: PLC0415 - as above

    settings = take_from(os.environ)
    if settings is None:
        raise ClassifierError(f"{package.name} is on an inference server, and nothing says where")
    return remote_classifier(package, settings, options.provider, options.models_dir)


def _go_last(nice: int) -> None:
    confinement.lower_thread_priority(nice, threading.get_native_id())


def _exit_after_fault() -> NoReturn:
    os._exit(EXIT_FAULT)


if __name__ == "__main__":
    main(sys.argv[1:])

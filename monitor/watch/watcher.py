"""The watcher process: ``python -m monitor.watch.watcher``, started by the supervisor and by nobody else.

Standard input and output carry the seam's messages, standard error carries log lines as JSON. The process ends when
standard input ends, when its parent dies, or after a fault that it has reported.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import cv2
import structlog

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.errors import ClassifierError, LivecordonError, WatcherError
from monitor.logs import configure_logging
from monitor.video.source import VideoSource
from monitor.watch import confinement
from monitor.watch.engine import Engine, EngineSettings
from monitor.watch.framing import decode_downward, encode_frame, read_frame
from monitor.watch.messages import Downward, Message, Ping, Ready, WatcherFault
from monitor.watch.settings import MAX_BATCH, MAX_FILL_S
from monitor.watch.spool import Spool
from monitor.watch.users import confine

if TYPE_CHECKING:
    from monitor.classify.kserve_guard import GuardedClassifier

log = structlog.get_logger()

EXIT_DONE = 0
EXIT_UNUSABLE_MODEL = 2
EXIT_FAULT = 3
EXIT_SEAM = 4


class SeamWriter:
    """Writes frames to the daemon, one at a time whatever thread they come from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Write `message` as one frame, waiting for the daemon to read; ends the process when nobody will."""
        frame = memoryview(encode_frame(message))
        with self._lock:
            try:
                while frame:
                    frame = frame[os.write(self._descriptor, frame) :]
            except OSError:
                os._exit(EXIT_DONE)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one watcher until it is no longer needed; never returns."""
    options = _options(arguments)
    # A service manager signals every process of the service: the daemon still needs its watchers while it shuts down,
    # and ends them itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.parent_pid:
        confinement.die_with_parent(options.parent_pid)
    confinement.forbid_new_privileges()
    confinement.forbid_core_dumps()
    confinement.limit_address_space(options.address_space_bytes)
    seam_in, seam_out = _claim_pipes()
    # The thread that crashed; all of them would be more lines than the daemon repeats, its own among the last.
    faulthandler.enable(all_threads=False)
    configure_logging(options.log_level, "json")
    # One stream thread or the inference thread works at a time; OpenCV's own pool would only fight them.
    cv2.setNumThreads(1)
    os._exit(_run(options, seam_in, SeamWriter(seam_out)))


def _run(options: argparse.Namespace, seam_in: BinaryIO, writer: SeamWriter) -> int:
    try:
        package = load_package(find_package(options.model, options.models_dir))
        classifier = (
            OnnxClassifier(package, options.provider) if package.manifest.remote is None else _remote(package, options)
        )
    except LivecordonError as error:
        log.error("classifier_unusable", reason=error.reason)  # noqa: TRY400 - a mistake in a file needs no traceback
        writer.send(WatcherFault(reason=error.reason, detail=str(error)[:2000]))
        return EXIT_UNUSABLE_MODEL
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
    engine = Engine(classifier, settings, VideoSource.open, writer.send, fail=_exit_after_fault, spool=spool)
    engine.start()
    writer.send(Ready(model=classifier.name, labels=classifier.labels, provider=classifier.provider))
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


def _claim_pipes() -> tuple[BinaryIO, int]:
    """Take standard input and output for the seam, so that no library can print into it or read from it."""
    seam_in = os.fdopen(os.dup(0), "rb")
    seam_out = os.dup(1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return seam_in, seam_out


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="monitor.watch.watcher", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--open-timeout-s", type=float, default=10.0)
    parser.add_argument("--read-timeout-s", type=float, default=5.0)
    parser.add_argument("--decode-slots", type=int, default=1)
    parser.add_argument("--nice", type=int, default=4)
    parser.add_argument("--batch", type=int, default=MAX_BATCH)
    parser.add_argument("--fill-s", type=float, default=MAX_FILL_S)
    parser.add_argument("--address-space-bytes", type=int, default=0)
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--ring-bytes", type=int, default=24 * 1024 * 1024)
    parser.add_argument("--run-as-user")
    parser.add_argument("--refuse-system-calls", choices=["yes", "no"], default="yes")
    parser.add_argument("--parent-pid", type=int, default=0)
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])

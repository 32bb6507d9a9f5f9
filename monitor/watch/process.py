"""What the daemon's child processes have in common: how they begin, and their end of the seam."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from monitor.logs import configure_logging
from monitor.watch import confinement
from monitor.watch.framing import encode_frame
from monitor.watch.messages import Message
from monitor.watch.settings import MAX_BATCH, MAX_FILL_S

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


def begin(options: argparse.Namespace) -> tuple[BinaryIO, SeamWriter]:
    """Give up what this process has no need of, and return its two ends of the seam."""
    # A service manager signals every process of the service: the daemon still needs its children while it shuts down,
    # and ends them itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.parent_pid:
        confinement.die_with_parent(options.parent_pid)
    confinement.forbid_new_privileges()
    confinement.forbid_core_dumps()
    confinement.limit_address_space(options.address_space_bytes)
    seam_in, seam_out = claim_pipes()
    # The thread that crashed; all of them would be more lines than the daemon repeats, its own among the last.
    faulthandler.enable(all_threads=False)
    configure_logging(options.log_level, "json")
    return seam_in, SeamWriter(seam_out)


def claim_pipes() -> tuple[BinaryIO, int]:
    """Take standard input and output for the seam, so that no library can print into it or read from it."""
    seam_in = os.fdopen(os.dup(0), "rb")
    seam_out = os.dup(1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return seam_in, seam_out


def parse_options(program: str, description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what `WatchSettings.arguments` says; both programs take all of it, each uses its part."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--model", required=True)
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--model-variant")
    parser.add_argument("--shadow-model")
    parser.add_argument("--shadow-share", type=float, default=1.0)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--classifier-address")
    parser.add_argument("--classifier-listener", type=int)
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

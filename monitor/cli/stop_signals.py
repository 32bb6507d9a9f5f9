"""SIGTERM and Ctrl-C: the first asks, the second forces."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    """Call `stop` at the first SIGTERM or SIGINT; from then on either ends the process at once, as the kernel would.

    That is as safe as a crash: what was decided is in the store, and watchers end with their parent.
    """

    def first() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            # Even if the event loop hangs.
            signal.signal(number, signal.SIG_DFL)
        stop()

    for number in _SIGNALS:
        loop.add_signal_handler(number, first)

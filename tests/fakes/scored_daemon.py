"""The real daemon in a process of its own, except that its watchers read no video: every stream scores high at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from monitor.config.loading import load_config  # noqa: E402 - the path comes first
from monitor.daemon.daemon import Daemon  # noqa: E402
from monitor.daemon.parts import build_parts  # noqa: E402
from monitor.logs import configure_logging  # noqa: E402
from monitor.watch.messages import Assign, Observation  # noqa: E402
from tests.fakes import fake_watcher  # noqa: E402


def watch() -> int:
    """Be a watcher that sees violence everywhere."""
    observation = fake_watcher._observation

    def violent(stream: Assign) -> Observation:
        return observation(stream, (0.99, 0.0))

    fake_watcher._observation = violent  # type: ignore[assignment] # the same with another default
    fake_watcher._behaviour = lambda stream: "ok"
    return fake_watcher.main()


async def run(config: Path) -> None:
    loaded = load_config(config, os.environ)
    configure_logging("info", "json")
    parts = build_parts(loaded, os.environ)
    command = (sys.executable, "-P", __file__, "watch")
    parts = replace(parts, watch=replace(parts.watch, watchers=1, spares=0, command=command))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Daemon(parts).run(stop)


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        del sys.argv[1]
        sys.exit(watch())
    asyncio.run(run(Path(sys.argv[1])))

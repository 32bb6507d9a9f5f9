"""The real daemon in a process of its own, whose watchers play recorded scores of past hours within seconds.

``replaying_daemon.py CONFIG SCORES``: a JSON list of scores, one every nine seconds, the last of them half an hour ago; every
stream shows all of them, once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
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

EVERY_S, LAST_AGO_S, PACE_S = 9.0, 1800.0, 0.0125


def watch(scores: Path) -> int:
    recorded: list[float] = json.loads(scores.read_text())

    def play(stream: Assign) -> None:
        began_at = time.time() - LAST_AGO_S - EVERY_S * len(recorded)
        for number, score in enumerate(recorded):
            at = began_at + EVERY_S * number
            fake_watcher._send(
                Observation(stream.stream_id, 0.0, 1.0, at, at, (score, 0.0), stream.posture, spacing_honoured=True)
            )
            fake_watcher._state["progress"] += 1
            # Slow enough not to be taken for a flood.
            time.sleep(PACE_S)

    def begin(stream: Assign) -> None:
        fake_watcher._ok(stream)
        threading.Thread(target=play, args=(stream,), daemon=True).start()

    fake_watcher._BEHAVIOURS["replay"] = begin
    fake_watcher._behaviour = lambda stream: "replay"
    return fake_watcher.main()


async def run(config: Path, scores: Path) -> None:
    loaded = load_config(config, os.environ)
    configure_logging("info", "json")
    parts = build_parts(loaded, os.environ)
    command = (sys.executable, "-P", __file__, "watch", str(scores))
    parts = replace(parts, watch=replace(parts.watch, watchers=1, spares=0, command=command))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Daemon(parts).run(stop)


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        recorded_scores = Path(sys.argv.pop(2))
        del sys.argv[1]
        sys.exit(watch(recorded_scores))
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2])))

"""Publishes a recorded loop many times over, in real time and without encoding: ``python -m monitor.bench.publishing``.

Each publication starts elsewhere in the group of pictures, as strangers' streams do; else all keyframes would come at
once. Prints one line when all are under way, and goes on until standard input ends.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import av

from monitor.bench.footage import GOP_S, decode_s, packets


def publish(loop: Path, loop_s: int, url: str, begin_at_s: float, under_way: threading.Semaphore) -> None:
    """Publish `loop` for ever.

    Args:
        loop: As `monitor.bench.footage.make_loops` made it.
        loop_s: Its length in seconds.
        url: Where to.
        begin_at_s: When, on the monotonic clock.
        under_way: Released when the first packet has gone out.
    """
    time.sleep(max(0.0, begin_at_s - time.monotonic()))
    with av.open(str(loop)) as source, av.open(url, "w", format="flv") as sink:
        streams = [sink.add_stream_from_template(stream) for stream in source.streams]
        begun = False
        for packet in packets(loop, loop_s):
            time.sleep(max(0.0, begin_at_s + decode_s(packet) - time.monotonic()))
            packet.stream = streams[packet.stream_index]
            sink.mux(packet)
            if not begun:
                begun = True
                under_way.release()


def main() -> None:
    """Publish to ``URL-0`` … ``URL-(n-1)``; arguments: the loop's file, its length in seconds, URL, n."""
    loop, loop_s, base, count = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    under_way = threading.Semaphore(0)
    begin_at_s = time.monotonic()
    for number in range(count):
        threading.Thread(
            target=publish,
            args=(loop, loop_s, f"{base}-{number}", begin_at_s + number * GOP_S / count, under_way),
            daemon=True,
        ).start()
    for _ in range(count):
        under_way.acquire()
    print("under way", flush=True)  # noqa: T201 - its one word to whoever started it
    sys.stdin.read()


if __name__ == "__main__":
    main()

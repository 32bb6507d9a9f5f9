"""Publishes generated footage in real time, as an encoder would: MPEG-TS over HTTP, or FLV over RTMP.

Run as ``python -m monitor.demo.publisher ADDRESS --seed N [--calm-s S]``. Exit status 0 when stopped, 3 when the media
server refuses the publication, 4 when it ends one that was under way.
"""

from __future__ import annotations

import http.client
import select
import socket
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import av
import av.error
import click

from monitor.demo.footage import FRAME_RATE, HEIGHT, WIDTH, frames

EXIT_REFUSED = 3
EXIT_CUT_OFF = 4

_GOP_FRAMES = 2 * FRAME_RATE
_ANSWER_TIMEOUT_S = 5.0


class PublicationEnded(Exception):
    """The media server refused the publication or ended it; `status` is its HTTP status, or None if it just hung up."""

    def __init__(self, status: int | None) -> None:
        super().__init__("the media server ended the publication")
        self.status = status


class HttpUpload:
    """A file object that sends what is written as one chunked HTTP POST and notices an early answer."""

    def __init__(self, url: str) -> None:
        """Connect and send the request's head.

        Raises:
            OSError: nobody listens there.
        """
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_ANSWER_TIMEOUT_S)
        self._connection.connect()
        self._socket: socket.socket = self._connection.sock
        self._connection.putrequest("POST", parts.path)
        self._connection.putheader("Content-Type", "video/mp2t")
        self._connection.putheader("Transfer-Encoding", "chunked")
        self._connection.endheaders()

    def write(self, data: bytes) -> int:
        """Send one chunk.

        Raises:
            PublicationEnded: the server has answered or hung up.
        """
        readable, _, _ = select.select([self._socket], [], [], 0)
        if readable:
            raise PublicationEnded(self._status())
        try:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        except OSError:
            raise PublicationEnded(self._status()) from None
        return len(data)

    def _status(self) -> int | None:
        try:
            return self._connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def publish(address: str, *, seed: int, calm_s: float | None) -> int:
    """Publish until stopped or ended by the media server; returns the exit status."""
    is_http = address.startswith("http://")
    began_s = time.monotonic()
    try:
        sink: Any = HttpUpload(address) if is_http else address
        container = av.open(sink, "w", format="mpegts" if is_http else "flv")
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(_GOP_FRAMES)}
        for number, picture in enumerate(frames(seed=seed, calm_s=calm_s)):
            time.sleep(max(0.0, began_s + number / FRAME_RATE - time.monotonic()))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    except PublicationEnded as ended:
        refused = ended.status in (http.client.FORBIDDEN, http.client.CONFLICT)
        return EXIT_REFUSED if refused else EXIT_CUT_OFF
    except (av.error.FFmpegError, OSError):
        # RTMP tells no reason: a publication that never got going was refused.
        return EXIT_REFUSED if time.monotonic() - began_s < _ANSWER_TIMEOUT_S else EXIT_CUT_OFF
    return 0


@click.command()
@click.argument("address")
@click.option("--seed", type=int, default=1, show_default=True, help="Which footage.")
@click.option("--calm-s", type=float, help="Seconds of calm before the brawl; calm for ever by default.")
def main(*, address: str, seed: int, calm_s: float | None) -> None:
    """Publish generated footage to ADDRESS (http://… or rtmp://…) in real time."""
    sys.exit(publish(address, seed=seed, calm_s=calm_s))


if __name__ == "__main__":
    main()

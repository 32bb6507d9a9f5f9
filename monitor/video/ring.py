"""The last minute of compressed video, kept as evidence and remuxed without re-encoding."""

from __future__ import annotations

from av.packet import Packet
from av.video.stream import VideoStream


class PacketRing:
    """Keeps the newest compressed video packets of one stream. Thread-safe."""

    def __init__(self, *, max_bytes: int, max_age_s: float = 60.0) -> None:
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s

    def add(self, packet: Packet[VideoStream]) -> None:
        """Keep `packet`, which must follow the ones before on one line of stream time."""

    def remux(self) -> bytes:
        """Return a playable file of what is kept, starting at a keyframe; empty where there is nothing to play."""
        raise NotImplementedError

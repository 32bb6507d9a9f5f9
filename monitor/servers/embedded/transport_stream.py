"""As much of MPEG-TS (ISO/IEC 13818-1) as it takes to let a viewer join a running stream at a keyframe."""

from __future__ import annotations

import time
from collections.abc import Callable

PACKET_BYTES = 188
_SYNC = 0x47
_PAT_PID = 0
# Video stream types: MPEG-1, MPEG-2, MPEG-4 part 2, H.264, HEVC.
_VIDEO_TYPES = frozenset({0x01, 0x02, 0x10, 0x1B, 0x24})
_MAX_BYTES_WITHOUT_SYNC = 64 * 1024
_VIDEO_GONE_AFTER_S = 5.0
# In random bytes every 256th looks like a packet's first; three of them at the right distance do not come by chance.
_CONFIRMED_AT = tuple(number * PACKET_BYTES for number in range(3))


class NoTransportStream(ValueError):
    """What comes in is no MPEG-TS."""


class JoinBuffer:
    """Cuts a byte stream into packets and keeps what a new viewer has to be given first.

    Args:
        limit_bytes: Most that is kept since the last keyframe; a longer group of pictures is not kept at all, and its
            viewers start with the next packet.
        monotonic_s: The clock.
    """

    def __init__(self, *, limit_bytes: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._limit_bytes = limit_bytes
        self._monotonic_s = monotonic_s
        self._video_at_s = 0.0
        self._rest = b""
        self._in_step = True
        self._without_sync_bytes = 0
        self._pat = b""
        self._pmt = b""
        self._pmt_pid: int | None = None
        self._video_pids: frozenset[int] = frozenset()
        self._since_keyframe: list[bytes] = []
        self._kept_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return the whole packets that they complete.

        Raises:
            NoTransportStream: no packets in the last 64 KiB.
        """
        data = self._rest + data
        position = 0
        whole: list[bytes] = []
        while True:
            start = position
            if self._in_step:
                while position + PACKET_BYTES <= len(data) and data[position] == _SYNC:
                    position += PACKET_BYTES
                whole.append(data[start:position])
                if position == len(data) or data[position] == _SYNC:
                    break
            position = self._find_step(data, position)
            if not self._in_step:
                break
        self._rest = data[position:]
        packets = b"".join(whole)
        if packets:
            self._without_sync_bytes = 0
        for offset in range(0, len(packets), PACKET_BYTES):
            self._look_at(packets[offset : offset + PACKET_BYTES])
        return packets

    def for_new_viewer(self) -> bytes:
        """Return the programme tables and everything since the last keyframe, or nothing if none is kept.

        Nothing either while no video comes: who opened the stream again and again would see the same old pictures each time, and
        take them for live.
        """
        if not self._since_keyframe or self._monotonic_s() - self._video_at_s > _VIDEO_GONE_AFTER_S:
            return b""
        return b"".join((self._pat, self._pmt, *self._since_keyframe))

    def _find_step(self, data: bytes, position: int) -> int:
        """Return where packets begin again, or, where that cannot be said yet, from where on to look next time."""
        self._in_step = False
        start = position
        while (position := data.find(_SYNC, position)) >= 0 and position + _CONFIRMED_AT[-1] < len(data):
            if all(data[position + offset] == _SYNC for offset in _CONFIRMED_AT):
                self._in_step = True
                break
            position += 1
        if position < 0:
            position = len(data)
        self._lost(position - start)
        return position

    def _lost(self, count: int) -> None:
        self._without_sync_bytes += count
        if self._without_sync_bytes > _MAX_BYTES_WITHOUT_SYNC:
            message = "no MPEG-TS packets in the last 64 KiB"
            raise NoTransportStream(message)

    def _look_at(self, packet: bytes) -> None:
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        starts_unit = bool(packet[1] & 0x40)
        if pid == _PAT_PID and starts_unit:
            self._pat = packet
            self._pmt_pid = _pmt_pid(_section(packet)) or self._pmt_pid
        elif pid == self._pmt_pid and starts_unit:
            self._pmt = packet
            self._video_pids = _video_pids(_section(packet))
        elif not self._video_pids or pid in self._video_pids:
            self._video_at_s = self._monotonic_s()
            # Of whichever video: where there are several, the first of them may be over.
            if starts_unit and _is_random_access(packet):
                self._since_keyframe = [packet]
                self._kept_bytes = PACKET_BYTES
                return
        if self._since_keyframe:
            self._since_keyframe.append(packet)
            self._kept_bytes += PACKET_BYTES
            if self._kept_bytes > self._limit_bytes:
                self._since_keyframe = []


def _payload_offset(packet: bytes) -> int:
    has_adaptation = packet[3] & 0x20
    return 4 + (1 + packet[4] if has_adaptation else 0)


def _is_random_access(packet: bytes) -> bool:
    return bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x40)


def _section(packet: bytes) -> bytes:
    """Return a table section that fits into one packet, without its checksum; empty if it does not."""
    payload = packet[_payload_offset(packet) :]
    if not payload:
        return b""
    section = payload[1 + payload[0] :]
    if len(section) < 3:
        return b""
    length = (section[1] & 0x0F) << 8 | section[2]
    return section[: max(0, 3 + length - 4)] if 3 + length <= len(section) else b""


def _pmt_pid(pat: bytes) -> int | None:
    for offset in range(8, len(pat) - 3, 4):
        programme = pat[offset] << 8 | pat[offset + 1]
        if programme:
            return (pat[offset + 2] & 0x1F) << 8 | pat[offset + 3]
    return None


def _video_pids(pmt: bytes) -> frozenset[int]:
    if len(pmt) < 12:
        return frozenset()
    found = set()
    offset = 12 + ((pmt[10] & 0x0F) << 8 | pmt[11])
    while offset + 5 <= len(pmt):
        if pmt[offset] in _VIDEO_TYPES:
            found.add((pmt[offset + 1] & 0x1F) << 8 | pmt[offset + 2])
        offset += 5 + ((pmt[offset + 3] & 0x0F) << 8 | pmt[offset + 4])
    return frozenset(found)

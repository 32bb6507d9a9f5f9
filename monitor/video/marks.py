"""What encoders write beside each picture about whether other pictures refer to it.

Containers could say so too, but FLV, which most live streams come in, does not. So the mark is read where the codec
puts it: in the header of the picture's first slice, one byte in H.264 and in HEVC.
"""

from __future__ import annotations

from typing import Final, Literal

Codec = Literal["h264", "hevc"]

_MOST_UNITS: Final = 32
"""Parameter sets and messages that may stand before a picture's first slice."""
_HEAD_BYTES: Final = 4096
"""Where start codes are searched: what stands before the first slice is short."""


class SliceMarks:
    """Reads the marks of one stream's pictures."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        """Prepare.

        Args:
            codec: FFmpeg's codec name; for others than ``h264`` and ``hevc`` nothing can be told.
            extradata: The decoder configuration that the container gave, if any: it says how units are delimited.
        """
        self._codec = codec
        self._length_bytes = _length_bytes(codec, extradata or b"")

    def is_disposable(self, data: memoryview) -> bool | None:
        """Return whether no other picture refers to this one; None where that cannot be told.

        Args:
            data: One whole picture, as the container stores it.
        """
        if self._codec not in ("h264", "hevc"):
            return None
        header = self._slice_in_lengths(data) if self._length_bytes else self._slice_in_start_codes(data)
        if header is None:
            return None
        if self._codec == "h264":
            return header & 0x60 == 0
        # HEVC numbers its kinds of slices in pairs, the even one for pictures that others of its layer do not use.
        return (header >> 1) & 1 == 0 and (header >> 1) & 0x3F < 16

    def _is_slice(self, header: int) -> bool:
        if self._codec == "h264":
            return header & 0x1F in (1, 2, 5)
        return (header >> 1) & 0x3F < 32

    def _slice_in_lengths(self, data: memoryview) -> int | None:
        at = 0
        for _ in range(_MOST_UNITS):
            begin = at + self._length_bytes
            if begin >= len(data):
                return None
            if self._is_slice(data[begin]):
                return data[begin]
            at = begin + int.from_bytes(data[at:begin], "big")
        return None

    def _slice_in_start_codes(self, data: memoryview) -> int | None:
        head = bytes(data[:_HEAD_BYTES])
        at = head.find(b"\0\0\1")
        while 0 <= at < len(head) - 3:
            if self._is_slice(head[at + 3]):
                return head[at + 3]
            at = head.find(b"\0\0\1", at + 3)
        return None


def _length_bytes(codec: str, extradata: bytes) -> int:
    """Return the size of the length before each unit, in bytes; 0 where start codes delimit them."""
    at = {"h264": 4, "hevc": 21}.get(codec, 0)
    # MP4 and FLV begin their configuration with version 1; anything else is parameter sets between start codes.
    return (extradata[at] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > at else 0

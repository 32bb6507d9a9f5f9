"""What the FFmpeg libraries that came with PyAV can decode on this machine."""

from __future__ import annotations

from typing import Final

from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.codec.hwaccel import hwdevices_available

DECODED: Final = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg")
"""Codecs that publishers send, the commonest first, by FFmpeg's names."""


def missing_decoders() -> tuple[str, ...]:
    """Return those of `DECODED` for which there is no decoder."""
    return tuple(name for name in DECODED if not _is_decoded(name))


def hardware_decoders() -> tuple[str, ...]:
    """Return the kinds of hardware decoding that the libraries know, such as ``cuda``; the machine may have none of it."""
    return tuple(hwdevices_available())


def _is_decoded(name: str) -> bool:
    try:
        Codec(name, "r")
    except UnknownCodecError:
        return False
    return True

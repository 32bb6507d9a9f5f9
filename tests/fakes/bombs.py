"""Video of a few kilobytes that says, or decodes to, pictures of hundreds of megabytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from tests.fakes.footage import Footage, film_bytes, ordinary_priority

_FRAME_RATE = 10
_START = b"\0\0\0\1"


class Bits:
    """A string of bits that is read from the left."""

    def __init__(self, data: bytes) -> None:
        self.left = "".join(f"{byte:08b}" for byte in data)

    def take(self, count: int) -> str:
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def exp_golomb(self) -> str:
        return self.take(2 * self.left.index("1") + 1)


def _exp_golomb(number: int) -> str:
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _escaped(unit: bytes) -> bytes:
    written = bytearray()
    for byte in unit:
        if byte <= 3 and written[-2:] == b"\0\0":
            written.append(3)
        written.append(byte)
    return bytes(written)


def _grown_parameters(unit: bytes, width: int, height: int) -> bytes:
    """Return an H.264 sequence parameter set of the baseline profile that speaks of other pictures, and 16 of them kept."""
    bits = Bits(unit.replace(b"\0\0\3", b"\0\0"))
    written = bits.take(24) + f"{62:08b}"
    bits.take(8)
    for _ in range(2):
        written += bits.exp_golomb()
    order = bits.exp_golomb()
    written += order
    if order == "1":
        written += bits.exp_golomb()
    elif order == "010":
        raise ValueError("a way to order pictures that x264 does not use")
    bits.exp_golomb()
    written += _exp_golomb(16) + bits.take(1)
    bits.exp_golomb()
    bits.exp_golomb()
    written += _exp_golomb(width // 16 - 1) + _exp_golomb(height // 16 - 1) + bits.left
    return _escaped(_packed(written))


def grown_h264(width: int, height: int, *, seconds: float = 8.0, gop_s: float | None = 0.5) -> bytes:
    """Return an H.264 stream whose pictures are 160 x 128, and said to be `width` x `height` (multiples of 16).

    It asks for sixteen pictures to be kept, which are by the end of a long group.
    """
    footage = Footage(
        duration_s=seconds, frame_rate=_FRAME_RATE, width=160, height=128, gop_s=gop_s, x264=(("profile", "baseline"),)
    )
    units = [unit for unit in film_bytes("h264", footage).replace(_START, b"\0\0\1").split(b"\0\0\1") if unit]
    grown = [_grown_parameters(unit, width, height) if unit[0] & 0x1F == 7 else unit for unit in units]
    return b"".join(_START + unit for unit in grown)


def grown_av1(width: int, height: int) -> bytes:
    """Return AV1 in Matroska whose sequence header says `width` x `height`."""

    def grow(data: bytes) -> bytes:
        return b"".join(_grown_unit(unit, width, height) for unit in _av1_units(data))

    return _remade("libsvtav1", grow, {"preset": "12", "svtav1-params": "lp=1"})


def _av1_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        head, size, shift = data[at], 0, 0
        at += 1 + (head >> 2 & 1)
        while True:
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        yield head, data[at : at + size]
        at += size


def _grown_unit(unit: tuple[int, bytes], width: int, height: int) -> bytes:
    head, payload = unit
    if head >> 3 & 0xF == 1:
        bits = Bits(payload)
        # Profile, not a still picture, not reduced, no timing, no delays, one operating point and its level.
        written = bits.take(24)
        level = bits.take(5)
        written += level + (bits.take(1) if int(level, 2) > 7 else "")
        across, down = int(bits.take(4), 2) + 1, int(bits.take(4), 2) + 1
        bits.take(across + down)
        written += f"{15:04b}{15:04b}{width - 1:016b}{height - 1:016b}" + bits.left
        payload = _packed(written)
    size, left = b"", len(payload)
    while True:
        size += bytes([left & 0x7F | (0x80 if left > 0x7F else 0)])
        left >>= 7
        if not left:
            return bytes([head & ~4]) + size + payload


def grown_vp9(width: int, height: int) -> bytes:
    """Return VP9 in Matroska whose keyframes say `width` x `height`."""

    def grow(data: bytes) -> bytes:
        bits = Bits(data)
        written = bits.take(36)
        if written[5] == "1":
            return data
        bits.take(32)
        return _packed(written + f"{width - 1:016b}{height - 1:016b}" + bits.left)

    return _remade("libvpx-vp9", grow, {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"})


def grown_jpegs(width: int, height: int) -> bytes:
    """Return MJPEG in Matroska whose pictures say `width` x `height`."""
    written, jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), 128, np.uint8))
    assert written
    data = bytearray(jpeg.tobytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return _contained("matroska", "mjpeg", "yuvj420p", [bytes(data)] * 400)


def flat_jpegs(width: int, height: int) -> bytes:
    """Return MJPEG in Matroska of one grey picture, again and again, which truly has this size."""
    written, jpeg = cv2.imencode(".jpg", np.full((height, width), 128, np.uint8))
    assert written
    return _contained("matroska", "mjpeg", "yuvj420p", [jpeg.tobytes()] * 30)


def flat_pictures(codec: str, width: int, height: int, *, pixel_format: str = "yuv420p", count: int = 12) -> bytes:
    """Return grey H.264, HEVC, VP9 or AV1 in Matroska which truly has this size."""
    options = {
        "libx264": {"preset": "ultrafast"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
        "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    }[codec]
    return _remade(codec, bytes, options, width=width, height=height, pixel_format=pixel_format, count=count)


def grown_pngs(width: int, height: int) -> bytes:
    """Return PNG pictures in AVI that say `width` x `height`."""
    written, png = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))
    assert written
    data = bytearray(png.tobytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return _contained("avi", "png", "rgb24", [bytes(data)] * 20)


def _contained(container_format: str, codec: str, pixel_format: str, pictures: list[bytes]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=_FRAME_RATE)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 192, pixel_format
        for number, picture in enumerate(pictures):
            packet = Packet(picture)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, _FRAME_RATE), stream, True
            container.mux(packet)
    return file.getvalue()


@ordinary_priority()
def _remade(
    codec: str,
    grow: Callable[[bytes], bytes],
    options: dict[str, str],
    *,
    width: int = 320,
    height: int = 192,
    pixel_format: str = "yuv420p",
    count: int = 400,
) -> bytes:
    """Film grey pictures, and change each packet before it is written."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=_FRAME_RATE, options={"g": "5", **options})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.thread_count = 1
        grey = av.VideoFrame.from_ndarray(np.full((height, width), 128, np.uint8), format="gray")
        grey = grey.reformat(format=pixel_format)
        for number in range(count + 1):
            grey.pts, grey.time_base = number, Fraction(1, _FRAME_RATE)
            for made in stream.encode(grey if number < count else None):
                packet = Packet(grow(bytes(made)))
                packet.pts, packet.dts, packet.time_base = made.pts, made.dts, made.time_base
                packet.is_keyframe, packet.stream = made.is_keyframe, stream
                container.mux(packet)
    return file.getvalue()

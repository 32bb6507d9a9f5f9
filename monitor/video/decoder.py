"""The codec and the scaler of one stream, set up for the least work per frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import av.error
import cv2
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from monitor.errors import SourceError
from monitor.video.clip import Fit
from monitor.video.marks import SliceMarks
from monitor.video.opening import MAX_PICTURE_PIXELS, refuse_oversize

Skip = Literal["DEFAULT", "NONREF"]
"""Which frames the codec leaves out: none, or those that no other frame refers to; what remains is exact.

Leaving out all bidirectional frames would be cheaper still, but encoders let other frames refer to them (x264 from its
`faster` preset on), and the error, 10 to 24 grey levels of 255 on average, runs on to the next keyframe.
"""

MAX_OVERHANG = 8
"""How many times the wanted width or height a picture is scaled to, at most, before its middle is cut out."""

MAX_PACKETS_WITHOUT_FRAME = 900
"""Half a minute at 30 frames a second: whoever joins within a long group of pictures may see nothing for as long."""

KEYFRAMES_WITHOUT_FRAME = 3
"""With so many keyframes among them, fewer packets are enough: 10 s of them where nothing has come out yet, 2 s where
something has. A publisher who changes the codec in mid-stream is to be seen again within seconds; but marks alone prove
nothing, for publishers set them as they like, and no true keyframe may be missed by opening anew all the time."""
_PACKETS_AT_FIRST, _PACKETS_LATER = 300, 60

MOST_OBLONG_PIXEL = 4.0
"""A pixel that is said to be longer than this is taken for a square: what is shown must stay a picture."""

_JPEG_QUALITY = 80


class FrameDecoder:
    """Decodes one video stream in the calling thread, skipping what the caller allows."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._context = stream.codec_context
        # Frame threads add latency and memory, slice threads add nothing: streams are the unit of parallelism here.
        self._context.thread_count = 1
        # The loop filter costs a tenth of decoding, and after scaling to a model's size its absence is noise.
        self._context.options = {"skip_loop_filter": "all", "max_pixels": str(MAX_PICTURE_PIXELS)}
        self._skip: Skip = "DEFAULT"
        self._fruitless = 0
        self._fruitless_keyframes = 0
        self._patience = _PACKETS_AT_FIRST
        self._marks = SliceMarks(self._context.codec.canonical_name, self._context.extradata)

    def is_disposable(self, packet: Packet[VideoStream]) -> bool | None:
        """Return whether no other frame refers to the one in `packet`; None where that cannot be told."""
        return self._marks.is_disposable(memoryview(packet))

    def decode(self, packet: Packet[VideoStream], skip: Skip) -> list[VideoFrame]:
        """Return the frames that `packet` completes, in order of presentation; damaged packets give none.

        Raises:
            SourceError: nothing has come out of the last 900 packets, or of fewer that hold several keyframes.
            SourceLimitError: the picture has grown beyond the budget.
        """
        if skip != self._skip:
            self._context.skip_frame = skip
            self._skip = skip
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            frames = []
        if frames:
            return self._borne(frames)
        # Codecs that put pictures in order may fill their memory before the first one comes out.
        refuse_oversize(self._context.width, self._context.height, self._context.format)
        self._fruitless += 1
        self._fruitless_keyframes += packet.is_keyframe
        patience = self._patience if self._fruitless_keyframes >= KEYFRAMES_WITHOUT_FRAME else MAX_PACKETS_WITHOUT_FRAME
        if self._fruitless > patience:
            raise SourceError("the video cannot be decoded", reason="decode_failed")
        return frames

    def drain(self) -> list[VideoFrame]:
        """Return the frames that were still inside; the codec then waits for a keyframe."""
        try:
            return self._borne(self._context.decode(None))
        except av.error.FFmpegError:
            return []
        finally:
            # A drained codec refuses packets until it is flushed.
            self._context.flush_buffers()

    def pixel_aspect(self) -> float:
        """Return how much wider than high a pixel of the picture is meant to be shown, 1/4 to 4; 1 where nobody says."""
        # What the codec says may change in mid-stream; the container speaks for codecs that say nothing.
        ratio = self._context.sample_aspect_ratio or self._stream.sample_aspect_ratio
        aspect = float(ratio) if ratio else 1.0
        return aspect if 1 / MOST_OBLONG_PIXEL <= aspect <= MOST_OBLONG_PIXEL else 1.0

    def _borne(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        if frames:
            self._fruitless = self._fruitless_keyframes = 0
            self._patience = _PACKETS_LATER
            refuse_oversize(frames[0].width, frames[0].height, frames[0].format)
        return frames


class FrameScaler:
    """Scales frames to RGB; keep one per stream and per size, for each holds FFmpeg's scaling context for that size."""

    def __init__(self, pixel_aspect: Callable[[], float] = lambda: 1.0) -> None:
        """Prepare.

        Args:
            pixel_aspect: As `FrameDecoder.pixel_aspect`. It changes nothing where a picture is stretched anyway.
        """
        self._reformatter = VideoReformatter()
        self._pixel_aspect = pixel_aspect

    def rgb(self, frame: VideoFrame, width: int, height: int, fit: Fit = "stretch") -> NDArray[np.uint8]:
        """Return `frame` upright, brought to `width` x `height` as `fit` says: uint8, ``(height, width, 3)``, RGB."""
        if fit == "stretch":
            return self._pixels(frame, width, height, "rgb24")
        across, down = self._shown_size(frame)
        scale = (max if fit == "crop" else min)(width / across, height / down)
        # A hostile stream of two pixels by thousands must not become a picture of gigabytes: its proportions are lost.
        most_across, most_down = MAX_OVERHANG * width, MAX_OVERHANG * height
        pixels = self._pixels(
            frame,
            max(1, min(most_across, round(across * scale))),
            max(1, min(most_down, round(down * scale))),
            "rgb24",
        )
        return _centred(pixels, width, height)

    def jpeg(self, frame: VideoFrame, long_side: int) -> bytes:
        """Return `frame` upright and in proportion as JPEG, its long side at most `long_side` pixels."""
        across, down = self._shown_size(frame)
        shrink = min(1.0, long_side / max(across, down))
        width, height = max(1, round(across * shrink)), max(1, round(down * shrink))
        pixels = self._pixels(frame, width, height, "bgr24")
        written, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not written:
            raise SourceError("a sample could not be written as JPEG", reason="jpeg_failed")
        return data.tobytes()

    def _shown_size(self, frame: VideoFrame) -> tuple[float, float]:
        """Return width and height of the picture as a viewer sees it: pixels square, standing upright."""
        across, down = frame.width * self._pixel_aspect(), float(frame.height)
        return (down, across) if _quarter_turns(frame) % 2 else (across, down)

    def _pixels(self, frame: VideoFrame, width: int, height: int, pixel_format: str) -> NDArray[np.uint8]:
        turns = _quarter_turns(frame)
        if turns % 2:
            width, height = height, width
        # One thread: the pool that swscale would start for every context costs more than it gives at these sizes.
        scaled = self._reformatter.reformat(
            frame, width, height, pixel_format, interpolation=Interpolation.AREA, threads=1
        )
        pixels = cast("NDArray[np.uint8]", scaled.to_ndarray())
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _centred(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Cut the middle out of what is too large, put black around what is too small."""
    top, left = max(0, pixels.shape[0] - height) // 2, max(0, pixels.shape[1] - width) // 2
    middle = pixels[top : top + height, left : left + width]
    if middle.shape[:2] == (height, width):
        return np.ascontiguousarray(middle)
    canvas = np.zeros((height, width, 3), np.uint8)
    down, right = (height - middle.shape[0]) // 2, (width - middle.shape[1]) // 2
    canvas[down : down + middle.shape[0], right : right + middle.shape[1]] = middle
    return canvas


def _quarter_turns(frame: VideoFrame) -> int:
    """Return by how many quarter turns, counter-clockwise, the picture must be turned to stand upright."""
    return round(frame.rotation / 90) % 4

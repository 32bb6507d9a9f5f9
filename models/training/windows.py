"""From decoded clips to what a watcher would hand to the model: eight frames at a live stream's spacing, disturbed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from models.training.clips import Video
from models.training.picking import at_frame_rate, pick_frames
from models.training.velocity import HEIGHT, WIDTH

FRAME_RATES = (10.0, 12.5, 15.0, 20.0, 24.0, 25.0)
"""Frame rates below 30 that cameras and streams really have."""


WIDEST_SPEED = 2.2
"""Playback speeds reach from its inverse to this: how fast things move differs from camera to camera, how they move less."""


@dataclass(frozen=True, slots=True)
class Window:
    """One inference's worth of a clip.

    Attributes:
        luma: uint8, ``(FRAMES, HEIGHT, WIDTH)``.
        gaps_s: float32, ``(FRAMES - 1,)``; 0 where a frame is repeated.
    """

    luma: NDArray[np.uint8]
    gaps_s: NDArray[np.float32]


def plain_window(video: Video, first: int) -> Window:
    """Return the window as a live stream would give it, undisturbed."""
    picked = pick_frames(video.times_s, first)
    if picked is None:
        message = f"no window starts at frame {first}"
        raise ValueError(message)
    luma = np.stack([scaled(video.luma[index]) for index in picked])
    return Window(luma, np.diff(video.times_s[picked]).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Camera:
    """How much a made camera moves, as typical sizes; speeds are per second, lengths in frame heights.

    Attributes:
        sway: Slow swaying of a hand, amplitude.
        jitter: Trembling between frames, amplitude.
        pan: Steady speed.
        zoom: Growth of the picture, in powers of e.
        roll_deg: Swaying around the optical axis, amplitude in degrees.
    """

    sway: float = 0.0
    jitter: float = 0.0
    pan: float = 0.0
    zoom: float = 0.0
    roll_deg: float = 0.0

    def path(self, times_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return ``(len(times_s), 4)``: shift x, shift y, log zoom, angle in degrees; the first about 0."""
        rates_hz = rng.uniform(0.7, 4.0, (4, 3))
        phases = rng.uniform(0, 2 * np.pi, (4, 3))
        waves = np.sin(2 * np.pi * rates_hz * times_s[:, None, None] + phases).mean(axis=2)
        path = waves * np.array([self.sway, self.sway, self.sway / 4, self.roll_deg])
        path[:, :2] += rng.normal(0, self.jitter, (len(times_s), 2)) if self.jitter else 0.0
        speed = np.append(rng.normal(0, 1, 2) * self.pan, rng.normal() * self.zoom)
        eased = times_s if rng.random() < 0.7 else times_s**2 / max(times_s[-1], 1e-3)
        path[:, :3] += np.outer(eased, speed)
        return np.asarray(path, np.float64)


STRONG = Camera(sway=0.06, jitter=0.02, pan=0.35, zoom=0.4, roll_deg=3.0)
"""A camera in a struggling or running hand."""
HAND_HELD = Camera(sway=0.03, jitter=0.004, pan=0.12, zoom=0.08, roll_deg=1.5)


def draw_camera(rng: np.random.Generator) -> Camera:
    """Return a camera: half of them stand still, others pan, zoom, sway in a hand or shake, a little or a lot."""
    kind, much = rng.random(), float(rng.exponential())
    if kind < 0.5:
        return Camera()
    if kind < 0.6:
        return Camera(pan=0.5 * much)
    if kind < 0.66:
        return Camera(zoom=0.5 * much, pan=0.1)
    if kind < 0.72:
        return Camera(jitter=0.02 * much)
    if kind < 0.86:
        return Camera(0.03 * much, 0.005 * much, 0.12 * much, 0.1 * much, 1.5 * much)
    return STRONG


@dataclass(slots=True)
class Disturbance:
    """How a window is changed, drawn anew for each; the label survives all of it.

    The camera moves; pictures go through lens, light and codec; time through another frame rate.

    Attributes:
        rng: Where the draws come from.
        camera: How the camera moves; drawn when None.
        speed: Playback speed; drawn when None.
    """

    rng: np.random.Generator
    camera: Camera | None = None
    speed: float | None = None

    def apply(self, video: Video, first: int) -> Window | None:
        """Return the disturbed window, or None where the drawn frame rate or speed does not fit the clip."""
        rng = self.rng
        speed = self.speed
        if speed is None:
            widest = np.log(WIDEST_SPEED)
            speed = float(np.exp(rng.uniform(-widest, widest))) if rng.random() < 0.5 else 1.0
        picked = self._picked(video.times_s[first:] / speed)
        if picked is None:
            return None
        pictures, times_s = picked
        frames = [video.luma[first + index] for index in pictures]
        if rng.random() < 0.3:  # time's direction does not matter to what the motion is
            frames.reverse()
            times_s = times_s[-1] - times_s[::-1]
        luma = self._filmed(frames, times_s)
        if rng.random() < 0.5:
            luma = luma[:, :, ::-1]
        luma = self._letterboxed(self._overlaid(self._lens_and_codec(luma)))
        return Window(np.ascontiguousarray(luma), np.diff(times_s).astype(np.float32))

    def _picked(self, times_s: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64]] | None:
        """Return which pictures are shown, and when, from the first on."""
        rng = self.rng
        shown = np.arange(len(times_s))
        slow = at_frame_rate(times_s, float(rng.choice(FRAME_RATES)))
        draw = rng.random()
        if draw < 0.08:  # a slow camera in a fast stream: every picture is shown several times
            shown = np.repeat(slow, np.diff(np.append(slow, len(times_s))))
        elif draw < 0.4:
            shown, times_s = shown[slow], times_s[slow]
        if rng.random() < 0.15:  # pictures that decoding skips
            kept = np.append(True, rng.random(len(times_s) - 1) > rng.uniform(0.1, 0.5))
            shown, times_s = shown[kept], times_s[kept]
        if len(times_s) < 2:
            return None
        picked = pick_frames(times_s, 0)
        return None if picked is None else ([int(shown[place]) for place in picked], times_s[picked] - times_s[0])

    def _filmed(self, frames: list[NDArray[np.uint8]], times_s: NDArray[np.float64]) -> NDArray[np.uint8]:
        rng = self.rng
        if rng.random() < 0.15:
            quality = int(rng.integers(6, 30))
            frames = [through_jpeg(frame, quality) for frame in frames]
        height, width = frames[0].shape
        zoom = rng.uniform(0.5, 1.0) if rng.random() < 0.7 else 1.0
        stretch = np.exp(rng.uniform(-0.25, 0.25)) if rng.random() < 0.6 else 1.0
        view = np.minimum(zoom * np.array([1 / stretch, stretch]), 1.0)
        camera = self.camera or draw_camera(rng)
        path = camera.path(times_s, rng)
        # The view shrinks where it must, so that it never leaves the picture: picture edges would betray the path.
        path[:, :2] *= min(1.0, 0.5 / max(float(np.ptp(path[:, :2], axis=0).max()), 1e-6))
        path[:, 2] = np.clip(path[:, 2] - path[:, 2].min(), 0.0, 0.7)
        path[:, 3] -= path[:, 3].mean()
        tilt = float(np.sin(np.radians(np.abs(path[:, 3]).max())))
        wander = np.ptp(path[:, :2], axis=0) * np.array([height / width, 1.0])
        view = np.minimum(view, (1.0 - wander) / (1 + tilt * width / height))
        room = np.maximum(1.0 - view * (1 + tilt) - wander, 0.0)
        start = (
            rng.uniform(0, 1, 2) * room
            + view * (1 + tilt) / 2
            - path[:, :2].min(axis=0) * np.array([height / width, 1.0])
        )
        pictures = []
        for frame, (dx, dy, grown, angle) in zip(frames, path, strict=True):
            centre = (start + np.array([dx * height / width, dy])) * (width, height)
            side = view * (width, height) / np.exp(grown)
            pictures.append(_seen(frame, centre, side, angle))
        return np.stack(pictures)

    def _lens_and_codec(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rng = self.rng
        if rng.random() < 0.5:
            gamma, gain, lift = np.exp(rng.normal(0, 0.3)), rng.uniform(0.5, 1.15), rng.uniform(-15, 25)
            curve = np.clip(255 * (np.arange(256) / 255) ** gamma * gain + lift, 0, 255).astype(np.uint8)
            luma = curve[luma]
        if rng.random() < 0.3:
            sigma = float(rng.uniform(0.3, 1.0))
            luma = np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in luma])
        if rng.random() < 0.25:
            noise = rng.normal(0, rng.uniform(1, 6), luma.shape)
            luma = np.clip(luma + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.2:
            quality = int(rng.integers(15, 60))
            luma = np.stack([through_jpeg(picture, quality) for picture in luma])
        return luma

    def _overlaid(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Logos, clocks, chat: parts of the picture that never move."""
        rng = self.rng
        if rng.random() > 0.15:
            return luma
        luma = luma.copy()
        for _ in range(int(rng.integers(1, 4))):
            tall, wide = int(rng.integers(2, HEIGHT // 4)), int(rng.integers(3, WIDTH // 2))
            y, x = int(rng.choice([0, 1, HEIGHT - tall])), int(rng.integers(WIDTH - wide))
            luma[:, y : y + tall, x : x + wide] = (
                rng.integers(0, 256, (tall, wide)) if rng.random() < 0.5 else rng.integers(256)
            )
        return luma

    def _letterboxed(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rng = self.rng
        if rng.random() > 0.12:
            return luma
        if rng.random() < 0.5:
            return boxed(luma, int(HEIGHT * rng.uniform(0.06, 0.2)), 0, int(rng.integers(0, 24)))
        return boxed(luma, 0, int(WIDTH * rng.uniform(0.06, 0.34)), int(rng.integers(0, 24)))


def boxed(luma: NDArray[np.uint8], bar_y: int, bar_x: int, grey: int = 0) -> NDArray[np.uint8]:
    """Return the pictures shrunk between bars of so many pixels above and below, left and right."""
    framed = np.full_like(luma, grey)
    inner = (WIDTH - 2 * bar_x, HEIGHT - 2 * bar_y)
    framed[:, bar_y : HEIGHT - bar_y, bar_x : WIDTH - bar_x] = [
        cv2.resize(picture, inner, interpolation=cv2.INTER_AREA) for picture in luma
    ]
    return framed


def scaled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture at the model's size."""
    return np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return the picture after coding it at a JPEG quality from 0 to 100."""
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        message = "OpenCV cannot read its own JPEG"
        raise RuntimeError(message)
    return np.asarray(decoded, np.uint8)


def _seen(
    frame: NDArray[np.uint8], centre: NDArray[np.float64], side: NDArray[np.float64], angle_deg: float
) -> NDArray[np.uint8]:
    """Return what a view of size `side` around `centre` sees, in pixels of `frame`, at the model's size."""
    # Twice the size first: a warp takes single points, and averaging four of them keeps fine texture from flickering.
    wide, tall = 2 * WIDTH, 2 * HEIGHT
    turn = np.radians(angle_deg)
    scale_x, scale_y = side / (wide, tall)
    matrix = np.array(
        [[np.cos(turn) * scale_x, -np.sin(turn) * scale_y], [np.sin(turn) * scale_x, np.cos(turn) * scale_y]]
    )
    shift = centre - matrix @ np.array([(wide - 1) / 2, (tall - 1) / 2]) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(
        frame, np.column_stack([matrix, shift]), (wide, tall), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return scaled(np.asarray(view, np.uint8))


def through_codec(frames: Sequence[NDArray[np.uint8]], crf: int) -> list[NDArray[np.uint8]]:
    """Return the frames after H.264 at a constant rate factor (23 is usual, 51 the worst), at half the usual size."""
    height, width = (extent // 2 * 2 for extent in frames[0].shape)
    codec = VideoCodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.framerate = width, height, "yuv420p", Fraction(15)
    codec.time_base, codec.thread_count = Fraction(1, 15), 1
    codec.options = {"preset": "veryfast", "crf": str(crf), "tune": "zerolatency"}
    decoder = VideoCodecContext.create("h264", "r")
    packets = []
    for number, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="gray8")
        picture.pts, picture.time_base = number, Fraction(1, 15)
        packets += codec.encode(picture.reformat(format="yuv420p"))
    packets += codec.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [np.asarray(frame.to_ndarray(format="gray8"), np.uint8) for frame in decoded]

"""The streams that are measured: generated, encoded once as live encoders do, kept, and repeated to any length."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from monitor.bench.scene import FRAME_RATE, draw

GOP_S: Final = 2
LOOP_S: Final = 6
"""What is encoded, in seconds; longer footage repeats it. Whole groups of pictures, so that every seam is a keyframe."""

_RECIPE: Final = 1
"""Counted up whenever the pictures or the encoder's settings change, so that no kept file is taken for a new one."""
_SEED: Final = 11
_SOUND_RATE: Final = 44_100
_SOUND_BITS: Final = 128_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of live stream.

    Attributes:
        name: What tables call it.
        width, height: In pixels.
        bits_per_s: Constant bit rate of the video.
        b_frames: Bidirectional frames in a row; 0 encodes with x264's ``zerolatency``.
    """

    name: str
    width: int
    height: int
    bits_per_s: int
    b_frames: int

    def options(self) -> dict[str, object]:
        """Return x264's options: what streaming software uses, its constant bit rate and keyframe interval included."""
        kilobits = self.bits_per_s // 1000
        options: dict[str, object] = {
            "preset": "veryfast",
            "g": str(GOP_S * FRAME_RATE),
            "bf": str(self.b_frames),
            "x264-params": f"scenecut=0:bitrate={kilobits}:vbv-maxrate={kilobits}:vbv-bufsize={kilobits}",
        }
        if not self.b_frames:
            options["tune"] = "zerolatency"
        return options


RECIPES: Final = (
    Recipe("720p30", 1280, 720, 2_500_000, 3),
    Recipe("720p30 zerolatency", 1280, 720, 2_500_000, 0),
    Recipe("1080p30", 1920, 1080, 6_000_000, 3),
)


def cache_dir() -> Path:
    """Return a folder for generated footage that outlives this run: below the user's cache, else below the temp dir."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    wanted = (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "livecordon" / "bench"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        wanted = Path(tempfile.gettempdir()) / f"livecordon-bench-{os.getuid()}"
        wanted.mkdir(mode=0o700, exist_ok=True)
    return wanted


def loop_file(folder: Path, recipe: Recipe, loop_s: int = LOOP_S) -> Path:
    """Return where the encoded loop of `recipe` is kept; the name holds a digest of all that it was made with."""
    made_with = repr((_RECIPE, _SEED, loop_s, sorted(asdict(recipe).items()), av.library_versions["libavcodec"]))
    return folder / f"{recipe.name.replace(' ', '-')}-{hashlib.sha256(made_with.encode()).hexdigest()[:12]}.flv"


def make_loops(
    folder: Path, recipes: Sequence[Recipe], *, on_frame: Callable[[int, int], None], loop_s: int = LOOP_S
) -> dict[str, Path]:
    """Encode what is not kept yet; recipes of one size are encoded from the same pictures.

    Args:
        folder: Where loops are kept.
        recipes: What to encode.
        on_frame: Called with how many pictures are drawn and how many there will be.
        loop_s: Length in seconds; whole groups of pictures.

    Returns:
        Each recipe's file, by its name.
    """
    files = {recipe.name: loop_file(folder, recipe, loop_s) for recipe in recipes}
    missing = [recipe for recipe in recipes if not files[recipe.name].exists()]
    sizes = list(dict.fromkeys((recipe.width, recipe.height) for recipe in missing))
    frames = loop_s * FRAME_RATE
    for index, size in enumerate(sizes):
        wanted = [recipe for recipe in missing if (recipe.width, recipe.height) == size]
        begun = {recipe: files[recipe.name].with_suffix(f".{os.getpid()}.part") for recipe in wanted}
        try:
            encoders = [_Encoder(path, recipe) for recipe, path in begun.items()]
            for number, picture in zip(range(frames), draw(*size, _SEED), strict=False):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
                for encoder in encoders:
                    encoder.encode(frame, number)
                on_frame(index * frames + number + 1, len(sizes) * frames)
            for encoder in encoders:
                encoder.close(loop_s)
            for recipe, path in begun.items():
                path.rename(files[recipe.name])
        finally:
            for path in begun.values():
                path.unlink(missing_ok=True)
    return files


class _Encoder:
    """Encodes one loop: H.264, and AAC sound, for a live stream has both and readers must step over the other."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self._container: OutputContainer = av.open(str(path), "w", format="flv")
        self._video = self._container.add_stream("libx264", rate=FRAME_RATE)
        self._video.width, self._video.height = recipe.width, recipe.height
        self._video.pix_fmt = "yuv420p"
        self._video.time_base = Fraction(1, FRAME_RATE)
        self._video.options = recipe.options()
        self._audio = self._container.add_stream("aac", rate=_SOUND_RATE)
        self._audio.bit_rate = _SOUND_BITS
        self._audio.layout = "stereo"

    def encode(self, frame: av.VideoFrame, number: int) -> None:
        frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
        self._container.mux(self._video.encode(frame))

    def close(self, length_s: int) -> None:
        random = np.random.default_rng(_SEED)
        for start in range(0, length_s * _SOUND_RATE - 1024, 1024):
            sound = random.normal(0, 0.05, (2, 1024)).astype(np.float32)
            block = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            block.sample_rate, block.pts, block.time_base = _SOUND_RATE, start, Fraction(1, _SOUND_RATE)
            self._container.mux(self._audio.encode(block))
        self._container.mux(self._audio.encode(None))
        self._container.mux(self._video.encode(None))
        self._container.close()


def packets(loop: Path, loop_s: int = LOOP_S) -> Iterator[Packet[Stream]]:
    """Yield the packets of `loop` for ever, its repetitions end to end on one time line, in decoding order."""
    turn = 0
    while True:
        with av.open(str(loop)) as source:
            # The encoder's last sound may reach beyond the seam.
            kept = [packet for packet in source.demux() if packet.dts is not None and decode_s(packet) < loop_s]
            # It wrote all sound behind the pictures; live streams interleave.
            for packet in sorted(kept, key=decode_s):
                shift = int(turn * loop_s / packet.time_base)
                packet.pts = (packet.pts or 0) + shift
                packet.dts = (packet.dts or 0) + shift
                yield packet
        turn += 1


def decode_s(packet: Packet[Stream]) -> float:
    """Return a packet's decoding time in seconds; 0 where it has none."""
    return float((packet.dts or 0) * packet.time_base)


def repeat(loop: Path, target: Path, length_s: int, loop_s: int = LOOP_S) -> Path:
    """Write `length_s` seconds of `loop` to `target` (FLV) without encoding anything anew; return `target`."""
    with av.open(str(loop)) as source, av.open(str(target), "w", format="flv") as sink:
        streams = [sink.add_stream_from_template(stream) for stream in source.streams]
        for packet in packets(loop, loop_s):
            if decode_s(packet) >= length_s:
                break
            packet.stream = streams[packet.stream_index]
            sink.mux(packet)
    return target

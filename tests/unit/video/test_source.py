from __future__ import annotations

import gc
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from typing_extensions import override

from monitor.errors import SourceError, SourceLimitError, SourceStalledError
from monitor.video import opening
from monitor.video.clip import Clip, ClipSpec
from monitor.video.decoder import FrameDecoder, Skip
from monitor.video.feeding import ReadPacket
from monitor.video.source import KeptSample, VideoSource, _next_packet
from monitor.video.steering import CALM_LONGEST_S, Steering
from monitor.video.timeline import Placed, Timeline
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, Picture, counting_grey, film, film_bytes, plain, truncated
from tests.fakes.loopback import files, http_server, live

SPEC = ClipSpec(frames=8, spacing_s=0.1, width=48, height=32)
SPAN_S = 0.7
FRAME_S = 1 / 30


@dataclass
class Run:
    """Everything that watching one source gave."""

    clips: list[Clip] = field(default_factory=list)
    kept: list[KeptSample] = field(default_factory=list)
    packets: int = 0
    error: SourceError | None = None

    @property
    def starts_s(self) -> list[float]:
        return [clip.times_s[0] for clip in self.clips]


def watch(
    url: str | Path,
    posture: Posture | Callable[[], Posture] = Posture.CALM,
    *,
    spec: ClipSpec = SPEC,
    is_live: bool = False,
    read_timeout_s: float = 2.0,
) -> Run:
    """Watch `url` to its end and hold every clip to what each clip must be."""
    run = Run()

    def progress() -> None:
        run.packets += 1

    with VideoSource.open(str(url), open_timeout_s=10, read_timeout_s=read_timeout_s, live=is_live) as source:
        try:
            for clip in source.clips(
                spec,
                posture=posture if callable(posture) else lambda: posture,
                keep=run.kept.append,
                stop=threading.Event(),
                decode_slots=threading.Semaphore(1),
                on_progress=progress,
            ):
                run.clips.append(clip)
        except SourceError as error:
            run.error = error
    for clip in run.clips:
        assert clip.frames.shape == (spec.frames, spec.height, spec.width, 3)
        assert clip.frames.dtype == np.uint8
        assert len(clip.times_s) == spec.frames
        assert list(clip.times_s) == sorted(clip.times_s)
        assert abs(clip.arrived_at - time.time()) < 60
    return run


def gaps_s(run: Run) -> list[float]:
    return [later - earlier for earlier, later in pairwise(run.starts_s)]


b_frames = pytest.mark.parametrize("b_frames", [0, 3], ids=["P only", "B-frames"])
containers = pytest.mark.parametrize("name", ["a.mp4", "a.flv", "a.ts"])


@b_frames
@containers
def test_calm_takes_one_clip_from_each_group_head(tmp_path: Path, name: str, b_frames: int) -> None:
    run = watch(film(tmp_path / name, Footage(duration_s=8, gop_s=2, b_frames=b_frames, sound=True)))
    assert run.starts_s == pytest.approx([0, 2, 4, 6], abs=0.01)
    assert all(clip.spacing_honoured and clip.posture is Posture.CALM for clip in run.clips)
    assert all(clip.times_s[-1] - clip.times_s[0] == pytest.approx(SPAN_S, abs=0.035) for clip in run.clips)


@b_frames
def test_calm_takes_at_most_a_clip_a_second_from_short_groups(tmp_path: Path, b_frames: int) -> None:
    run = watch(film(tmp_path / "a.mp4", Footage(duration_s=6, gop_s=0.5, b_frames=b_frames)))
    assert run.starts_s == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.01)
    assert all(clip.spacing_honoured for clip in run.clips)


@b_frames
@pytest.mark.parametrize("gop_s", [5.0, 10.0, None])
def test_calm_never_looks_away_for_longer_than_it_says(tmp_path: Path, gop_s: float | None, b_frames: int) -> None:
    run = watch(film(tmp_path / "a.mp4", Footage(duration_s=24, gop_s=gop_s, b_frames=b_frames)))
    assert max(gaps_s(run)) <= CALM_LONGEST_S + 2 * FRAME_S
    assert run.starts_s[-1] >= 24 - CALM_LONGEST_S - SPAN_S - 0.2
    assert all(clip.spacing_honoured for clip in run.clips)


@b_frames
@pytest.mark.parametrize(("posture", "stride_s"), [(Posture.CLOSE, 0.5), (Posture.FULL, 0.25)])
def test_close_and_full_never_stop_looking(tmp_path: Path, posture: Posture, stride_s: float, b_frames: int) -> None:
    run = watch(film(tmp_path / "a.flv", Footage(duration_s=6, gop_s=2, b_frames=b_frames)), posture)
    assert run.starts_s[0] == pytest.approx(0, abs=0.01)
    assert np.mean(gaps_s(run)) == pytest.approx(stride_s, abs=0.06)
    assert max(gaps_s(run)) <= stride_s + 0.1
    assert run.clips[-1].times_s[-1] >= 6 - stride_s - 0.1
    assert all(clip.spacing_honoured and clip.posture is posture for clip in run.clips)


@pytest.mark.parametrize("posture", list(Posture))
@b_frames
def test_times_belong_to_the_pictures(tmp_path: Path, posture: Posture, b_frames: int) -> None:
    footage = Footage(duration_s=4, gop_s=2, b_frames=b_frames)
    picture = counting_grey(footage.width, footage.height, footage.frames)
    run = watch(film(tmp_path / "a.flv", footage, picture), posture)
    assert run.clips
    for clip in run.clips:
        for pixels, time_s in zip(clip.frames, clip.times_s, strict=True):
            number = (float(pixels.mean()) - 20) / 200 * footage.frames
            assert number / footage.frame_rate == pytest.approx(time_s, abs=0.1)


@pytest.mark.parametrize("rgb", [(200, 30, 30), (30, 200, 30), (30, 30, 200)])
def test_colours_arrive_in_order(tmp_path: Path, rgb: tuple[int, int, int]) -> None:
    run = watch(film(tmp_path / "a.mp4", Footage(duration_s=1), plain(*rgb)))
    assert np.abs(run.clips[0].frames.astype(int) - rgb).max() <= 12
    jpeg = cv2.imdecode(np.frombuffer(run.kept[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert jpeg is not None
    assert np.abs(jpeg.astype(int) - rgb[::-1]).max() <= 16


def test_up_stays_up_and_left_stays_left(tmp_path: Path) -> None:
    quarters = np.zeros((180, 320, 3), np.uint8)
    quarters[:90, :160] = 240
    run = watch(film(tmp_path / "a.mp4", Footage(duration_s=1), lambda _n: quarters))
    first = run.clips[0].frames[0]
    assert first[:12, :18].mean() > 200
    assert first[20:, :].mean() < 60
    assert first[:, 30:].mean() < 60


class Plan:
    """Changes the posture after so many packets."""

    def __init__(self, *steps: tuple[int, Posture]) -> None:
        self._steps = steps
        self._asked = 0

    def __call__(self) -> Posture:
        self._asked += 1
        return [posture for after, posture in self._steps if self._asked > after][-1]


@b_frames
@pytest.mark.parametrize("gop_s", [2.0, 10.0])
@pytest.mark.parametrize("closer", [Posture.CLOSE, Posture.FULL])
@pytest.mark.parametrize("after", [10, 50, 85])
def test_rising_posture_looks_at_once(tmp_path: Path, b_frames: int, gop_s: float, closer: Posture, after: int) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=6, gop_s=gop_s, b_frames=b_frames))
    run = watch(path, Plan((0, Posture.CALM), (after, closer)))
    changed_s = after * FRAME_S
    first = next(clip for clip in run.clips if clip.posture is closer)
    # Without waiting for a keyframe, from packets that had been held back.
    assert first.times_s[-1] <= max(changed_s, SPAN_S) + 0.3
    assert first.spacing_honoured
    close = Run([clip for clip in run.clips if clip.posture is closer])
    assert max(gaps_s(close)) <= 0.6


@b_frames
@pytest.mark.parametrize("after_s", [4.2, 4.4, 4.8, 5.2])
def test_a_posture_that_rises_while_a_long_group_is_followed_begins_with_pictures_of_its_own(
    tmp_path: Path, b_frames: int, after_s: float
) -> None:
    # 4 s without a keyframe, and the stream is followed: nothing is held back from which a clip could be filled.
    path = film(tmp_path / "a.flv", Footage(duration_s=8, gop_s=None, b_frames=b_frames))
    run = watch(path, Plan((0, Posture.CALM), (round(after_s / FRAME_S), Posture.CLOSE)))
    close = [clip for clip in run.clips if clip.posture is Posture.CLOSE]
    assert close[0].times_s[-1] <= after_s + SPAN_S + 0.3
    for clip in close:
        assert clip.spacing_honoured
        assert len(set(clip.times_s)) == len(clip.times_s)


@pytest.mark.parametrize("gop_s", [2.0, None])
def test_falling_posture_leaves_no_gap(tmp_path: Path, gop_s: float | None) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=14, gop_s=gop_s, b_frames=3))
    run = watch(path, Plan((0, Posture.FULL), (100, Posture.CALM)))
    assert {clip.posture for clip in run.clips} == {Posture.FULL, Posture.CALM}
    assert max(gaps_s(run)) <= CALM_LONGEST_S + 2 * FRAME_S
    calm = Run([clip for clip in run.clips if clip.posture is Posture.CALM])
    assert min(gaps_s(calm)) >= 0.9


def test_changing_its_mind_at_every_packet_breaks_nothing(tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=6, b_frames=3))
    order = [Posture.CALM, Posture.FULL, Posture.CLOSE]
    run = watch(path, Plan(*((n, order[n % 3]) for n in range(120)), (120, Posture.CLOSE)))
    assert run.error is None
    assert run.clips[-1].times_s[-1] > 5


def test_a_slow_stream_says_that_it_cannot_keep_the_spacing(tmp_path: Path) -> None:
    for posture in Posture:
        run = watch(film(tmp_path / "a.mp4", Footage(duration_s=8, frame_rate=4)), posture)
        assert run.clips
        assert not any(clip.spacing_honoured for clip in run.clips)


THREE_B_FRAMES = (("b-adapt", "0"), ("x264-params", "b-pyramid=none:b-adapt=0"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames came out of the codec at each call."""
    counts: list[int] = []
    decode, drain = FrameDecoder.decode, FrameDecoder.drain

    def counted(self: FrameDecoder, packet: Packet[VideoStream], skip: Skip) -> list[VideoFrame]:
        frames = decode(self, packet, skip)
        counts.append(len(frames))
        return frames

    def counted_drain(self: FrameDecoder) -> list[VideoFrame]:
        frames = drain(self)
        counts.append(len(frames))
        return frames

    monkeypatch.setattr(FrameDecoder, "decode", counted)
    monkeypatch.setattr(FrameDecoder, "drain", counted_drain)
    return counts


@containers
@pytest.mark.parametrize("posture", [Posture.CALM, Posture.CLOSE])
def test_of_the_frames_that_nothing_refers_to_only_the_needed_ones_are_decoded(
    tmp_path: Path, posture: Posture, decoded: list[int], name: str
) -> None:
    # Three B-frames in a row to which nothing refers: without any of them every 4th frame remains, 0.13 s apart
    # instead of 0.07 s; the middle one of each three is what is missing.
    path = film(tmp_path / name, Footage(duration_s=12, b_frames=3, x264=THREE_B_FRAMES))
    run = watch(path, posture, spec=ClipSpec(frames=8, spacing_s=2 * FRAME_S, width=16, height=16))
    assert all(clip.spacing_honoured for clip in run.clips)
    # One in two, some more where a group ends with fewer B-frames and at the ends of bursts.
    packets = 6 * 18 if posture is Posture.CALM else 360
    assert sum(decoded) < 0.6 * packets


@pytest.mark.parametrize("posture", [Posture.CALM, Posture.CLOSE])
def test_more_is_decoded_where_packets_do_not_tell_and_the_spacing_suffers(
    tmp_path: Path, posture: Posture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrameDecoder, "is_disposable", lambda _self, _packet: None)
    path = film(tmp_path / "a.mp4", Footage(duration_s=12, b_frames=3, x264=THREE_B_FRAMES))
    run = watch(path, posture, spec=ClipSpec(frames=8, spacing_s=2 * FRAME_S, width=16, height=16))
    assert not run.clips[0].spacing_honoured
    assert all(clip.spacing_honoured for clip in run.clips[2:])


def test_single_image_models_get_keyframes(tmp_path: Path) -> None:
    spec = ClipSpec(frames=1, spacing_s=0.0, width=16, height=16)
    run = watch(film(tmp_path / "a.flv", Footage(duration_s=6, b_frames=3)), spec=spec)
    assert run.starts_s == pytest.approx([0, 2, 4], abs=0.01)


def test_a_recording_shorter_than_a_clip_is_looked_at(tmp_path: Path) -> None:
    for posture in Posture:
        run = watch(film(tmp_path / "a.mp4", Footage(duration_s=0.3)), posture)
        assert len(run.clips) == 1
        assert not run.clips[0].spacing_honoured


def test_about_one_sample_a_second_is_kept(tmp_path: Path) -> None:
    run = watch(film(tmp_path / "a.mp4", Footage(duration_s=6, width=640, height=360)), Posture.CLOSE)
    assert [sample.time_s for sample in run.kept] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.1)
    jpeg = cv2.imdecode(np.frombuffer(run.kept[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert jpeg is not None
    assert jpeg.shape == (180, 320, 3)


@pytest.mark.parametrize(
    "footage",
    [
        Footage(duration_s=3, width=322, height=178, pixel_format="yuv420p10le"),
        Footage(duration_s=3, width=318, height=182, pixel_format="yuv444p"),
        Footage(duration_s=3, codec="libx265", b_frames=2),
        Footage(duration_s=3, codec="libsvtav1"),
        Footage(duration_s=3, codec="mpeg4", b_frames=1),
        Footage(duration_s=3, codec="libvpx-vp9"),
    ],
    ids=["10 bit", "4:4:4", "hevc", "av1", "mpeg4", "vp9"],
)
@pytest.mark.parametrize("posture", list(Posture))
def test_other_codecs_and_formats(tmp_path: Path, footage: Footage, posture: Posture) -> None:
    run = watch(film(tmp_path / "a.mkv", footage, plain(30, 200, 30, footage.width, footage.height)), posture)
    assert run.clips
    assert run.error is None
    assert np.abs(run.clips[0].frames.mean(axis=(0, 1, 2)) - (30, 200, 30)).max() < 12


def ts(footage: Footage, picture: Picture | None = None) -> bytes:
    return film_bytes("mpegts", footage, picture)


@pytest.mark.parametrize("posture", list(Posture))
def test_size_and_clock_may_change_in_mid_stream(tmp_path: Path, posture: Posture) -> None:
    path = tmp_path / "a.ts"
    small = ts(Footage(duration_s=4, b_frames=3), plain(200, 30, 30))
    path.write_bytes(small + ts(Footage(duration_s=4, width=640, height=360), plain(30, 30, 200, 640, 360)))
    run = watch(path, posture)
    assert run.error is None
    red = [clip.frames[..., 0].mean(axis=(1, 2)) > 100 for clip in run.clips]
    # No clip holds pictures from both sides of the break.
    assert all(is_red.all() or not is_red.any() for is_red in red)
    assert red[0].all()
    assert not red[-1].any()
    assert max(gaps_s(run)) <= CALM_LONGEST_S + 0.2


def test_a_picture_that_grows_beyond_the_limit_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.video.opening.MAX_SIDE_PIXELS", 400)
    path = tmp_path / "a.ts"
    path.write_bytes(ts(Footage(duration_s=3)) + ts(Footage(duration_s=3, width=640, height=360)))
    run = watch(path)
    assert isinstance(run.error, SourceLimitError)
    assert run.clips


@pytest.mark.parametrize("name", ["a.ts", "a.flv", "a.mkv"])
def test_a_truncated_recording_is_watched_up_to_its_end(tmp_path: Path, name: str) -> None:
    run = watch(truncated(film(tmp_path / name, Footage(duration_s=8, b_frames=3)), 0.6))
    assert len(run.clips) >= 2


@pytest.mark.parametrize("posture", list(Posture))
def test_damage_does_not_end_a_stream(tmp_path: Path, posture: Posture) -> None:
    path = film(tmp_path / "a.ts", Footage(duration_s=8, b_frames=3))
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(5)
    for place in rng.integers(20_000, len(data), 60):
        data[place : place + 40] = rng.bytes(40)
    path.write_bytes(data)
    run = watch(path, posture)
    assert run.clips
    assert run.clips[-1].times_s[-1] > 5


@pytest.mark.parametrize("posture", list(Posture))
def test_false_presentation_times_do_not_blind_it(
    tmp_path: Path, posture: Posture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=12))
    place = Timeline.place
    packets = 0

    def lie(self: Timeline, pts: int | None, dts: int | None, *, now_s: float | None = None) -> Placed:
        nonlocal packets
        packets += 1
        if pts is not None and packets % 30 == 20:
            pts += 1_500
        return place(self, pts, dts)

    monkeypatch.setattr(Timeline, "place", lie)
    run = watch(path, posture)
    assert max(gaps_s(run)) <= 2 * CALM_LONGEST_S
    assert run.clips[-1].times_s[-1] > 9


Lie = Callable[[int, int], int]
"""Turns (number of the packet, true milliseconds) into false milliseconds."""


@pytest.mark.parametrize("posture", list(Posture))
@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda n, t: 0, id="stands"),
        pytest.param(lambda n, t: n, id="crawls"),
        pytest.param(lambda n, t: t // 8, id="slow"),
        pytest.param(lambda n, t: t - 5_000 * (n // 10 % 2), id="jumps"),
        pytest.param(lambda n, t: t + 11_000 * (n // 10), id="leaps"),
        pytest.param(lambda n, t: -t, id="backwards"),
        pytest.param(lambda n, t: (n * 7919) % 100_000, id="random"),
    ],
)
def test_false_clocks_do_not_blind_it(
    tmp_path: Path, posture: Posture, lie: Lie, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=60, width=48, height=32))
    place = Timeline.place
    numbers: list[int] = []

    def lying(self: Timeline, pts: int | None, dts: int | None, *, now_s: float | None = None) -> Placed:
        assert pts is not None
        numbers.append(len(numbers))
        false = lie(numbers[-1], pts)
        return place(self, false, false)

    monkeypatch.setattr(Timeline, "place", lying)
    seen_at: list[int] = []
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        for clip in source.clips(SPEC, posture=lambda: posture, keep=None, stop=threading.Event(), decode_slots=None):
            seen_at.append(numbers[-1])
            assert list(clip.times_s) == sorted(clip.times_s)
    # 20 s of true time at 30 frames a second, at worst, before and between clips.
    assert max(later - earlier for earlier, later in pairwise([0, *seen_at, 1800])) <= 600


@pytest.mark.parametrize(
    "marks", [lambda n: True, lambda n: n % 60 == 30, lambda n: False], ids=["all", "wrong", "none"]
)
@pytest.mark.parametrize("gop_s", [2.0, None])
def test_false_keyframe_marks_do_not_blind_it(
    tmp_path: Path, gop_s: float | None, marks: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=14, gop_s=gop_s))
    packets = 0

    def lie(packet: Packet[VideoStream], placed: Placed, arrived_at: float, is_keyframe: bool) -> ReadPacket:
        nonlocal packets
        packets += 1
        return ReadPacket(packet, placed, arrived_at, is_keyframe=marks(packets))

    monkeypatch.setattr("monitor.video.source.ReadPacket", lie)
    run = watch(path)
    assert len(run.clips) >= 3
    assert max(gaps_s(run)) <= 2 * CALM_LONGEST_S
    assert run.clips[-1].times_s[-1] > 9


def test_video_that_never_decodes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.video.decoder.MAX_PACKETS_WITHOUT_FRAME", 60)
    path = film(tmp_path / "a.flv", Footage(duration_s=6))
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        opened = source._opened
        assert opened is not None
        # A codec that is fed another stream's parameters finds no picture in any packet.
        opened.stream.codec_context.extradata = b"\x01" * 32
        with pytest.raises(SourceError) as caught:
            list(source.clips(SPEC, posture=lambda: Posture.FULL, keep=None, stop=threading.Event(), decode_slots=None))
    assert caught.value.reason == "decode_failed"


def test_a_live_stream_that_falls_silent_has_stalled() -> None:
    data = ts(Footage(duration_s=5, b_frames=3, sound=True))
    with http_server(live(data, then_hang=True)) as base:
        began_s = time.monotonic()
        run = watch(f"{base}/live.ts", is_live=True, read_timeout_s=0.5)
        took_s = time.monotonic() - began_s
    assert isinstance(run.error, SourceStalledError)
    assert isinstance(run.error, TimeoutError)
    assert run.error.reason == "stalled"
    assert run.starts_s == pytest.approx([0, 2, 4], abs=0.01)
    assert 0.4 < took_s < 3


@pytest.mark.parametrize("chunked", [False, True])
def test_a_live_stream_that_closes_has_ended(chunked: bool) -> None:
    data = ts(Footage(duration_s=5, b_frames=3, sound=True))
    with http_server(live(data, then_hang=False, chunked=chunked)) as base:
        run = watch(f"{base}/live.ts", is_live=True)
    assert run.error is None
    assert run.starts_s == pytest.approx([0, 2, 4], abs=0.01)


def test_a_live_playlist_to_which_nothing_is_added_has_stalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "HLS_SILENCE_S", 1.0)
    playlist = film(tmp_path / "live.m3u8", Footage(duration_s=3, gop_s=1.0))
    playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST", ""))
    pages = {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    with http_server(files(pages)) as base:
        run = watch(f"{base}/live.m3u8", is_live=True, read_timeout_s=1.0)
    assert isinstance(run.error, SourceStalledError)
    assert run.clips


def test_the_end_of_a_source_that_streams_have_joined_is_its_end(tmp_path: Path) -> None:
    class TripsAtTheEnd(Iterator["Packet[Stream]"]):
        @override
        def __next__(self) -> Packet[Stream]:
            raise IndexError

    path = film(tmp_path / "v.mp4", Footage(duration_s=1))
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=2, live=False) as source:
        assert source._opened is not None
        # As PyAV does, depending on what lay in memory before, where its list of streams has become too short.
        assert _next_packet(TripsAtTheEnd(), source._opened) is None


def test_live_flv_over_http() -> None:
    data = film_bytes("flv", Footage(duration_s=5, b_frames=3, sound=True))
    with http_server(live(data, then_hang=False, kind="video/x-flv")) as base:
        run = watch(f"{base}/live.flv", is_live=True)
    assert run.starts_s == pytest.approx([0, 2, 4], abs=0.01)


def test_stop_is_honoured_at_the_next_packet(tmp_path: Path) -> None:
    stop = threading.Event()
    packets = 0

    def progress() -> None:
        nonlocal packets
        packets += 1
        if packets == 100:
            stop.set()

    path = film(tmp_path / "a.mp4", Footage(duration_s=10))
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        clips = source.clips(
            SPEC, posture=lambda: Posture.FULL, keep=None, stop=stop, decode_slots=None, on_progress=progress
        )
        assert max(clip.times_s[-1] for clip in clips) <= 100 * FRAME_S
    assert packets == 100


def test_stop_is_honoured_while_waiting_for_a_decode_slot(tmp_path: Path) -> None:
    stop = threading.Event()
    taken = threading.Semaphore(0)
    path = film(tmp_path / "a.mp4")
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        clips = source.clips(SPEC, posture=lambda: Posture.CALM, keep=None, stop=stop, decode_slots=taken)
        threading.Timer(0.1, stop.set).start()
        assert list(clips) == []


def test_decode_slots_are_held_for_decoding_only_and_given_back(tmp_path: Path) -> None:
    slots = threading.Semaphore(1)
    path = film(tmp_path / "a.mp4", Footage(duration_s=4, b_frames=3))
    free_while_reading: list[bool] = []

    def progress() -> None:
        free = slots.acquire(blocking=False)
        free_while_reading.append(free)
        if free:
            slots.release()

    held_while_scaling: list[bool] = []

    def keep(_sample: KeptSample) -> None:
        held_while_scaling.append(not slots.acquire(blocking=False))

    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        for _clip in source.clips(
            SPEC,
            posture=lambda: Posture.CLOSE,
            keep=keep,
            stop=threading.Event(),
            decode_slots=slots,
            on_progress=progress,
        ):
            assert slots.acquire(blocking=False)
            slots.release()
    assert free_while_reading
    assert all(free_while_reading)
    assert held_while_scaling
    assert all(held_while_scaling)


def test_closed_sources_give_no_clips(tmp_path: Path) -> None:
    source = VideoSource.open(str(film(tmp_path / "a.mp4")), open_timeout_s=5, read_timeout_s=5, live=False)
    source.close()
    clips = source.clips(SPEC, posture=lambda: Posture.CALM, keep=None, stop=threading.Event(), decode_slots=None)
    with pytest.raises(ValueError, match="closed"):
        next(iter(clips))


def test_watching_leaves_no_cycles_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mp4", Footage(duration_s=4, b_frames=3))
    scalers: list[weakref.ref[object]] = []
    steer = Steering.__init__

    def note(self: Steering, *args: object, **more: object) -> None:
        scalers.append(weakref.ref(self))
        steer(self, *args, **more)  # type: ignore[arg-type] # passed through as it came

    monkeypatch.setattr(Steering, "__init__", note)
    gc.collect()
    gc.disable()
    try:
        assert watch(path).clips
        assert [ref() for ref in scalers] == [None]
    finally:
        gc.enable()


def test_lying_pictures_are_set_upright(tmp_path: Path) -> None:
    lying = np.zeros((180, 320, 3), np.uint8)
    lying[:90, :160] = 250
    path = film(tmp_path / "a.mp4", Footage(duration_s=1), lambda _n: lying)
    _write_display_matrix(path, quarter_turn=(0, 1, -1, 0))
    run = watch(path)
    first = run.clips[0].frames[0]
    # Turned clockwise by a quarter: what was the upper left corner is the upper right one.
    assert first[:12, 28:].mean() > 200
    assert first[:, :20].mean() < 60
    jpeg = cv2.imdecode(np.frombuffer(run.kept[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert jpeg is not None
    assert jpeg.shape == (320, 180, 3)


def _write_display_matrix(path: Path, quarter_turn: tuple[int, int, int, int]) -> None:
    """Overwrite the track header's matrix, which PyAV cannot write: rows (a b u), (c d v), (x y w)."""
    data = bytearray(path.read_bytes())
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = data.index(identity, data.index(b"tkhd"))
    a, b, c, d = (value << 16 for value in quarter_turn)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def heads_of(path: Path, admit: Callable[[float], bool], posture: Callable[[], Posture] = lambda: Posture.CALM) -> Run:
    run = Run()
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        run.clips += source.clips(
            SPEC, posture=posture, keep=None, stop=threading.Event(), decode_slots=None, admit=admit
        )
    return run


@b_frames
def test_heads_that_are_not_admitted_are_left_out_and_nothing_else_is(tmp_path: Path, b_frames: int) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=14, b_frames=b_frames))
    answers = iter([True, False, True, False, False, True, True])
    patience_s: list[float] = []

    def admit(most_s: float) -> bool:
        patience_s.append(most_s)
        return next(answers)

    run = heads_of(path, admit)
    assert run.starts_s == pytest.approx([0, 4, 10, 12], abs=0.01)
    assert patience_s == pytest.approx([0.5, *[1.5] * 6], abs=0.01)


def test_a_stream_is_seen_at_once_when_its_posture_rises_after_heads_were_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=10))
    heads = 0

    def admit(_most_s: float) -> bool:
        nonlocal heads
        heads += 1
        return False

    run = heads_of(path, admit, posture=lambda: Posture.CLOSE if heads >= 3 else Posture.CALM)
    assert run.starts_s[0] == pytest.approx(4.0, abs=0.1)
    assert max(gaps_s(run)) < 0.6


def test_a_stream_that_is_read_later_and_later_leaves_heads_out_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=30))

    def later_and_later(
        packet: Packet[VideoStream], placed: Placed, _arrived_at: float, is_keyframe: bool
    ) -> ReadPacket:
        return ReadPacket(packet, placed, 1000.0 + 1.2 * placed.time_s, is_keyframe)

    monkeypatch.setattr("monitor.video.source.ReadPacket", later_and_later)
    asked_s: list[float] = []

    def admit(most_s: float) -> bool:
        asked_s.append(most_s)
        return most_s > 0

    run = heads_of(path, admit)
    # A fifth of a second is lost with each: after six seconds it is far behind, and then every tenth second is seen.
    assert run.starts_s == pytest.approx([0, 2, 4, 14, 24], abs=0.01)
    assert asked_s.count(0.0) == len(asked_s) - 5

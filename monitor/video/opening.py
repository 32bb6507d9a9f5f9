"""Opening what strangers publish: which addresses, with which options, and what the failures mean.

FFmpeg would open far more than live streams (``concat:``, ``subfile:``, ``data:``, pipes, devices), and an HLS
playlist can name any of them. So every scheme here comes with the protocols that it may lead to and nothing else, and
containers and codecs are limited to those that live video comes in.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import av
import av.error
import av.logging
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from monitor.errors import NoVideoError, SourceError, SourceLimitError, SourceOpenError
from monitor.video.playlists import check_file_playlist, check_web_playlist, is_playlist_address

MAX_SIDE_PIXELS = 8192
MAX_PICTURE_PIXELS = 40_000_000
MAX_PICTURE_BYTES = 120_000_000
"""8K of ten bits in 4:2:0. A codec may hold more than twenty pictures, and over 3 GiB are too much for one stream.
(Measured: H.264 that says 7680 x 5200 and asks for sixteen to be kept, 8 bits, in packets of 750 bytes: 1.4 GiB.)"""

HLS_SILENCE_S = 15.0
"""Segments come at intervals, so a read timeout fit for other streams would end an HLS stream between any two."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_WEB = "http,https,httpproxy,tcp,tls,crypto"
_PROTOCOLS = {
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tls,tcp",
    "http": _WEB,
    "https": _WEB,
    "file": "file,crypto",
}
_CONTAINERS = (
    "flv,live_flv,mpegts,mov,mp4,matroska,webm,hls,rtsp,rtp,avi,mpeg,h264,hevc,obu,ivf,ogg,"
    # What the parts of an HLS playlist may be.
    "aac,mp3,ac3,eac3,webvtt"
)
_CODECS = frozenset(
    {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "h263", "flv1", "mjpeg", "theora"}
)

# The sound arrives at once, the picture with its next keyframe: an analysis shorter than a group of pictures finds
# only sound.
_LIVE_ANALYSIS_S = 2.5
_SECOND_ANALYSIS_S = 7.0
# FFmpeg cannot know that an RTMP stream has no sound, and would wait for it until the analysis ends. So much data is a
# picture and little more, but seconds of sound. (Measured on nginx-rtmp with groups of 2 s: opened with the first
# keyframe in 14 of 14 tries, 1.3 to 2.0 s; without these bounds 1.6 to 2.8 s, and 3.3 to 4.2 s without sound.)
_RTMP_PROBE_BYTES = 64 * 1024
# HLS variants: the smallest picture that still shows a person well enough is the cheapest to watch.
_ENOUGH_SHORT_SIDE_PIXELS = 360
_USER_AGENT = "Livecordon"
# A stream list this long is an attack, not a broadcast.
_MAX_STREAMS = 100


@dataclass(frozen=True, slots=True)
class Opened:
    """An open source.

    Attributes:
        stream: The video stream that is watched.
        silence_s: Silence in seconds that reading tolerates.
        ends_by_closing: Whether a closed connection is how this source ends, rather than a loss: a live stream over
            plain HTTP has no length, and FFmpeg reports its end as an input/output error.
        live: Whether packets come when they are made, rather than as fast as they are read.
    """

    container: InputContainer
    stream: VideoStream
    silence_s: float
    ends_by_closing: bool
    live: bool = False


@dataclass(frozen=True, slots=True)
class _Address:
    scheme: str
    url: str


@dataclass(frozen=True, slots=True)
class _Probe:
    """How long, in seconds of stream time, and how much FFmpeg reads to find the streams; None leaves it to FFmpeg."""

    analysis_s: float | None
    size_bytes: int | None


def open_container(url: str, *, open_timeout_s: float, read_timeout_s: float, live: bool) -> Opened:
    """Open `url` within `open_timeout_s` seconds and choose its video stream.

    A live stream whose video did not show during a short probe is probed once more, longer, in the time that is left.

    Raises:
        SourceOpenError, NoVideoError, SourceLimitError: as `monitor.video.source.VideoSource.open`.
    """
    address = _address(url)
    deadline = time.monotonic() + open_timeout_s
    analysis_s: float | None = None
    if live and address.scheme != "file":
        analysis_s = min(_LIVE_ANALYSIS_S, open_timeout_s / 3)
    silence_s = read_timeout_s
    probe = _Probe(analysis_s, _RTMP_PROBE_BYTES if live and address.scheme.startswith("rtmp") else None)
    is_checked = _check_playlist(address, deadline)
    container = _connect(address, deadline, silence_s, probe=probe, live=live)
    try:
        if container.format.name == "hls" and (silence_s < HLS_SILENCE_S or not is_checked):
            # Only now do we know, and PyAV takes the timeout only while opening; playlists open fast.
            container.close()
            if not is_checked:
                check_web_playlist(address.url, deadline=deadline, user_agent=_USER_AGENT)
            silence_s = max(silence_s, HLS_SILENCE_S)
            container = _connect(address, deadline, silence_s, probe=probe, live=live)
        stream = _choose_video(container)
        if (stream is None or not stream.codec_context.width) and analysis_s is not None:
            container.close()
            # Two phases each get half of what is left, so the analysis has to fit into one of them.
            longer_s = min(_SECOND_ANALYSIS_S, (deadline - time.monotonic()) * 0.4)
            container = _connect(address, deadline, silence_s, probe=_Probe(longer_s, None), live=live)
            stream = _choose_video(container)
        if stream is None:
            raise NoVideoError("the source carries no video that can be watched")  # noqa: TRY301 - closed below
        refuse_oversize(stream.codec_context.width, stream.codec_context.height, stream.codec_context.format)
        _leave_out_the_rest(container, stream)
    except BaseException:
        container.close()
        raise
    ends_by_closing = live and address.scheme in ("http", "https") and container.format.name != "hls"
    return Opened(container, stream, silence_s, ends_by_closing, live=live)


def refuse_oversize(width: int, height: int, pixels: VideoFormat | None) -> None:
    """Raise `SourceLimitError` for pictures of more than 8192 pixels a side, 40 megapixels or 120 MB."""
    size_bytes = width * height * (pixels.padded_bits_per_pixel if pixels else 0) // 8
    if max(width, height) > MAX_SIDE_PIXELS or width * height > MAX_PICTURE_PIXELS or size_bytes > MAX_PICTURE_BYTES:
        raise SourceLimitError(f"pictures of {width}x{height} pixels are over the limit", reason="picture_too_large")


def read_failure(error: av.error.FFmpegError) -> SourceError:
    """Return the error of ours for one that ended reading; it holds nothing of FFmpeg's text, which names the URL."""
    if isinstance(error, av.error.InvalidDataError):
        return SourceError("the stream's container is broken", reason="broken_container")
    return SourceError("the connection to the source was lost", reason="connection_lost")


def _address(url: str) -> _Address:
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else "file"
    if scheme not in _PROTOCOLS:
        raise SourceOpenError("the address has a scheme that is not watched", reason="refused_scheme", retryable=False)
    if scheme != "file":
        return _Address(scheme, url)
    path = url if match is None else url[len("file:") :].removeprefix("//")
    if not path or "\0" in path:
        raise SourceOpenError("the address names no file", reason="refused_scheme", retryable=False)
    # With the prefix, FFmpeg takes the rest literally: "subfile,,…:" or "-" are then file names and nothing else.
    return _Address("file", f"file:{path}")


def _check_playlist(address: _Address, deadline: float) -> bool:
    """Refuse hostile playlists as far as they can be told by their address; whether nothing is left to be checked."""
    if address.scheme == "file":
        check_file_playlist(address.url.removeprefix("file:"))
    elif address.scheme in ("http", "https"):
        if not is_playlist_address(address.url):
            return False
        check_web_playlist(address.url, deadline=deadline, user_agent=_USER_AGENT)
    return True


def _options(address: _Address, probe: _Probe, *, live: bool) -> dict[str, str]:
    options = {
        "protocol_whitelist": _PROTOCOLS[address.scheme],
        "format_whitelist": _CONTAINERS,
        "max_streams": str(_MAX_STREAMS),
        "max_pixels": str(MAX_PICTURE_PIXELS),
        "threads": "1",
        # An encoder that starts anew may number its streams anew, and PyAV shows no packet of a stream that joined late.
        "merge_pmt_versions": "1",
    }
    if probe.analysis_s is not None:
        options["analyzeduration"] = str(int(probe.analysis_s * 1_000_000))
    if probe.size_bytes is not None:
        options["probesize"] = str(probe.size_bytes)
    if address.scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    if address.scheme.startswith("http"):
        options["user_agent"] = _USER_AGENT
    if live and address.scheme.startswith("rtmp"):
        options["rtmp_live"] = "live"
        # FFmpeg would count twenty frames for a frame rate that FLV declares and nothing here depends on.
        options["fpsprobesize"] = "0"
    if live:
        options["live_start_index"] = "-1"
    return options


def _connect(address: _Address, deadline: float, read_timeout_s: float, *, probe: _Probe, live: bool) -> InputContainer:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise SourceOpenError("the source took too long to open", reason="open_timeout")
    began = time.monotonic()
    # PyAV grants its open timeout twice: to connecting, and again to probing.
    phase_s = left_s / 2
    try:
        return av.open(
            address.url,
            mode="r",
            options=_options(address, probe, live=live),
            timeout=(phase_s, read_timeout_s),
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, ValueError) as error:
        failure = _open_failure(error, waited_s=time.monotonic() - began, phase_s=phase_s)
    # Outside the handler, so that not even the context of our error leads to FFmpeg's text, which names the URL.
    raise failure


def _open_failure(error: Exception, *, waited_s: float, phase_s: float) -> SourceOpenError:
    # RTSP reports an interrupted wait as invalid data, so the time that passed says more than the class.
    if isinstance(error, av.error.ExitError | av.error.TimeoutError) or waited_s >= phase_s:
        return SourceOpenError("the source took too long to open", reason="open_timeout")
    if isinstance(error, av.error.FileNotFoundError | av.error.HTTPNotFoundError):
        return SourceOpenError("there is nothing at the source's address", reason="not_found")
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError | av.error.PermissionError):
        return SourceOpenError("the source refuses us", reason="refused")
    if isinstance(error, av.error.InvalidDataError):
        return SourceOpenError("the source is in no known container", reason="unknown_container")
    return SourceOpenError("the source cannot be reached", reason="unreachable")


def _choose_video(container: InputContainer) -> VideoStream | None:
    """Return the cheapest stream that is large enough, else the largest; cover pictures and unknown codecs never."""
    usable = [
        stream
        for stream in container.streams.video
        # PyAV leaves the context out where it has no decoder, although its types say otherwise.
        if getattr(stream, "codec_context", None) is not None
        and stream.codec_context.codec.canonical_name in _CODECS
        and not stream.disposition & Disposition.attached_pic
    ]
    if not usable:
        return None
    enough = [s for s in usable if min(s.codec_context.width, s.codec_context.height) >= _ENOUGH_SHORT_SIDE_PIXELS]
    if enough:
        return min(enough, key=_area)
    return max(usable, key=_area)


def _area(stream: VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height


def _leave_out_the_rest(container: InputContainer, chosen: VideoStream) -> None:
    """Stop fetching what is not looked at; HLS then no longer downloads the other variants.

    Sound stays in everything but HLS: its packets show that the connection lives while the picture stands still.
    """
    for stream in container.streams:
        if stream.index != chosen.index and (stream.type != "audio" or container.format.name == "hls"):
            stream.discard = Discard.all

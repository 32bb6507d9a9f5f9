from __future__ import annotations

import gc
import socket
import threading
import time
import traceback
from pathlib import Path

import pytest

from monitor.errors import NoVideoError, SourceError, SourceLimitError, SourceOpenError
from monitor.video.clip import ClipSpec
from monitor.video.opening import refuse_oversize
from monitor.video.source import SourceInfo, VideoSource
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, film, film_bytes, garbage, sound_only, truncated
from tests.fakes.loopback import files, http_server, silent_server


def open_source(url: str | Path, *, open_timeout_s: float = 10.0, live: bool = False) -> VideoSource:
    return VideoSource.open(str(url), open_timeout_s=open_timeout_s, read_timeout_s=2.0, live=live)


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.mp4", "mov,mp4,m4a,3gp,3g2,mj2"), ("a.flv", "flv"), ("a.ts", "mpegts"), ("a.mkv", "matroska,webm")],
)
def test_the_containers_of_live_video_open(tmp_path: Path, name: str, container: str) -> None:
    with open_source(film(tmp_path / name, Footage(sound=True, b_frames=2))) as source:
        assert source.info == SourceInfo("h264", 320, 180, 30.0, container, source.info.duration_s)
        assert source.info.duration_s == pytest.approx(4.0, abs=0.1)


def test_a_file_url_opens(tmp_path: Path) -> None:
    with open_source(f"file://{film(tmp_path / 'a.mp4')}") as source:
        assert source.info.codec == "h264"


def test_colons_in_a_file_name_are_no_protocol(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4").rename(tmp_path / "subfile,,start,0,end,0,,:a.mp4")
    with open_source(tmp_path / "subfile,,start,0,end,0,,:a.mp4") as source:
        assert source.info.codec == "h264"


@pytest.mark.parametrize(
    "url",
    [
        "concat:/etc/passwd|/etc/group",
        "subfile:x",
        "data:video/mp4;base64,AAAA",
        "pipe:0",
        "fd:0",
        "cache:http://127.0.0.1/",
        "tcp://127.0.0.1:1",
        "udp://127.0.0.1:1",
        "ftp://127.0.0.1/x",
        "crypto+http://127.0.0.1/x",
        "CONCAT:a",
        "",
        "file:",
        "a\0b",
    ],
)
def test_other_schemes_are_refused_for_good(url: str) -> None:
    with pytest.raises(SourceOpenError) as caught:
        open_source(url)
    assert caught.value.reason == "refused_scheme"
    assert not caught.value.retryable


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError) as caught:
        open_source(tmp_path / "none.mp4")
    assert caught.value.reason == "not_found"


def test_garbage_is_no_container(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError) as caught:
        open_source(garbage(tmp_path / "a.mp4"))
    assert caught.value.reason == "unknown_container"


def test_an_mp4_without_its_index_is_no_container(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError) as caught:
        open_source(truncated(film(tmp_path / "a.mp4"), 0.5))
    assert caught.value.reason == "unknown_container"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NoVideoError):
        open_source(sound_only(tmp_path / "a.mp4"))


def test_codecs_that_live_video_does_not_use_are_no_video(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", Footage(codec="ffv1", duration_s=0.5))
    with pytest.raises(NoVideoError):
        open_source(path)


def test_nobody_listening_is_unreachable() -> None:
    with silent_server() as port:
        pass
    with pytest.raises(SourceOpenError) as caught:
        open_source(f"http://127.0.0.1:{port}/a.ts", live=True)
    assert caught.value.reason == "unreachable"
    assert caught.value.retryable


def test_a_missing_page_is_not_found() -> None:
    with http_server(files({})) as base, pytest.raises(SourceOpenError) as caught:
        open_source(f"{base}/a.ts", live=True)
    assert caught.value.reason == "not_found"


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp", "http"])
def test_a_server_that_never_answers_fails_within_the_deadline(scheme: str) -> None:
    began_s = time.monotonic()
    with silent_server() as port, pytest.raises(SourceOpenError) as caught:
        open_source(f"{scheme}://127.0.0.1:{port}/live/key", open_timeout_s=1.0, live=True)
    assert caught.value.reason == "open_timeout"
    assert time.monotonic() - began_s < 1.5


def test_no_error_shows_the_address(tmp_path: Path) -> None:
    secret = "s3cretkey"
    with silent_server() as port:
        urls = [f"rtsp://127.0.0.1:{port}/{secret}", f"rtmp://user:{secret}@127.0.0.1:{port}/live/{secret}"]
        for url in [*urls, f"http://127.0.0.1:1/{secret}", str(tmp_path / secret), f"gopher://{secret}"]:
            with pytest.raises(SourceError) as caught:
                open_source(url, open_timeout_s=0.4, live=True)
            assert secret not in "".join(traceback.format_exception(caught.value))
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None


def playlist(*segments: str) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:0"]
    for segment in segments:
        lines += ["#EXTINF:2.0,", segment]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()


def test_hls_over_http_opens() -> None:
    pages = {"/a.m3u8": playlist("0.ts", "1.ts")}
    pages["/0.ts"] = pages["/1.ts"] = film_bytes("mpegts", Footage(duration_s=2.0))
    with http_server(files(pages)) as base, open_source(f"{base}/a.m3u8") as source:
        assert (source.info.container, source.info.codec) == ("hls", "h264")


def test_an_hls_playlist_cannot_lead_to_local_files(tmp_path: Path) -> None:
    local = film(tmp_path / "private.ts")
    for segment in (f"file://{local}", f"concat:{local}|{local}", f"subfile,,start,0,end,90000,,:{local}", str(local)):
        with http_server(files({"/a.m3u8": playlist(segment)})) as base, pytest.raises(SourceError):
            open_source(f"{base}/a.m3u8")


def test_an_hls_playlist_in_a_file_cannot_lead_to_the_network(tmp_path: Path) -> None:
    asked: list[str] = []
    with http_server(lambda _connection, path, _over: asked.append(path)) as base:
        (tmp_path / "a.m3u8").write_bytes(playlist(f"{base}/0.ts"))
        with pytest.raises(SourceError):
            open_source(tmp_path / "a.m3u8")
    assert asked == []


def test_of_several_hls_variants_only_the_cheapest_good_one_is_fetched() -> None:
    sizes = {"small": (160, 90), "middle": (640, 360), "large": (1280, 720)}
    master = ["#EXTM3U"]
    pages: dict[str, bytes] = {}
    for name, (width, height) in sizes.items():
        master += [f"#EXT-X-STREAM-INF:BANDWIDTH={width * 1000},RESOLUTION={width}x{height}", f"{name}.m3u8"]
        pages[f"/{name}.m3u8"] = playlist(*(f"{name}-{n}.ts" for n in range(4)))
        data = film_bytes("mpegts", Footage(width=width, height=height, duration_s=2.0))
        pages |= {f"/{name}-{n}.ts": data for n in range(4)}
    pages["/master.m3u8"] = "\n".join(master).encode()
    asked: list[str] = []
    serve = files(pages)

    def note(connection: socket.socket, path: str, over: threading.Event) -> None:
        asked.append(path)
        serve(connection, path, over)

    with http_server(note) as base, open_source(f"{base}/master.m3u8") as source:
        assert source.info.height == 360
        clips = source.clips(
            ClipSpec(frames=4, spacing_s=0.1, width=32, height=32),
            posture=lambda: Posture.CALM,
            keep=None,
            stop=threading.Event(),
            decode_slots=None,
        )
        assert len(list(clips)) >= 2
    assert "/middle-3.ts" in asked
    assert "/large-3.ts" not in asked
    assert "/small-3.ts" not in asked


@pytest.mark.parametrize(("width", "height", "refused"), [(8192, 4320, False), (8193, 16, True), (8000, 6000, True)])
def test_pictures_have_a_limit(width: int, height: int, refused: bool) -> None:
    if refused:
        with pytest.raises(SourceLimitError):
            refuse_oversize(width, height, None)
    else:
        refuse_oversize(width, height, None)


def test_an_oversized_stream_is_refused_before_decoding(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", Footage(width=8400, height=16, duration_s=0.1))
    with pytest.raises(SourceLimitError) as caught:
        open_source(path)
    assert not caught.value.retryable


def test_closing_frees_everything_without_the_garbage_collector(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    source = open_source(path)
    container = source._opened.container if source._opened else None
    source.close()
    source.close()
    assert container is not None
    del source
    gc.disable()
    try:
        gc.collect()
        open_source(path).close()
        assert gc.collect() == 0
    finally:
        gc.enable()

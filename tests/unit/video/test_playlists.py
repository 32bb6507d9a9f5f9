"""Playlists that FFmpeg never gets to see."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from monitor.errors import SourceError, SourceOpenError
from monitor.video.opening import open_container
from monitor.video.playlists import MAX_PLAYLIST_BYTES, check_file_playlist, check_web_playlist
from tests.fakes.footage import Footage, film_bytes
from tests.fakes.loopback import Answer, files, http_server

SEGMENTS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n0.ts\n"
LIST = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\na.m3u8\n"


def refused(pages: dict[str, str], *, entry: str = "/live.m3u8", open_it: bool = False) -> str:
    """Serve `pages`, look at `entry`, and return why it was refused; empty if it was not."""
    with http_server(files({path: text.encode() for path, text in pages.items()})) as base:
        error: SourceOpenError | None = None
        try:
            if open_it:
                open_container(f"{base}{entry}", open_timeout_s=5, read_timeout_s=1, live=True).container.close()
            else:
                check_web_playlist(f"{base}{entry}", deadline=time.monotonic() + 5, user_agent="test")
        except SourceOpenError as caught:
            error = caught
    if error is None:
        return ""
    assert (error.reason, error.retryable, error.__context__) == ("refused_playlist", False, None)
    return str(error).removeprefix("the playlist is refused: ")


@pytest.mark.parametrize(
    "text",
    [
        SEGMENTS,
        SEGMENTS + "#EXT-X-ENDLIST\n",
        SEGMENTS + "#EXTINF:,no duration\nhttp://8.8.8.8/1.ts\n",
        SEGMENTS.replace("0.ts", "../other/0.ts?token=1"),
        SEGMENTS + '#EXT-X-KEY:METHOD=AES-128,URI="key"\n#EXT-X-MAP:URI="init.mp4"\n',
        LIST,
        LIST + '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="sound.m3u8"\n',
        "no playlist at all\nfile:///etc/passwd\n",
    ],
)
def test_honest_playlists_pass(text: str) -> None:
    assert refused({"/live.m3u8": text, "/a.m3u8": SEGMENTS}) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # What FFmpeg crashes on: variants among segments, at the first look or when the list comes anew.
        (SEGMENTS + "#EXT-X-STREAM-INF:BANDWIDTH=-1\na.m3u8\n", "it mixes variants with segments"),
        (SEGMENTS + '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="cut o', "it mixes variants with segments"),
        (SEGMENTS.replace("2.0", "9223372036854775807"), "a segment's duration is none"),
        (SEGMENTS.replace("2.0", "-1e308"), "a segment's duration is none"),
        (SEGMENTS.replace("2.0", "nan"), "a segment's duration is none"),
        # What this machine can reach and the author cannot.
        *(
            (SEGMENTS.replace("0.ts", address), "it names an address that is not on the web")
            for address in (
                "file:///etc/passwd",
                "concat:0.ts|/etc/passwd",
                "data:video/mp2t;base64,R0==",
                "crypto:http://8.8.8.8/0.ts",
                "crypto+file:///etc/passwd",
                "subfile,,start,0,end,9,,:/etc/passwd",
                "rtmp://8.8.8.8/live/key",
                "tcp://8.8.8.8:25",
                "gopher://8.8.8.8/",
                "ftp://8.8.8.8/0.ts",
                "pipe:0",
                "http:///0.ts",
            )
        ),
        *(
            (SEGMENTS.replace("0.ts", f"http://{host}/0.ts"), "it names an address within a private network")
            for host in (
                "127.0.0.2",
                "localhost",
                "10.0.0.1:8080",
                "192.168.1.1",
                "169.254.169.254",
                "[::1]",
                "[fe80::1]",
                "[::ffff:10.0.0.1]",
                "0.0.0.0",
                "2130706434",
                "user:secret@127.0.0.2",
            )
        ),
        (
            SEGMENTS + '#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/shadow"\n',
            "it names an address that is not on the web",
        ),
        (SEGMENTS + '#EXT-X-MAP:URI="http://10.0.0.1/a"\n', "it names an address within a private network"),
        (SEGMENTS.replace("0.ts", "http://[::1/0.ts"), "it names something that is no address"),
        (SEGMENTS + "#" * MAX_PLAYLIST_BYTES, "it is too long"),
        (SEGMENTS + "#EXTINF:1,\n1.ts\n" * 20_000, "it is too long"),
        (SEGMENTS + "x" * 5000, "it is too long"),
        (
            "#EXTM3U\n" + "".join(f"#EXT-X-STREAM-INF:BANDWIDTH=1\n{n}.m3u8\n" for n in range(40)),
            "it names too many others",
        ),
    ],
)
def test_hostile_playlists_are_refused(text: str, why: str) -> None:
    assert refused({"/live.m3u8": text, "/a.m3u8": SEGMENTS}) == why


def test_what_a_list_names_is_read_too() -> None:
    mixed = SEGMENTS + "#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n"
    assert refused({"/live.m3u8": LIST, "/a.m3u8": mixed}) == "it mixes variants with segments"
    assert refused({"/live.m3u8": LIST, "/a.m3u8": LIST}) == "it mixes variants with segments"
    leak = SEGMENTS.replace("0.ts", "file:///etc/passwd")
    assert refused({"/live.m3u8": LIST, "/a.m3u8": leak}) == "it names an address that is not on the web"


def test_opening_refuses_them_before_ffmpeg_sees_them() -> None:
    mixed = SEGMENTS + "#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"
    assert refused({"/live.m3u8": mixed}, open_it=True) == "it mixes variants with segments"


def typed(answers: dict[str, bytes]) -> Answer:
    """Serve as media servers do that name playlists by their type instead of their suffix."""

    def answer(connection: socket.socket, path: str, _over: threading.Event) -> None:
        body = answers[path]
        kind = "application/vnd.apple.mpegurl" if body.startswith(b"#EXTM3U") else "video/mp2t"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return answer


def test_a_playlist_that_only_its_type_gives_away_is_looked_at() -> None:
    segment = film_bytes("mpegts", Footage(duration_s=1.0))
    honest = (SEGMENTS + "#EXT-X-ENDLIST\n").encode()
    with http_server(typed({"/watch": honest, "/0.ts": segment})) as base:
        opened = open_container(f"{base}/watch", open_timeout_s=5, read_timeout_s=1, live=True)
        assert opened.container.format.name == "hls"
        opened.container.close()
    hostile = honest + b"http://127.0.0.2/1.ts\n"
    with http_server(typed({"/watch": hostile, "/0.ts": segment})) as base:
        with pytest.raises(SourceOpenError) as caught:
            open_container(f"{base}/watch", open_timeout_s=5, read_timeout_s=1, live=True)
        assert caught.value.reason == "refused_playlist"


def test_no_other_machine_of_the_network_is_asked_for_anything() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(0.2)
        text = SEGMENTS.replace("0.ts", f"http://127.0.0.2:{port}/0.ts")
        assert refused({"/live.m3u8": text}, open_it=True)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_what_cannot_be_fetched_is_left_to_ffmpeg() -> None:
    assert refused({}) == ""
    with http_server(files({})) as base, pytest.raises(SourceError) as caught:
        open_container(f"{base}/live.m3u8", open_timeout_s=5, read_timeout_s=1, live=True)
    assert caught.value.reason == "not_found"


def test_a_server_that_keeps_us_waiting_costs_no_more_than_the_deadline() -> None:
    def drip(connection: socket.socket, _path: str, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n#EXTM3U\n")
        while not over.wait(0.05):
            connection.sendall(b"#\n")

    begun_s = time.monotonic()
    with http_server(drip) as base:
        check_web_playlist(f"{base}/live.m3u8", deadline=begun_s + 0.5, user_agent="test")
        assert time.monotonic() - begun_s < 2


@pytest.mark.parametrize(
    "address",
    ["/etc/passwd", "../secret.ts", "sub/../../secret.ts", "file:secret.ts", "http://8.8.8.8/0.ts", "..\\a.ts"],
)
def test_a_playlist_in_a_file_stays_in_its_folder(tmp_path: Path, address: str) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text(SEGMENTS.replace("0.ts", "sub/0.ts"))
    check_file_playlist(str(path))
    path.write_text(SEGMENTS.replace("0.ts", address))
    with pytest.raises(SourceOpenError, match="it names something outside its folder"):
        check_file_playlist(str(path))


def test_a_list_in_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "live.m3u8").write_text(LIST)
    (tmp_path / "a.m3u8").write_text(LIST)
    with pytest.raises(SourceOpenError, match="it mixes variants with segments"):
        check_file_playlist(str(tmp_path / "live.m3u8"))

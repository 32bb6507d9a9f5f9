from __future__ import annotations

import json
import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.redact import redact_text, redact_url

CANARY = "c4n4ry"
NASTY = st.text(st.sampled_from("ab1:/@#?&=%[]\\.!$'\"()*+,;-_~|{}^`é"), max_size=12)
SECRET = st.builds(lambda before, after: before + CANARY + after, NASTY, NASTY)
SCHEME = st.sampled_from(["rtmp", "rtmps", "rtsp", "http", "HTTPS", "srt", "postgresql+psycopg"])
HOST = st.sampled_from(["example.org", "10.0.0.9", "[2001:db8::1]", "localhost:1935", "[::1]:80"])

CORPUS = [
    ("rtmp://example.org/live/c4n4ry", "rtmp://example.org/…"),
    ("rtmp://example.org:1935/live/c4n4ry", "rtmp://example.org:1935/…"),
    ("rtmp://example.org/c4n4ry", "rtmp://example.org/…"),
    ("https://example.org", "https://example.org"),
    ("https://example.org/", "https://example.org"),
    ("https://example.org?key=c4n4ry", "https://example.org/…"),
    ("https://example.org#c4n4ry", "https://example.org/…"),
    ("https://hooks.example.org/services/T0/B0/c4n4ry", "https://hooks.example.org/…"),
    ("rtsp://user:c4n4ry@10.0.0.9:554/ch1", "rtsp://10.0.0.9:554/…"),
    ("rtsp://c4n4ry@10.0.0.9/ch1", "rtsp://10.0.0.9/…"),
    ("rtsp://user:c4n4ry@evil@10.0.0.9/ch1", "rtsp://10.0.0.9/…"),
    ("rtsp://user:c4n/4ry@10.0.0.9/ch1", "rtsp://…"),
    ("rtsp://user:c4n#4ry@10.0.0.9/ch1", "rtsp://…"),
    ("rtsp://user:c4n?4ry@10.0.0.9/ch1", "rtsp://…"),
    ("rtsp://user:c4n4ry", "rtsp://…"),
    ("rtsp://user:c4n4ry%40", "rtsp://…"),
    ("rtsp://[c4n4ry]/x", "rtsp://…"),
    ("http://[::1]:8080/c4n4ry", "http://[::1]:8080/…"),
    ("http://example.org:c4n4ry/", "http://…"),
    ("http://example.org:123456/", "http://…"),
    ("rtmp:\\/\\/example.org\\/live\\/c4n4ry", "rtmp://…"),
    ("rtmp%3A%2F%2Fexample.org%2Flive%2Fc4n4ry", "rtmp://…"),
    ("//user:c4n4ry@example.org/", "…"),
    ("user:c4n4ry@example.org/live", "…"),
    ("/srv/clips/c4n4ry.mp4", "…"),
    ("c4n4ry", "…"),
    ("", "…"),
    ("://c4n4ry", "…"),
    ("postgresql://livecordon:c4n4ry@db/livecordon", "postgresql://db/…"),
]


@pytest.mark.parametrize(("url", "shown"), CORPUS)
def test_urls_keep_scheme_and_host_only(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@given(SCHEME, SECRET, HOST, SECRET)
def test_no_part_of_a_url_but_its_host_survives(scheme: str, login: str, host: str, path: str) -> None:
    for url in (
        f"{scheme}://{login}@{host}/live",
        f"{scheme}://{login}@{host}/{path}",
        f"{scheme}://{host}/{path}",
        f"{scheme}://{host}?{path}",
        f"{scheme}://{host}#{path}",
        f"{scheme}://user:{login}@{host}/live/{path}?{path}#{path}",
    ):
        assert CANARY not in redact_url(url)
        for text in (f"cannot open {url}", f"cannot open '{url}', giving up", f'{{"url":"{url}"}}', f"({url})", url):
            assert CANARY not in redact_text(text)
        assert CANARY not in redact_text(quote(url, safe=""))
        assert CANARY not in redact_text(json.dumps({"url": url}))


@given(NASTY, SCHEME, NASTY)
def test_redaction_is_stable(before: str, scheme: str, after: str) -> None:
    once = redact_text(f"{before} {scheme}://{after} token={after}")
    assert redact_text(once) == once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see rtmp://h/live/c4n4ry, then stop.", "see rtmp://h/…, then stop."),
        ("'rtmp://h/live/c4n4ry': Input/output error", "'rtmp://h/…': Input/output error"),
        ("Authorization: Bearer c4n4ryc4n4ry", "Authorization: …"),
        ("sent Bearer c4n4ryc4n4ry and failed", "sent Bearer … and failed"),
        ("{'Authorization': 'Basic c4n4ry=='}", "{'Authorization': …"),
        ("proxy-authorization: Digest a=c4n4ry, b=c4n4ry", "proxy-authorization: …"),
        ("secret whsec_c4n4ry/+= is old", "secret whsec_… is old"),
        ("token=c4n4ry", "token=…"),
        ("token=c4n4ry, retry=2", "token=…, retry=2"),
        ("gate_token: c4n4ry", "gate_token: …"),
        ("{'password': 'c4n 4ry', 'n': 1}", "{'password': '…', 'n': 1}"),
        ('{"api_key": "c4n4ry"}', '{"api_key": "…"}'),
        ("GET /gate/nginx?token=c4n4ry&name=x", "GET /gate/nginx?token=…"),
        ("stream_key=c4n4ry", "stream_key=…"),
        ("key=c4n4ry", "key=…"),
        ("rtmp://h/live playpath=c4n4ry", "rtmp://h/… playpath=…"),
        ("LIVECORDON_ADMIN_TOKEN=c4n4ry", "LIVECORDON_ADMIN_TOKEN=…"),
        ("passphrase=c4n4ry", "passphrase=…"),
    ],
)
def test_secrets_in_free_text(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the token is shorter than 16 characters",
        "config.yaml:4: log.level: the key is there twice, first in line 5: remove one",
        "took 20s: 3 of 5 clips",
        "author: nobody, monkey: 3",
        "a basic idea, a bearer of news",
        "std::vector a:b c:/",
        "",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact_text(text) == text


def test_exception_text() -> None:
    failure = OSError("cannot open rtsp://user:c4n4ry@10.0.0.9/live")
    shown = redact_text("".join(traceback.format_exception(failure)))
    assert CANARY not in shown
    assert "OSError: cannot open rtsp://10.0.0.9/…" in shown


@pytest.mark.parametrize(
    "text",
    [
        unit * (200_000 // len(unit))
        for unit in ("a", "a.", "token", "a:", "=", "token ", " ", "a://", "'", "token='", "bearer ")
    ],
)
@pytest.mark.timeout(30)
def test_long_hostile_text_takes_no_ages(text: str) -> None:
    assert isinstance(redact_text(text + "x"), str)

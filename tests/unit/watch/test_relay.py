from __future__ import annotations

import asyncio
import json

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from monitor.watch.relay import relay_log


def relayed(raw: bytes) -> list[dict[str, object]]:
    async def run() -> None:
        reader = asyncio.StreamReader(limit=64 * 1024)
        reader.feed_data(raw)
        reader.feed_eof()
        await relay_log(reader, watcher=3)

    with structlog.testing.capture_logs() as logs:
        asyncio.run(run())
    return [dict(line) for line in logs]


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_an_event_is_told_again_with_its_level_and_fields() -> None:
    (told,) = relayed(
        line(event="stream_hung", level="error", timestamp="now", logger="x", stream_id="s-1", silent_s=2.5)
    )
    assert told == {"event": "stream_hung", "log_level": "error", "watcher": 3, "stream_id": "s-1", "silent_s": 2.5}


@pytest.mark.parametrize(
    "raw",
    [
        b"plain text with rtmp://h/key\n",
        line(event="Free text about rtmp://h/key", level="info"),
        line(event="ok", level="shout"),
        line(event="ok", level=["info"]),
        line(level="info"),
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b'{"event": "\xff", "level": "info"}\n',
        b"{" * 60_000 + b"\n",
        b"x" * 200_000 + b"\n",
    ],
)
def test_what_does_not_look_like_our_own_is_counted_and_not_repeated(raw: bytes) -> None:
    logs = relayed(raw + line(event="after", level="info"))
    assert [entry["event"] for entry in logs] == ["after", "watcher_log_lines_withheld"]
    assert "key" not in repr(logs)
    assert logs[-1]["lines"] == 1


@pytest.mark.parametrize("head", [b"Stack", b"Current thread 0x00007f0000001234"])
def test_a_crash_says_where_it_happened(head: bytes) -> None:
    raw = (
        b"Fatal Python error: Segmentation fault\n\n" + head + b" (most recent call first):\n"
        b'  File "/x/monitor/watch/watcher.py", line 12 in main\n'
    )
    told = [entry["line"] for entry in relayed(raw) if entry["event"] == "watcher_crash_trace"]
    assert len(told) == 3
    assert told[0] == "Fatal Python error: Segmentation fault"


def test_a_flood_is_cut_short() -> None:
    logs = relayed(line(event="again", level="info") * 5000)
    assert 50 <= sum(entry["event"] == "again" for entry in logs) <= 200
    assert logs[-1]["event"] == "watcher_log_lines_withheld"


def test_a_field_cannot_pose_as_one_of_ours_or_grow_without_bound() -> None:
    raw = line(
        event="e", level="info", watcher=99, exc_info=True, long="x" * 10_000, nested={"a": [1]}, **{"BAD NAME": 1}
    )
    (told,) = relayed(raw)
    assert told["watcher"] == 3
    assert told["watcher_watcher"] == 99
    assert told["watcher_exc_info"] is True
    assert len(str(told["long"])) == 300
    assert "BAD NAME" not in told


@given(st.binary(max_size=300), st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4))
def test_nothing_that_a_watcher_prints_disturbs_the_daemon(raw: bytes, fields: dict[str, str]) -> None:
    relayed(raw + b"\n" + line(**{**fields, "event": "e", "level": "info"}))
    logs = relayed(line(event="alive", level="info"))
    assert [entry["event"] for entry in logs] == ["alive"]

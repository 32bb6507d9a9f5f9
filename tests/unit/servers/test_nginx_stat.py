from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import MediaServerRefused
from monitor.servers.nginx_rtmp.names import as_listed
from monitor.servers.nginx_rtmp.stat import Stat, certainly_absent, parse_stat
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

LISTING = b"""<?xml version="1.0" encoding="utf-8" ?>
<?xml-stylesheet type="text/xsl" href="/stat.xsl" ?>
<rtmp>
<nginx_version>1.22.1</nginx_version><nginx_rtmp_version>1.1.4</nginx_rtmp_version>
<pid>4711</pid><uptime>80</uptime>
<server>
<application><name>live</name><live>
<stream><name>cam</name><time>60000</time><bw_in>0</bw_in>
<client><id>12</id><address>2001:db8::5</address><time>2500</time><flashver>LNX 9</flashver></client>
<client><id>7</id><address>192.0.2.9</address><time>4000</time><flashver>FMLE</flashver><publishing/><active/></client>
<client><id>13</id><address>192.0.2.10</address><time>100</time></client>
<meta><video><width>1280</width><height>720</height><frame_rate>30</frame_rate><codec>H264</codec></video>
<audio><codec>AAC</codec></audio></meta>
<nclients>3</nclients><publishing/><active/></stream>
<stream><name>waited-for</name><time>9</time><client><id>20</id><address>192.0.2.1</address><time>3</time></client>
<nclients>1</nclients></stream>
<nclients>4</nclients></live></application>
<application><name>vod</name><play><stream><name>film</name><client><id>3</id></client></stream></play></application>
</server>
<server><application><name>live</name><live><stream><name>other</name><time>5</time>
<client><id>30</id><address>not an address</address><time>5</time><publishing/></client><publishing/></stream></live>
</application></server>
</rtmp>"""


def parse(document: bytes, server_index: int = 0) -> Stat:
    return parse_stat(document, server="edge", now=NOW, server_index=server_index)


def test_a_publication_is_read_with_its_connection() -> None:
    stat = parse(LISTING)

    assert stat == Stat(
        worker=4711,
        rtmp_servers=2,
        shows_clients=True,
        streams=(
            LiveStream(
                StreamRef("edge", "live", "cam"),
                session="7",
                publisher_address="192.0.2.9",
                # The stream is older, because somebody waited for it.
                started_at=NOW - timedelta(seconds=4),
                viewers=2,
                video="H264 1280x720",
            ),
        ),
    )


def test_only_the_server_block_that_cuts_go_to_is_read() -> None:
    (stream,) = parse(LISTING, server_index=1).streams

    assert (stream.ref.name, stream.publisher_address, stream.video) == ("other", None, "")
    with pytest.raises(MediaServerRefused, match="server_index is 2"):
        parse(LISTING, server_index=2)


def listing_with(name: bytes, flashver: bytes = b"") -> bytes:
    return LISTING.replace(b"<name>cam</name>", b"<name>" + name + b"</name>").replace(b"FMLE", flashver)


def test_bytes_that_xml_does_not_allow_do_not_hide_everybody() -> None:
    stat = parse(listing_with(b"c\x01\xffm", flashver=b"\x00\x1b\xfe&#x41;"))

    assert [stream.ref.name for stream in stat.streams] == ["c    m"]
    assert [stream.session for stream in stat.streams] == ["7"]


@given(st.text(max_size=40), st.binary(max_size=60).filter(lambda text: not set(text) & set(b"<>&]")))
def test_any_name_and_any_text_of_a_viewer_can_be_listed(name: str, flashver: bytes) -> None:
    escaped = escape(name.encode("utf-8", "replace").decode()).encode()

    (stream,) = parse(listing_with(escaped, flashver)).streams

    assert stream.ref.name.isascii()
    assert stream.session == "7"


@given(st.binary(max_size=255))
def test_a_name_from_the_gate_becomes_what_the_listing_shows(name: bytes) -> None:
    # nginx shows each byte outside printable ASCII as one blank, then escapes what XML needs.
    shown = bytes(byte if 0x20 <= byte < 0x7F else 0x20 for byte in name).decode()

    (stream,) = parse(listing_with(escape(shown, {'"': "&quot;"}).encode())).streams

    assert stream.ref.name == as_listed(name)


@pytest.mark.parametrize(
    ("changed", "by"),
    [
        (b"<id>7</id>", b"<id>7&amp;name=x</id>"),
        (b"<id>7</id>", b"<id></id>"),
        (b"<id>7</id>", b""),
        (b"<id>7</id>", b"<id>" + b"9" * 400 + b"</id>"),
    ],
)
def test_a_session_that_is_no_number_is_left_out(changed: bytes, by: bytes) -> None:
    assert [stream.session for stream in parse(LISTING.replace(changed, by)).streams] == [""]


@pytest.mark.parametrize("time", [b"-5", b"x", b"", b"9" * 20, b"1e9"])
def test_times_that_cannot_be_do_not_break_the_listing(time: bytes) -> None:
    document = LISTING.replace(b"<time>60000</time>", b"<time>" + time + b"</time>").replace(b"<time>4000</time>", b"")

    (stream,) = parse(document).streams

    assert stream.started_at is None


@pytest.mark.parametrize("size", [b"0", b"-1", b"99999999999", b"<b/>", b"x"])
def test_sizes_that_cannot_be_are_left_out(size: bytes) -> None:
    (stream,) = parse(LISTING.replace(b"<width>1280", b"<width>" + size)).streams

    assert stream.video == "H264"


def test_a_codec_that_is_no_word_is_left_out() -> None:
    (stream,) = parse(LISTING.replace(b"<codec>H264<", b"<codec>&lt;script&gt;<")).streams

    assert stream.video == "1280x720"


@given(st.binary(max_size=300))
def test_anything_else_is_refused_in_one_way(document: bytes) -> None:
    with pytest.raises(MediaServerRefused):
        parse(document)


CAM2_ONLY = (
    b'<?xml version="1.0" ?><rtmp><pid>7</pid><server><application><name>live</name><live><stream><name>cam2</name>'
    b"</stream></live></application></server></rtmp>\n"
)


@pytest.mark.parametrize(
    ("document", "worker"),
    [
        (CAM2_ONLY, 7),
        (CAM2_ONLY.replace(b"cam2", b"cam"), None),
        (CAM2_ONLY[:-10], None),
        (CAM2_ONLY.replace(b"<pid>7</pid>", b""), None),
        (b"<html></html>", None),
        (b"<rtmp><pid>7</pid></rtmp>", None),
        (b"", None),
    ],
    ids=["not_there", "there", "cut_off", "no_worker", "no_listing", "no_server", "nothing"],
)
def test_a_name_is_only_called_absent_where_a_whole_listing_shows_it_is(document: bytes, worker: int | None) -> None:
    assert certainly_absent(document, ["cam", "held-x"]) == worker

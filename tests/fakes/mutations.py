"""Small films of every container that streams come in, damaged at random: each case can be made again from its number."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import av

from tests.fakes.footage import Footage, film, film_bytes

PLAYLIST: Final = "playlist.m3u8"

_FILM = Footage(duration_s=2.0, frame_rate=12, width=96, height=64, gop_s=0.5, b_frames=2, sound=True)
_HEAD_BYTES: Final = 1500
"""What demuxers and decoders decide by stands within so many bytes: half of all damage goes there."""

_HOSTILE_LINES: Final = (
    PLAYLIST,
    "file:///etc/passwd",
    "concat:segment0.ts|/etc/passwd",
    "data:text/plain;base64,AAAA",
    "http://127.0.0.1:1/never.ts",
    "subfile,,start,0,end,100,,:segment0.ts",
    "../" * 40 + "etc/passwd",
    "x" * 9000 + ".ts",
    "#EXT-X-KEY:METHOD=AES-128,URI=" + '"absent.key",IV=0x00',
    '#EXT-X-MAP:URI="playlist.m3u8",BYTERANGE="99999999999@-5"',
    "#EXT-X-BYTERANGE:18446744073709551615@9223372036854775807",
    "#EXT-X-STREAM-INF:BANDWIDTH=-1,RESOLUTION=99999999x99999999",
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="playlist.m3u8"',
    "#EXT-X-MEDIA-SEQUENCE:-9223372036854775808",
    "#EXT-X-TARGETDURATION:0",
    "#EXTINF:-1e308,",
    "#EXT-X-PROGRAM-DATE-TIME:9999-99-99T99:99:99Z",
    "#EXT-X-DISCONTINUITY",
)
_NUMBERS: Final = ("-1", "0", "1e308", "nan", "4294967296", "9223372036854775807", "-9223372036854775808", "")

_Damage = Callable[[random.Random, bytes, "Originals"], bytes]


@dataclass(frozen=True, slots=True)
class Originals:
    """What the damage is done to, by kind: ``flv``, ``ts``, ``hevc.ts``, ``mp4``, ``fragmented.mp4``, and HLS.

    Attributes:
        films: Single files.
        playlist: An HLS playlist.
        segments: Its segments, by name.
    """

    films: Mapping[str, bytes]
    playlist: bytes
    segments: Mapping[str, bytes]

    @classmethod
    def filmed(cls) -> Originals:
        """Film two seconds and put them into each container."""
        mp4 = film_bytes("mp4", _FILM)
        films = {
            "flv": film_bytes("flv", _FILM),
            "ts": film_bytes("mpegts", _FILM),
            "mp4": mp4,
            "fragmented.mp4": _fragmented(mp4),
            "hevc.ts": film_bytes(
                "mpegts", Footage(duration_s=2.0, frame_rate=12, width=96, height=64, codec="libx265")
            ),
        }
        with TemporaryDirectory() as folder:
            playlist = film(Path(folder) / PLAYLIST, _FILM)
            segments = {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.ts"))}
            return cls(films=films, playlist=playlist.read_bytes(), segments=segments)


@dataclass(frozen=True, slots=True)
class MutatedInput:
    """One damaged input.

    Attributes:
        entry: Name of the file that is opened.
        files: Every file that belongs to it.
        what: What was done, for people.
    """

    entry: str
    files: Mapping[str, bytes]
    what: str


def mutated(number: int, originals: Originals, *, seed: str = "livecordon") -> MutatedInput:
    """Return case `number`: one of the originals, damaged in one to three ways."""
    rng = random.Random(f"{seed} {number}")
    kinds = [*originals.films, "hls"]
    kind = kinds[number % len(kinds)]
    if kind == "hls":
        return _mutated_hls(rng, originals)
    data, done = _damaged(rng, originals.films[kind], originals)
    return MutatedInput(entry=f"film.{kind}", files={f"film.{kind}": data}, what=f"{kind}: {done}")


def _mutated_hls(rng: random.Random, originals: Originals) -> MutatedInput:
    playlist, segments, done = originals.playlist, dict(originals.segments), ["playlist as it was"]
    if rng.random() < 0.85:
        lines = playlist.decode().splitlines()
        ways = [
            rng.choice((_line_lost, _line_twice, _lines_swapped, _line_slipped_in, _number_changed)) for _ in range(3)
        ]
        for way in ways:
            way(rng, lines)
        if rng.random() < 0.5:
            # A broadcast goes on where a recording ends: the reader comes back for more.
            lines = [line for line in lines if line != "#EXT-X-ENDLIST"]
        playlist = "\n".join(lines).encode() + b"\n"
        done = [way.__name__.strip("_") for way in ways]
        if rng.random() < 0.15:
            playlist, how = _damaged(rng, playlist, originals)
            done.append(how)
    if rng.random() < 0.5 or done == ["playlist as it was"]:
        name = rng.choice(sorted(segments))
        segments[name], how = _damaged(rng, segments[name], originals)
        done.append(f"a segment {how}")
    return MutatedInput(entry=PLAYLIST, files={PLAYLIST: playlist, **segments}, what=f"hls: {', '.join(done)}")


def _damaged(rng: random.Random, data: bytes, originals: Originals) -> tuple[bytes, str]:
    ways: list[_Damage] = [rng.choice(_DAMAGES) for _ in range(rng.choice((1, 1, 2, 3)))]
    for way in ways:
        data = way(rng, data, originals)
    return data, " and ".join(way.__name__.strip("_") for way in ways)


# -- damage to bytes


def _truncated(rng: random.Random, data: bytes, _originals: Originals) -> bytes:
    return data[: _place(rng, data)]


def _headless(rng: random.Random, data: bytes, _originals: Originals) -> bytes:
    return data[_place(rng, data) :]


def _bits_flipped(rng: random.Random, data: bytes, _originals: Originals) -> bytes:
    changed = bytearray(data)
    for _ in range(min(len(data), rng.choice((1, 8, 64, 1024)))):
        changed[_place(rng, changed)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _numbers_blown_up(rng: random.Random, data: bytes, _originals: Originals) -> bytes:
    for _ in range(rng.choice((1, 4, 16))):
        at, size = _place(rng, data), rng.choice((1, 2, 3, 4, 8))
        filling = rng.choice((b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\x00" * 7))
        data = data[:at] + filling[:size] + data[at + size :]
    return data


def _spliced(rng: random.Random, data: bytes, originals: Originals) -> bytes:
    donor = rng.choice([data, *originals.films.values()])
    from_, at = _place(rng, donor), _place(rng, data)
    piece = donor[from_ : from_ + rng.choice((16, 188, 1000, 8000))]
    return data[:at] + piece + data[at + rng.choice((0, len(piece))) :]


def _piece_lost(rng: random.Random, data: bytes, _originals: Originals) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 3, 188, 2000)) :]


def _pieces_swapped(rng: random.Random, data: bytes, _originals: Originals) -> bytes:
    first, second, third = sorted(_place(rng, data) for _ in range(3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


_DAMAGES: Final[tuple[_Damage, ...]] = (
    _truncated,
    _headless,
    _bits_flipped,
    _bits_flipped,
    _numbers_blown_up,
    _spliced,
    _piece_lost,
    _pieces_swapped,
)


def _place(rng: random.Random, data: bytes | bytearray) -> int:
    end = len(data) if rng.random() < 0.5 else min(_HEAD_BYTES, len(data))
    return rng.randrange(max(1, end))


# -- damage to playlists


def _line_lost(rng: random.Random, lines: list[str]) -> None:
    if lines:
        del lines[rng.randrange(len(lines))]


def _line_twice(rng: random.Random, lines: list[str]) -> None:
    if lines:
        at = rng.randrange(len(lines))
        lines[at:at] = [lines[at]] * rng.choice((1, 50, 5000))


def _lines_swapped(rng: random.Random, lines: list[str]) -> None:
    if lines:
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[first], lines[second] = lines[second], lines[first]


def _line_slipped_in(rng: random.Random, lines: list[str]) -> None:
    lines.insert(rng.randint(0, len(lines)), rng.choice(_HOSTILE_LINES))


def _number_changed(rng: random.Random, lines: list[str]) -> None:
    numbered = [at for at, line in enumerate(lines) if re.search(r":-?[0-9.]+", line)]
    if numbered:
        at = rng.choice(numbered)
        lines[at] = re.sub(r":-?[0-9.]+", f":{rng.choice(_NUMBERS)}", lines[at], count=1)


def _fragmented(mp4: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(mp4), "r") as source,
        av.open(
            buffer, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        ) as target,
    ):
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                target.mux(packet)
    return buffer.getvalue()

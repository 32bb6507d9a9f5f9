from __future__ import annotations

import asyncio
import io
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import WatcherError
from monitor.vocabulary import Posture, WatchState
from monitor.watch.framing import (
    MAX_SMALL_FRAME_BYTES,
    decode_downward,
    decode_upward,
    encode_frame,
    read_frame,
    receive_frame,
)
from monitor.watch.messages import (
    MAX_FRAME_BYTES,
    Assign,
    Evidence,
    EvidenceFrame,
    EvidenceScore,
    Message,
    Observation,
    Ping,
    Pong,
    Ready,
    Release,
    RequestEvidence,
    SetPosture,
    StreamStatus,
    WatcherFault,
    WatcherStats,
)

text = st.text(max_size=50)
counts = st.integers(0, 2**62)
finite = st.floats(allow_nan=False, allow_infinity=False)
score = st.floats(0, 1)
scores = st.lists(score, max_size=5).map(tuple)
postures = st.sampled_from(Posture)

downward: st.SearchStrategy[Message] = st.one_of(
    st.builds(Assign, stream_id=text, url=text, posture=postures),
    st.builds(Release, stream_id=text),
    st.builds(SetPosture, stream_id=text, posture=postures),
    st.builds(RequestEvidence, request_id=counts, stream_id=text),
    st.builds(Ping, number=counts),
)
stats = st.builds(
    WatcherStats,
    clips_scored=counts,
    clips_dropped=st.dictionaries(text, counts, max_size=3),
    decode_cpu_s=finite,
    inference_s=finite,
    resident_bytes=counts,
)
upward: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ready, model=text, labels=st.lists(text, max_size=4).map(tuple), provider=text),
    st.builds(
        Observation,
        stream_id=text,
        clip_start_s=finite,
        clip_end_s=finite,
        arrived_at=finite,
        scored_at=finite,
        scores=scores,
        posture=postures,
        spacing_honoured=st.booleans(),
    ),
    st.builds(StreamStatus, stream_id=text, state=st.sampled_from(WatchState), reason=text, detail=text),
    st.builds(
        Evidence,
        request_id=counts,
        stream_id=text,
        frames=st.lists(
            st.builds(EvidenceFrame, time_s=finite, arrived_at=finite, jpeg=st.binary(max_size=50)), max_size=3
        ).map(tuple),
        scores=st.lists(
            st.builds(EvidenceScore, clip_start_s=finite, clip_end_s=finite, scores=scores), max_size=3
        ).map(tuple),
    ),
    st.builds(Pong, number=counts, progress=counts, stats=stats),
    st.builds(WatcherFault, reason=text, detail=text),
)


@given(st.lists(downward, max_size=5))
def test_what_the_daemon_says_arrives_whole_and_in_order(messages: list[Message]) -> None:
    stream = io.BytesIO(b"".join(encode_frame(message) for message in messages))
    received = []
    while (body := read_frame(stream)) is not None:
        received.append(decode_downward(body))
    assert received == messages


@given(st.lists(upward, max_size=5), st.integers(1, 64))
def test_what_a_watcher_says_arrives_whole_however_the_pipe_cuts_it(messages: list[Message], piece: int) -> None:
    raw = b"".join(encode_frame(message) for message in messages)

    async def receive() -> list[Message]:
        reader = asyncio.StreamReader(limit=128)
        for start in range(0, len(raw), piece):
            reader.feed_data(raw[start : start + piece])
        reader.feed_eof()
        received: list[Message] = []
        while (body := await receive_frame(reader)) is not None:
            received.append(decode_upward(body))
        return received

    assert asyncio.run(receive()) == messages


@given(st.binary(max_size=200))
def test_no_bytes_from_a_stranger_raise_anything_but_the_seams_own_error(body: bytes) -> None:
    for decode in (decode_upward, decode_downward):
        try:
            message = decode(body)
        except WatcherError:
            continue
        assert isinstance(message, Message)


@given(upward, st.data())
def test_a_frame_with_flipped_bytes_is_a_message_or_refused(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode_frame(message)[4:])
    for position in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_upward(bytes(body))
    except WatcherError:
        return
    assert isinstance(decoded, Message)
    for value in decoded.scores if isinstance(decoded, Observation) else ():
        assert 0 <= value <= 1


@pytest.mark.parametrize("value", [math.nan, -0.01, 1.01, math.inf])
def test_a_number_that_is_no_score_is_refused(value: float) -> None:
    observation = Observation("s", 0, 1, 2, 3, (0.5, value), Posture.CALM, spacing_honoured=True)
    evidence = Evidence(1, "s", (), (EvidenceScore(0, 1, (value,)),))
    for message in (observation, evidence):
        with pytest.raises(WatcherError) as caught:
            decode_upward(encode_frame(message)[4:])
        assert caught.value.reason == "bad_message"


@pytest.mark.parametrize("field", ["clip_start_s", "clip_end_s", "arrived_at", "scored_at"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_time_that_is_no_time_is_refused(field: str, value: float) -> None:
    observation = Observation("s", 0, 1, 2, 3, (0.5,), Posture.CALM, spacing_honoured=True)
    hostile = msgspec.structs.replace(observation, **{field: value})
    with pytest.raises(WatcherError):
        decode_upward(encode_frame(hostile)[4:])


def test_a_frame_longer_than_the_seam_allows_is_refused_before_it_is_read() -> None:
    head = (MAX_FRAME_BYTES + 1).to_bytes(4, "big")
    with pytest.raises(WatcherError) as caught:
        read_frame(io.BytesIO(head + b"x"))
    assert caught.value.reason == "frame_too_large"


def test_only_evidence_may_be_large() -> None:
    frame = EvidenceFrame(0, 0, b"x" * (MAX_SMALL_FRAME_BYTES + 1))
    assert isinstance(decode_upward(encode_frame(Evidence(1, "s", (frame,), ()))[4:]), Evidence)
    bloated = msgspec.msgpack.encode(Ready("m", ("label",) * MAX_SMALL_FRAME_BYTES, "cpu"))
    with pytest.raises(WatcherError) as caught:
        decode_upward(bloated)
    assert caught.value.reason == "frame_too_large"
    with pytest.raises(WatcherError):
        encode_frame(StreamStatus("s", WatchState.FAILED, "r", "x" * MAX_SMALL_FRAME_BYTES))


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_a_pipe_that_ends_inside_a_frame_is_an_error_and_not_an_end(kept: int) -> None:
    raw = encode_frame(Ping(number=7))[:kept]
    with pytest.raises(WatcherError) as caught:
        read_frame(io.BytesIO(raw))
    assert caught.value.reason == "truncated"


def test_an_unknown_field_or_type_is_refused() -> None:
    for raw in (
        {"type": "pong", "number": 1},
        {"type": "exec", "code": "x"},
        {"type": "fault", "reason": "", "detail": "", "more": 1},
        ["pong"],
        7,
    ):
        with pytest.raises(WatcherError):
            decode_upward(msgspec.msgpack.encode(raw))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(WatcherError):
        decode_upward(b"\x91" * 60_000)

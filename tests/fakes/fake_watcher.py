"""A watcher program that speaks the seam and misbehaves on command; started by the supervisor like the real one.

What it does with a stream is said by the stream's address, ``fake://<behaviour>``; see `_BEHAVIOURS`.
``--startup=`` says how it starts: ``normally``, ``exits``, ``faults`` or ``never``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from monitor.vocabulary import Posture, WatchState
from monitor.watch.framing import decode_downward, encode_frame, read_frame
from monitor.watch.messages import (
    Assign,
    Downward,
    Evidence,
    EvidenceFrame,
    EvidenceScore,
    EvidenceVideo,
    Message,
    Observation,
    Ping,
    Pong,
    Ready,
    Release,
    RequestEvidence,
    RequestVideo,
    SetPosture,
    StreamCost,
    StreamStatus,
    Video,
    WatcherFault,
    WatcherStats,
)

_lock = threading.Lock()
_streams: dict[str, Assign] = {}
_state = {"progress": 0, "scored": 0, "dropped": 0, "frozen": 0}


def _write(raw: bytes) -> None:
    with _lock:
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()


def _send(message: Message) -> None:
    _write(encode_frame(message))


def _observation(stream: Assign, scores: tuple[float, ...] = (0.25, 0.5)) -> Observation:
    now = time.time()
    return Observation(stream.stream_id, 0.0, 1.0, now, now, scores, stream.posture, spacing_honoured=True)


def _status(stream: Assign, state: WatchState, reason: str) -> None:
    _send(StreamStatus(stream.stream_id, state, reason, detail=f"seen by {os.getpid()}"))


def _ok(stream: Assign) -> None:
    _status(stream, WatchState.WATCHING, "opened")


def _kill(_stream: Assign) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fault(_stream: Assign) -> None:
    _send(WatcherFault("classifier_failed", "told to"))
    time.sleep(60)


def _garbage(_stream: Assign) -> None:
    _write((5).to_bytes(4, "big") + b"\xc1\xff\x00ab")


def _oversized(_stream: Assign) -> None:
    _write((2**31).to_bytes(4, "big") + b"x" * 100)


def _unknown(stream: Assign) -> None:
    _send(_observation(Assign("never-assigned", "", stream.posture)))


def _wrong_labels(stream: Assign) -> None:
    _send(_observation(stream, (0.1,)))


def _unasked(stream: Assign) -> None:
    _send(Evidence(77, stream.stream_id, (), ()))


def _flood(stream: Assign) -> None:
    frames = encode_frame(_observation(stream)) * 100
    while True:
        _write(frames)


def _deaf(stream: Assign) -> None:
    _ok(stream)
    time.sleep(600)


def _stuck(stream: Assign) -> None:
    _ok(stream)
    _state["frozen"] = 1


def _silent(stream: Assign) -> None:
    _status(stream, WatchState.STALLED, "stalled")


def _stopped(_stream: Assign) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _failing(stream: Assign) -> None:
    tries = stream.tries + 1
    _send(StreamStatus(stream.stream_id, WatchState.FAILED, "open_failed", tries=tries))


def _dear(stream: Assign) -> None:
    _ok(stream)


def _chatty(stream: Assign) -> None:
    sys.stderr.write('{"event": "told_by_watcher", "level": "warning", "number": 7}\n')
    sys.stderr.write("rtmp://user:hunter2@example.org/live/key is what a library prints\n")
    sys.stderr.flush()
    _ok(stream)


_BEHAVIOURS: dict[str, Callable[[Assign], None]] = {
    function.__name__[1:]: function
    for function in (
        _ok,
        _kill,
        _fault,
        _garbage,
        _oversized,
        _unknown,
        _wrong_labels,
        _unasked,
        _flood,
        _deaf,
        _stuck,
        _silent,
        _failing,
        _dear,
        _stopped,
        _chatty,
    )
}


def _behaviour(stream: Assign) -> str:
    return stream.url.removeprefix("fake://").partition("/")[0]


def _observe() -> None:
    while True:
        time.sleep(0.02)
        if _state["frozen"]:
            continue
        for stream in list(_streams.values()):
            if _behaviour(stream) in {"ok", "chatty"}:
                _state["progress"] += 1
                _state["scored"] += 1
                _state["dropped"] += 2
                _send(_observation(stream))


def _evidence(request: RequestEvidence) -> Evidence:
    frame = EvidenceFrame(1.0, time.time(), f"jpeg of {request.stream_id} by {os.getpid()}".encode())
    return Evidence(request.request_id, request.stream_id, (frame,), (EvidenceScore(0.0, 1.0, (0.25, 0.5)),))


def _video(request: RequestVideo) -> Video:
    content = f"video of {request.stream_id} by {os.getpid()}".encode()
    (Path(request.folder) / "0.mp4").write_bytes(content)
    file = EvidenceVideo("0.mp4", len(content), hashlib.sha256(content).hexdigest(), 0.0, 1.0, 0.0, 1.0)
    return Video(request.request_id, request.stream_id, (file,))


def _costs() -> tuple[StreamCost, ...]:
    dear = [stream for stream in _streams.values() if _behaviour(stream) == "dear"]
    false = [StreamCost("somebody-elses", Posture.FULL, 1.0)] if dear else []
    return (*false, *(StreamCost(stream.stream_id, Posture.CALM, 0.5) for stream in dear))


def _obey(message: Downward) -> None:
    match message:
        case Assign() as stream:
            known = _streams.get(stream.stream_id)
            _streams[stream.stream_id] = stream
            if known is None:
                _BEHAVIOURS[_behaviour(stream)](stream)
        case Release(stream_id=stream_id):
            stream = _streams.pop(stream_id)
            # What was under way when the release came still arrives.
            _status(stream, WatchState.ENDED, "released")
        case SetPosture(stream_id=stream_id, posture=posture):
            _streams[stream_id] = Assign(stream_id, _streams[stream_id].url, posture)
        case RequestEvidence() as request:
            _send(_evidence(request))
        case RequestVideo() as request:
            _send(_video(request))
        case Ping(number=number):
            dropped = {"superseded": _state["dropped"]}
            stats = WatcherStats(_state["scored"], dropped, 0.0, 0.0, 0, costs=_costs())
            _send(Pong(number, _state["progress"], stats))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--startup", default="normally")
    parser.add_argument("--model", default="fake")
    options, _ = parser.parse_known_args()
    if options.startup == "exits":
        return 1
    if options.startup == "faults" or options.model == "wrong":
        _send(WatcherFault("invalid_model_package", "told to"))
        return 2
    if options.startup == "never":
        time.sleep(600)
    _send(Ready(f"{options.model}@1", ("violence", "weapon"), "cpu"))
    threading.Thread(target=_observe, daemon=True).start()
    while (body := read_frame(sys.stdin.buffer)) is not None:
        _obey(decode_downward(body))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The seam between daemon and watcher: every message that may cross, and its framing.

Messages are msgspec structs, encoded as MessagePack, each frame preceded by its length as a 4-byte big-endian
integer. A watcher decodes hostile video, so the daemon treats what comes up as data from a stranger: typed
decoding, bounded frames, no pickle. Frames of video never cross; evidence crosses as JPEG, on demand, and compressed
video as files in a folder that the daemon named.
"""

from __future__ import annotations

import msgspec

from monitor.vocabulary import Posture, WatchState

MAX_FRAME_BYTES = 32 * 1024 * 1024

MAX_COSTS = 8
"""Streams of whose costs one pong tells, so that a hundred streams do not make it large."""


class Message(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """Base of all messages."""


class Assign(Message, frozen=True, tag="assign"):
    """Daemon to watcher: watch this stream from now on. `url` may hold secrets and is never logged.

    `tries` in a row have failed where it was watched before, so its back-off goes on from there. `weight` as in `SetPosture`.
    """

    stream_id: str
    url: str
    posture: Posture
    tries: int = 0
    weight: float = 1.0


class Release(Message, frozen=True, tag="release"):
    """Daemon to watcher: stop watching; recent samples stay available as evidence for two minutes."""

    stream_id: str


class SetPosture(Message, frozen=True, tag="set_posture"):
    """Daemon to watcher: watch this stream more or less closely, without a reconnect.

    Where there is more to watch than time, a calm stream of twice the `weight` is looked at twice as often.
    """

    stream_id: str
    posture: Posture
    weight: float = 1.0


class RequestEvidence(Message, frozen=True, tag="request_evidence"):
    """Daemon to watcher: send what is kept of the last minute."""

    request_id: int
    stream_id: str


class RequestVideo(Message, frozen=True, tag="request_video"):
    """Daemon to watcher: write what the spool holds of a stream's last minute as files that play, into this folder.

    Video is too large to cross a pipe that observations need, and too much to hold in anybody's memory. So it goes through
    a folder that the daemon made for this one answer, and which it reads with the same suspicion as the pipe. This is a
    request apart from `RequestEvidence`: should hostile video end the watcher here, the frames and scores are safe.
    """

    request_id: int
    stream_id: str
    folder: str


class Ping(Message, frozen=True, tag="ping"):
    """Daemon to watcher: answer with a `Pong` that holds the same number."""

    number: int


Downward = Assign | Release | SetPosture | RequestEvidence | RequestVideo | Ping


class Ready(Message, frozen=True, tag="ready"):
    """Watcher to daemon, once: the model is loaded and has passed its self-test.

    `shadow` is the model beside it, ``name@version``; empty where there is none, or where it cannot be used.
    """

    model: str
    labels: tuple[str, ...]
    provider: str
    shadow: str = ""
    shadow_labels: tuple[str, ...] = ()


class Observation(Message, frozen=True, tag="observation"):
    """Watcher to daemon: the scores of one clip.

    Attributes:
        clip_start_s, clip_end_s: Presentation times of first and last frame, in stream seconds.
        arrived_at: Unix time at which the clip's last frame had been read from the network.
        scored_at: Unix time at which inference finished.
        scores: Score in [0, 1] for each label in `Ready.labels`, same order.
        spacing_honoured: As `Clip.spacing_honoured`.
    """

    stream_id: str
    clip_start_s: float
    clip_end_s: float
    arrived_at: float
    scored_at: float
    scores: tuple[float, ...]
    posture: Posture
    spacing_honoured: bool


class ShadowScores(Message, frozen=True, tag="shadow_scores"):
    """Watcher to daemon: what the model beside the acting one says of a clip, and what that one has said.

    Attributes:
        scores: As `Observation.scores`.
        shadow_scores: Score in [0, 1] for each label in `Ready.shadow_labels`, same order.
    """

    stream_id: str
    scores: tuple[float, ...]
    shadow_scores: tuple[float, ...]


class StreamStatus(Message, frozen=True, tag="stream_status"):
    """Watcher to daemon: a stream's watch state changed.

    `reason` is a static snake_case word (from the error tree, or ``opened``, ``eof``, ``released``); `detail` is one
    safe sentence for people: codec and size when watching, never an address. `tries` in a row have failed so far.
    """

    stream_id: str
    state: WatchState
    reason: str
    detail: str = ""
    tries: int = 0


class EvidenceFrame(msgspec.Struct, frozen=True):
    """One kept sample: JPEG bytes with its stream time and Unix arrival time."""

    time_s: float
    arrived_at: float
    jpeg: bytes


class EvidenceScore(msgspec.Struct, frozen=True):
    """One kept clip's scores, as in `Observation`."""

    clip_start_s: float
    clip_end_s: float
    scores: tuple[float, ...]


class Evidence(Message, frozen=True, tag="evidence"):
    """Watcher to daemon: the answer to `RequestEvidence`; empty tuples when nothing is kept."""

    request_id: int
    stream_id: str
    frames: tuple[EvidenceFrame, ...]
    scores: tuple[EvidenceScore, ...]


class EvidenceVideo(msgspec.Struct, frozen=True):
    """One file in the folder of a `RequestVideo`; attributes as in `monitor.video.remux.VideoFile`."""

    name: str
    size_bytes: int
    sha256: str
    start_s: float
    end_s: float
    arrived_from: float
    arrived_to: float


class Video(Message, frozen=True, tag="video"):
    """Watcher to daemon: the answer to `RequestVideo`, oldest file first.

    `trouble` is a static snake_case word that says why there is none, or fewer than there should be; empty if all is well.
    """

    request_id: int
    stream_id: str
    files: tuple[EvidenceVideo, ...]
    trouble: str = ""


class StreamCost(msgspec.Struct, frozen=True):
    """What one stream took lately in one posture: core seconds per second, its share of inference included."""

    stream_id: str
    posture: Posture
    cores: float


class WatcherStats(Message, frozen=True, tag="stats"):
    """Watcher to daemon, with every `Pong`: running totals since the process began.

    `classifier_trouble` and `classifier_serving` are no totals: as `monitor.classify.port.Degradable` says them now.

    `shadow_trouble` is why the model beside the acting one was switched off, a static snake_case word; empty if it was not.

    `costs` are no totals: what was measured anew of a few streams (`MAX_COSTS` at most), in turn.
    """

    clips_scored: int
    clips_dropped: dict[str, int]
    decode_cpu_s: float
    inference_s: float
    resident_bytes: int
    spool_failures: int = 0
    clips_stood_in: int = 0
    classifier_trouble: str = ""
    classifier_serving: str = ""
    costs: tuple[StreamCost, ...] = ()
    shadow_scored: int = 0
    shadow_dropped: int = 0
    shadow_cpu_s: float = 0.0
    shadow_trouble: str = ""


class Pong(Message, frozen=True, tag="pong"):
    """Watcher to daemon: the answer to `Ping`; `progress` grows whenever any packet was read or clip scored."""

    number: int
    progress: int
    stats: WatcherStats


class WatcherFault(Message, frozen=True, tag="fault"):
    """Watcher to daemon: inference failed; its streams are not being judged."""

    reason: str
    detail: str


OfStream = Observation | ShadowScores | StreamStatus
"""What a watcher says of one of its streams without being asked."""

Upward = Ready | Observation | ShadowScores | StreamStatus | Evidence | Video | Pong | WatcherFault

"""What a watcher and the shared classifier say to each other, over a Unix socket that keeps messages apart.

Pictures never cross it: they lie in the slots (`monitor.classify.shared.slots`). A watcher decodes hostile video, so
the classifier takes what it says as data from a stranger.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from monitor.errors import ClassifierError

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""Largest message, in bytes."""


class Welcome(msgspec.Struct, frozen=True, tag="welcome", forbid_unknown_fields=True):
    """Classifier to watcher, once, together with the descriptor of its slots.

    Attributes:
        fingerprint: As `SlotLayout.fingerprint`: both sides speak of the same model.
        slots: How many slots there are, and so the largest request, in clips.
        provider: The ONNX Runtime provider in use.
    """

    fingerprint: str
    slots: int
    provider: str


class ScoreRequest(msgspec.Struct, frozen=True, tag="score", forbid_unknown_fields=True):
    """Watcher to classifier: score the clips in these slots. A newer request takes the place of one that still waits.

    Attributes:
        generation: Which request this is; larger than any before on this connection, and written into each slot.
        slots: Distinct numbers of slots, most important clip first.
    """

    generation: int
    slots: tuple[int, ...]


class Scores(msgspec.Struct, frozen=True, tag="scores", forbid_unknown_fields=True):
    """Classifier to watcher: a row of scores for each slot of the request, in its order."""

    generation: int
    scores: tuple[tuple[float, ...], ...]


class Refusal(msgspec.Struct, frozen=True, tag="refusal", forbid_unknown_fields=True):
    """Classifier to watcher, before it hangs up: these clips cannot be scored, while others can."""

    generation: int
    detail: str


Answer = Welcome | Scores | Refusal
_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[ScoreRequest] = msgspec.msgpack.Decoder(ScoreRequest)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: ScoreRequest | Answer) -> bytes:
    """Return the message as bytes."""
    return _encoder.encode(message)


def decode_request(body: bytes) -> ScoreRequest:
    """Decode what a watcher said.

    Raises:
        ClassifierError: reason ``bad_message``.
    """
    return _decoded(_requests, body)


def decode_answer(body: bytes) -> Answer:
    """Decode what the classifier said.

    Raises:
        ClassifierError: reason ``bad_message``.
    """
    return _decoded(_answers, body)


def _decoded(decoder: msgspec.msgpack.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ClassifierError("a message that is not allowed here", reason="bad_message") from error

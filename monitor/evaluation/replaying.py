"""Known scores run through a detector and a protocol, from the first clip to the last: what one choice would have meant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from monitor.detect.persistence import DetectionRule
from monitor.evaluation.scoring import Track
from monitor.evaluation.stream_time import Record, StreamTimeRun
from monitor.protocol.definition import Definition
from monitor.vocabulary import EffectKind, Posture

_SILENCING = {EffectKind.CUT.value: "cut", EffectKind.HOLD.value: "held"}
_FREEING = {EffectKind.UNBLOCK.value: "cut", EffectKind.RELEASE.value: "held"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is tried: a protocol with its values, and the rules of detection. `name` tells it from others."""

    name: str
    definition: Definition
    rules: Mapping[str, DetectionRule]


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_s` to `end_s`, in seconds of the stream, it was so: a state, ``cut`` or ``held``."""

    start_s: float
    end_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one choice.

    Attributes:
        choice: What was tried.
        records: Detections, transitions and effects, in order.
        states: What state the protocol was in, without gaps.
        off_air: When nobody would have seen the stream.
        watched: Scores that were looked at: those of a stream that has been cut are not.
    """

    choice: Choice
    records: tuple[Record, ...]
    states: tuple[Span, ...]
    off_air: tuple[Span, ...]
    watched: int

    def first_s(self, kind: EffectKind) -> float | None:
        """Return when an effect of this kind was first asked for, or None."""
        return next((r["t"] for r in self.records if r["type"] == "effect" and r["effect"] == kind.value), None)

    def count(self, kind: EffectKind) -> int:
        """Return how often an effect of this kind was asked for."""
        return sum(record["type"] == "effect" and record["effect"] == kind.value for record in self.records)

    @property
    def off_air_s(self) -> float:
        """Seconds for which nobody would have seen the stream."""
        return sum(span.end_s - span.start_s for span in self.off_air)


def replay(track: Track, choice: Choice, *, sampling: Posture) -> Replayed:
    """Play a track through one choice. A stream that is cut shows nothing until it is let in again.

    Args:
        track: Its scores; windows of `sampling` at least.
        choice: What is tried.
        sampling: The posture in which the stream is watched at least; the protocol may ask for a closer one.

    Raises:
        LivecordonError: the protocol never comes to rest.
    """
    run = StreamTimeRun(choice.definition, choice.rules)
    records: list[Record] = []
    ends_s = {posture: [window.end_s for window in windows] for posture, windows in track.windows.items()}
    now_s, watched, cut = -1.0, 0, False
    while True:
        wanted = max(sampling, run.posture, key=lambda posture: posture.rank)
        fitting = [one for one in track.windows if sampling.rank <= one.rank <= wanted.rank]
        posture = max(fitting, key=lambda one: one.rank, default=sampling)
        number = bisect_right(ends_s[posture], now_s)
        if number == len(ends_s[posture]):
            break
        window = track.windows[posture][number]
        now_s = window.end_s
        if cut:
            new = list(run.advance(now_s))
        else:
            watched += 1
            new = [record for record in run.observe(now_s, window.scores) if record["type"] != "score"]
        records += new
        cut = _is_cut(new, cut=cut)
    records += run.advance(track.length_s)
    return Replayed(
        choice,
        tuple(records),
        tuple(_states(records, choice.definition.initial, track.length_s)),
        tuple(_off_air(records, track.length_s)),
        watched,
    )


def _is_cut(records: Sequence[Record], *, cut: bool) -> bool:
    for record in records:
        if record["type"] == "effect" and record["effect"] in (EffectKind.CUT.value, EffectKind.UNBLOCK.value):
            cut = record["effect"] == EffectKind.CUT.value
    return cut


def _states(records: Sequence[Record], initial: str, length_s: float) -> list[Span]:
    entered = [(0.0, initial)]
    for record in records:
        if record["type"] == "transition" and record["to"] != entered[-1][1]:
            entered.append((record["t"], record["to"]))
    spans = [
        Span(start_s, end_s, state)
        for (start_s, state), (end_s, _) in pairwise([*entered, (max(length_s, entered[-1][0]), "")])
    ]
    # Effects that end at once lead through states that take no time.
    return [span for span in spans if span.start_s < span.end_s or span is spans[-1]]


def _off_air(records: Sequence[Record], length_s: float) -> list[Span]:
    since: dict[str, float] = {}
    spans = []
    for record in records:
        if record["type"] != "effect":
            continue
        if (what := _SILENCING.get(record["effect"])) is not None:
            since.setdefault(what, record["t"])
        elif (freed := _FREEING.get(record["effect"])) in since:
            spans.append(Span(since.pop(str(freed)), record["t"], str(freed)))
    spans += [Span(start_s, max(length_s, start_s), what) for what, start_s in since.items()]
    # A stream that is held and then cut is silent once.
    merged: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start_s):
        if merged and span.start_s < merged[-1].end_s:
            merged[-1] = Span(merged[-1].start_s, span.start_s, merged[-1].what)
        merged.append(span)
    return [span for span in merged if span.end_s > span.start_s]

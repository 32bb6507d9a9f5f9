"""Scores run through the real detector and a real protocol: who would have been woken, what would have been cut, and when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.detect.persistence import DetectionRule
from monitor.evaluation.scoring import Track, Window
from monitor.evaluation.stitching import StitchedStream
from monitor.evaluation.stream_time import Record, StreamTimeRun
from monitor.protocol.definition import Definition
from monitor.vocabulary import EffectKind, Posture, ReviewDecision, Severity


@dataclass(frozen=True, slots=True)
class SeverityChange:
    """From `at_s` on, in seconds of the stream, `label` is at `severity`."""

    at_s: float
    label: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one stream; times in seconds of the stream.

    Attributes:
        changes: Detections that rose and fell, in order.
        reviews_s: When a responder was asked to decide.
        cuts_s: When the stream was cut; where several, it had come back each time.
        seen: The windows that were judged, in order, with the posture in which each was sampled.
    """

    changes: tuple[SeverityChange, ...]
    reviews_s: tuple[float, ...]
    cuts_s: tuple[float, ...]
    seen: tuple[tuple[Window, Posture], ...]

    def severity_at(self, at_s: float, label: str) -> Severity:
        """Return the severity of `label` just before `at_s`."""
        earlier = [change.severity for change in self.changes if change.label == label and change.at_s < at_s]
        return earlier[-1] if earlier else Severity.NONE


@dataclass(frozen=True, slots=True)
class Onsets:
    """How soon violence was noticed, over several streams.

    Attributes:
        streams: How many there were.
        delays_s: Seconds from onset to the first notice while violence lasted; one for each stream where there was one.
        before: Streams where a detection from before stood when violence began, which is luck and no notice.
        missed: Streams where there was no notice until violence ended.
    """

    streams: int
    delays_s: tuple[float, ...]
    before: int
    missed: int


def judge(
    track: Track,
    definition: Definition,
    rules: Mapping[str, DetectionRule],
    *,
    sampling: Posture,
    dismiss_reviews: bool,
) -> Judged:
    """Watch a stream whose scores are known.

    Where detector or protocol ask for a closer look, windows from then on are those of the closer posture, as far as the
    track has it. A stream that is cut comes back at once, as a new publication: detector and protocol start anew.

    Args:
        track: Its scores; windows of `sampling` at least.
        definition: The protocol.
        rules: When detections rise and fall, per label.
        sampling: The posture in which the stream is watched at least.
        dismiss_reviews: Whether a responder dismisses every review at once, so that each false one counts; else nobody
            ever answers.

    Raises:
        LivecordonError: the protocol never comes to rest.
    """
    run = StreamTimeRun(definition, rules)
    changes: list[SeverityChange] = []
    reviews_s: list[float] = []
    cuts_s: list[float] = []
    seen: list[tuple[Window, Posture]] = []
    now_s = -1.0
    ends_s = {posture: [window.end_s for window in windows] for posture, windows in track.windows.items()}
    while True:
        posture = _available(track, max(sampling, run.posture, key=lambda one: one.rank), sampling)
        number = bisect_right(ends_s[posture], now_s)
        if number == len(ends_s[posture]):
            # The closer look has nothing more; neither has any other that would tell more than a moment.
            break
        window = track.windows[posture][number]
        now_s = window.end_s
        seen.append((window, posture))
        records = list(run.observe(now_s, window.scores))
        asked = _effects(records, EffectKind.REQUEST_REVIEW)
        reviews_s += asked
        if asked and dismiss_reviews:
            records += run.review(ReviewDecision.DISMISS, by="evaluation", why="labelled normal")
        changes += _changes(records)
        if cut := _effects(records, EffectKind.CUT):
            cuts_s.append(cut[0])
            changes += (SeverityChange(cut[0], label, Severity.NONE) for label in rules)
            run = StreamTimeRun(definition, rules)
    records = list(run.advance(track.length_s))
    reviews_s += _effects(records, EffectKind.REQUEST_REVIEW)
    cuts_s += _effects(records, EffectKind.CUT)[:1]
    return Judged(tuple(changes), tuple(reviews_s), tuple(cuts_s), tuple(seen))


def onsets_of_detection(
    streams: Sequence[StitchedStream], judged: Sequence[Judged], label: str, severity: Severity
) -> Onsets:
    """Return how soon a detection of `label` rose to `severity` or above."""
    delays_s = []
    before = 0
    for stream, one in zip(streams, judged, strict=True):
        if one.severity_at(stream.onset_s, label) >= severity:
            before += 1
            continue
        rises_s = [change.at_s for change in one.changes if change.label == label and change.severity >= severity]
        delays_s += _first_delay(rises_s, stream)
    return Onsets(len(streams), tuple(delays_s), before, len(streams) - len(delays_s) - before)


def onsets_of_cut(streams: Sequence[StitchedStream], judged: Sequence[Judged]) -> Onsets:
    """Return how soon the stream was cut; one that was cut before had come back by then."""
    delays_s: list[float] = []
    for stream, one in zip(streams, judged, strict=True):
        delays_s += _first_delay(one.cuts_s, stream)
    return Onsets(len(streams), tuple(delays_s), 0, len(streams) - len(delays_s))


def _first_delay(times_s: Sequence[float], stream: StitchedStream) -> list[float]:
    return [at_s - stream.onset_s for at_s in times_s if stream.onset_s <= at_s <= stream.end_s][:1]


def _available(track: Track, wanted: Posture, sampling: Posture) -> Posture:
    """Return the closest posture that the track has, up to the wanted one; `sampling` at least."""
    fitting = [one for one in track.windows if sampling.rank <= one.rank <= wanted.rank]
    return max(fitting, key=lambda one: one.rank, default=sampling)


def _effects(records: Sequence[Record], kind: EffectKind) -> list[float]:
    return [record["t"] for record in records if record["type"] == "effect" and record["effect"] == kind.value]


def _changes(records: Sequence[Record]) -> list[SeverityChange]:
    return [
        SeverityChange(record["t"], record["label"], Severity.from_word(record["severity"]))
        for record in records
        if record["type"] == "detection"
    ]

"""What the benchmark found, and its JSON. Everything in it was measured in the run that made it, or is null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from monitor import __version__


@dataclass(frozen=True, slots=True)
class Row:
    """What one way of sampling one stream costs.

    Attributes:
        method: One of `monitor.bench.methods.METHODS`.
        stream: Name of the recipe.
        what: The same in words.
        sampled_fps: Distinct frames that were scaled for a model, per second of stream.
        cpu_s_per_stream_s: Processor seconds for one second of stream; the median of the rounds.
        lowest_cpu_s, highest_cpu_s: The same, of the best and of the worst round.
        rounds: How many there were.
        like_for_like: Whether it takes the same samples as the other rows that are marked so.
    """

    method: str
    stream: str
    what: str
    sampled_fps: float
    cpu_s_per_stream_s: float
    lowest_cpu_s: float
    highest_cpu_s: float
    rounds: int
    like_for_like: bool

    @property
    def streams_per_core(self) -> float:
        """How many streams a core that does nothing else could sample; classifying not included."""
        return 1 / self.cpu_s_per_stream_s


@dataclass(frozen=True, slots=True)
class Step:
    """So many streams watched at once, by real watcher processes, in real time.

    Attributes:
        streams: How many.
        real_time_share: Clips scored, of those that were due; 1 when nothing was late or left out.
        late_p95_ms: How far a clip's score came behind the time at which its stream was due, compared with the
            quickest, in milliseconds; 95th percentile.
        dropped: Clips that were given up for newer ones.
        cpu_s_per_stream_s: Processor seconds of the watchers for one second of one stream, or None where the system
            does not tell.
        decode_share: Share of it that the streams' own threads took, to read, decode and scale; the rest is the model and
            passing on its scores. None likewise.
        resident_bytes: Memory of all watchers.
        verdicts_ms: From the arrival of each clip's last needed frame to its score, sorted.
    """

    streams: int
    real_time_share: float
    late_p95_ms: float
    dropped: int
    cpu_s_per_stream_s: float | None
    decode_share: float | None
    resident_bytes: int
    verdicts_ms: tuple[float, ...]

    @property
    def in_real_time(self) -> bool:
        """Whether every stream was watched as it went along."""
        return self.real_time_share >= REAL_TIME and self.late_p95_ms <= LATEST_MS

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON shows of it."""
        shown = asdict(self)
        del shown["verdicts_ms"]
        return shown | {
            "in_real_time": self.in_real_time,
            "verdict_latency_ms": percentiles(self.verdicts_ms),
        }


REAL_TIME = 0.97
"""Share of due clips that must be scored; the clip at either end of a measurement may fall outside it."""

LATEST_MS = 2000.0
"""A verdict that comes later than this has been overtaken by the next group of pictures."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted `values` lie (nearest rank)."""
    return values[min(len(values) - 1, max(0, math.ceil(share * len(values)) - 1))]


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return p50 and p95 of sorted values, or None where there are none."""
    if not values:
        return None
    return {"p50": round(percentile(values, 0.5), 2), "p95": round(percentile(values, 0.95), 2)}


@dataclass(slots=True)
class Results:
    """Everything that one run found; grows while it runs.

    Attributes:
        not_measured: What is missing, by its name in the JSON, and why.
        scaling: Steps by where the streams came from: ``files`` or ``rtmp``, in order of their number of streams.
    """

    quick: bool
    machine: dict[str, Any]
    watchers: int
    model: str
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    rows: list[Row] = field(default_factory=list)
    scaling: dict[str, list[Step]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)

    def row(self, method: str, stream: str, *, like_for_like: bool) -> Row | None:
        """Return the row of a method, if there is one."""
        found = (
            row for row in self.rows if (row.method, row.stream, row.like_for_like) == (method, stream, like_for_like)
        )
        return next(found, None)

    def times_cheaper(self, row: Row, method: str) -> float | None:
        """Return how many times more `method` costs on the same stream, or None where it was not measured."""
        other = self.row(method, row.stream, like_for_like=True)
        return None if other is None else other.cpu_s_per_stream_s / row.cpu_s_per_stream_s

    def most_in_real_time(self, source: str) -> Step | None:
        """Return the step with the most streams at which, and below which, real time was kept."""
        kept = None
        for step in sorted(self.scaling.get(source, []), key=lambda step: step.streams):
            if not step.in_real_time:
                break
            kept = step
        return kept

    def limit_was_found(self, source: str) -> bool:
        """Whether more streams than the most were tried and lost real time."""
        return any(not step.in_real_time for step in self.scaling.get(source, []))

    def memory_mib_per_stream(self) -> float | None:
        """Return the slope of the watchers' memory over the number of streams, in MiB; None with under two steps."""
        points = [
            (step.streams, step.resident_bytes)
            for source in ("files", "rtmp")
            if len(self.scaling.get(source, [])) > 1
            for step in self.scaling[source]
        ]
        return _slope(points) / 2**20 if len({streams for streams, _ in points}) > 1 else None

    def latency_step(self) -> Step | None:
        """Return the step whose verdicts are reported: about half of what real time allows, over RTMP.

        Files are handed out when they are due, so only a network tells when a frame arrived.
        """
        most = self.most_in_real_time("rtmp")
        if most is None:
            return None
        steps = [step for step in self.scaling["rtmp"] if step.verdicts_ms and step.streams <= most.streams]
        return min(steps, key=lambda step: abs(step.streams - most.streams / 2), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document; its keys are explained in ``docs/performance.md``."""
        measured = self.latency_step()
        return {
            "livecordon": __version__,
            "began_at": self.began_at.isoformat(timespec="seconds"),
            "quick": self.quick,
            "machine": self.machine,
            "model": self.model,
            "watchers": self.watchers,
            "rows": [self._row(row) for row in self.rows],
            "with_inference": {source: self._with_inference(source) for source in ("files", "rtmp")},
            "realtime_streams_per_core": {source: self._per_core(source) for source in ("files", "rtmp")},
            "memory_mib_per_stream": _rounded(self.memory_mib_per_stream(), 2),
            "verdict_latency_ms": (percentiles(measured.verdicts_ms) if measured else None)
            or {"p50": None, "p95": None},
            "verdict_latency_streams": measured.streams if measured else None,
            "scaling": {source: [step.to_dict() for step in steps] for source, steps in self.scaling.items()},
            "not_measured": self.not_measured,
        }

    def _row(self, row: Row) -> dict[str, Any]:
        return {
            "method": row.method,
            "stream": row.stream,
            "what": row.what,
            "sampled_fps": round(row.sampled_fps, 2),
            "cpu_s_per_stream_s": round(row.cpu_s_per_stream_s, 5),
            "lowest_cpu_s": round(row.lowest_cpu_s, 5),
            "highest_cpu_s": round(row.highest_cpu_s, 5),
            "rounds": row.rounds,
            "streams_per_core": round(row.streams_per_core, 1),
            "like_for_like": row.like_for_like,
            "times_cheaper_than_ffmpeg": _rounded(self.times_cheaper(row, "ffmpeg"), 2),
            "times_cheaper_than_opencv": _rounded(self.times_cheaper(row, "opencv"), 2),
        }

    def _with_inference(self, source: str) -> dict[str, Any] | None:
        step = self.most_in_real_time(source)
        if step is None or not step.cpu_s_per_stream_s:
            return None
        return {
            "streams": step.streams,
            "cpu_s_per_stream_s": round(step.cpu_s_per_stream_s, 5),
            "streams_per_core": round(1 / step.cpu_s_per_stream_s, 1),
        }

    def _per_core(self, source: str) -> float | None:
        step = self.most_in_real_time(source)
        return None if step is None else round(step.streams / self.machine["cores"], 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def machine_summary(machine: Mapping[str, Any]) -> str:
    """Return the machine in one line."""
    return f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"

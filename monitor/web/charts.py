"""What the status page shows: the rows of the dashboard, with fewer and smaller charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.web import wording
from monitor.web.readings import Measure, Reading, both, now, per_second, quantile

_Words = Callable[[float], str]


def _count(value: float) -> str:
    return f"{value:.0f}"


def _rate(value: float) -> str:
    return f"{value:.1f}/s" if value < 10 else f"{value:.0f}/s"


def _rare(value: float) -> str:
    return f"{60 * value:.1f} a minute"


def _cores(value: float) -> str:
    return f"{value:.2f} cores"


def _duration(value: float) -> str:
    if 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.1f} s" if value < 60 else wording.span(value)


def _bytes(value: float) -> str:
    return wording.size(int(value))


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _score(value: float) -> str:
    return f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Chart:
    """One small chart over the last hour.

    Attributes:
        about: What it means, in a sentence.
        words: How its values are written.
        full: The value at the top, if it is always the same.
    """

    title: str
    about: str
    words: _Words
    measure: Measure
    full: float | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """One number.

    Attributes:
        bad_from: It is bad from this value on; None if it never is.
    """

    title: str
    words: _Words
    measure: Measure
    bad_from: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One question, and what answers it."""

    title: str
    tiles: Sequence[Tile]
    charts: Sequence[Chart]


def _per(measure: Measure, other: Measure) -> Measure:
    def ratio(reading: Reading, before: Reading | None) -> Mapping[str, float]:
        below = other(reading, before)
        return {line: value / below[line] for line, value in measure(reading, before).items() if below.get(line)}

    return ratio


_ON_AIR: Final = "livecordon_detection_to_contained_seconds"

ROWS: Final = (
    Row(
        "Are we watching?",
        (
            Tile("live streams", _count, now("livecordon_streams")),
            Tile("blind", _count, now("livecordon_streams", freshness="blind"), bad_from=1),
            Tile("late", _count, now("livecordon_streams", freshness="late"), bad_from=1),
            Tile("oldest verdict", _duration, now("livecordon_verdict_age_max_seconds"), bad_from=30),
            Tile("streams given up", _count, now("livecordon_streams_given_up"), bad_from=1),
        ),
        (
            Chart(
                "Streams",
                "Live streams by how recent their last verdict is, and those that viewers do not see because of an incident.",
                _count,
                both(now("livecordon_streams", by="freshness"), now("livecordon_streams_withheld", by="how")),
            ),
            Chart(
                "Stream-time watched within 10 s",
                "Share of all stream-time in which the last verdict was at most 10 s old.",
                _share,
                _per(
                    per_second("livecordon_verdict_age_seconds_bucket", le="10.0"),
                    per_second("livecordon_verdict_age_seconds_count"),
                ),
                full=1.0,
            ),
            Chart("Clips scored", "Clips that were scored.", _rate, per_second("livecordon_clips_total")),
            Chart(
                "Clips dropped",
                "Clips that were never scored, and why. Overload and thinned mean too many streams for this machine.",
                _rate,
                per_second("livecordon_clips_dropped_total", by="reason"),
            ),
        ),
    ),
    Row(
        "Are we fast?",
        (
            Tile("taken off the air at once", _count, now(f"{_ON_AIR}_count", route="direct")),
            Tile(
                "of these within 10 s of the detection",
                _share,
                _per(now(f"{_ON_AIR}_bucket", le="10.0", route="direct"), now(f"{_ON_AIR}_count", route="direct")),
            ),
            Tile("half of them within", _duration, quantile(_ON_AIR, 0.5, ever=True, route="direct"), bad_from=10),
            Tile("95 of 100 within", _duration, quantile(_ON_AIR, 0.95, ever=True, route="direct"), bad_from=10),
            Tile(
                "first frame to off the air, half within",
                _duration,
                quantile("livecordon_onset_to_contained_seconds", 0.5, ever=True, route="direct"),
            ),
        ),
        (
            Chart(
                "Last frame to verdict",
                "How long 95 of 100 clips took from the arrival of their last frame to their verdict.",
                _duration,
                quantile("livecordon_clip_lag_seconds", 0.95),
            ),
            Chart(
                "Age of verdicts",
                "How old the last verdict of a live stream was, half and 95 of 100 of the time.",
                _duration,
                both(
                    quantile("livecordon_verdict_age_seconds", 0.5, name_it="half"),
                    quantile("livecordon_verdict_age_seconds", 0.95, name_it="95 of 100"),
                ),
            ),
            Chart(
                "Publish gate", "Time to answer, 99 of 100 times.", _duration, quantile("livecordon_gate_seconds", 0.99)
            ),
        ),
    ),
    Row(
        "What did we do?",
        (
            Tile("open incidents", _count, now("livecordon_incidents")),
            Tile("detections since the start", _count, now("livecordon_detections_total")),
            Tile("cuts and holds", _count, now("livecordon_decision_to_contained_seconds_count")),
            Tile("cuts that failed", _count, now("livecordon_effects_total", kind="cut", outcome="failed"), bad_from=1),
            Tile(
                "cuts not verified",
                _count,
                now("livecordon_effects_total", kind="cut", outcome="unverified"),
                bad_from=1,
            ),
            Tile("publishers barred", _count, now("livecordon_blocks_active")),
        ),
        (
            Chart("Open incidents", "Incidents under way, by state.", _count, now("livecordon_incidents", by="state")),
            Chart(
                "Detections",
                "Detections raised, by severity.",
                _rare,
                per_second("livecordon_detections_total", by="severity"),
            ),
            Chart(
                "Scores",
                "The score that half of the clips, and one of a hundred, exceed.",
                _score,
                both(
                    quantile("livecordon_score", 0.5, name_it="half"),
                    quantile("livecordon_score", 0.99, name_it="1 of 100"),
                ),
                full=1.0,
            ),
            Chart(
                "Publish gate",
                "Answers of the publish gate.",
                _rare,
                per_second("livecordon_gate_decisions_total", by="decision"),
            ),
        ),
    ),
    Row(
        "Are people answering?",
        (
            Tile("reviews that wait", _count, now("livecordon_reviews_pending")),
            Tile("most overdue", _duration, now("livecordon_review_overdue_seconds"), bad_from=0.001),
            Tile("decisions since the start", _count, now("livecordon_review_seconds_count")),
            Tile("half of them within", _duration, quantile("livecordon_review_seconds", 0.5, ever=True)),
        ),
        (
            Chart(
                "Reviews that wait", "Incidents that wait for a decision.", _count, now("livecordon_reviews_pending")
            ),
            Chart(
                "Overdue",
                "For how long the review that is most overdue has been so.",
                _duration,
                now("livecordon_review_overdue_seconds"),
            ),
        ),
    ),
    Row(
        "Are partners reached?",
        (
            Tile("alerts that wait", _count, now("livecordon_deliveries_pending")),
            Tile("oldest of them", _duration, now("livecordon_delivery_oldest_seconds", most=True), bad_from=60),
            Tile("given up", _count, now("livecordon_dead_letters"), bad_from=1),
            Tile("receivers disabled", _count, now("livecordon_receiver_disabled"), bad_from=1),
            Tile("delivered since the start", _count, now("livecordon_deliveries_total", outcome="delivered")),
        ),
        (
            Chart(
                "Oldest undelivered alert",
                "Age of the oldest alert that each receiver has not taken.",
                _duration,
                now("livecordon_delivery_oldest_seconds", by="receiver", most=True),
            ),
            Chart(
                "Deliveries",
                "Attempts to deliver an alert, and how they ended.",
                _rare,
                per_second("livecordon_deliveries_total", by="outcome"),
            ),
        ),
    ),
    Row(
        "Is the machine well?",
        (
            Tile("memory of the daemon", _bytes, now("process_resident_memory_bytes")),
            Tile("of its watchers", _bytes, now("livecordon_watchers_resident_bytes")),
            Tile("store", _bytes, now("livecordon_store_bytes")),
            Tile("decisions not stored", _count, now("livecordon_store_unwritten"), bad_from=1),
            Tile("store refused", _count, now("livecordon_store_failures_total"), bad_from=1),
        ),
        (
            Chart(
                "Processor",
                "Cores in use: reading and decoding, inference, and the daemon itself.",
                _cores,
                both(
                    per_second("livecordon_decode_cpu_seconds_total", name_it="decoding"),
                    per_second("livecordon_inference_seconds_total", name_it="inference"),
                    per_second("process_cpu_seconds_total", name_it="daemon"),
                ),
            ),
            Chart(
                "Store",
                "Time that 99 of 100 reads and writes took.",
                _duration,
                quantile("livecordon_store_seconds", 0.99, by="operation"),
            ),
            Chart(
                "Event loop",
                "How late the event loop woke, 99 of 100 times.",
                _duration,
                quantile("livecordon_loop_lag_seconds", 0.99),
            ),
            Chart(
                "Disk left",
                "Share of each disk that is free.",
                _share,
                _per(now("livecordon_disk_free_bytes", by="use"), now("livecordon_disk_size_bytes", by="use")),
                full=1.0,
            ),
        ),
    ),
)

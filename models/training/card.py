"""Writes MODEL_CARD.md from the measured numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.training.clips import Labelled
from models.training.evaluation import Estimate
from models.training.judging import Results
from models.training.streams import SOON_S, Noticed

WATTS = 10.0
"""Assumed draw of one busy processor core, with its share of the rest of the machine."""

TEMPLATE = Path(__file__).parent / "card.md"
"""The card's words, with places for numbers."""
GALLERY = Path(__file__).parent / "gallery.md"
"""What people saw when they looked at the worst mistakes; to be written anew when they change."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card says beyond results.

    Attributes:
        summary, limits, training_data, rule: Words that the manifest has too.
        clips: As listed.
        measurements: Columns of the table.
        windows: Rows that the model was fitted to.
        parameters: Numbers that were fitted.
        repeats: How often folds were dealt.
        cpu_h: CPU hours behind the model, decoding and evaluation included.
        hours: Hours that this run took.
        clip_ms: CPU milliseconds per clip, flow included.
        session_mib: Memory that one session adds to a process.
        model_bytes: Size of the graph.
    """

    summary: str
    limits: str
    training_data: str
    rule: str
    clips: Sequence[Labelled]
    measurements: int
    windows: int
    parameters: int
    repeats: int
    cpu_h: float
    hours: float
    clip_ms: float
    session_mib: float
    model_bytes: int


def write_card(folder: Path, results: Results, streams: dict[str, dict[str, Noticed]], facts: Facts) -> None:
    """Write the card beside the manifest."""
    points = results.points
    kinds = next(iter(points.values())).rates
    auc = results.auc
    surveillance = auc["whole clips, surveillance only"]
    text = TEMPLATE.read_text().format(
        summary=facts.summary,
        limits=facts.limits,
        training_data=facts.training_data,
        clips=_clips(facts.clips),
        windows=f"{facts.windows:,}",
        measurements=facts.measurements,
        repeats=facts.repeats,
        auc=_rows(auc),
        worst_fold=f"{results.worst_fold:.3f}",
        calibration="\n".join(f"| {name} | {error:.3f} |" for name, error in results.calibration.items()),
        names=" | ".join(f"`{name}` ({point.threshold})" for name, point in points.items()),
        rules="|".join("---" for _ in points),
        rates="\n".join(
            f"| {kind} | " + " | ".join(percent(point.rates[kind]) for point in points.values()) + " |"
            for kind in kinds
        ),
        rule=facts.rule,
        robustness="\n".join(
            f"| {name} | {robust.auc} | {robust.recall:.0%} | {robust.false_alarms:.0%} |"
            for name, robust in results.robustness.items()
        ),
        streams="\n".join(
            f"| {sampling} | {what} | {answer.streams} | {answer.noticed} | {answer.soon} | {answer.median_s:.1f} s | "
            f"{answer.false_per_hour:.1f} ({answer.low:.1f}-{answer.high:.1f}) |"
            for sampling, answers in streams.items()
            for what, answer in answers.items()
        ),
        goals="\n".join(
            f"| {goal} | {measured} | {'yes' if reached else '**no**'} |"
            for goal, measured, reached in _goals(results, streams, facts)
        ),
        normal_hours=f"{next(iter(streams['calm'].values())).hours:.2f}",
        gallery=GALLERY.read_text().strip(),
        parameters=f"{facts.parameters:,}",
        size=f"{facts.model_bytes / 1024:.0f} KiB",
        clip_ms=f"{facts.clip_ms:.1f}",
        surveillance=surveillance,
        cpu_h=f"{facts.cpu_h:.2f}",
        hours=f"{facts.hours:.2f}",
        watts=f"{WATTS:.0f}",
        energy=f"{facts.cpu_h * WATTS:.0f}",
    )
    (folder / "MODEL_CARD.md").write_text(text)


def _goals(results: Results, streams: dict[str, dict[str, Noticed]], facts: Facts) -> Iterator[tuple[str, str, bool]]:
    """Yield what was asked for in numbers, what was measured, and whether that is enough."""
    pooled = results.auc["whole clips, all normal clips as negatives"]
    goal = "AUC of whole clips, all normal clips as negatives: 0.88, with 0.82 as the lower end of the interval"
    yield goal, str(pooled), pooled.value >= 0.88 and pooled.low >= 0.82
    error = results.calibration["all"]
    yield "expected calibration error of at most 0.05", f"{error:.3f}", error <= 0.05
    cuts = [answers["cut"] for answers in streams.values()]
    hours = cuts[0].hours
    found = "; ".join(
        f"{one.soon} of {one.streams} passages within {SOON_S:.0f} s, {one.noticed} at all" for one in cuts
    )
    none_false = all(one.false_per_hour == 0 for one in cuts)
    yield (
        "no false cut at `act` on stitched streams",
        f"{'none' if none_false else 'some'} in {hours:.2f} hours; recall, calm and then close: {found}",
        none_false,
    )
    yield "at most 8 ms of CPU per clip, flow included", f"{facts.clip_ms:.1f} ms", facts.clip_ms <= 8
    yield "at most 4 MiB", f"{facts.model_bytes / 1024:.0f} KiB", facts.model_bytes <= 4 * 1024**2
    yield "at most 60 MiB of memory for a session", f"{facts.session_mib:.0f} MiB", facts.session_mib <= 60


def percent(rate: Estimate) -> str:
    """Return a share with its interval."""
    return f"{rate.value:.1%} ({rate.low:.0%}-{rate.high:.0%})"


def words_for(answer: Noticed) -> str:
    """Return one line about streams."""
    return (
        f"{answer.noticed} of {answer.streams} noticed, {answer.soon} within {SOON_S:.0f} s, median {answer.median_s:.1f} s; "
        f"{answer.false_per_hour:.1f} ({answer.low:.1f}-{answer.high:.1f}) false per hour"
    )


def _rows(estimates: dict[str, Estimate]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in estimates.items())


def _clips(clips: Sequence[Labelled]) -> str:
    """Return a row per data set, label and licence: clips, and the source videos or scenes they come from."""
    counts = Counter((clip.dataset, clip.violent, clip.licence) for clip in clips)
    return "\n".join(
        f"| `{dataset}` | {'fights' if violent else 'normal'} | {count} | "
        f"{len({clip.group for clip in clips if (clip.dataset, clip.violent, clip.licence) == (dataset, violent, licence)})}"
        f" | {licence} |"
        for (dataset, violent, licence), count in sorted(counts.items())
    )

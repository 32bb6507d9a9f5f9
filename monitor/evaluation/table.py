"""An evaluation for people: a table of sets, what streams stitched from them came to, and what to keep in mind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from monitor.evaluation.evaluation import Evaluation
from monitor.evaluation.figures import Figures, Measured
from monitor.evaluation.judging import Onsets
from monitor.evaluation.metrics import Interval

_MOST_SKIPPED = 20
_FEW_HOURS = 10.0


def print_evaluation(found: Evaluation, console: Console) -> None:
    """Print everything to `console`."""
    method = found.method
    rule = method.rules[method.label]
    console.print()
    console.print(Text(f"{found.model}, {found.all.clips} clips, sampled {method.sampling.value}", style="bold"))
    console.print(
        f"review at {method.review:g}, {rule.review.hits} of {rule.review.of} windows; "
        f"act at {method.act:g}, {rule.act.hits} of {rule.act.of}"
    )
    for part in (_sets(found), _alarms(found), _windows(found), _streams(found), _rest(found), *_notes(found)):
        console.print()
        console.print(part)


def _sets(found: Evaluation) -> Table:
    table = Table(
        title="Clips, each scored by the mean of its windows; in brackets 95 % intervals over groups",
        caption="recall: violent clips at or above the threshold, without persistence",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("set")
    for heading in ("violent", "normal", "groups", "ROC AUC", "avg. precision", "recall review", "recall act"):
        table.add_column(heading, justify="right")
    for name, one in _named(found).items():
        table.add_row(
            Text(name),
            str(one.violent),
            str(one.clips - one.violent),
            str(one.groups),
            _ranked(one.auc),
            _ranked(one.average_precision),
            _percent(one.recall_review),
            _percent(one.recall_act),
            style=_style(found, one),
        )
    return table


def _alarms(found: Evaluation) -> Table:
    table = Table(
        title="False alarms on normal video, after persistence; each group is played as one stream",
        caption=f"reviews under {found.method.asking.name}, cuts under {found.method.cutting.name}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("set")
    for heading in ("hours", "streams", "false reviews", "per hour", "false cuts", "per hour"):
        table.add_column(heading, justify="right")
    for name, one in _named(found).items():
        table.add_row(
            Text(name),
            f"{one.normal_hours:.2f}",
            str(one.normal_streams),
            str(one.false_reviews),
            _rate(one.false_reviews_per_hour),
            str(one.false_cuts),
            _rate(one.false_cuts_per_hour),
            style=_style(found, one),
        )
    return table


def _named(found: Evaluation) -> dict[str, Figures]:
    return dict(found.datasets) | ({"all": found.all} if len(found.datasets) > 1 else {})


def _style(found: Evaluation, one: Figures) -> str:
    return "bold" if one is found.all else ""


def _ranked(one: Measured) -> str:
    return "-" if one.value is None else f"{one.value:.3f}{_bracketed(one.interval, 1, '.2f')}"


def _percent(one: Measured) -> str:
    return "-" if one.value is None else f"{one.value:.0%}{_bracketed(one.interval, 100, '.0f')}"


def _rate(one: Measured) -> str:
    return "-" if one.value is None else f"{one.value:.1f}{_bracketed(one.interval, 1, '.0f')}"


def _bracketed(interval: Interval | None, times: float, form: str) -> str:
    return "" if interval is None else f" ({interval.low * times:{form}}-{interval.high * times:{form}})"


def _windows(found: Evaluation) -> Table:
    table = Table(title="Single windows at or above a threshold, without persistence", title_justify="left")
    table.add_column("set")
    for heading in ("windows", "violent at review", "normal at review", "violent at act", "normal at act"):
        table.add_column(heading, justify="right")
    for name, one in _named(found).items():
        shares = ("-" if share is None else f"{share:.1%}" for share in (*one.windows_review, *one.windows_act))
        table.add_row(Text(name), str(one.windows), *shares, style=_style(found, one))
    return table


def _streams(found: Evaluation) -> RenderableType:
    if not found.streams:
        return Text("onset: too few clips of groups held apart to stitch a stream: normal, violent, normal")
    lengths_s = [stream.end_s - stream.onset_s for stream in found.streams]
    table = Table(
        title=f"From onset to notice: {len(found.streams)} streams stitched from scores, "
        f"{np.median(lengths_s):.0f} s of violence in each (median)",
        title_justify="left",
    )
    table.add_column("notice")
    for heading in ("in time", "median s", "90th percentile s", "missed", "stood before"):
        table.add_column(heading, justify="right")
    said = {"review": f"a responder is asked ({found.method.asking.name})", "cut": f"cut ({found.method.cutting.name})"}
    for name, onsets in found.onsets.items():
        table.add_row(said[name], *_onset(onsets))
    return table


def _onset(onsets: Onsets) -> tuple[str, ...]:
    delays_s = onsets.delays_s
    return (
        f"{len(delays_s)} of {onsets.streams}",
        f"{np.median(delays_s):.1f}" if delays_s else "-",
        f"{np.percentile(delays_s, 90):.1f}" if delays_s else "-",
        str(onsets.missed),
        str(onsets.before),
    )


def _rest(found: Evaluation) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(style="bold")
    balanced = "" if found.ece_balanced is None else f", both labels weighing alike {found.ece_balanced:.3f}"
    table.add_row("calibration error (ECE) of clip scores", f"{found.ece:.3f}{balanced}")
    cost = found.costs[found.method.sampling]
    decode_ms, classify_ms = (1000 * spent_s / cost.windows for spent_s in (cost.decode_cpu_s, cost.classify_cpu_s))
    table.add_row("processor time per window", f"{decode_ms:.1f} ms to decode, {classify_ms:.1f} ms to classify")
    return table


def _notes(found: Evaluation) -> Iterator[Text]:
    if found.skipped:
        count = len(found.skipped)
        reasons = ", ".join(f"{many} {reason}" for reason, many in Counter(s.reason for s in found.skipped).items())
        lines = [f"{count} row{'s' if count > 1 else ''} skipped: {reasons}"]
        lines += [f"  line {one.line}: {one.path}: {one.what}" for one in found.skipped[:_MOST_SKIPPED]]
        if count > _MOST_SKIPPED:
            lines.append(f"  and {count - _MOST_SKIPPED} more; --json lists all")
        yield Text("\n".join(lines), style="yellow")
    notes = ["Clips that the model was trained on flatter it: judge by clips that it has never seen."]
    if found.all.ungrouped:
        notes.append(
            f"{found.all.ungrouped} clips name no group, so each counts as a source of its own: if some share one, the "
            "intervals are too narrow."
        )
    if found.all.short_streams:
        notes.append(
            f"{found.all.short_streams} of {found.all.normal_streams} normal streams are too short for any cut: rates per "
            "hour are then too low. Use longer clips."
        )
    if 0 < found.all.normal_hours < _FEW_HOURS:
        notes.append(
            f"{found.all.normal_hours:.1f} hours of normal video say little of rates per hour: collect tens of hours."
        )
    yield Text("\n".join(notes))

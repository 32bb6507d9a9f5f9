"""`livecordon calibrate`: thresholds for a budget of false alarms, from recordings or from what people decided."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from sqlalchemy import URL

from monitor.classify.package import find_package, load_package
from monitor.cli.options import config_option
from monitor.config.fields import parse_budget_per_h
from monitor.config.loading import load_config
from monitor.config.models import Config
from monitor.daemon.place import store_place
from monitor.daemon.thresholds import applications_of, budgets_of
from monitor.daemon.thresholds_of_model import ModelThresholds
from monitor.detect.persistence import DetectionRule
from monitor.detect.rules import rules_for
from monitor.errors import LivecordonError, StoreError
from monitor.evaluation.calibrating import Rate, Suggestion, count_files, suggest, suggest_learnt
from monitor.evaluation.listing import ClipRow
from monitor.evaluation.scoring_rows import ModelChoice, score_rows
from monitor.logs import configure_logging
from monitor.store import incidents, thresholds
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import Posture, Severity

_MOST_INCIDENTS = 100_000


def _budget(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_budget_per_h(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("calibrate")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_option
@click.option(
    "--budget",
    callback=_budget,
    metavar="B",
    help='For review, such as "20 per 1000 stream-hours"; the configured one.',
)
@click.option("--act-budget", callback=_budget, metavar="B", help="Likewise for act; none by default.")
@click.option(
    "--sampling",
    type=click.Choice([Posture.CALM.value, Posture.CLOSE.value]),
    default=Posture.CLOSE.value,
    show_default=True,
    help="Look at files closely, as at a stream under suspicion, or as at a calm one.",
)
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes at work; one per core by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def calibrate(
    *,
    files: tuple[Path, ...],
    config_file: Path | None,
    budget: float | None,
    act_budget: float | None,
    sampling: str,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Suggest thresholds that keep a budget of false alarms.

    From FILES: recordings of your ordinary streams, in which nothing violent happens. Without any: from what the daemon has
    counted in the store, beside the incidents that people confirmed and dismissed. Nothing leaves this machine, and nothing
    is changed. Exit status 1 if too little was seen for a threshold: docs/operating-points.md says how much it takes.
    """
    configure_logging("error")
    loaded = load_config(config_file, os.environ)
    config = loaded.config
    choice = ModelChoice(
        find_package(config.watch.model, config.watch.models_dir), config.watch.model_variant, config.watch.provider
    )
    package = load_package(choice.folder, choice.variant)
    rules = rules_for(config.detection, package)
    wanted = {
        Severity.REVIEW: budget or config.detection.review.budget,
        Severity.ACT: act_budget or config.detection.act.budget,
    }
    budgets = {severity: per_h for severity, per_h in wanted.items() if per_h is not None}
    if not budgets:
        raise click.UsageError('--budget is needed, such as --budget "20 per 1000 stream-hours"')
    if files:
        found = list(
            _from_files(
                files, choice, rules, budgets, sampling=Posture(sampling), jobs=jobs or len(os.sched_getaffinity(0))
            )
        )
    else:
        found = _from_store(store_place(loaded, os.environ), config, rules, budgets, package.score_digest)
    if as_json:
        click.echo(json.dumps({"model": package.name, "suggestions": [one.to_dict() for one in found]}, indent=2))
    else:
        for one in found:
            click.echo("\n".join(_lines(one)))
        click.echo("\n".join(_yaml(found)))
    return 0 if all(one.threshold is not None for one in found) else 1


def _from_files(
    files: Sequence[Path],
    choice: ModelChoice,
    rules: Mapping[str, DetectionRule],
    budgets: Mapping[Severity, float],
    *,
    sampling: Posture,
    jobs: int,
) -> Iterator[Suggestion]:
    rows = [
        ClipRow(number, str(file), file.absolute(), violent=False, dataset="files", group=str(file), grouped=True)
        for number, file in enumerate(files, start=1)
    ]
    scored, skipped = score_rows(rows, choice, (sampling,), jobs=jobs)
    for one in skipped:
        click.echo(f"left out {one.path}: {one.what}", err=True)
    if not scored:
        raise LivecordonError("not one file could be scored", reason="nothing_to_evaluate")
    tallies = count_files([found.track for _, found in scored], rules, sampling)
    for (label, severity), tally in tallies.items():
        if severity in budgets:
            yield suggest(((), label, severity), tally, budgets[severity], rules[label])


def _from_store(
    place: Path | URL,
    config: Config,
    rules: Mapping[str, DetectionRule],
    budgets: Mapping[Severity, float],
    digest: str,
) -> list[Suggestion]:
    if isinstance(place, Path) and not place.exists():
        raise StoreError(f"{place}: there is no store; name files, or run the daemon first", reason="open_failed")
    rows, known = asyncio.run(_read(place))
    learnt = ModelThresholds("", digest, rules, {**budgets, **budgets_of(config.detection)})
    for row in rows:
        learnt.restore(row)
    tallies = {key: tally for key, (_, tally) in learnt.learning.states.items()}
    in_force = {key: learnt.in_force(key) for key in tallies}
    found = suggest_learnt(tallies, budgets, rules, known, applications=applications_of(config), in_force=in_force)
    if not found:
        raise LivecordonError(
            "the store holds nothing that was counted with this model and these rules: set detection.review.budget, "
            "and let the daemon watch your streams",
            reason="nothing_learnt",
        )
    return found


async def _read(place: Path | URL) -> tuple[list[thresholds.LearntRow], Sequence[IncidentRecord]]:
    async with Database(place, migrates=False) as database, database.reading() as connection:
        return await thresholds.load(connection), await incidents.newest(connection, limit=_MOST_INCIDENTS)


def _lines(one: Suggestion) -> Iterator[str]:
    where = f" on {'/'.join(one.group)}" if one.group else ""
    yield f"{one.label}, {one.severity.word}{where}: {one.hours:.1f} stream-hours seen"
    yield f"  now {one.current:.3f}: {_words(one.current_rate)}"
    if one.threshold is None:
        yield f"  no suggestion: {one.hours:.1f} hours cannot show {one.budget:g} per 1000 stream-hours."
        if one.hours:
            yield f"  Even without one false alarm, up to {3688.9 / one.hours:,.0f} per 1000 could be the truth."
        yield f"  From {one.hours_needed:,.1f} hours on it can be reckoned, from {one.hours_counted:,.0f} on it is counted."
    else:
        yield f"  suggested {one.threshold:.3f}: {_words(one.rate)}; the budget is {one.budget:g}"
        if one.extrapolated:
            yield f"  extrapolated beyond what was seen; from {one.hours_counted:,.0f} hours on it is counted"
    if one.confirmed or one.dismissed:
        yield f"  people confirmed {one.confirmed} incidents and dismissed {one.dismissed}"
        if one.confirmed_below:
            yield f"  {one.confirmed_below} of those confirmed were raised by a clip below the suggestion: they could be missed"


def _words(rate: Rate | None) -> str:
    if rate is None:
        return "nothing is known"
    return f"{rate.value:,.0f} per 1000 stream-hours (95 %: {rate.low:,.0f} to {rate.high:,.0f})"


def _yaml(found: Sequence[Suggestion]) -> Iterator[str]:
    """Yield lines to paste. Where groups differ, the highest: one threshold in the configuration holds for all."""
    best: dict[Severity, float] = {}
    for one in found:
        if one.threshold is not None:
            best[one.severity] = max(best.get(one.severity, 0.0), one.threshold)
    if best:
        yield "\ndetection:"
    for severity in sorted(best):
        # Rounded up, so that the budget holds; and `act` never lies below `review`.
        highest = max(found for lower, found in best.items() if lower <= severity)
        yield f"  {severity.word}:\n    threshold: {math.ceil(highest * 1e4) / 1e4:.4f}"

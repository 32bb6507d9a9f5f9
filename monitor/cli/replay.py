"""`livecordon replay`: what other protocols and thresholds would have made of a video, or of scores that were kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.cli.options import config_option
from monitor.cli.protocol_choice import chosen_protocol
from monitor.config.loading import LoadedConfig, load_config
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.detect.rules import rules_for
from monitor.evaluation.recorded_scores import is_recorded, read_scores
from monitor.evaluation.replaying import Choice, Replayed, replay
from monitor.evaluation.scoring import Track, score_file
from monitor.evaluation.scoring_rows import ModelChoice
from monitor.logs import configure_logging
from monitor.vocabulary import EffectKind, Posture

_PLAIN_WIDTH: Final = 132
_MOST_CHOICES: Final = 6
_COUNTED: Final = (EffectKind.REQUEST_REVIEW, EffectKind.ALERT, EffectKind.HOLD, EffectKind.CUT, EffectKind.UNBLOCK)


@click.command("replay")
@click.argument("source", metavar="SOURCE")
@config_option
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="P",
    help="A protocol, a name or a file, perhaps with values: assisted,decide_within=30s; repeat it to compare.",
)
@click.option(
    "--thresholds", multiple=True, metavar="T", help="Thresholds, such as review=0.6,act=0.9; repeat it to compare."
)
@click.option("--server-can", type=click.Choice(["hold"]), help="What the media server can do; nothing by default.")
@click.option("--model", metavar="M", help="Model package: a name or a folder; the configuration's by default.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.png",
    help="Draw scores, thresholds, and the states of each choice.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay_command(
    *,
    source: str,
    config_file: Path | None,
    protocols: tuple[str, ...],
    thresholds: tuple[str, ...],
    server_can: str | None,
    model: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare protocols and thresholds on a video file, or on scores that were kept.

    SOURCE is a video, what `livecordon watch --json` wrote, a CSV file with the columns t and one per label, or an incident's
    evidence package. Every protocol is tried with every set of thresholds. Nobody answers, and every effect counts as
    done at once; a stream that is cut is not looked at until it is let in again.
    """
    configure_logging("error")
    if plot is not None:
        _check_plot(plot)
    loaded = load_config(config_file, os.environ)
    section = loaded.config.protocol
    package = load_package(
        find_package(model or loaded.config.watch.model, loaded.config.watch.models_dir),
        loaded.config.watch.model_variant if model is None else None,
    )
    definitions = [
        (given, chosen_protocol(name, values and [values], can_hold=server_can == "hold", directory=section.directory))
        for given in protocols or (section.default,)
        for name, _, values in [given.partition(",")]
    ]
    wanted = [_thresholds(given) for given in thresholds] or [{}]
    if len(definitions) * len(wanted) > _MOST_CHOICES:
        raise click.UsageError(f"compare at most {_MOST_CHOICES} choices at once")
    if is_recorded(source):
        track, sampling = read_scores(Path(source)), Posture.CALM
    else:
        track, sampling = _scored(Path(source), loaded, package, model), Posture.CLOSE
    labels = next(iter(track.windows[sampling])).scores
    found = [
        replay(
            track,
            Choice(
                given if not one else f"{given} at {_shown(one)}",
                definition,
                _rules(loaded, package, labels, one),
            ),
            sampling=sampling,
        )
        for given, definition in definitions
        for one in wanted
    ]
    if as_json:
        click.echo(json.dumps(_record(source, track, found), allow_nan=False))
    else:
        _print(source, track, found)
    if plot is not None:
        from monitor.cli.replay_plot import draw  # noqa: PLC0415 - matplotlib is slow to import and optional

        draw(plot, Path(source).name, track, found, sampling)
        click.echo(f"drew {plot}", err=True)


def _scored(path: Path, loaded: LoadedConfig, package: ModelPackage, model: str | None) -> Track:
    watch = loaded.config.watch
    variant = watch.model_variant if model is None else None
    classifier = ModelChoice(package.folder, variant, watch.provider).build()
    return score_file(
        path,
        classifier,
        (Posture.CLOSE, Posture.FULL),
        open_timeout_s=watch.open_timeout,
        read_timeout_s=watch.read_timeout,
    ).track


def _thresholds(given: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for part in given.split(","):
        name, _, text = part.strip().partition("=")
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if name not in ("review", "act") or not 0 < value <= 1:
            raise click.UsageError(f"--thresholds: write review=0.6,act=0.9 with scores up to 1, not {given!r}")
        values[name] = value
    return values


def _rules(
    loaded: LoadedConfig, package: ModelPackage, labels: Iterable[str], given: Mapping[str, float]
) -> dict[str, DetectionRule]:
    """Return the configuration's rules with other thresholds; labels that the model does not have need them."""
    section = loaded.config.detection
    known = rules_for(section, package)
    rules = {}
    for label in labels:
        rule = known.get(label)
        if rule is None:
            if len(given) < len(("review", "act")):
                raise click.UsageError(f"the model has no label {label!r}: give --thresholds review=…,act=…")
            rule = DetectionRule(
                review=LevelRule(given["review"], section.review.hits, section.review.of),
                act=LevelRule(max(given.values()), section.act.hits, section.act.of),
                clear_ratio=section.clear_ratio,
                clear_after_s=section.clear_after,
            )
        review = given.get("review", min(rule.review.threshold, given.get("act", 1.0)))
        act = given.get("act", max(rule.act.threshold, review))
        if act < review:
            raise click.UsageError(f"--thresholds: act is below review for {label}")
        rules[label] = replace(
            rule, review=replace(rule.review, threshold=review), act=replace(rule.act, threshold=act)
        )
    return rules


def _shown(thresholds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in thresholds.items())


def _print(source: str, track: Track, found: Sequence[Replayed]) -> None:
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)
    windows = max(len(windows) for windows in track.windows.values())
    console.print(f"{source}: {track.length_s:.1f} s, {windows} clips", markup=False)
    console.print(_figures(found))
    console.print(_timeline(found))


def _figures(found: Sequence[Replayed]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for one in found:
        table.add_column(one.choice.name, justify="right")
    for kind in _COUNTED:
        table.add_row(f"{kind.value.replace('_', ' ')}: how often, first", *(_counted(one, kind) for one in found))
    table.add_row("off the air", *(f"{one.off_air_s:.1f} s" for one in found))
    table.add_row("ends in", *(one.states[-1].what for one in found))
    return table


def _counted(one: Replayed, kind: EffectKind) -> str:
    first_s = one.first_s(kind)
    return "-" if first_s is None else f"{one.count(kind)}, {first_s:.2f} s"


def _timeline(found: Sequence[Replayed]) -> Table:
    """Return what each choice does, side by side, one row per moment."""
    moments: dict[float, dict[int, list[str]]] = {}
    for number, one in enumerate(found):
        for record in one.records:
            said = _said(record)
            if said:
                moments.setdefault(record["t"], {}).setdefault(number, []).append(said)
    table = Table(box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    for one in found:
        table.add_column(one.choice.name, overflow="fold")
    for at_s in sorted(moments):
        table.add_row(f"{at_s:.2f}", *("; ".join(moments[at_s].get(number, ())) for number in range(len(found))))
    return table


def _said(record: Mapping[str, Any]) -> str:
    match record["type"]:
        case "transition":
            return f"-> {record['to']}" if record["to"] != record["from"] else ""
        case "effect":
            return str(record["effect"]).replace("_", " ")
        case "detection":
            return f"{record['label']} {'raised to' if record['raised'] else 'fell to'} {record['severity']}"
        case _:
            return ""


def _record(source: str, track: Track, found: Sequence[Replayed]) -> dict[str, Any]:
    return {
        "source": source,
        "length_s": round(track.length_s, 3),
        "clips": {posture.value: len(windows) for posture, windows in track.windows.items()},
        "runs": [
            {
                "name": one.choice.name,
                "protocol": one.choice.definition.name,
                "parameters": dict(one.choice.definition.parameters),
                "thresholds": {
                    label: {"review": rule.review.threshold, "act": rule.act.threshold}
                    for label, rule in one.choice.rules.items()
                },
                "watched": one.watched,
                "effects": {
                    kind.value: {"count": one.count(kind), "first_s": one.first_s(kind)}
                    for kind in EffectKind
                    if one.count(kind)
                },
                "off_air_s": round(one.off_air_s, 3),
                "states": [
                    {"state": span.what, "from": round(span.start_s, 3), "to": round(span.end_s, 3)}
                    for span in one.states
                ],
                "records": list(one.records),
            }
            for one in found
        ],
    }


def _check_plot(file: Path) -> None:
    """Refuse what could only fail after everything has been scored."""
    if find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: install livecordon[plot]")
    if not file.absolute().parent.is_dir():
        raise click.UsageError(f"--plot: there is no folder {file.absolute().parent}")

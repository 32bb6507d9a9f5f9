"""`livecordon evaluate`: how good the model, the rules and the protocols are on labelled clips."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monitor import shipped
from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.cli.options import config_option
from monitor.config.loading import load_config
from monitor.detect.rules import rules_for
from monitor.evaluation.evaluation import POSTURES, evaluate
from monitor.evaluation.figures import Method
from monitor.evaluation.listing import read_listing
from monitor.evaluation.metrics import RESAMPLES
from monitor.evaluation.scoring_rows import ModelChoice
from monitor.evaluation.table import print_evaluation
from monitor.incidents.library import load_protocols
from monitor.logs import configure_logging
from monitor.vocabulary import Posture

_ASKING, _CUTTING = "assisted", "immediate"
_VIOLENCE = "violence"
_PLAIN_WIDTH = 132
_LINE_EVERY_S = 10.0


@click.command("evaluate")
@click.argument("clips", type=click.Path(path_type=Path, dir_okay=False), metavar="CLIPS.csv")
@config_option
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="What the list's paths are relative to; the list's own folder by default.",
)
@click.option("--model", metavar="M", help="Model package: a name or a folder; the configuration's by default.")
@click.option("--label", metavar="L", help="The model's label that stands for violence; violence by default.")
@click.option(
    "--sampling",
    type=click.Choice([posture.value for posture in POSTURES]),
    default=Posture.CALM.value,
    show_default=True,
    help="Sample as a stream without suspicion is at first, or closely all the time.",
)
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes at work; one per core by default.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, metavar="N", help="Of resampling and stitching; 0 by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object instead of tables.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.png",
    help="Draw ranking, calibration, stitched streams and the worst mistakes, violent ones blurred.",
)
def evaluate_command(
    *,
    clips: Path,
    config_file: Path | None,
    root: Path | None,
    model: str | None,
    label: str | None,
    sampling: str,
    jobs: int | None,
    seed: int,
    as_json: bool,
    plot: Path | None,
) -> int:
    """Measure the model, the detection rules and the protocols on labelled clips.

    CLIPS.csv has the columns path, label (violence or normal) and dataset; also group (clips of one source share it) and
    licence, if you like. Clips are sampled and scored as live streams are. Reported per dataset and in all: ROC AUC,
    average precision and recall with intervals over groups, false reviews and cuts per hour of normal video, seconds from
    onset to notice, calibration and cost.

    Clips that the model was trained on flatter it. Collect your own: docs/evaluating.md. Rows that cannot be used are
    listed; exit status 1 only if not one clip could be scored, 2 if the list itself is wrong.
    """
    configure_logging("error")
    if plot is not None:
        _check_plot(plot)
    rows, skipped = read_listing(clips, root)
    config = load_config(config_file, os.environ).config
    # The configuration's variant is one of the configuration's model.
    choice = ModelChoice(
        find_package(model or config.watch.model, config.watch.models_dir),
        variant=config.watch.model_variant if model is None else None,
        provider=config.watch.provider,
    )
    package = load_package(choice.folder, choice.variant)
    protocols = load_protocols(shipped.protocols_dir())
    method = Method(
        label=_label(label, package),
        rules=rules_for(config.detection, package),
        asking=protocols[_ASKING],
        cutting=protocols[_CUTTING],
        sampling=Posture(sampling),
        resamples=RESAMPLES,
        seed=seed,
    )
    with _progress(len(rows), as_json=as_json) as tell:
        found = evaluate(
            rows,
            skipped,
            choice,
            name=package.name,
            method=method,
            jobs=jobs or len(os.sched_getaffinity(0)),
            on_done=tell,
        )
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        # Tables are of no use cut to pieces, so a file or a pipe gets them whole.
        console = Console(highlight=False)
        print_evaluation(found, console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH))
    if plot is not None:
        from monitor.evaluation.plot import draw  # noqa: PLC0415 - matplotlib is slow to import and optional

        draw(plot, found)
        click.echo(f"drew {plot}", err=True)
    return 0


def _label(asked: str | None, package: ModelPackage) -> str:
    labels = package.manifest.labels
    if asked is not None and asked not in labels:
        raise click.UsageError(f"--label: the model has {', '.join(labels)}, and no {asked}")
    if asked is None and _VIOLENCE not in labels and len(labels) > 1:
        raise click.UsageError(f"--label is needed: the model has {', '.join(labels)}, and no {_VIOLENCE}")
    return asked or (_VIOLENCE if _VIOLENCE in labels else labels[0])


def _check_plot(file: Path) -> None:
    """Refuse what could only fail after everything has been scored."""
    if find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: install livecordon[plot]")
    if not file.absolute().parent.is_dir():
        raise click.UsageError(f"--plot: there is no folder {file.absolute().parent}")


@contextmanager
def _progress(total: int, *, as_json: bool) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many clips are done: a bar on a terminal, else a line every ten seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield (lambda _done: None) if as_json else _lines(total)
        return
    columns = (TextColumn("scoring clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Where output goes elsewhere it must go on doing so: rich would write it onto standard error.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(total: int) -> Callable[[int], None]:
    said_at_s = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said_at_s
        if time.monotonic() - said_at_s >= _LINE_EVERY_S:
            said_at_s = time.monotonic()
            click.echo(f"scored {done} of {total} clips", err=True)

    return tell

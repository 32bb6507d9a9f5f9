"""`livecordon bench`: what watching costs on this machine, beside the usual ways."""

from __future__ import annotations

import json
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from monitor.bench.results import Results
from monitor.bench.running import run_bench
from monitor.bench.table import print_results
from monitor.config.watching import WatchSection
from monitor.logs import configure_logging

_PLAIN_WIDTH = 132
_EXIT_TERMINATED = 128 + signal.SIGTERM


@click.command()
@click.option("--quick", is_flag=True, help="Under two minutes instead of about ten, and less precise.")
@click.option("--json", "json_file", metavar="FILE", help="Write the results as JSON; - prints them instead of tables.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.png",
    help="Draw the results.",
)
@click.option("--model", metavar="M", help="Model package: a name or a folder; the shipped one by default.")
def bench(*, quick: bool, json_file: str | None, plot: Path | None, model: str | None) -> int:
    """Measure what watching costs on this machine, beside OpenCV, the ffmpeg command and PyAV.

    On generated H.264 streams: processor time per stream, streams per core with the model, memory, and the time to a
    verdict, from files and over a real nginx-rtmp where that is installed. Nothing is taken from elsewhere; what could
    not be measured is said. Footage is generated once and kept in your cache folder.
    """
    configure_logging("error")
    if plot is not None and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: install livecordon[plot]")
    # Ended by a service manager or a time limit, it must not leave an nginx and recordings behind.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(_EXIT_TERMINATED))
    results = _measured(quick=quick, model=model or WatchSection().model)
    text = json.dumps(results.to_dict(), indent=2, allow_nan=False)
    if json_file == "-":
        click.echo(text)
    else:
        # The tables are of no use cut to pieces, so a file or a pipe gets them whole.
        console = Console(highlight=False)
        print_results(results, console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH))
        if json_file is not None:
            Path(json_file).write_text(text + "\n", encoding="utf-8")
            click.echo(f"wrote {json_file}", err=True)
    if plot is not None:
        from monitor.bench.plot import draw  # noqa: PLC0415 - matplotlib is slow to import and optional

        draw(plot, results)
        click.echo(f"drew {plot}", err=True)
    return 0


def _measured(*, quick: bool, model: str) -> Results:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            shown.update(task, description=what, completed=done, total=total)

        return run_bench(quick=quick, model=model, progress=tell)

"""How far `livecordon watch` has come: a bar where somebody looks on, a line now and then where nobody does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0

Told = Callable[[float], None]
"""Call it with the stream time, in seconds, up to which the source has been watched."""


@contextmanager
def progress(name: str, length_s: float | None, *, as_json: bool) -> Iterator[Told]:
    """Show on standard error how far one source has been watched.

    A bar if standard error is a terminal; else a line every ten seconds of real time, unless `as_json` says that a
    program reads. Nothing of it ever gets onto standard output.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield (lambda _seen_s: None) if as_json else _lines(name, length_s)
        return
    if as_json and sys.stdout.isatty():
        # Lines and bar would be drawn over each other.
        yield lambda _seen_s: None
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} s of stream"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # Where output goes elsewhere it must go on doing so: rich would write it onto standard error.
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task(name, total=length_s)
        yield lambda seen_s: bar.update(task, completed=seen_s)


def _lines(name: str, length_s: float | None) -> Told:
    said_at_s = time.monotonic()
    of = "" if length_s is None else f" of {length_s:.0f} s"

    def tell(seen_s: float) -> None:
        nonlocal said_at_s
        if time.monotonic() - said_at_s >= _LINE_EVERY_S:
            said_at_s = time.monotonic()
            click.echo(f"{name}: watched {seen_s:.0f} s{of}", err=True)

    return tell

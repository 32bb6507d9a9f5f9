"""`livecordon protocol`: check protocol files, and draw a protocol."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.main import EXIT_USAGE
from monitor.errors import Problem, ProblemsError


@click.group()
def protocol() -> None:
    """Check protocol files, and draw protocols."""


@protocol.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> int:
    """Check protocol files: every mistake with its line, what is wrong, and how to mend it.

    Exits with 0 if all of them may run, else with 2.
    """
    from monitor.protocol.template import load_template  # noqa: PLC0415 - keeps `--help` fast

    problems: list[Problem] = []
    for file in files:
        try:
            load_template(file.read_bytes(), str(file))
        except ProblemsError as failure:
            problems += failure.problems
        except OSError as failure:
            what = f"the file cannot be read ({failure.strerror or type(failure).__name__})"
            problems.append(Problem(str(file), "", what, "name a protocol file"))
    for problem in problems:
        click.echo(str(problem), err=True)
    click.echo(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "ok")
    return EXIT_USAGE if problems else 0


@protocol.command()
@click.argument("name")
@click.option("--mermaid", is_flag=True, help="As Mermaid source, which is the only form so far.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
def show(name: str, *, mermaid: bool, output: Path | None) -> None:  # noqa: ARG001 - the only form so far
    """Draw a protocol, named or as a file, with its timers, effects and parameters at their defaults."""
    from monitor.incidents.library import load_protocol  # noqa: PLC0415 - keeps `--help` fast
    from monitor.protocol.diagram import to_mermaid  # noqa: PLC0415
    from monitor.shipped import protocols_dir  # noqa: PLC0415

    drawn = to_mermaid(load_protocol(name, protocols_dir()))
    if output is None:
        click.echo(drawn, nl=False)
    else:
        output.write_text(drawn, encoding="utf-8")

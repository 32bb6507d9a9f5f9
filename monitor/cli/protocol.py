"""`livecordon protocol`: check protocol files, and draw a protocol."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.main import EXIT_USAGE
from monitor.cli.options import parameters_option
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
@parameters_option
@click.option("--svg", "form", flag_value="svg", help="As a picture; what a file that ends in .svg gets.")
@click.option("--mermaid", "form", flag_value="mermaid", help="As Mermaid source; what everything else gets.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
def show(name: str, *, parameters: tuple[str, ...], form: str | None, output: Path | None) -> None:
    """Draw a protocol, named or as a file, with its timers, effects and parameters."""
    from monitor.cli.protocol_choice import chosen_protocol  # noqa: PLC0415 - keeps `--help` fast
    from monitor.protocol.diagram import to_mermaid  # noqa: PLC0415
    from monitor.protocol.drawing import to_svg  # noqa: PLC0415

    definition = chosen_protocol(name, parameters)
    if form is None:
        form = "svg" if output is not None and output.suffix.lower() == ".svg" else "mermaid"
    drawn = to_svg(definition) if form == "svg" else to_mermaid(definition)
    if output is None:
        click.echo(drawn, nl=False)
    else:
        output.write_text(drawn, encoding="utf-8")

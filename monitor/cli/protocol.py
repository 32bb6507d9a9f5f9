"""`livecordon protocol`: check protocol files, draw protocols, and play scripts through them."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.main import EXIT_USAGE
from monitor.cli.options import config_option, parameters_option
from monitor.errors import Problem, ProblemsError


@click.group()
def protocol() -> None:
    """Check protocol files, draw protocols, and play scripts through them."""


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


@protocol.command()
@click.argument("name", metavar="PROTOCOL")
@click.argument("script_file", metavar="[SCRIPT.yaml]", required=False, type=click.Path(path_type=Path))
@click.option("--incident", "incident_id", metavar="ID", help="Play this incident of the store instead of a script.")
@click.option("--log", "log_file", type=click.Path(path_type=Path), help="Look for it in this `audit export` instead.")
@parameters_option
@click.option("--server-can", type=click.Choice(["hold"]), help="What the media server can do; nothing by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@config_option
def simulate(
    *,
    name: str,
    script_file: Path | None,
    incident_id: str | None,
    log_file: Path | None,
    parameters: tuple[str, ...],
    server_can: str | None,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Play a script or a recorded incident through a protocol, and print what would be decided and done, and when.

    Nothing is done. Deadlines fire by themselves; effects end as the script says, or succeed after half a second.
    """
    from monitor.cli.protocol_simulate import play  # noqa: PLC0415 - keeps `--help` fast

    if (script_file is None) == (incident_id is None):
        raise click.UsageError("name a script, or an incident with --incident")
    play(
        name,
        script_file,
        incident_id,
        log_file=log_file,
        parameters=parameters,
        can_hold=server_can == "hold",
        as_json=as_json,
        config_file=config_file,
    )

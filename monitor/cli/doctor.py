"""`livecordon doctor`: what is wrong on this machine, and how to mend it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.doctor_finding import Finding, Grade
from monitor.cli.main import EXIT_FAILED, EXIT_USAGE
from monitor.cli.options import config_option
from monitor.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from monitor.config.loading import LoadedConfig

_WIDTH: Final = max(len(grade) for grade in Grade)


@click.command()
@config_option
@click.option(
    "--streams",
    type=click.IntRange(1, 100_000),
    metavar="NUMBER",
    help="How many streams are to be watched; as many as are live now by default.",
)
@click.option("--no-probe", is_flag=True, help="Ask neither media servers nor receivers whether they answer.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor(*, config_file: Path | None, streams: int | None, no_probe: bool, strict: bool, as_json: bool) -> int:
    """Say what is wrong on this machine, and how to mend it, one line each.

    Looks at configuration, protocols, model and its speed, codecs, providers, clock, ports, permissions, disks, memory, media
    servers and receivers. Exits with 0 if nothing is wrong, with 1 if something is, and with 2 if the configuration is.
    """
    from monitor.config.loading import load_config  # noqa: PLC0415 - keeps `--help` fast

    try:
        loaded = load_config(config_file, os.environ)
    except ProblemsError as failure:
        for finding in (_wrong("configuration", problem) for problem in failure.problems):
            _show(finding, as_json=as_json)
        return EXIT_USAGE
    status = 0
    for finding in _findings(loaded, streams, probes=not no_probe):
        _show(finding, as_json=as_json)
        if finding.grade is Grade.WRONG or (strict and finding.grade is Grade.WARNING):
            status = EXIT_FAILED
    return status


def _findings(loaded: LoadedConfig, streams: int | None, *, probes: bool) -> Iterator[Finding]:
    from monitor.cli import doctor_machine, doctor_reach, doctor_speed  # noqa: PLC0415 - keeps `--help` fast
    from monitor.cli.check import check_model, check_protocols, problems_of  # noqa: PLC0415

    clocks = doctor_machine.clocks()
    yield Finding(Grade.OK, "configuration", str(loaded.file))
    yield from (Finding(Grade.WARNING, "configuration", str(problem)) for problem in loaded.warnings())
    problems = problems_of(check_protocols, loaded)
    yield from (_wrong("protocols", problem) for problem in problems)
    if not problems:
        yield Finding(Grade.OK, "protocols", "all can run")
    yield from doctor_machine.codecs()
    yield from doctor_machine.who_we_are()
    yield from doctor_machine.folders(loaded)
    yield from doctor_machine.disks(loaded)
    live = 0
    if probes:
        yield from doctor_machine.ports(loaded)
        reached = asyncio.run(doctor_reach.reach(loaded))
        yield from reached.findings
        live = reached.live_streams
    if problems := problems_of(check_model, loaded):
        yield from (_wrong("model", problem) for problem in problems)
    else:
        yield from doctor_speed.model(loaded, streams or live)
    yield from doctor_machine.memory(loaded, streams or live)
    yield from doctor_machine.clock(clocks)


def _wrong(subject: str, problem: Problem) -> Finding:
    return Finding(Grade.WRONG, subject, str(problem))


def _show(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(finding)))
        return
    mend = f": {finding.mend}" if finding.mend else ""
    click.echo(f"{finding.grade:<{_WIDTH}} {finding.subject}: {finding.what}{mend}")

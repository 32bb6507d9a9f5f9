"""The `livecordon` command. Commands are imported when they are used, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

import click
from click.shell_completion import CompletionItem
from typing_extensions import override

from monitor import __version__
from monitor.errors import LivecordonError, ProblemsError
from monitor.redact import redact_text

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
"""The command line, or a file that the operator wrote, is wrong: trying again cannot help."""
EXIT_INTERRUPTED: Final = 130


class Lazy(NamedTuple):
    """A command that is imported when it is needed.

    Attributes:
        target: ``module:function``.
        summary: What it does, in one line; the first sentence of its own help.
    """

    target: str
    summary: str


COMMANDS: Final[dict[str, Lazy]] = {
    "run": Lazy("monitor.cli.run:run", "Watch the configured media servers until told to stop."),
    "watch": Lazy(
        "monitor.cli.watch:watch",
        "Watch files or live addresses, one after the other, and print what Livecordon would do.",
    ),
    "demo": Lazy(
        "monitor.cli.demo:demo", "Publish two live streams, watch them, and see what happens when one turns violent."
    ),
    "bench": Lazy(
        "monitor.cli.bench:bench",
        "Measure what watching costs on this machine, beside OpenCV, the ffmpeg command and PyAV.",
    ),
    "evaluate": Lazy(
        "monitor.cli.evaluate:evaluate_command",
        "Measure the model, the detection rules and the protocols on labelled clips.",
    ),
    "replay": Lazy(
        "monitor.cli.replay:replay_command",
        "Compare protocols and thresholds on a video file, or on scores that were kept.",
    ),
    "calibrate": Lazy("monitor.cli.calibrate:calibrate", "Suggest thresholds that keep a budget of false alarms."),
    "drill": Lazy(
        "monitor.cli.drill:drill_command",
        "Run a protocol on a live stream of the running daemon, for practice.",
    ),
    "check": Lazy("monitor.cli.check:check", "Check configuration, protocols, model and media servers."),
    "doctor": Lazy(
        "monitor.cli.doctor:doctor", "Say what is wrong on this machine, and how to mend it, one line each."
    ),
    "models": Lazy("monitor.cli.models:models", "List, show, check and draft model packages."),
    "pause": Lazy("monitor.cli.quiet:pause", "Stop containing for a while; watching, alerts and reviews go on."),
    "resume": Lazy("monitor.cli.quiet:resume", "End pauses: contain again."),
    "silences": Lazy("monitor.cli.quiet:silences", "List, add and expire silences of alerts."),
    "deliveries": Lazy(
        "monitor.cli.deliveries:deliveries",
        "List, show, replay and discard alerts; enable a receiver that asked for no more.",
    ),
    "receive": Lazy(
        "monitor.cli.receive:receive",
        "Take alerts on loopback, check their signatures, and print each event as one line of JSON.",
    ),
    "keys": Lazy("monitor.cli.keys:keys", "Make signing keys for alerts, and show their public half."),
    "audit": Lazy("monitor.cli.audit:audit", "Prove the audit log whole, show its newest entry, and write it out."),
    "blocks": Lazy(
        "monitor.cli.blocks:blocks",
        "List, add, remove, import and export blocks: through a running daemon, else in its store.",
    ),
    "db": Lazy("monitor.cli.db:db", "Check, copy, restore and migrate the store."),
    "protocol": Lazy(
        "monitor.cli.protocol:protocol", "Check protocol files, draw protocols, and play scripts through them."
    ),
    "completion": Lazy(
        "monitor.cli.completion:completion", "Print what a shell needs to complete commands and options."
    ),
    "config-schema": Lazy("monitor.cli.schema:config_schema", "Print the JSON schema of config.yaml."),
}


class _LazyGroup(click.Group):
    """A group whose help needs no command's module."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, command in COMMANDS.items() if _exists(command)]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = COMMANDS.get(cmd_name)
        if command is None or not _exists(command):
            return None
        module, _, function = command.target.partition(":")
        loaded = getattr(importlib.import_module(module), function)
        if not isinstance(loaded, click.Command):
            message = f"{command.target} is no click command"
            raise TypeError(message)
        return loaded

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # The group's own way would import every command to ask for its help.
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        names = (name for name in self.list_commands(ctx) if name.startswith(incomplete))
        return [CompletionItem(name, help=COMMANDS[name].summary) for name in names]

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])


def _exists(command: Lazy) -> bool:
    return importlib.util.find_spec(command.target.partition(":")[0]) is not None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="livecordon")
def cli() -> None:
    """Watch live streams for violence, cut them by protocol, and tell people and other platforms."""
    from monitor.logs import configure_logging  # noqa: PLC0415 - keeps `--help` fast

    # What a command has to say, it prints; `run` asks for more.
    configure_logging("warning")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; the process's own by default.

    Returns:
        The exit status: 0 all is well, 1 it failed, 2 the command line or a file is wrong, 130 interrupted; a
        command may return others of its own.
    """
    try:
        status = cli.main(list(sys.argv[1:] if arguments is None else arguments), "livecordon", standalone_mode=False)
    except Exception as failure:  # noqa: BLE001 - every end of a command becomes an exit status here
        return _report(failure)
    return status if isinstance(status, int) else 0


def _report(failure: Exception) -> int:
    """Say on standard error what went wrong; return the exit status."""
    match failure:
        case click.Abort():
            return EXIT_INTERRUPTED
        case click.ClickException():
            failure.show()
            return EXIT_USAGE
        case ProblemsError():
            print_problems(failure)
            return EXIT_USAGE
        case LivecordonError():
            click.echo(f"livecordon: {redact_text(str(failure))}", err=True)
        case BrokenPipeError():
            # Whoever read our output has had enough; without this Python complains once more while it shuts down.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case _:
            # The last place where a traceback can be kept from showing a secret.
            click.echo(redact_text("".join(traceback.format_exception(failure))), err=True)
    return EXIT_FAILED


def print_problems(failure: ProblemsError) -> None:
    """Write one line per problem to standard error."""
    for problem in failure.problems:
        click.echo(str(problem), err=True)

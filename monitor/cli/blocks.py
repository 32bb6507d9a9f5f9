"""`livecordon blocks`: who may not publish, while the daemon runs and while it does not."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import URL

from monitor.cli.block_access import Access, ThroughApi, ThroughStore
from monitor.cli.options import config_option
from monitor.config.loading import LoadedConfig, load_config
from monitor.daemon.block_files import Format, read_blocks, write_blocks
from monitor.daemon.place import store_place
from monitor.errors import StoreError
from monitor.store.ownership import sole_owner
from monitor.units import parse_duration_s
from monitor.vocabulary import StreamRef

_FORMATS: Final = ("ndjson", "csv")

_stream = (click.argument("server"), click.argument("app"), click.argument("name"))
_why_option = click.option("--why", required=True, metavar="TEXT", help="The reason, for the audit log.")
_format_option = click.option(
    "--format", "form", type=click.Choice(_FORMATS), help="How the file is written; by its name's end, else ndjson."
)
_url_option = click.option(
    "--url", metavar="URL", help="Where a running daemon is reached; web.listen of the configuration by default."
)


@click.group()
def blocks() -> None:
    """List, add, remove, import and export blocks: through a running daemon, else in its store."""


@blocks.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as export writes it.")
@_url_option
@config_option
def list_(*, as_json: bool, url: str | None, config_file: Path | None) -> int:
    """Show the blocks in force, newest first."""
    rows = _run(config_file, url, lambda access: access.blocks())
    if as_json:
        for line in write_blocks(rows, "ndjson"):
            click.echo(line, nl=False)
        return 0
    for row in rows:
        until = row["until"] or "forever"
        # A publisher chose the name: whatever a terminal would act on is spelled out.
        shown = "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in f"{row['app']}/{row['name']}")
        click.echo(f"{row['server']} {shown} until {until} by {row['by']}: {str(row['why']).splitlines()[0]}")
    return 0


@blocks.command()
@_stream[0]
@_stream[1]
@_stream[2]
@click.option("--for", "duration", default="30d", metavar="TIME", help="How long, such as 12h, or forever. [30d]")
@_why_option
@_url_option
@config_option
def add(*, server: str, app: str, name: str, duration: str, why: str, url: str | None, config_file: Path | None) -> int:
    """Block the publisher of APP/NAME on SERVER, in place of a block in force; a running daemon cuts who is live."""
    until = _until(duration)
    loaded = _load(config_file)
    line = {"server": server, "app": app, "name": name, "until": until and until.isoformat(), "why": why}
    new, _ = read_blocks(
        list(write_blocks([line], "ndjson")),
        "ndjson",
        file="arguments",
        servers=_servers(loaded),
        why=None,
        now=datetime.now(UTC),
    )
    _with_access(loaded, url, lambda access: access.add(new))
    click.echo(
        f"{new[0].ref.stream_id}: blocked {'for ever' if until is None else f'until {until:%Y-%m-%d %H:%M} UTC'}"
    )
    return 0


@blocks.command()
@_stream[0]
@_stream[1]
@_stream[2]
@_why_option
@_url_option
@config_option
def remove(*, server: str, app: str, name: str, why: str, url: str | None, config_file: Path | None) -> int:
    """Lift the block of APP/NAME on SERVER; exit with 1 if there is none."""
    ref = StreamRef(server, app, name)
    if not _run(config_file, url, lambda access: access.remove(ref, why)):
        click.echo(f"{ref.stream_id}: nothing is blocked under this name", err=True)
        return 1
    click.echo(f"{ref.stream_id}: lifted")
    return 0


@blocks.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@_format_option
@click.option("--why", metavar="TEXT", help="The reason of blocks that give none of their own.")
@click.option("--check", is_flag=True, help="Only say what is wrong with the file.")
@_url_option
@config_option
def import_(
    *, source: Path, form: Format | None, why: str | None, check: bool, url: str | None, config_file: Path | None
) -> int:
    """Add every block in SOURCE (- for standard input). With one mistake in it nothing is added; each is told by its line."""
    loaded = _load(config_file)
    is_stdin = str(source) == "-"
    with nullcontext(sys.stdin) if is_stdin else source.open(encoding="utf-8", newline="") as lines:
        new, ended = read_blocks(
            lines,
            form or _form_of(source),
            file="standard input" if is_stdin else str(source),
            servers=_servers(loaded),
            why=why,
            now=datetime.now(UTC),
        )
    if not check and new:
        _with_access(loaded, url, lambda access: access.add(new))
    left_out = f"; {ended} that have ended left out" if ended else ""
    click.echo(f"{'ok: ' if check else ''}{len(new)} blocks{'' if check else ' added'}{left_out}")
    return 0


@blocks.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@_format_option
@_url_option
@config_option
def export(*, target: Path, form: Format | None, url: str | None, config_file: Path | None) -> int:
    """Write the blocks in force to TARGET (- for standard output), which must not exist. Names may be keys: mind the file."""
    rows = _run(config_file, url, lambda access: access.blocks())
    lines = write_blocks(rows, form or _form_of(target))
    if str(target) == "-":
        for line in lines:
            click.echo(line, nl=False)
        return 0
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise StoreError(
            f"{target}: the file cannot be made ({what})", reason="not_writable", retryable=False
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
        opened.writelines(lines)
    click.echo(f"{target}: {len(rows)} blocks")
    return 0


def _load(config_file: Path | None) -> LoadedConfig:
    return load_config(config_file, os.environ)


def _servers(loaded: LoadedConfig) -> Sequence[str]:
    return [server.name for server in loaded.config.servers]


def _form_of(path: Path) -> Format:
    return "csv" if path.suffix.lower() == ".csv" else "ndjson"


def _until(duration: str) -> datetime | None:
    if duration == "forever":
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=parse_duration_s(duration))
    except (ValueError, OverflowError):
        message = "write how long, such as 12h or 30d, or forever"
        raise click.BadParameter(message, param_hint="--for") from None


def _run(config_file: Path | None, url: str | None, work: Any) -> Any:
    return _with_access(_load(config_file), url, work)


def _with_access(loaded: LoadedConfig, url: str | None, work: Any) -> Any:
    """Do `work` on the store if no daemon holds it, and keep it from starting meanwhile; else through the daemon."""
    place = store_place(loaded, os.environ)
    with ExitStack() as stack:
        access: Access
        if url is None and _held(place, stack):
            access = ThroughStore(place, by=f"{getpass.getuser()} on the command line")
        else:
            access = ThroughApi.of(loaded, url, os.environ)
        return asyncio.run(_done(access, work))


def _held(place: Path | URL, stack: ExitStack) -> bool:
    """Hold the store until `stack` ends; False when a daemon does."""
    try:
        stack.enter_context(sole_owner(place))
    except StoreError as error:
        if error.reason != "in_use":
            raise
        return False
    return True


async def _done(access: Access, work: Any) -> Any:
    async with access:
        return await work(access)

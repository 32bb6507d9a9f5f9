"""`livecordon audit`: prove the audit log whole, show its head, and give it out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from sqlalchemy import URL

from monitor.cli.options import config_option
from monitor.config.loading import load_config
from monitor.daemon.place import store_place
from monitor.errors import StoreError
from monitor.store import audit as audit_rows
from monitor.store.anchor import read_anchor
from monitor.store.audit import Chain, Head
from monitor.store.database import Database

EXIT_BROKEN: Final = 3
"""The log was changed, or rows of it are missing."""


@click.group()
def audit() -> None:
    """Prove the audit log whole, show its newest entry, and write it out."""


@audit.command()
@click.option("--head", "heads", multiple=True, metavar="HASH", help="A hash kept elsewhere; the log must hold it.")
@config_option
def verify(*, heads: tuple[str, ...], config_file: Path | None) -> int:
    """Follow the whole chain; exit with 3, naming the first broken entry, if it is not whole. The daemon may run.

    Entries cut off the end are found by the head file in data_dir, and by every --head.
    """
    place, folder = _store(config_file)
    wanted = {one.strip().lower() for one in heads}
    chain, missing, anchor_holds = asyncio.run(_verify(place, wanted, read_anchor(folder)))
    if chain.broken is not None:
        click.echo(
            f"broken: entry {chain.broken} was changed, removed or put in; {chain.head.number} before it are whole"
        )
        return EXIT_BROKEN
    if not anchor_holds or missing:
        what = f"the head file in {folder}" if not anchor_holds else f"--head {min(missing)}"
        click.echo(
            f"broken: entries after {chain.head.number} are missing, or the log was replaced: {what} names another"
        )
        return EXIT_BROKEN
    click.echo(f"ok: {chain.head.number} entries, each covered by the next; head {chain.head.hash}")
    return 0


@audit.command()
@config_option
def head(*, config_file: Path | None) -> int:
    """Print number and hash of the newest entry: keep it elsewhere, and give it to `verify --head` later."""
    place, _ = _store(config_file)
    newest = asyncio.run(_head(place))
    click.echo(f"{newest.number} {newest.hash}")
    return 0


@audit.command()
@click.option("--from", "since", metavar="TIME", help="Leave out what is older: 2026-11-23 or 2026-11-23T12:00 (UTC).")
@click.option("--to", "until", metavar="TIME", help="Leave out what is not older than this.")
@click.option("--output", "-o", required=True, metavar="FILE", help="Where to; - for standard output.")
@config_option
def export(*, since: str | None, until: str | None, output: str, config_file: Path | None) -> int:
    """Write the log as NDJSON, oldest first, one entry a line with its hashes. The daemon may run."""
    place, _ = _store(config_file)
    begin, end = _moment(since, "--from"), _moment(until, "--to")
    if output == "-":
        written = asyncio.run(_export(place, sys.stdout, begin, end))
    else:
        target = Path(output)
        part = target.with_name(f"{target.name}.part")
        try:
            with part.open("w", encoding="utf-8") as opened:
                part.chmod(0o600)
                written = asyncio.run(_export(place, opened, begin, end))
            part.replace(target)
        except OSError as error:
            raise StoreError(f"{target}: cannot be written ({error.strerror or type(error).__name__})") from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    click.echo(f"{written} entries", err=True)
    return 0


def _store(config_file: Path | None) -> tuple[Path | URL, Path]:
    loaded = load_config(config_file, os.environ)
    place = store_place(loaded, os.environ)
    if isinstance(place, Path) and not place.exists():
        raise StoreError(f"{place}: there is no store", reason="open_failed")
    return place, loaded.config.data_dir


async def _verify(place: Path | URL, wanted: set[str], anchor: Head | None) -> tuple[Chain, set[str], bool]:
    chain, missing = Chain(), set(wanted)
    async with Database(place, migrates=False) as database, database.reading() as connection:
        anchor_holds = anchor is None or await audit_rows.holds(connection, anchor)
        newest = await audit_rows.head(connection)
        with _progress() as (bar, task):
            bar.update(task, total=newest.number)
            async for page in audit_rows.pages(connection):
                missing.difference_update(entry.hash for entry in page)
                if not chain.follow(page):
                    break
                bar.update(task, completed=chain.head.number)
    return chain, missing, anchor_holds


async def _head(place: Path | URL) -> Head:
    async with Database(place, migrates=False) as database, database.reading() as connection:
        return await audit_rows.head(connection)


async def _export(place: Path | URL, target: IO[str], since: float | None, until: float | None) -> int:
    written = 0
    async with Database(place, migrates=False) as database, database.reading() as connection:
        newest = await audit_rows.head(connection)
        with _progress() as (bar, task):
            bar.update(task, total=newest.number if since is None and until is None else None)
            async for page in audit_rows.pages(connection, since=since, until=until):
                for entry in page:
                    shown = asdict(entry) | {"time": datetime.fromtimestamp(entry.at, UTC).isoformat()}
                    target.write(json.dumps(shown, separators=(",", ":"), ensure_ascii=True) + "\n")
                written += len(page)
                bar.update(task, completed=written)
        target.flush()
    return written


@contextmanager
def _progress() -> Iterator[tuple[Progress, TaskID]]:
    """Show a bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar, bar.add_task("entries", total=None)


def _moment(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = "this is no time: write 2026-11-23 or 2026-11-23T12:00, in UTC"
        raise click.BadParameter(message, param_hint=option) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

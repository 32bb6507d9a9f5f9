"""`livecordon run`: the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import click

from monitor.cli.options import config_option
from monitor.cli.stop_signals import stop_on_signals
from monitor.config.loading import load_config
from monitor.daemon.daemon import Daemon, Running
from monitor.daemon.parts import build_parts
from monitor.errors import LivecordonError
from monitor.logs import configure_logging


@click.command()
@config_option
def run(*, config_file: Path | None) -> int:
    """Watch the configured media servers until told to stop.

    SIGTERM or Ctrl-C stops in order: what is under way stays in the store and is finished by the next start. A second one ends
    it at once. SIGHUP reads
    configuration and protocols again: protocols, receivers, responders and model are taken into use without a restart.
    """
    loaded = load_config(config_file, os.environ)
    configure_logging(loaded.config.log.level, loaded.config.log.format)
    daemon = Daemon(build_parts(loaded, os.environ))
    try:
        asyncio.run(_until_stopped(daemon, config_file))
    except ExceptionGroup as failures:
        raise _expected(failures) from failures
    return 0


def _expected(failures: ExceptionGroup[Exception]) -> Exception:
    """Return why the daemon ended in one sentence, where it knows; parts that failed together failed for one reason."""
    expected, others = failures.split(LivecordonError)
    if expected is None or others is not None:
        return failures
    return _first(expected)


def _first(failures: ExceptionGroup[LivecordonError]) -> LivecordonError:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


async def _until_stopped(daemon: Daemon, config_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        reloads.add(task := loop.create_task(_reload(daemon, config_file)))
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    stop_on_signals(loop, stop.set)
    await daemon.run(stop, _say_where)


async def _reload(daemon: Daemon, config_file: Path | None) -> None:
    """Take the configuration as it is now into use; a mistake is logged, counted and changes nothing."""
    await daemon.configuration.reload(lambda: load_config(config_file, os.environ))


async def _say_where(running: Running) -> None:
    click.echo(f"Livecordon is watching. Page, API and metrics: {running.url}", err=True)

"""`livecordon demo`: the whole thing on this machine, in under a minute."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

import click
from rich.console import Console

from monitor.demo.partners import play_partners
from monitor.demo.stage import ServerKind
from monitor.demo.story import DemoSettings, play
from monitor.errors import LivecordonError
from monitor.logs import configure_logging

_LOG_LINES = 25


@click.command()
@click.option(
    "--server",
    type=click.Choice(["embedded", "nginx"]),
    default="embedded",
    show_default=True,
    help="Which media server carries the streams; nginx needs Debian's nginx and libnginx-mod-rtmp.",
)
@click.option("--calm-s", type=click.FloatRange(5, 600), default=30.0, show_default=True, help="Seconds of calm first.")
@click.option("--partners", is_flag=True, help="Play with two daemons that tell each other, instead.")
@click.option("--keep", is_flag=True, help="Stay up afterwards, with the page to look at.")
def demo(*, server: ServerKind, calm_s: float, partners: bool, keep: bool) -> int:
    """Publish two live streams, watch them, and see what happens when one turns violent.

    The real daemon, model and protocol `immediate`; generated footage; a stand-in for a partner platform that checks
    signatures. With --partners: an attack on one platform is contained, another one hears of it, contains a copy, and releases
    when it is taken back. Exit status 0 only if every step truly happened.
    """
    configure_logging("error")
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="livecordon-demo-") as name:
        folder = Path(name)
        try:
            if partners:
                asyncio.run(play_partners(folder, console, calm_s=calm_s))
            else:
                asyncio.run(_played(DemoSettings(server=server, calm_s=calm_s, keep=keep), folder, console))
        except LivecordonError:
            for log in (folder / "daemon.log", *sorted(folder.glob("*/daemon.log"))):
                _show_log(log)
            raise
    return 0


async def _played(settings: DemoSettings, folder: Path, console: Console) -> None:
    stop = asyncio.Event()
    playing = asyncio.ensure_future(play(settings, folder, console, stop))
    loop = asyncio.get_running_loop()

    def end() -> None:
        # The first Ctrl-C ends a demo that only stays up; before that, or the second time, it breaks it off.
        if settings.keep and not stop.is_set():
            stop.set()
        else:
            playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        await playing
    except asyncio.CancelledError:
        raise click.Abort from None


def _show_log(log: Path) -> None:
    if log.exists():
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        click.echo("The daemon's last words:\n  " + "\n  ".join(lines), err=True)

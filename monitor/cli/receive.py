"""`livecordon receive`: takes alerts on this machine, checks them, and prints them: for trying out what receivers get."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.main import EXIT_USAGE

if TYPE_CHECKING:
    from monitor.alerts.verifying import Verifier

_SECRET_VARIABLE = "LIVECORDON_RECEIVE_SECRET"  # noqa: S105 - the variable's name, not its value
_MAX_BODY_BYTES = 64 * 1024


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8099, show_default=True, help="Where to listen; 0: any.")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help=f"File with the signing secret. [${_SECRET_VARIABLE}, or a new one that is printed]",
)
@click.option("--public-key", metavar="whpk_…", help="Check ed25519 signatures by this key instead.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many events.")
def receive(*, port: int, secret_file: Path | None, public_key: str | None, count: int | None) -> int:
    """Take alerts on loopback, check their signatures, and print each event as one line of JSON.

    What is not genuine is refused with 401, and said on standard error; the same event again is taken and not printed.
    """
    from pydantic import SecretStr  # noqa: PLC0415 - keeps `--help` fast

    from monitor.alerts.verifying import Verifier  # noqa: PLC0415

    keys = [] if public_key is None else [SecretStr(public_key)]
    secrets = [] if public_key is not None else [SecretStr(_secret(secret_file))]
    try:
        verifier = Verifier(secrets, keys)
    except ValueError as weakness:
        click.echo(f"livecordon: {weakness}", err=True)
        return EXIT_USAGE
    asyncio.run(_receive(port, verifier, count))
    return 0


def _secret(file: Path | None) -> str:
    from monitor.config.secrets import resolve_secret  # noqa: PLC0415 - keeps `--help` fast
    from monitor.config.section import Secret  # noqa: PLC0415

    if file is not None:
        return resolve_secret(Secret(file=file), os.environ).get_secret_value()
    if found := os.environ.get(_SECRET_VARIABLE):
        return found
    import base64  # noqa: PLC0415
    import secrets  # noqa: PLC0415

    made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    click.echo(f"secret, made for this run: {made}", err=True)
    return made


async def _receive(port: int, verifier: Verifier, count: int | None) -> None:
    from aiohttp import web  # noqa: PLC0415 - keeps `--help` fast

    from monitor.alerts.verifying import Doubt  # noqa: PLC0415

    done = asyncio.Event()
    seen: set[str] = set()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        genuine = verifier.verify(headers, body, now=time.time())
        if isinstance(genuine, Doubt):
            click.echo(f"refused: {genuine.value}", err=True)
            return web.Response(status=401)
        if genuine.message_id not in seen:
            try:
                event = json.loads(body)
            except ValueError:
                click.echo("refused: signed, and no JSON", err=True)
                return web.Response(status=400)
            seen.add(genuine.message_id)
            # Escaped, so that no publisher's words reach the terminal as they are.
            click.echo(json.dumps(event, ensure_ascii=True))
        if count is not None and len(seen) >= count:
            done.set()
        return web.Response(status=204)

    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        click.echo(f"listening: http://127.0.0.1:{runner.addresses[0][1]}/alerts", err=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, done.set)
        await done.wait()
    except OSError as error:
        raise click.ClickException(f"cannot listen there: {error.strerror}") from None
    finally:
        await runner.cleanup()

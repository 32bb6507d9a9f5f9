"""`livecordon keys`: the key pair under which alerts are signed for receivers that know its public half only."""

from __future__ import annotations

import os
from pathlib import Path

import click

from monitor.cli.main import EXIT_FAILED


@click.group()
def keys() -> None:
    """Make signing keys for alerts, and show their public half."""


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> int:
    """Make a key pair; FILE gets the private half, and the public half is printed, for receivers."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - keeps `--help` fast
        Ed25519PrivateKey,
    )

    from monitor.alerts.signing import public_part, written  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(written(key) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError:
        click.echo("livecordon: this file is there already; a key is never overwritten", err=True)
        return EXIT_FAILED
    except OSError as failure:
        click.echo(f"livecordon: the key cannot be written ({failure.strerror})", err=True)
        return EXIT_FAILED
    click.echo(public_part(key))
    return 0


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> int:
    """Print the public half of the private key in FILE."""
    from monitor.alerts.signing import private_key, public_part  # noqa: PLC0415 - keeps `--help` fast
    from monitor.config.secrets import resolve_secret, signing_key_weakness  # noqa: PLC0415
    from monitor.config.section import Secret  # noqa: PLC0415

    secret = resolve_secret(Secret(file=file), os.environ)
    if (weakness := signing_key_weakness(secret)) is not None:
        click.echo(f"livecordon: {weakness}", err=True)
        return EXIT_FAILED
    click.echo(public_part(private_key(secret)))
    return 0

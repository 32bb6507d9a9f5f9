"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.config.overrides import CONFIG_VARIABLE

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    metavar="FILE",
    help=f"Configuration; config.yaml in the working directory, or else the shipped example. [{CONFIG_VARIABLE}]",
)
"""``--config FILE``, passed on as `config_file` (a Path or None)."""

parameters_option = click.option(
    "--parameters",
    "-p",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the protocol, otherwise at its default; may be repeated.",
)

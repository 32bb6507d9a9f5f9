"""`livecordon config-schema`: what config.yaml may hold, for editors and for people."""

from __future__ import annotations

import click


@click.command("config-schema")
@click.option("--markdown", is_flag=True, help="Print the settings as a page for people instead.")
def config_schema(*, markdown: bool) -> None:
    """Print the JSON schema of config.yaml."""
    from monitor.config import reference, schema  # noqa: PLC0415 - keeps `--help` fast

    click.echo(reference.markdown() if markdown else schema.schema_text(), nl=False)

"""`livecordon pause`, `resume` and `silences`: what rests, who wants it so, and until when."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from monitor.cli.client import call, daemon_options

_for_option = click.option("--for", "duration", required=True, metavar="DURATION", help="How long: 30m, 4h.")
_reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why, for the audit log.")
_server_option = click.option("--server", metavar="NAME", help="Only on this media server.")


@click.command()
@_for_option
@_reason_option
@_server_option
@daemon_options
def pause(*, duration: str, reason: str, server: str | None, **daemon: Any) -> int:
    """Stop containing for a while; watching, alerts and reviews go on.

    Nothing is held, cut or blocked until the end.
    """
    begun = call("POST", "/api/v1/pause", {"for": duration, "why": reason, **_given(server=server)}, **daemon)
    click.echo(f"paused on {begun['server'] or 'all media servers'} until {begun['until']} by {begun['owner']}")
    return 0


@click.command()
@_reason_option
@_server_option
@daemon_options
def resume(*, reason: str, server: str | None, **daemon: Any) -> int:
    """End pauses: contain again.

    What was asked for meanwhile, and is still wanted, is done now.
    """
    ended = call("DELETE", "/api/v1/pause", {"why": reason, **_given(server=server)}, **daemon)
    click.echo(f"resumed: {ended['ended']} pause{'s' * (ended['ended'] != 1)} ended")
    return 0


@click.group()
def silences() -> None:
    """List, add and expire silences of alerts.

    Containment goes on under them.
    """


@silences.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@daemon_options
def list_silences(*, as_json: bool, **daemon: Any) -> int:
    """List pauses and silences in force."""
    found = call("GET", "/api/v1/silences", **daemon)["silences"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return 0
    for one in found:
        scope = " on ".join(part for part in (one["stream"] or "all streams", one["server"]) if part)
        click.echo(f"{one['silence_id']}  {one['kind']}  {scope}  until {one['until']}  {one['owner']}: {one['why']}")
    if not found:
        click.echo("nothing is paused or silenced")
    return 0


@silences.command()
@click.option("--stream", metavar="PATTERN", help="Streams: app/name or a stream id; * and ? are wildcards.")
@_for_option
@_reason_option
@_server_option
@daemon_options
def add(*, stream: str | None, duration: str, reason: str, server: str | None, **daemon: Any) -> int:
    """Keep alerts of some streams, or of one media server, from people. Prints the silence's id."""
    body = {"for": duration, "why": reason, **_given(server=server, stream=stream)}
    click.echo(call("POST", "/api/v1/silences", body, **daemon)["silence_id"])
    return 0


@silences.command()
@click.argument("silence_id")
@_reason_option
@daemon_options
def expire(*, silence_id: str, reason: str, **daemon: Any) -> int:
    """End one before its time."""
    call("DELETE", f"/api/v1/silences/{quote(silence_id, safe='')}", {"why": reason}, **daemon)
    click.echo("ended")
    return 0


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}

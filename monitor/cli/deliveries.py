"""`livecordon deliveries`: what became of alerts, and what to do about those that were given up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import click

from monitor.cli.client import call, daemon_options

_why_option = click.option("--why", required=True, metavar="TEXT", help="The reason, for the audit log.")
_receiver_option = click.option("--receiver", metavar="NAME", help="All dead letters of this receiver.")
_all_option = click.option("--all", "everything", is_flag=True, help="All dead letters.")
_ids_argument = click.argument("delivery_ids", nargs=-1)


@click.group()
def deliveries() -> None:
    """List, show, replay and discard alerts; enable a receiver that asked for no more."""


@deliveries.command("list")
@click.option(
    "--show",
    type=click.Choice(["dead_letters", "pending", "delivered", "all"]),
    default="dead_letters",
    help="Which alerts. [dead_letters]",
)
@click.option("--receiver", metavar="NAME", help="Only those to this receiver.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, help="How many at most, newest first. [100]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@daemon_options
def list_(*, show: str, receiver: str | None, limit: int, as_json: bool, **daemon: Any) -> int:
    """Show where every receiver stands, and its dead letters. Exits with 1 if one is disabled or something was given up."""
    query = urlencode({"show": show, "limit": limit, **({} if receiver is None else {"receiver": receiver})})
    receivers = call("GET", "/api/v1/receivers", **daemon)["receivers"]
    found = call("GET", f"/api/v1/deliveries?{query}", **daemon)["deliveries"]
    shown = [one for one in receivers if receiver in (None, one["name"])]
    if as_json:
        click.echo(json.dumps({"receivers": shown, "deliveries": found}, indent=2))
    else:
        for one in shown:
            click.echo(_standing(one))
        for one in found:
            click.echo(_line(one))
    return 1 if any(one["disabled_at"] or one["dead_letters"] for one in shown) else 0


@deliveries.command()
@click.argument("delivery_id")
@daemon_options
def show(*, delivery_id: str, **daemon: Any) -> int:
    """Print one alert: where it stands, and the event that is sent."""
    found = call("GET", f"/api/v1/deliveries/{quote(delivery_id, safe='')}", **daemon)
    click.echo(json.dumps(found, indent=2))
    return 0


@deliveries.command()
@_ids_argument
@_receiver_option
@_all_option
@_why_option
@daemon_options
def replay(*, delivery_ids: tuple[str, ...], receiver: str | None, everything: bool, why: str, **daemon: Any) -> int:
    """Send dead letters again, under their old ids. Exits with 1 if there were none."""
    body = {"why": why, **_chosen(delivery_ids, receiver, everything=everything)}
    return _told(call("POST", "/api/v1/deliveries/replay", body, **daemon)["changed"], "sent again")


@deliveries.command()
@_ids_argument
@_receiver_option
@_all_option
@_why_option
@daemon_options
def discard(*, delivery_ids: tuple[str, ...], receiver: str | None, everything: bool, why: str, **daemon: Any) -> int:
    """Give up dead letters for good, or pending alerts by their ids. Exits with 1 if there were none."""
    body = {"why": why, **_chosen(delivery_ids, receiver, everything=everything)}
    return _told(call("POST", "/api/v1/deliveries/discard", body, **daemon)["changed"], "discarded")


@deliveries.command()
@click.argument("receiver")
@_why_option
@daemon_options
def enable(*, receiver: str, why: str, **daemon: Any) -> int:
    """Send RECEIVER alerts again that answered 410; what was cancelled meanwhile waits for `replay`."""
    call("POST", f"/api/v1/receivers/{quote(receiver, safe='')}/enable", {"why": why}, **daemon)
    click.echo(f"{receiver}: enabled")
    return 0


def _chosen(delivery_ids: tuple[str, ...], receiver: str | None, *, everything: bool) -> dict[str, Any]:
    if [bool(delivery_ids), receiver is not None, everything].count(True) != 1:
        message = "name alerts by their ids, or --receiver, or --all"
        raise click.UsageError(message)
    if delivery_ids:
        return {"ids": list(delivery_ids)}
    return {"all": True} if receiver is None else {"receiver": receiver}


def _told(changed: int, done: str) -> int:
    click.echo(f"{changed} alert{'' if changed == 1 else 's'} {done}")
    return 0 if changed else 1


def _standing(one: Mapping[str, Any]) -> str:
    notes = []
    if one["disabled_at"]:
        notes.append(f"DISABLED since {one['disabled_at']} (answered 410)")
    if not one["configured"]:
        notes.append("not configured")
    if one["oldest_at"]:
        notes.append(f"oldest waits since {one['oldest_at']}")
    counts = f"{one['pending']} waiting, {one['dead_letters']} given up, {one['delivered']} delivered"
    return f"{one['name']}: {counts}" + "".join(f"; {note}" for note in notes)


def _line(one: Mapping[str, Any]) -> str:
    last = f"{one['reason']}" + (f" ({one['http_status']})" if one["http_status"] else "")
    then = f", next at {one['next_at']}" if one["next_at"] else ""
    return (
        f"{one['delivery_id']}  {one['status']}  {one['event_type']}  to {one['receiver']}"
        f"  {one['attempts']} attempts{f', last: {last}' if last else ''}{then}"
    )

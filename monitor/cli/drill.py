"""`livecordon drill`: run a protocol on a live stream for practice, and see how long everything and everybody takes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from monitor.cli.client import ApiError, call, daemon_options
from monitor.errors import LivecordonError
from monitor.units import parse_duration_s

_EVERY_S: Final = 0.5
_GRACE_S: Final = 30.0
"""How long a drill that was dismissed may take to come to its end."""
_DECISIONS: Final = frozenset(
    {"review_confirmed", "review_dismissed", "review_escalated", "review_released", "review_noted"}
)

Detail = Mapping[str, Any]


@click.command("drill")
@click.argument("stream", metavar="STREAM")
@click.option("--protocol", metavar="P", help="A protocol of the daemon's; the one in force on the stream by default.")
@click.option(
    "--severity", type=click.Choice(["review", "act"]), default="act", show_default=True, help="What is detected."
)
@click.option(
    "--for", "duration", default="15m", show_default=True, metavar="DURATION", help="Dismissed by us after so long."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead.")
@daemon_options
def drill_command(
    *, stream: str, protocol: str | None, severity: str, duration: str, as_json: bool, **daemon: Any
) -> int:
    """Run a protocol on a live stream of the running daemon, for practice.

    STREAM is a stream's id, its name or app/name. An incident begins that is marked as a drill, beside whatever really
    happens: people are asked, alerts go out marked, and nothing is done to the stream. Prints how long every step and every
    person takes. Exits with 1 if nobody decided, or an alert did not arrive. Ctrl-C dismisses the drill.
    """
    try:
        longest_s = parse_duration_s(duration)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    stream_id = _stream_id(stream, call("GET", "/api/v1/streams", **daemon)["streams"])
    wish = {"stream_id": stream_id, "severity": severity} | ({} if protocol is None else {"protocol": protocol})
    incident_id = call("POST", "/api/v1/drills", wish, **daemon)["incident_id"]
    if not as_json:
        click.echo(f"DRILL {incident_id} on {stream_id}: nothing is done to the stream", err=True)
    try:
        detail = _follow(incident_id, longest_s, quiet=as_json, daemon=daemon)
    except BaseException:
        # Also on Ctrl-C: no drill goes on waking people after the person who began it has left.
        _dismiss(incident_id, daemon)
        raise
    found = summary_of(detail)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_told(found)))
    return 0 if found["decisions"] and not found["not_delivered"] else 1


def _stream_id(wanted: str, streams: list[Mapping[str, Any]]) -> str:
    fitting = [
        one for one in streams if wanted in (one["stream_id"], one["title"], str(one["title"]).rpartition("/")[2])
    ]
    if len(fitting) != 1:
        live = ", ".join(str(one["title"]) for one in streams[:10]) or "none"
        what = "is no live stream" if not fitting else "is the name of several live streams: use an id"
        raise LivecordonError(f"this {what}; live are: {live}", reason="unknown_stream")
    return str(fitting[0]["stream_id"])


def _follow(incident_id: str, longest_s: float, *, quiet: bool, daemon: Mapping[str, Any]) -> Detail:
    """Print what happens until the drill is over; dismiss it when its time is."""
    told = 0
    ends_s = time.monotonic() + longest_s
    dismissed = False
    while True:
        detail: Detail = call("GET", f"/api/v1/incidents/{incident_id}", **daemon)
        lines = list(_steps(detail))
        for line in lines[told:]:
            if not quiet:
                click.echo(line)
        told = len(lines)
        if detail["incident"]["closed_at"] is not None and not _pending(detail):
            return detail
        left_s = ends_s - time.monotonic()
        if left_s <= 0 and dismissed:
            return detail
        if left_s <= 0:
            _dismiss(incident_id, daemon)
            dismissed, ends_s = True, time.monotonic() + _GRACE_S
        time.sleep(_EVERY_S)


def _pending(detail: Detail) -> bool:
    return any(delivery["state"] == "pending" and not delivery["attempts"] for delivery in detail["deliveries"])


def _dismiss(incident_id: str, daemon: Mapping[str, Any]) -> None:
    body = {"decision": "dismiss", "why": "the drill is over", "reason": "other"}
    try:
        call("POST", f"/api/v1/incidents/{incident_id}/review", body, **daemon)
    except ApiError as error:
        # Closed by now, or in a state that awaits nobody: it ends by itself.
        click.echo(f"not dismissed: {error}", err=True)


def _steps(detail: Detail) -> Iterator[str]:
    began = _at(detail["incident"]["opened_at"])
    for step in detail["timeline"]:
        moved = f"{step['before']} -> {step['after']}" if step["before"] != step["after"] else step["after"]
        said = f"{step['detail'] or step['reason'] or ''}"
        yield f"{_at(step['at']) - began:9.2f} s  {moved:32}  {step['actor']}: {said}"


def summary_of(detail: Detail) -> dict[str, Any]:
    """Return what a drill has shown: seconds per decision, delivery and effect.

    Args:
        detail: The incident as the API gives it.
    """
    incident = detail["incident"]
    began = _at(incident["opened_at"])
    asked = [_at(one["requested_at"]) for one in detail["effects"] if one["kind"] == "request_review"]
    decisions = []
    for step in detail["timeline"]:
        if step["reason"] in _DECISIONS and not step["detail"].endswith("the drill is over"):
            at = _at(step["at"])
            since = max((one for one in asked if one <= at), default=began)
            decisions.append(
                {
                    "by": step["actor"],
                    "decision": step["reason"].removeprefix("review_"),
                    "after_s": round(at - began, 2),
                    "since_asked_s": round(at - since, 2),
                }
            )
    alerts = [_at(one["requested_at"]) for one in detail["effects"] if one["kind"] == "alert"]
    deliveries = []
    for one in detail["deliveries"]:
        at = _at(one["at"])
        since = max((asked_at for asked_at in alerts if asked_at <= at), default=began)
        took_s = round(at - since, 2) if one["state"] == "delivered" else None
        deliveries.append(
            {
                "receiver": one["receiver"],
                "event": one["event"],
                "state": one["state"],
                "attempts": one["attempts"],
                "took_s": took_s,
            }
        )
    return {
        "incident_id": incident["incident_id"],
        "protocol": incident["protocol"],
        "state": incident["state"],
        "lasted_s": round(_at(incident["closed_at"] or incident["updated_at"]) - began, 2),
        "closed": incident["closed_at"] is not None,
        "decisions": decisions,
        "deliveries": deliveries,
        "not_delivered": sum(one["state"] != "delivered" for one in deliveries),
        "effects": [
            {
                "effect": one["kind"],
                "asked_after_s": round(_at(one["requested_at"]) - began, 2),
                "took_s": None
                if one["finished_at"] is None
                else round(_at(one["finished_at"]) - _at(one["requested_at"]), 2),
            }
            for one in detail["effects"]
        ],
    }


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"drill of {found['protocol']}: ended in {found['state']} after {found['lasted_s']} s"
    for one in found["decisions"]:
        yield f"  {one['by']}: {one['decision']} {one['since_asked_s']} s after being asked"
    if not found["decisions"]:
        yield "  nobody decided"
    for one in found["deliveries"]:
        took = f"in {one['took_s']} s" if one["took_s"] is not None else f"is {one['state']}"
        again = f", {one['attempts']} attempts" if one["attempts"] > 1 else ""
        yield f"  {one['receiver']}: {one['event']} {took}{again}"
    if not found["deliveries"]:
        yield "  no receiver was told"


def _at(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()

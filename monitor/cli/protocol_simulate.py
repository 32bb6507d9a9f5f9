"""`livecordon protocol simulate`: play a script, or a recorded incident, through a protocol."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from monitor.cli.protocol_choice import chosen_protocol
from monitor.config.loading import load_config
from monitor.daemon.place import store_place
from monitor.errors import Problem, ProblemsError, StoreError
from monitor.incidents.recorded import recorded_script
from monitor.incidents.records import event_detail
from monitor.protocol.decision import EffectRequest, Reason
from monitor.protocol.definition import Definition, Effect
from monitor.protocol.diagram import transition_words
from monitor.protocol.drawing.cards import effect_words
from monitor.protocol.events import (
    DeadlinePassed,
    DetectionCleared,
    DetectionRaised,
    EffectFinished,
    Event,
    KnownContentMatched,
    PartnerAlerted,
    Reviewed,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.script import load_script
from monitor.protocol.simulation import Moment, simulate
from monitor.store import audit as audit_rows
from monitor.store.audit import AuditEntry
from monitor.store.database import Database
from monitor.vocabulary import EffectOutcome, Severity

_DAY_S = 86_400.0


def play(
    name: str,
    script_file: Path | None,
    incident_id: str | None,
    *,
    log_file: Path | None,
    parameters: tuple[str, ...],
    can_hold: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Print what comes of a script, or of a recorded incident where there is none.

    Raises:
        ProblemsError: the protocol, the script or the exported log has mistakes.
        LivecordonError: there is no such incident, or no store.
    """
    definition = chosen_protocol(name, parameters, can_hold=can_hold)
    if script_file is not None:
        script = load_script(_read(script_file), str(script_file))
    else:
        script = recorded_script(_entries(str(incident_id), log_file, config_file))
    # In the words of the file, before anything was put in place for the media server.
    written = chosen_protocol(name, parameters)
    if not as_json:
        click.echo(f"{definition.name}: {script.summary or definition.summary}")
    last: Moment | None = None
    for moment in simulate(definition, script):
        last = moment
        if as_json:
            sys.stdout.write(json.dumps(_record(moment)) + "\n")
        else:
            for line in _lines(moment, written):
                click.echo(line)
    if not as_json and last is not None:
        click.echo(f"ends in {last.after}{'' if last.incident else ', and nothing was ever begun'}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as failure:
        what = f"the file cannot be read ({failure.strerror or type(failure).__name__})"
        raise ProblemsError([Problem(str(file), "", what, "name a script")]) from None


def _entries(incident_id: str, log_file: Path | None, config_file: Path | None) -> list[AuditEntry]:
    if log_file is not None:
        return _exported(_read(log_file), str(log_file), incident_id)
    loaded = load_config(config_file, os.environ)
    place = store_place(loaded, os.environ)
    if isinstance(place, Path) and not place.exists():
        raise StoreError(f"{place}: there is no store", reason="open_failed")

    async def read() -> list[AuditEntry]:
        async with Database(place, migrates=False) as database, database.reading() as connection:
            return await audit_rows.entries(connection, incident_id=incident_id)

    return asyncio.run(read())


def _exported(content: bytes, file: str, incident_id: str) -> list[AuditEntry]:
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            values = json.loads(line)
            values.pop("time", None)
            entry = AuditEntry(**values)
        except (ValueError, TypeError, AttributeError):
            problem = Problem(
                file, "", "this is no entry of an audit log", "write it by `livecordon audit export`", number
            )
            raise ProblemsError([problem]) from None
        if entry.incident_id == incident_id:
            found.append(entry)
    return found


def _lines(moment: Moment, definition: Definition) -> Iterable[str]:
    """Return the lines of one moment: what happened, what came of it, what is done, and what is waited for."""
    if moment.reason is Reason.NO_TRANSITION and _went_well(moment.event):
        # What changes nothing and went well is no news.
        return
    head = f"{_clock(moment.at_s)}  {event_words(moment.event, definition, moment)}"
    if not moment.transitioned:
        yield f"{head}: {moment.reason.value.replace('_', ' ')}, stays in {moment.after}"
        return
    yield head
    stays = moment.before == moment.after and not moment.effects
    yield f"{'':14}{moment.before} -> {moment.after}{' (stays)' if stays else ''}  [{moment.reason.value}]"
    for request in moment.effects:
        yield f"{'':16}/ {_asked(request)}"
    if moment.closed:
        yield f"{'':16}the incident is over"
        return
    state = definition.states[moment.after]
    for key, due_s in sorted(moment.deadlines.items(), key=lambda item: item[1]):
        transition = state.transitions[int(key.rpartition(":")[2])]
        to = "stay" if transition.to is None else transition.to
        yield f"{'':16}{_clock(due_s).strip()}: {transition_words(transition)} -> {to}"


def _went_well(event: Event) -> bool:
    return isinstance(event, EffectFinished) and event.outcome is EffectOutcome.SUCCEEDED


def event_words(event: Event, definition: Definition, moment: Moment) -> str:  # noqa: C901, PLR0911, PLR0912 - one per event
    """Return an event in a few words."""
    match event:
        case DetectionRaised(label, severity, score):
            return f"{label} raised to {severity.word} ({score:.2f})"
        case DetectionCleared(label, severity):
            return f"{label} {'cleared' if severity is Severity.NONE else f'eased to {severity.word}'}"
        case DeadlinePassed(key):
            transition = definition.states[moment.before].transitions[int(key.rpartition(":")[2])]
            return f"time is up: {transition_words(transition)}"
        case Reviewed(decision, by, why):
            return f"{by}: {decision.value}{f' ({why})' if why else ''}"
        case EffectFinished(_, kind, outcome):
            return f"{kind.value} {outcome.value}"
        case StreamEnded():
            return "the stream ends"
        case StreamReturned():
            return "the stream returns"
        case WatchChanged(freshness):
            return f"watched {freshness.value}"
        case UserReported(category):
            return f"a user reports {category}"
        case PartnerAlerted(partner, signal):
            return f"partner {partner}: {signal.value}"
        case KnownContentMatched(source):
            return f"known content of {source}"
        case ViewersChanged(viewers):
            return f"{viewers} viewers"
        case StrikesChanged(strikes):
            return f"{strikes} strikes"


def _asked(request: EffectRequest) -> str:
    return effect_words(Effect(request.kind, request.parameters))


def _clock(at_s: float) -> str:
    """Return a time after the beginning, such as ``1d 02:03:04.5``, in 12 characters."""
    days, rest = divmod(at_s, _DAY_S)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{int(hours):02}:{int(minutes):02}:{seconds:04.1f}"
    return f"{f'{int(days)}d ' if days else ''}{text}".rjust(13)


def _record(moment: Moment) -> dict[str, Any]:
    return {
        "t": round(moment.at_s, 3),
        "incident": moment.incident,
        "event": event_detail(moment.event),
        "reason": moment.reason.value,
        "from": moment.before,
        "to": moment.after,
        "transitioned": moment.transitioned,
        "effects": [
            {"key": request.key, "effect": request.kind.value, "parameters": dict(request.parameters)}
            for request in moment.effects
        ],
        "deadlines": {key: round(due_s, 3) for key, due_s in moment.deadlines.items()},
        "closed": moment.closed,
    }

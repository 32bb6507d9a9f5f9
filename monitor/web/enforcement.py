"""API v1: policies, strikes, users' reports, and blocks by the hundred."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from monitor.vocabulary import Category, OffenceContext, StreamRef
from monitor.web import actions, keys
from monitor.web import enforcement_wire as wire
from monitor.web.body import clean_text, decode_json, read_body, require_json
from monitor.web.enforcement_port import Culprit, ReportOutcome, StrikeService
from monitor.web.enforcement_values import NewBlock
from monitor.web.keys import Area, Route
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.replies import json_reply
from monitor.web.settings import Role
from monitor.web.wire import UnblockBody

MAX_BLOCKS_AT_ONCE = 500
MAX_REPORT_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 500

_WHO_MEND = "write one of stream_id, app and name with server, account, address"
STRIKE_MENDS = {
    "policy": "write the code of a configured policy",
    "why": actions.WHY_MEND,
    "context": f"write one of {', '.join(context.value for context in OffenceContext)}",
    "decided_at": "write a time with its zone, such as 2026-11-23T12:00:00Z, or leave it out for now",
    "stream_id": "write the id of a live stream",
    "server": "write a configured server's name",
    "app": _WHO_MEND,
    "name": _WHO_MEND,
    "account": _WHO_MEND,
    "address": "write an IP address",
}
REPORT_MENDS = {
    "category": f"write one of {', '.join(category.value for category in Category)}",
    "reporter": "write who reports, in 1 to 200 characters of your own choosing; only a keyed hash is kept",
    "text": f"write at most {MAX_REPORT_CHARACTERS} characters, or leave it out",
    "stream_id": "write the id of a stream, or server, app and name instead",
    "server": "write a configured server's name",
    "app": "write the application on that server",
    "name": "write the stream's name",
}
BLOCKS_MENDS = {
    "blocks": f"write a list of at most {MAX_BLOCKS_AT_ONCE} objects with server, app, name, why and perhaps until"
}

_Body = TypeVar("_Body")

_log = structlog.get_logger()
_strike_decoder = msgspec.json.Decoder(wire.StrikeBody)
_report_decoder = msgspec.json.Decoder(wire.ReportBody)
_why_decoder = msgspec.json.Decoder(UnblockBody)
_blocks_decoder = msgspec.json.Decoder(wire.BlocksBody)


async def get_policies(request: web.Request) -> web.Response:
    """List the operator's rules."""
    listed = [
        wire.EnforcedPolicy(one.code, one.title, one.category, one.tier, one.url, one.text, strikes)
        for one, strikes in request.app[keys.STRIKES].policies()
    ]
    return json_reply(wire.Policies(listed))


async def get_strikes(request: web.Request) -> web.Response:
    """List the strikes that stand."""
    return json_reply(wire.Strikes([wire.strike(view) for view in await request.app[keys.STRIKES].strikes()]))


async def post_strike(request: web.Request) -> web.Response:
    """Record an offence that happened elsewhere on the platform."""
    body = await _read(request, _strike_decoder, STRIKE_MENDS)
    service = request.app[keys.STRIKES]
    why = actions.checked_why(body.why)
    gives_strike = {view.code: strikes for view, strikes in service.policies()}
    if body.policy not in gives_strike:
        raise _invalid("policy", f"there is no such policy: {STRIKE_MENDS['policy']}")
    if not gives_strike[body.policy]:
        raise _invalid("policy", "breaking this policy gives no strike: see strikes.tiers in the configuration")
    by = request[keys.PRINCIPAL].name
    try:
        view = await service.add(
            _culprit(request, body),
            body.policy,
            context=body.context,
            decided_at=_decided_at(request, body.decided_at),
            by=by,
            why=why,
        )
    except ValueError:
        raise _invalid("address", f"this is no address: {STRIKE_MENDS['address']}") from None
    _log.info("strike_added", strike_id=view.strike_id, by=by, policy=body.policy, context=body.context.value)
    return json_reply(wire.strike(view), status=201)


async def delete_strike(request: web.Request) -> web.Response:
    """Take a strike back."""
    body = await _read(request, _why_decoder, actions.UNBLOCK_MENDS)
    why = actions.checked_why(body.why)
    strike_id, by = request.match_info["strike_id"], request[keys.PRINCIPAL].name
    if not await request.app[keys.STRIKES].remove(strike_id, by=by, why=why):
        raise RequestRefused(Refusal.UNKNOWN_STRIKE, "no strike with this id stands")
    _log.info("strike_lifted", strike_id=strike_id, by=by)
    return web.Response(status=204)


async def post_report(request: web.Request) -> web.Response:
    """Take a user's report."""
    body = await _read(request, _report_decoder, REPORT_MENDS)
    reporter = clean_text(
        body.reporter, field="reporter", min_characters=1, max_characters=200, mend=REPORT_MENDS["reporter"]
    )
    text = clean_text(
        body.text, field="text", min_characters=0, max_characters=MAX_REPORT_CHARACTERS, mend=REPORT_MENDS["text"]
    )
    stream_id = body.stream_id
    named = (body.server, body.app, body.name)
    if stream_id is None:
        server, app, name = named
        if server is None or app is None or name is None:
            raise _invalid("stream_id", f"there is no stream: {REPORT_MENDS['stream_id']}")
        stream_id = StreamRef(server, app, name).stream_id
    elif any(value is not None for value in named):
        raise _invalid("stream_id", "say stream_id, or server, app and name, not both")
    result = await request.app[keys.REPORTS].report(
        stream_id, body.category, text=text, reporter=reporter, by=request[keys.PRINCIPAL].name
    )
    match result.outcome:
        case ReportOutcome.UNKNOWN:
            raise RequestRefused(
                Refusal.UNKNOWN_STREAM, "no stream with this id is live, or ended lately", field="stream_id"
            )
        case ReportOutcome.TOO_MANY:
            wait_s = math.ceil(result.wait_s)
            raise RequestRefused(Refusal.TOO_MANY_REPORTS, f"too many reports: try again in {wait_s} s")
        case _:
            reply = wire.Reported(result.outcome.value, result.report_id, result.incident_id, result.ended_at)
            return json_reply(reply, status=200 if result.outcome is ReportOutcome.DUPLICATE else 202)


async def post_blocks(request: web.Request) -> web.Response:
    """Block many publishers in one transaction: all of them, or, where one cannot be, none."""
    body = await _read(request, _blocks_decoder, BLOCKS_MENDS)
    if not 1 <= len(body.blocks) <= MAX_BLOCKS_AT_ONCE:
        raise _invalid("blocks", f"there are {len(body.blocks)} blocks: {BLOCKS_MENDS['blocks']}")
    now = request.app[keys.CLOCK].now()
    servers = {server.name for server in request.app[keys.DAEMON].servers()}
    new = [_new_block(index, entry, servers, now) for index, entry in enumerate(body.blocks)]
    by = request[keys.PRINCIPAL].name
    await request.app[keys.BLOCKS].add_many(new, by=by)
    _log.info("blocks_added", blocks=len(new), by=by)
    return json_reply(wire.BlocksAdded(len(new)), status=201)


def _new_block(index: int, entry: wire.BlockEntry, servers: set[str], now: datetime) -> NewBlock:
    where = f"blocks[{index}]"
    if entry.server not in servers:
        raise RequestRefused(Refusal.UNKNOWN_SERVER, f"{where}: no server of this name is configured", field="server")
    for field, least in (("app", 0), ("name", 1)):
        clean_text(
            getattr(entry, field),
            field=f"{where}.{field}",
            min_characters=least,
            max_characters=MAX_NAME_CHARACTERS,
            mend=actions.BLOCK_MENDS[field],
        )
    why = actions.checked_why(entry.why, field=f"{where}.why")
    if entry.until is not None and (entry.until.tzinfo is None or entry.until <= now):
        raise _invalid(f"{where}.until", f"{where}.until is over, or has no time zone: write a time to come, in UTC")
    return NewBlock(StreamRef(entry.server, entry.app, entry.name), entry.until, why)


async def export_blocks(request: web.Request) -> web.Response:
    """Give every block in force with the names that it is about, to be imported elsewhere."""
    exported = [
        wire.ExportedBlock(
            server=view.ref.server,
            app=view.ref.app,
            name=view.ref.name,
            since=view.since,
            until=view.until,
            by=view.by,
            why=view.why,
        )
        for view in await request.app[keys.BLOCKS].blocks()
    ]
    _log.warning("blocks_exported", blocks=len(exported), by=request[keys.PRINCIPAL].name)
    return json_reply(wire.ExportedBlocks(exported))


async def _read(request: web.Request, decoder: msgspec.json.Decoder[_Body], mends: dict[str, str]) -> _Body:
    require_json(request)
    raw = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    return decode_json(raw, decoder, mends)


def _culprit(request: web.Request, body: wire.StrikeBody) -> Culprit:
    service = request.app[keys.STRIKES]
    named = body.app is not None or body.name is not None
    ways = [body.stream_id is not None, named, body.account is not None, body.address is not None]
    if sum(ways) != 1:
        raise _invalid("stream_id", f"say whom in exactly one way: {_WHO_MEND}")
    servers = {server.name for server in request.app[keys.DAEMON].servers()}
    if body.server is not None and body.server not in servers:
        raise RequestRefused(Refusal.UNKNOWN_SERVER, "no server of this name is configured", field="server")
    if body.stream_id is not None:
        ref = request.app[keys.DAEMON].ref_of(body.stream_id)
        if ref is None:
            raise RequestRefused(Refusal.UNKNOWN_STREAM, "no live stream has this id", field="stream_id")
        return Culprit(ref=ref)
    if named:
        if body.server is None or body.app is None or not body.name:
            raise _invalid("name", "server, app and name go together: write all three")
        return Culprit(ref=StreamRef(body.server, body.app, body.name))
    return _culprit_without_stream(service, body)


def _culprit_without_stream(service: StrikeService, body: wire.StrikeBody) -> Culprit:
    field = "account" if body.account is not None else "address"
    if body.account is not None and not service.knows_accounts:
        raise _invalid(field, "accounts cannot be told from streams here: set strikes.account_pattern")
    if body.address is not None and not service.knows_addresses:
        raise _invalid(field, "addresses do not count here: set strikes.addresses, and mind who shares them")
    value = clean_text(
        body.account or body.address or "",
        field=field,
        min_characters=1,
        max_characters=MAX_NAME_CHARACTERS,
        mend=STRIKE_MENDS[field],
    )
    if body.server is None and not service.everywhere:
        raise _invalid("server", "strikes count on one media server each here: write which")
    if body.account is not None:
        return Culprit(account=value, server=body.server)
    return Culprit(address=value, server=body.server)


def _decided_at(request: web.Request, decided_at: datetime | None) -> datetime | None:
    if decided_at is None:
        return None
    if decided_at.tzinfo is None or decided_at > request.app[keys.CLOCK].now():
        raise _invalid("decided_at", f"this is to come, or has no time zone: {STRIKE_MENDS['decided_at']}")
    return decided_at.astimezone(UTC)


def _invalid(field: str, message: str) -> RequestRefused:
    return RequestRefused(Refusal.INVALID_FIELD, message, field=field)


ROUTES = (
    Route("GET", "/api/v1/policies", get_policies, Area.API, Role.VIEWER),
    Route("GET", "/api/v1/strikes", get_strikes, Area.API, Role.VIEWER),
    Route("POST", "/api/v1/strikes", post_strike, Area.API, Role.ADMIN),
    Route("DELETE", "/api/v1/strikes/{strike_id}", delete_strike, Area.API, Role.ADMIN),
    Route("POST", "/api/v1/reports", post_report, Area.API, Role.REPORTER),
    Route("POST", "/api/v1/blocks/import", post_blocks, Area.API, Role.ADMIN),
    Route("GET", "/api/v1/blocks/export", export_blocks, Area.API, Role.ADMIN),
)

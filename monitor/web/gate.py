"""The publish gate: media servers ask here before they let somebody publish."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

import structlog
from aiohttp import web
from multidict import MultiMapping

from monitor import metrics
from monitor.errors import GateRequestError
from monitor.servers.port import GateReply, RawGateRequest
from monitor.web import keys
from monitor.web.auth import refuse_cross_site
from monitor.web.body import read_body
from monitor.web.keys import Area, Route
from monitor.web.refusals import Refusal, RequestRefused

_log = structlog.get_logger()

BODY_DEADLINE_S = 3.0
DECISION_DEADLINE_S = 2.0
"""Blocks are answered from memory in microseconds; nginx-rtmp gives up after 10 s and then refuses the publisher."""


async def ask(request: web.Request) -> web.Response:
    """Answer one gate request and close the connection: nginx-rtmp decides only when the hook hangs up.

    Bad input is refused with the adapter's own denial. A failure of our own lets the publisher through, unless
    `web.gate_when_unsure` says otherwise: a broken monitor must not take live streaming down.
    """
    began_s = time.perf_counter()
    server_name = request.match_info["server"]
    gate = request.app[keys.GATE]
    denial = gate.reply(server_name, allow=False)
    if denial is None:
        metrics.GATE_DECISIONS.labels("malformed").inc()
        _log.warning("gate_asked_for_unknown_server")
        raise RequestRefused(Refusal.UNKNOWN_SERVER, "no server of this name is configured: mend the hook's address")
    _check_caller(request)
    try:
        reply = await _decide(request, server_name)
    except (GateRequestError, RequestRefused) as refusal:
        metrics.GATE_DECISIONS.labels("malformed").inc()
        _log.warning("gate_request_malformed", server=server_name, reason=refusal.reason)
        reply = denial
    except Exception as error:  # noqa: BLE001 - whatever broke, live streaming goes on
        metrics.GATE_DECISIONS.labels("error").inc()
        # Without the traceback's message: it may quote the request.
        if request.app[keys.SETTINGS].gate_fails_closed:
            _log.error("gate_failed_closed", server=server_name, error=type(error).__name__)
            reply = denial
        else:
            _log.error("gate_failed_open", server=server_name, error=type(error).__name__)
            reply = gate.reply(server_name, allow=True) or GateReply(200)
    metrics.GATE_SECONDS.observe(time.perf_counter() - began_s)
    response = web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})
    response.force_close()
    return response


async def _decide(request: web.Request, server_name: str) -> GateReply:
    body = await read_body(request, request.app[keys.SETTINGS].max_body_bytes, BODY_DEADLINE_S)
    query = _first_values(request.query)
    if request.app[keys.SETTINGS].gate_token is not None:
        query.pop("token", None)
    headers = _first_values(request.headers)
    raw = RawGateRequest(
        content_type=request.content_type,
        body=body,
        query=query,
        headers={key.lower(): value for key, value in headers.items() if _is_for_adapters(key.lower(), value)},
    )
    async with asyncio.timeout(DECISION_DEADLINE_S):
        return await request.app[keys.GATE].decide(server_name, raw)


def _is_for_adapters(name: str, value: str) -> bool:
    # Passwords and tokens are not. LiveKit's signature stands where those do, but without the word for its kind.
    return name != "cookie" and (name != "authorization" or " " not in value.strip())


def _first_values(pairs: MultiMapping[str]) -> dict[str, str]:
    # The first value counts: what a publisher adds comes last.
    first: dict[str, str] = {}
    for key, value in pairs.items():
        first.setdefault(key, value)
    return first


def _check_caller(request: web.Request) -> None:
    """Refuse whoever is neither a configured peer nor shows the token, where either is asked for."""
    settings = request.app[keys.SETTINGS]
    if settings.is_gate_peer(request.remote):
        # A page of another site that runs on a peer's own machine is no peer.
        refuse_cross_site(request)
        return
    if settings.gate_token is not None:
        _check_token(request, settings.gate_token)
    elif settings.gate_peers:
        metrics.GATE_DECISIONS.labels("malformed").inc()
        _log.warning("gate_asked_by_stranger", server=request.match_info["server"])
        raise RequestRefused(
            Refusal.NOT_A_GATE_PEER, "the gate answers its peers only: add this host to web.gate_peers"
        )
    else:
        refuse_cross_site(request)


def _check_token(request: web.Request, token: str) -> None:
    presented = request.query.get("token", "")
    same = hmac.compare_digest(
        hashlib.sha256(token.encode()).digest(),
        hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest(),
    )
    if not same:
        metrics.GATE_DECISIONS.labels("malformed").inc()
        _log.warning("gate_token_wrong", server=request.match_info["server"])
        raise RequestRefused(Refusal.UNAUTHENTICATED, "the gate's token is missing or wrong: add it as ?token=")


ROUTES = (
    Route("GET", "/gate/{server}", ask, Area.GATE, None),
    Route("POST", "/gate/{server}", ask, Area.GATE, None),
)

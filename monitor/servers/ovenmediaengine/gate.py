"""Reading OvenMediaEngine's AdmissionWebhooks, whose signature is checked first, and answering them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from typing import Literal

import msgspec
from pydantic import SecretStr

from monitor.errors import GateRequestError
from monitor.servers.json_documents import as_text, read_json
from monitor.servers.ovenmediaengine.names import DEFAULT_VHOST
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.servers.virtual_hosts import qualified
from monitor.vocabulary import StreamRef

MAX_BODY_BYTES = 64 * 1024
SIGNATURE_HEADER = "x-ome-signature"
VHOST_ARGUMENT = "vhost"
"""Argument of ControlServerUrl: the webhook itself does not say which virtual host asks."""

_VHOST = re.compile(r"[^/\s]{1,255}")
# Not the library's parser, which takes out tabs and line ends: a name must stay what OvenMediaEngine read.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*/(?P<path>[^?]*)", re.DOTALL)


class _Client(msgspec.Struct):
    address: str = ""


class _Request(msgspec.Struct):
    direction: Literal["incoming", "outgoing"]
    status: Literal["opening", "closing"]
    url: str = ""


class _Webhook(msgspec.Struct):
    request: _Request
    client: _Client = msgspec.field(default_factory=_Client)


def parse_webhook(server: str, request: RawGateRequest, *, secret: SecretStr | None) -> GateRequest:
    """Read one webhook.

    Args:
        server: The media server's name in the configuration.
        request: As it came.
        secret: SecretKey of the AdmissionWebhooks; without one, nobody's word is taken.

    Raises:
        GateRequestError: wrongly signed, no such webhook, or about something that is no stream.
    """
    if len(request.body) > MAX_BODY_BYTES:
        raise GateRequestError("the webhook's body is larger than OvenMediaEngine ever sends")
    if secret is None:
        raise GateRequestError("webhooks cannot be told from forged ones: set webhook_secret")
    _check_signature(request, secret)
    try:
        webhook = msgspec.convert(read_json(request.body), _Webhook)
    except (ValueError, msgspec.ValidationError):
        raise GateRequestError("the webhook's body is not what OvenMediaEngine sends") from None
    asked = webhook.request
    publishes = asked.direction == "incoming" and asked.status == "opening"
    if publishes:
        call = "publish"
    elif asked.status == "closing":
        call = "closing"
    else:
        call = "play"
    ref = _stream(server, _vhost(request), asked.url, exact=publishes)
    if publishes and ref is None:
        raise GateRequestError("the webhook's address names no application, no stream, or more than that")
    return GateRequest(
        call=call,
        ref=ref,
        publisher_address=_address(webhook.client.address),
        news=asked.direction == "incoming" and asked.status == "closing",
    )


def webhook_reply(request: GateRequest | None, *, allow: bool) -> GateReply:
    """Build the answer: OvenMediaEngine takes status 200 alone, and ``allowed`` only as a boolean."""
    if request is not None and request.call == "closing":
        return GateReply(200, b"{}", "application/json")
    body = b'{"allowed":true}' if allow else b'{"allowed":false,"reason":"refused by Livecordon"}'
    return GateReply(200, body, "application/json")


def _check_signature(request: RawGateRequest, secret: SecretStr) -> None:
    digest = hmac.new(secret.get_secret_value().encode(), request.body, hashlib.sha1).digest()
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=")
    presented = request.headers.get(SIGNATURE_HEADER, "").encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(expected, presented):
        raise GateRequestError("the webhook's signature is missing or wrong: is webhook_secret its SecretKey?")


def _vhost(request: RawGateRequest) -> str:
    vhost = request.query.get(VHOST_ARGUMENT, DEFAULT_VHOST)
    if not _VHOST.fullmatch(vhost):
        raise GateRequestError("the argument vhost of ControlServerUrl names no virtual host")
    return vhost


def _stream(server: str, vhost: str, url: str, *, exact: bool) -> StreamRef | None:
    match = _URL.match(url)
    parts = match["path"].split("/") if match is not None else []
    # Players ask for a file below the stream.
    if len(parts) < 2 or (exact and len(parts) > 2) or not (parts[0] and parts[1]):
        return None
    return StreamRef(server, qualified(vhost, as_text(parts[0]), default=DEFAULT_VHOST), as_text(parts[1]))


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None

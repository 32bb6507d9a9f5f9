"""Reading nginx-rtmp's ``on_publish`` request.

nginx puts its own fields first and then appends, as they are, whatever query arguments the publisher sent. A publisher
who asks for ``secret?name=innocent&call=play`` therefore adds a second `name` and a second `call`; only the first value
of each field is nginx's own word.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote_to_bytes

from monitor.errors import GateRequestError
from monitor.servers.nginx_rtmp.names import as_listed, is_session
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef

_FORM = "application/x-www-form-urlencoded"
# nginx cuts every field: names and arguments at 255 bytes, three characters for each when escaped.
MAX_BODY_BYTES = 16 * 1024
_MAX_NAME_BYTES = 255
_RESERVED = frozenset({"app", "name", "call", "addr", "clientid"})


def parse_publish_hook(server: str, request: RawGateRequest) -> GateRequest:
    """Read one hook request; `server` is the media server's name in the configuration.

    Raises:
        GateRequestError: not a form, too large, or without the fields that every such call has.
    """
    if request.content_type.partition(";")[0].strip().lower() != _FORM:
        raise GateRequestError("the hook's body is no form: set notify_method to post")
    if len(request.body) > MAX_BODY_BYTES:
        raise GateRequestError("the hook's body is larger than nginx-rtmp ever sends")
    fields = _first_values(request.body)
    call = as_listed(fields.get("call", b""))
    if not call:
        raise GateRequestError("the hook's body has no call")
    ref = _stream(server, fields)
    if ref is None and call == "publish":
        raise GateRequestError("the hook's body names no application or no stream")
    session = as_listed(fields.get("clientid", b""))
    return GateRequest(
        call=call,
        ref=ref,
        session=session if is_session(session) else "",
        publisher_address=_address(fields.get("addr", b"")),
    )


def publish_hook_reply(*, allow: bool) -> GateReply:
    """Build the answer: nginx-rtmp takes 2xx for yes, 3xx for another name and everything else for no."""
    return GateReply(200) if allow else GateReply(403)


def _first_values(body: bytes) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for pair in body.split(b"&"):
        key, equals, value = pair.partition(b"=")
        # nginx writes its keys unescaped, so an escaped one is the publisher's.
        word = key.decode("ascii", "replace")
        if equals and word in _RESERVED:
            # A plus sign is itself here: nginx escapes blanks as %20.
            values.setdefault(word, unquote_to_bytes(value))
    return values


def _stream(server: str, fields: dict[str, bytes]) -> StreamRef | None:
    app, name = fields.get("app", b""), fields.get("name", b"")
    if not app or not name:
        return None
    if max(len(app), len(name)) > _MAX_NAME_BYTES:
        raise GateRequestError("a name in the hook's body is longer than nginx-rtmp allows")
    return StreamRef(server, as_listed(app), as_listed(name))


def _address(text: bytes) -> str | None:
    try:
        return str(ipaddress.ip_address(text.decode("ascii", "replace")))
    except ValueError:
        return None

"""Reading SRS's hooks, of which ``on_publish`` asks for leave, and answering them."""

from __future__ import annotations

import msgspec

from monitor.errors import GateRequestError
from monitor.servers.json_documents import as_text, read_json
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.servers.srs.listing import address_of
from monitor.servers.srs.names import DEFAULT_VHOST, is_client_id
from monitor.servers.virtual_hosts import qualified
from monitor.vocabulary import StreamRef

MAX_BODY_BYTES = 64 * 1024
_HLS = ".m3u8"


class _Hook(msgspec.Struct):
    action: str
    client_id: str | int = ""
    ip: str = ""
    vhost: str = ""
    app: str = ""
    stream: str = ""


def parse_hook(server: str, request: RawGateRequest) -> GateRequest:
    """Read one hook; `server` is the media server's name in the configuration.

    Raises:
        GateRequestError: no JSON, too large, or without the fields that every such hook has.
    """
    if len(request.body) > MAX_BODY_BYTES:
        raise GateRequestError("the hook's body is larger than SRS ever sends")
    try:
        hook = msgspec.convert(read_json(request.body), _Hook)
    except (ValueError, msgspec.ValidationError):
        raise GateRequestError("the hook's body is not what SRS sends") from None
    call = hook.action.removeprefix("on_")
    if not call or call == hook.action:
        raise GateRequestError("the hook's body names no action")
    # A viewer of HLS asks for the playlist.
    name = hook.stream.removesuffix(_HLS) if call in {"play", "stop"} else hook.stream
    if call == "publish" and not (name and hook.app and hook.vhost):
        raise GateRequestError("the hook's body names no virtual host, no application or no stream")
    ref = None
    if name and hook.app:
        app = qualified(hook.vhost or DEFAULT_VHOST, as_text(hook.app), default=DEFAULT_VHOST)
        ref = StreamRef(server, app, as_text(name))
    client = str(hook.client_id)
    return GateRequest(
        call=call,
        ref=ref,
        session=client if is_client_id(client) else "",
        publisher_address=address_of(hook.ip),
        news=call == "unpublish",
    )


def hook_reply(*, allow: bool) -> GateReply:
    """Build the answer: SRS takes status 200 with code 0 for yes; no body at all would be a no."""
    if allow:
        return GateReply(200, b'{"code":0}', "application/json")
    return GateReply(403, b'{"code":403}', "application/json")

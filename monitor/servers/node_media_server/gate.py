"""Reading Node-Media-Server's notifications, and answering them.

It does not wait for the answer: a publisher that is refused has been on air until then. And it hangs up on whoever the
notification was about for every answer but 200, viewers too.
"""

from __future__ import annotations

from typing import Any, Final

from monitor.errors import GateRequestError
from monitor.servers.json_documents import read_json
from monitor.servers.node_media_server.listing import read_address
from monitor.servers.node_media_server.names import is_safe, is_session
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef

_ABOUT_TO_PUBLISH: Final = "prePublish"
_CHANGED: Final = frozenset({"postPublish", "donePublish"})


def parse_notification(server: str, request: RawGateRequest) -> GateRequest:
    """Read one notification; `server` is the media server's name in the configuration.

    Raises:
        GateRequestError: no notification, or one about a publisher that names no stream.
    """
    try:
        said = read_json(request.body)
    except ValueError:
        raise GateRequestError("the notification is no JSON document") from None
    if not isinstance(said, dict):
        raise GateRequestError("the notification is no JSON object")
    action = said.get("action")
    if not isinstance(action, str) or not action.isascii() or not action.isalpha():
        raise GateRequestError("the notification names no action")
    ref = _stream(server, said.get("app"), said.get("name"))
    if ref is None and action == _ABOUT_TO_PUBLISH:
        raise GateRequestError("the notification names no application or no stream")
    session, address = said.get("id"), said.get("ip")
    return GateRequest(
        call="publish" if action == _ABOUT_TO_PUBLISH else action,
        ref=ref,
        session=session if isinstance(session, str) and is_session(session) else "",
        publisher_address=read_address(address) if isinstance(address, str) else None,
        news=action in _CHANGED,
    )


def notification_reply(*, allow: bool) -> GateReply:
    """Build the answer: exactly 200 lets go on, everything else hangs up."""
    return GateReply(200) if allow else GateReply(403)


def _stream(server: str, app: Any, name: Any) -> StreamRef | None:
    if isinstance(app, str) and isinstance(name, str) and is_safe(app) and is_safe(name):
        return StreamRef(server, app, name)
    return None

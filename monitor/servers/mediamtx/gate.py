"""MediaMTX's HTTP authentication: one question for publishing, reading and the API alike.

``authMethod: http`` takes the place of every other way in which MediaMTX knows its users, so whoever answers has to
answer for all of them: for publishers and readers, and for our own calls to the API.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog
from pydantic import SecretStr
from yarl import URL

from monitor.errors import GateRequestError, MediaServerError, UnsafeCallRefused
from monitor.servers.control import ControlClient
from monitor.servers.mediamtx.paths import address_without_port, is_uuid, path_of, ref_of
from monitor.servers.mediamtx.wire import AuthQuestion
from monitor.servers.port import GateReply, GateRequest, RawGateRequest

_log = structlog.get_logger()

MAX_QUESTION_BYTES = 64 * 1024
OWN_ACTIONS = frozenset({"api", "read", "playback"})
"""What Livecordon itself does on the server."""
_OF_A_PATH = frozenset({"publish", "read", "playback"})
_LOCAL_ONLY = frozenset({"api", "metrics", "pprof"})

UNKNOWN = GateReply(401)
"""Who has shown nothing yet is asked to: RTSP's first request never carries a password."""
REFUSED = GateReply(403)


@dataclass(frozen=True, slots=True)
class Account:
    """A user who may do some of MediaMTX's actions."""

    user: str
    password: SecretStr
    actions: frozenset[str]


def parse_question(server: str, request: RawGateRequest) -> GateRequest:
    """Read one question; `server` is the media server's name in the configuration.

    Raises:
        GateRequestError: not MediaMTX's JSON, or a path that none of its own rules allows.
    """
    question = read_question(request)
    ref = None
    if question.action in _OF_A_PATH:
        ref = ref_of(server, question.path)
        try:
            path_of(ref)
        except UnsafeCallRefused:
            raise GateRequestError("the question is about a path that MediaMTX does not allow") from None
    return GateRequest(
        call=question.action,
        ref=ref,
        session=(question.id or "") if is_uuid(question.id) else "",
        publisher_address=address_without_port(question.ip),
    )


def read_question(request: RawGateRequest) -> AuthQuestion:
    """Return the question itself; errors as for `parse_question`."""
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise GateRequestError("the question is no JSON, as MediaMTX's would be")
    if len(request.body) > MAX_QUESTION_BYTES:
        raise GateRequestError("the question is larger than MediaMTX ever sends")
    try:
        return msgspec.json.decode(request.body, type=AuthQuestion)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise GateRequestError("the question lacks what each of MediaMTX's has") from None


class DoorRules:
    """Who may come in besides not being blocked.

    That is everybody, or the users of the configuration, or whom the operator's own authentication lets in.

    Args:
        own: Livecordon's own user; may read every path and use the API.
        accounts: Users of the configuration. An action that none of them may do is open, as MediaMTX has it by itself:
            to everybody, or for the API, metrics and profiles to this machine.
        operator_url: Where the operator's own authentication answers; None without one.
        timeout_s: How long it may take. The publish gate itself has 2 s for everything.
    """

    def __init__(
        self, own: Account, accounts: Sequence[Account], *, operator_url: str | None, timeout_s: float
    ) -> None:
        self._own = own
        self._accounts = tuple(accounts)
        self._operator_url = None if operator_url is None else URL(operator_url)
        self._client = ControlClient(timeout_s=timeout_s, max_answer_bytes=MAX_QUESTION_BYTES)

    @property
    def shuts(self) -> bool:
        """Whether anybody needs more than not to be blocked."""
        return bool(self._accounts) or self._operator_url is not None

    async def open(self) -> None:
        """Make ready to ask; belongs into the adapter's ``__aenter__``."""
        await self._client.open()

    async def close(self) -> None:
        """Stop asking."""
        await self._client.close()

    async def refusal(self, request: RawGateRequest) -> GateReply | None:
        """Return the answer for somebody whom these rules keep out, None for the others; never raises but if cancelled."""
        try:
            question = read_question(request)
            if question.action in self._own.actions and _is(question, self._own):
                return None
            if self._operator_url is not None:
                return await self._ask_operator(self._operator_url, request)
            return self._by_accounts(question)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the publish gate lets in where it fails, and nobody would have been checked
            _log.error("door_rules_failed", error=type(error).__name__)
            return REFUSED

    def _by_accounts(self, question: AuthQuestion) -> GateReply | None:
        entitled = [account for account in self._accounts if question.action in account.actions]
        if not entitled:
            is_open = question.action not in _LOCAL_ONLY or _is_local(question.ip)
        else:
            # All are looked at, so that the time taken does not tell which users there are.
            is_open = any([_is(question, account) for account in entitled])  # noqa: C419 - on purpose, see above
        if is_open:
            return None
        return REFUSED if question.user or question.password or question.token else UNKNOWN

    async def _ask_operator(self, url: URL, request: RawGateRequest) -> GateReply | None:
        try:
            answer = await self._client.post_json(url, msgspec.json.decode(request.body))
        except MediaServerError as error:
            # MediaMTX, too, lets nobody in while the operator's authentication does not answer.
            _log.warning("operators_authentication_does_not_answer", reason=error.reason)
            return REFUSED
        if 200 <= answer.status < 300:
            return None
        return UNKNOWN if answer.status == UNKNOWN.status else REFUSED


def _is(question: AuthQuestion, account: Account) -> bool:
    same_user = hmac.compare_digest(_bytes(question.user), _bytes(account.user))
    same_password = hmac.compare_digest(_bytes(question.password), _bytes(account.password.get_secret_value()))
    return same_user and same_password


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_local(address: str) -> bool:
    known = address_without_port(address)
    return known is not None and ipaddress.ip_address(known).is_loopback

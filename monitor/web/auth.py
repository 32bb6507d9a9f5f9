"""Who is asking: bearer tokens, sessions of the page, and the open mode on loopback."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from aiohttp import web

from monitor.clock import Clock
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.settings import AccessToken, Role, is_loopback_host

SESSION_COOKIE = "livecordon_session"
SESSION_S = 12 * 3600.0
"""One shift; afterwards the page asks for the token again."""
MAX_SESSIONS = 1000

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Via(Enum):
    """How somebody proved who they are."""

    LOOPBACK = "loopback"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: the token's name, and the person who holds it where that is another."""

    name: str
    role: Role
    via: Via
    person: str = ""

    @property
    def shown(self) -> str:
        """Who it is, as written into the audit log: the person, and the token where it has another name."""
        return self.name if self.person in ("", self.name) else f"{self.person} via {self.name}"


LOCAL = Principal("local", Role.ADMIN, Via.LOOPBACK)


@dataclass(frozen=True, slots=True)
class _Session:
    principal: Principal
    ends_at_s: float


class Authenticator:
    """Recognises tokens and keeps the page's sessions in memory; a restart signs everybody out."""

    def __init__(self, tokens: Sequence[AccessToken], clock: Clock) -> None:
        self._digests = [(_digest(token.secret), token) for token in tokens]
        self._clock = clock
        self._sessions: dict[bytes, _Session] = {}

    @property
    def is_open(self) -> bool:
        """No tokens are configured: everybody who reaches loopback is admin."""
        return not self._digests

    def identify(self, request: web.Request) -> Principal | None:
        """Return who sent this request, or None when nothing proves it.

        In open mode that is `LOCAL`. A wrong bearer token is not made good by a valid cookie.

        Raises:
            RequestRefused: in open mode, when the request was not sent to a loopback name.
        """
        if self.is_open:
            refuse_untrusted_host(request)
            return LOCAL
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            scheme, _, presented = authorization.partition(" ")
            token = self.recognise(presented.strip()) if scheme.lower() == "bearer" else None
            return None if token is None else Principal(token.name, token.role, Via.TOKEN, token.person)
        session = self._sessions.get(_digest(request.cookies.get(SESSION_COOKIE, "")))
        if session is None or session.ends_at_s <= self._clock.monotonic_s():
            return None
        return session.principal

    def recognise(self, presented: str) -> AccessToken | None:
        """Return the token with this secret; takes the same time whichever it is, or none."""
        digest = _digest(presented)
        found = None
        for known, token in self._digests:
            if hmac.compare_digest(known, digest):
                found = token
        return found

    def open_session(self, token: AccessToken) -> str:
        """Start a session of the page and return its secret, for the cookie."""
        now = self._clock.monotonic_s()
        self._sessions = {key: session for key, session in self._sessions.items() if session.ends_at_s > now}
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        secret = secrets.token_urlsafe(32)
        self._sessions[_digest(secret)] = _Session(
            Principal(token.name, token.role, Via.SESSION, token.person), now + SESSION_S
        )
        return secret

    def close_session(self, request: web.Request) -> None:
        """Forget the session that this request belongs to, if any."""
        self._sessions.pop(_digest(request.cookies.get(SESSION_COOKIE, "")), None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def refuse_untrusted_host(request: web.Request) -> None:
    """Refuse a request whose Host header is not a loopback name.

    In open mode this is what keeps a web page whose name was rebound to 127.0.0.1 from acting as the local admin.
    """
    host = request.headers.get("Host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if not is_loopback_host(name):
        raise RequestRefused(
            Refusal.UNTRUSTED_HOST,
            "without tokens only requests to localhost or 127.0.0.1 are answered: use that address, or add web.tokens",
        )


def refuse_cross_site(request: web.Request) -> None:
    """Refuse a request that changes something when a browser says that another site's page sent it.

    Browsers set Sec-Fetch-Site and Origin themselves and pages cannot forge them; clients that are no browsers send
    neither. Origin is compared by host and port only, because TLS may end at a proxy.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        trusted = site in ("same-origin", "none")
    else:
        origin = request.headers.get("Origin")
        trusted = origin is None or _authority(origin) == request.headers.get("Host", "").lower()
    if not trusted:
        raise RequestRefused(Refusal.CROSS_SITE, "another site's page sent this request: use this daemon's own page")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""

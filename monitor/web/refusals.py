"""Requests that are refused: one exception, one JSON shape, a closed list of reasons."""

from __future__ import annotations

from enum import StrEnum

from monitor.errors import LivecordonError


class Refusal(StrEnum):
    """Why a request was refused; the ``reason`` in every error reply."""

    BAD_JSON = "bad_json"
    BAD_FORM = "bad_form"
    INVALID_FIELD = "invalid_field"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    UNAUTHENTICATED = "unauthenticated"
    ROLE_TOO_LOW = "role_too_low"
    UNTRUSTED_HOST = "untrusted_host"
    NOT_A_GATE_PEER = "not_a_gate_peer"
    CROSS_SITE = "cross_site"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNKNOWN_INCIDENT = "unknown_incident"
    BAD_SIGNATURE = "bad_signature"
    BAD_LINK = "bad_link"
    ALREADY_DECIDED = "already_decided"
    ALREADY_CONFIRMED = "already_confirmed"
    INCIDENT_CLOSED = "incident_closed"
    REVIEW_NOT_AWAITED = "review_not_awaited"
    UNKNOWN_STREAM = "unknown_stream"
    UNKNOWN_SERVER = "unknown_server"
    NOT_BLOCKED = "not_blocked"
    UNKNOWN_DELIVERY = "unknown_delivery"
    NOT_DISABLED = "not_disabled"
    NOT_PAUSED = "not_paused"
    UNKNOWN_SILENCE = "unknown_silence"
    DRILL_UNDER_WAY = "drill_under_way"
    UNKNOWN_STRIKE = "unknown_strike"
    TOO_MANY_REPORTS = "too_many_reports"
    TOO_MANY_EVENTS = "too_many_events"
    TOO_MANY_PAGES = "too_many_pages"
    STORE_FAILED = "store_failed"
    INTERNAL = "internal"


STATUS = {
    Refusal.BAD_JSON: 400,
    Refusal.BAD_FORM: 400,
    Refusal.INVALID_FIELD: 400,
    Refusal.UNSUPPORTED_MEDIA_TYPE: 415,
    Refusal.BODY_TOO_LARGE: 413,
    Refusal.BODY_TIMEOUT: 408,
    Refusal.UNAUTHENTICATED: 401,
    Refusal.ROLE_TOO_LOW: 403,
    Refusal.UNTRUSTED_HOST: 403,
    Refusal.NOT_A_GATE_PEER: 403,
    Refusal.CROSS_SITE: 403,
    Refusal.NOT_FOUND: 404,
    Refusal.METHOD_NOT_ALLOWED: 405,
    Refusal.UNKNOWN_INCIDENT: 404,
    Refusal.BAD_SIGNATURE: 401,
    Refusal.BAD_LINK: 403,
    Refusal.ALREADY_DECIDED: 409,
    Refusal.ALREADY_CONFIRMED: 409,
    Refusal.INCIDENT_CLOSED: 409,
    Refusal.REVIEW_NOT_AWAITED: 409,
    Refusal.UNKNOWN_STREAM: 404,
    Refusal.UNKNOWN_SERVER: 404,
    Refusal.NOT_BLOCKED: 404,
    Refusal.UNKNOWN_DELIVERY: 404,
    Refusal.NOT_DISABLED: 404,
    Refusal.NOT_PAUSED: 404,
    Refusal.UNKNOWN_SILENCE: 404,
    Refusal.DRILL_UNDER_WAY: 409,
    Refusal.UNKNOWN_STRIKE: 404,
    Refusal.TOO_MANY_REPORTS: 429,
    Refusal.TOO_MANY_EVENTS: 429,
    Refusal.TOO_MANY_PAGES: 503,
    Refusal.STORE_FAILED: 503,
    Refusal.INTERNAL: 500,
}
"""HTTP status of each reason."""


class RequestRefused(LivecordonError):
    """An HTTP request that gets a refusal. `message` says the problem and the mend, for people; never a secret."""

    def __init__(self, refusal: Refusal, message: str, *, field: str | None = None) -> None:
        super().__init__(message, reason=refusal.value, retryable=STATUS[refusal] >= 500)
        self.refusal = refusal
        self.message = message
        self.field = field

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.refusal]

    @property
    def must_close(self) -> bool:
        """The rest of the request is not worth reading: the connection ends with the reply."""
        return self.refusal in (Refusal.BODY_TOO_LARGE, Refusal.BODY_TIMEOUT, Refusal.CROSS_SITE)

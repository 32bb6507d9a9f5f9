"""One attempt to deliver one alert over HTTP. Whatever happens becomes an `Attempt`; nothing but cancellation is raised."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import aiohttp
import structlog

from monitor.alerts.addresses import BlockedAddressError, connector
from monitor.alerts.events import CONTENT_TYPE
from monitor.alerts.receivers import Receiver
from monitor.alerts.schedule import parse_retry_after_s
from monitor.clock import Clock
from monitor.store.deliveries import OVERLOADED, DeliveryRecord

USER_AGENT: Final = "livecordon"
MAX_ANSWER_BYTES: Final = 4096
"""Nothing in an answer's body matters; no more than this is buffered before the connection is closed."""


class FailureReason(StrEnum):
    """Why an attempt failed: a closed list, stored, shown and logged."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    DNS = "dns"
    TLS = "tls"
    DISCONNECTED = "disconnected"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    REDIRECT = "redirect"
    GONE = "gone"
    BAD_ANSWER = "bad_answer"
    BLOCKED_ADDRESS = "blocked_address"
    INTERNAL = "internal"


# Looked through in order: the library's errors inherit from each other.
_REASONS: Final[tuple[tuple[tuple[type[Exception], ...], FailureReason], ...]] = (
    ((TimeoutError,), FailureReason.TIMEOUT),
    ((aiohttp.ClientConnectorDNSError,), FailureReason.DNS),
    ((aiohttp.ClientSSLError, ssl.SSLError), FailureReason.TLS),
    ((aiohttp.ClientConnectorError,), FailureReason.REFUSED),
    # Numbers that are an address to some systems only, such as 127.1.
    ((aiohttp.InvalidURL,), FailureReason.BLOCKED_ADDRESS),
    ((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError), FailureReason.DISCONNECTED),
    ((aiohttp.ClientError,), FailureReason.BAD_ANSWER),
    ((OSError,), FailureReason.DISCONNECTED),
)
_GONE: Final = 410

log = structlog.get_logger()


class Outcome(StrEnum):
    """How an attempt ended; the words are the metric's label values."""

    DELIVERED = "delivered"
    FAILED = "failed"
    THROTTLED = "throttled"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt came to.

    Attributes:
        reason: None exactly when it was delivered.
        http_status: Status of the answer, if one came.
        retry_after_s: How long the receiver asks to be left alone, bounded; None if it does not say.
    """

    outcome: Outcome
    reason: FailureReason | None = None
    http_status: int | None = None
    retry_after_s: float | None = None


class Sender:
    """Posts alerts to one receiver: no redirects, no proxies from the environment, no cookies, addresses checked.

    An async context manager; leaving it closes its connections.
    """

    def __init__(self, receiver: Receiver, clock: Clock) -> None:
        self._receiver = receiver
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=connector(self._receiver.reach),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._receiver.timeout_s),
            headers={"User-Agent": USER_AGENT, "Content-Type": CONTENT_TYPE},
            trust_env=False,
            auto_decompress=False,
            read_bufsize=MAX_ANSWER_BYTES,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def attempt(self, delivery: DeliveryRecord) -> Attempt:
        """Sign `delivery` for this moment and post it once; RuntimeError before entering.

        Cancellation breaks the connection off; whether the receiver took the alert is then unknown.
        """
        if self._session is None:
            message = "the sender is not open"
            raise RuntimeError(message)
        headers = self._receiver.signer.headers(delivery.event_id, delivery.body, at=self._clock.now())
        try:
            async with self._session.post(
                self._receiver.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as response:
                return self._judge(response.status, response.headers.get("Retry-After"))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Attempt(Outcome.FAILED, _reason(error))
        except Exception as error:  # noqa: BLE001  # whatever one receiver provokes must not end deliveries to it
            # No traceback: the library's messages quote addresses.
            log.error("delivery_attempt_broke", receiver=self._receiver.name, error=type(error).__name__)  # noqa: TRY400  # see above
            return Attempt(Outcome.FAILED, FailureReason.INTERNAL)

    def _judge(self, status: int, retry_after: str | None) -> Attempt:
        retry_after_s = parse_retry_after_s(retry_after, now=self._clock.now())
        match status // 100:
            case 2:
                return Attempt(Outcome.DELIVERED, http_status=status)
            case 3:
                reason = FailureReason.REDIRECT
            case 4:
                reason = FailureReason.GONE if status == _GONE else FailureReason.HTTP_4XX
            case 5:
                reason = FailureReason.HTTP_5XX
            case _:
                reason = FailureReason.BAD_ANSWER
        outcome = Outcome.THROTTLED if status in OVERLOADED else Outcome.FAILED
        if status == _GONE:
            outcome = Outcome.GONE
        return Attempt(outcome, reason, status, retry_after_s)


def _reason(error: Exception) -> FailureReason:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, BlockedAddressError):
        return FailureReason.BLOCKED_ADDRESS
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    return FailureReason.BAD_ANSWER

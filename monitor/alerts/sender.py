"""One attempt to deliver one alert over HTTP. Whatever happens becomes an `Attempt`; nothing but cancellation is raised."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import aiohttp
import structlog
from yarl import URL

from monitor.alerts.addresses import BlockedAddressError, Network, Reach, connector
from monitor.alerts.certificates import noting_certificates_of
from monitor.alerts.port import Attempt, Carrier, FailureReason, Outcome
from monitor.alerts.schedule import parse_retry_after_s
from monitor.clock import Clock
from monitor.store.deliveries import OVERLOADED, DeliveryRecord

USER_AGENT: Final = "livecordon"
MAX_ANSWER_BYTES: Final = 4096
"""No more than this of an answer's body is read before the connection is closed."""

BODY_WAIT_S: Final = 1.0
"""How long an answer's body may take after its headers."""

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


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """What an alert becomes on its way to one receiver; all of it is kept out of logs."""

    url: URL = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back. `body` holds the first `MAX_ANSWER_BYTES` at most, and is hostile."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReceiver(ABC):
    """A receiver that takes alerts over HTTP; implements `monitor.alerts.port.Receiver`.

    Attributes:
        name: The operator's name for it; the only thing about it that logs and metrics show.
        reach: Which addresses its host may have.
        networks: Private addresses that its host may have besides.
        tls: By whose authorities its certificate is verified, if not the system's.
        timeout_s: How long one attempt may take, from the look-up of the name to the answer's end.
        events: The only alerts that it gets, by the last word of their type; the usual ones if empty.
        concurrency: How many attempts may be under way at once.
        newest_only: It keeps no sequence; see `monitor.alerts.port.Receiver.newest_only`.
    """

    name: str
    reach: Reach
    networks: tuple[Network, ...] = ()
    tls: ssl.SSLContext | None = None
    timeout_s: float
    events: frozenset[str] = frozenset()
    concurrency: int = 1
    newest_only: bool = False

    @abstractmethod
    def request(self, delivery: DeliveryRecord, *, at: datetime) -> AlertRequest:
        """Return the request that tells it an alert; of the same alert at every attempt but for what `at` signs.

        Args:
            delivery: ``body`` is the event as CloudEvents JSON, ``event_id`` its id.
            at: Aware time of this attempt in UTC.
        """

    def judge(self, answer: HttpAnswer) -> Attempt:
        """Return what an answer means; only 2xx is success here."""
        return judged_by_status(answer)

    def carrier(self, clock: Clock) -> AbstractAsyncContextManager[Carrier]:
        """Return the way to it; see `monitor.alerts.port.Receiver`."""
        return Sender(self, clock)


class Sender:
    """Sends alerts to one receiver: no redirects, no proxies from the environment, no cookies, addresses checked.

    An async context manager; leaving it closes its connections. Implements `monitor.alerts.port.Carrier`.
    """

    def __init__(self, receiver: HttpReceiver, clock: Clock) -> None:
        self._receiver = receiver
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=connector(
                self._receiver.reach,
                self._receiver.networks,
                connections=self._receiver.concurrency,
                tls=self._receiver.tls,
            ),
            response_class=noting_certificates_of(self._receiver.name),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._receiver.timeout_s),
            headers={"User-Agent": USER_AGENT},
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
        """Compose the request for this moment and send it once; RuntimeError before entering.

        Cancellation breaks the connection off; whether the receiver took the alert is then unknown.
        """
        return await self.send(lambda at: self._receiver.request(delivery, at=at))

    async def send(self, compose: Callable[[datetime], AlertRequest]) -> Attempt:
        """Send once what `compose` makes for this moment (aware, UTC); as `attempt` in all else."""
        if self._session is None:
            message = "the sender is not open"
            raise RuntimeError(message)
        try:
            request = compose(self._clock.now())
            async with self._session.request(
                request.method, request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as response:
                body = await _beginning(response)
                return self._receiver.judge(HttpAnswer(response.status, response.headers, body, self._clock.now()))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Attempt(Outcome.FAILED, _reason(error))
        except Exception as error:  # noqa: BLE001  # whatever one receiver provokes must not end deliveries to it
            # No traceback: the library's messages quote addresses.
            log.error("delivery_attempt_broke", receiver=self._receiver.name, error=type(error).__name__)  # noqa: TRY400  # see above
            return Attempt(Outcome.FAILED, FailureReason.INTERNAL)


def judged_by_status(answer: HttpAnswer) -> Attempt:
    """Return what an answer's status says: 2xx took it, 410 wants no more, 429, 502, 503 and 504 want less."""
    status = answer.status
    retry_after_s = parse_retry_after_s(answer.headers.get("Retry-After"), now=answer.at)
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


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return an answer's body as far as it comes soon: what its status says counts, whatever becomes of the rest."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            while len(body) < MAX_ANSWER_BYTES and (piece := await response.content.read(MAX_ANSWER_BYTES - len(body))):
                body += piece
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return bytes(body)


def _reason(error: Exception) -> FailureReason:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, BlockedAddressError):
        return FailureReason.BLOCKED_ADDRESS
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    return FailureReason.BAD_ANSWER

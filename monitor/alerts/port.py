"""What the outbox needs of a receiver, whatever kind it is: who it is, how it is to be treated, and a way to try once.

A receiver that is reached over HTTP extends `monitor.alerts.sender.HttpReceiver`, and only says which request an alert
becomes; one that is reached otherwise implements `Receiver` and `Carrier` itself.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from monitor.clock import Clock
from monitor.store.deliveries import DeliveryRecord


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
    REJECTED = "rejected"
    INTERNAL = "internal"


class Outcome(StrEnum):
    """How an attempt ended; the words are the metric's label values.

    `throttled`: the receiver is there, and wants less. `gone`: it wants nothing more, ever.
    """

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


class Carrier(Protocol):
    """A way to one receiver, open for as long as the outbox delivers to it."""

    async def attempt(self, delivery: DeliveryRecord) -> Attempt:
        """Try once; several may be under way at a time. Raises nothing but cancellation.

        Cancellation breaks the attempt off; whether the receiver took the alert is then unknown.
        """
        ...


class Receiver(Protocol):
    """Somebody who is told."""

    @property
    def name(self) -> str:
        """The operator's name for it; the only thing about it that logs and metrics show."""
        ...

    @property
    def events(self) -> frozenset[str]:
        """The only alerts that it gets, by the last word of their type; the usual ones if empty."""
        ...

    @property
    def concurrency(self) -> int:
        """How many attempts may be under way at once, 1 or more; of one incident it is always one."""
        ...

    @property
    def newest_only(self) -> bool:
        """Whether it keeps no sequence: once it has taken an incident's alert, older ones of that incident are not sent."""
        ...

    def carrier(self, clock: Clock) -> AbstractAsyncContextManager[Carrier]:
        """Return the way to it; entered in a running event loop, by one task."""
        ...

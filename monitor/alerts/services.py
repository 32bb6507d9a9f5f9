"""ntfy, Teams, Telegram and about a hundred other services, through the library Apprise, which is an extra.

Apprise makes its own connections: what is checked of other receivers' addresses is not checked of these.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import SecretStr

from monitor.alerts.gathering import Gathering
from monitor.alerts.links import Links
from monitor.alerts.port import Attempt, Carrier, FailureReason, Outcome
from monitor.alerts.wording import message_of
from monitor.clock import Clock
from monitor.store.deliveries import DeliveryRecord

if TYPE_CHECKING:
    from apprise import Apprise

_LEVELS: Final = {"critical": "failure", "warning": "warning", "info": "info"}

log = structlog.get_logger()


def is_installed() -> bool:
    """Whether Apprise is there."""
    return importlib.util.find_spec("apprise") is not None


def services_at(urls: Sequence[SecretStr]) -> Apprise:
    """Return the services at these addresses.

    Raises:
        ValueError: Apprise knows no service at one of them; the message says which one, counted from 0.
        ImportError: Apprise is not installed.
    """
    from apprise import Apprise  # noqa: PLC0415 - an extra

    # Its log lines quote addresses with the tokens in them.
    logging.getLogger("apprise").disabled = True
    services = Apprise()
    for index, url in enumerate(urls):
        if not services.add(url.get_secret_value()):
            message = str(index)
            raise ValueError(message)
    return services


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Services behind Apprise; implements `monitor.alerts.port.Receiver`.

    Attributes:
        services: Where alerts go.
        links: Makes links by which an incident is acknowledged; None where there are none.
        gather_s: For how long what comes after a message is kept back; None sends each alert by itself.
    """

    name: str
    services: Apprise = field(repr=False)
    timeout_s: float
    links: Links | None = None
    gather_s: float | None = None
    events: frozenset[str] = frozenset()
    concurrency: int = 1
    newest_only: bool = True

    def carrier(self, clock: Clock) -> AbstractAsyncContextManager[Carrier]:
        """Return the way to them; see `monitor.alerts.port.Receiver`."""
        return self._opened(clock)

    @asynccontextmanager
    async def _opened(self, clock: Clock) -> AsyncIterator[Carrier]:
        gathering = Gathering(self._tell, clock, self.gather_s)
        try:
            yield gathering
        finally:
            await gathering.aclose()

    async def _tell(self, deliveries: Sequence[DeliveryRecord]) -> Attempt:
        try:
            message = message_of(deliveries, receiver=self.name, links=self.links)
            async with asyncio.timeout(self.timeout_s):
                # In a thread of its own: what Apprise does for a service may block.
                taken = await asyncio.to_thread(
                    self.services.notify, title=message.title, body=message.plain, notify_type=_LEVELS[message.level]
                )
        except TimeoutError:
            return Attempt(Outcome.FAILED, FailureReason.TIMEOUT)
        except Exception as error:  # noqa: BLE001  # whatever one receiver provokes must not end deliveries to it
            # No traceback: the library's messages quote addresses.
            log.error("delivery_attempt_broke", receiver=self.name, error=type(error).__name__)  # noqa: TRY400  # see above
            return Attempt(Outcome.FAILED, FailureReason.INTERNAL)
        # Apprise says no more than whether all of them took it.
        return Attempt(Outcome.DELIVERED) if taken else Attempt(Outcome.FAILED, FailureReason.REJECTED)

"""Alerts by e-mail: one message per alert to all of a receiver's addresses, threaded by incident."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import aiosmtplib
import structlog
from pydantic import SecretStr

from monitor.alerts.addresses import BlockedAddressError, Network, Reach, allowed
from monitor.alerts.facts import facts_of
from monitor.alerts.gathering import GATHERED_AT_ONCE, Gathering
from monitor.alerts.links import Links
from monitor.alerts.port import Attempt, Carrier, FailureReason, Outcome
from monitor.alerts.wording import Message, message_of
from monitor.clock import Clock
from monitor.store.deliveries import DeliveryRecord

_LONGEST_SUBJECT: Final = 200
_OVERLOADED: Final = (421, 450, 451, 452)
"""Replies of a mail server that wants to be asked later."""

# Looked through in order: the library's errors inherit from each other.
_REASONS: Final[tuple[tuple[tuple[type[BaseException], ...], FailureReason], ...]] = (
    ((TimeoutError, aiosmtplib.SMTPTimeoutError), FailureReason.TIMEOUT),
    ((BlockedAddressError,), FailureReason.BLOCKED_ADDRESS),
    ((socket.gaierror,), FailureReason.DNS),
    ((ssl.SSLError, ssl.CertificateError), FailureReason.TLS),
    ((ConnectionRefusedError,), FailureReason.REFUSED),
    ((aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPConnectError, OSError), FailureReason.DISCONNECTED),
    ((aiosmtplib.SMTPException,), FailureReason.BAD_ANSWER),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail is handed in, and how.

    Attributes:
        encryption: ``starttls``, ``implicit``, or ``none`` on this machine only.
        login: User and password, if it asks for them.
        reach: Which addresses it may have.
        networks: Private addresses that it may have besides.
        tls: By whose authorities its certificate is verified, if not the system's.
    """

    host: str = field(repr=False)
    port: int
    encryption: str
    login: tuple[str, SecretStr] | None = None
    reach: Reach
    networks: tuple[Network, ...] = ()
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """People with mailboxes; implements `monitor.alerts.port.Receiver`.

    Attributes:
        sender: Address that alerts come from.
        to: Addresses that they go to.
        links: Makes links by which an incident is acknowledged; None where there are none.
        gather_s: For how long what comes after a mail is kept back; None sends each alert by itself.
    """

    name: str
    server: MailServer
    sender: str = field(repr=False)
    to: tuple[str, ...] = field(repr=False)
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
        connections = asyncio.Semaphore(max(1, min(self.concurrency, GATHERED_AT_ONCE)))

        async def tell(deliveries: Sequence[DeliveryRecord]) -> Attempt:
            async with connections:
                return await self._tell(deliveries)

        gathering = Gathering(tell, clock, self.gather_s)
        try:
            yield gathering
        finally:
            await gathering.aclose()

    async def _tell(self, deliveries: Sequence[DeliveryRecord]) -> Attempt:
        try:
            mail = self.mail(message_of(deliveries, receiver=self.name, links=self.links), facts_of(deliveries[0]).at)
            async with asyncio.timeout(self.timeout_s):
                await self._hand_in(mail)
        except aiosmtplib.SMTPResponseException as refusal:
            return _refused(refusal.code)
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            return _refused(min((one.code for one in refusal.recipients), default=550))
        except (OSError, aiosmtplib.SMTPException) as error:
            return Attempt(Outcome.FAILED, _reason(error))
        except Exception as error:  # noqa: BLE001  # whatever one receiver provokes must not end deliveries to it
            # No traceback: the library's messages quote addresses.
            log.error("delivery_attempt_broke", receiver=self.name, error=type(error).__name__)  # noqa: TRY400  # see above
            return Attempt(Outcome.FAILED, FailureReason.INTERNAL)
        return Attempt(Outcome.DELIVERED)

    def mail(self, message: Message, at: datetime) -> EmailMessage:
        """Return the mail that tells people `message`; the same at every attempt."""
        domain = self.sender.rpartition("@")[2]
        mail = EmailMessage()
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.to)
        mail["Subject"] = _line(f"[Livecordon] {message.title}")[:_LONGEST_SUBJECT]
        mail["Date"] = format_datetime(at)
        mail["Message-ID"] = f"<{message.id}.{self.name}@{domain}>"
        if message.thread is not None:
            mail["References"] = f"<{_line(message.thread).replace(' ', '_').replace('/', '.')}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        if message.is_urgent:
            mail["Importance"] = "high"
        mail.set_content(message.plain)
        return mail

    async def _hand_in(self, mail: EmailMessage) -> None:
        server = self.server
        plain = server.encryption == "none"
        client = aiosmtplib.SMTP(
            hostname=server.host,
            sock=await connected(server),
            use_tls=server.encryption == "implicit",
            start_tls=not plain and server.encryption == "starttls",
            tls_context=None if plain else server.tls or ssl.create_default_context(),
            local_hostname="livecordon.invalid",
            timeout=self.timeout_s,
        )
        async with client:
            if server.login is not None:
                user, password = server.login
                await client.login(user, password.get_secret_value())
            refused, _ = await client.send_message(mail)
            if refused:
                # Others of this receiver have it now; those who do not are told by whoever reads this.
                log.warning("mail_refused_for_some", receiver=self.name, addresses=len(refused))


async def connected(server: MailServer) -> socket.socket:
    """Return a connection to an address that the server may have: the one that was checked, and no other."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    failure: OSError = BlockedAddressError()
    for family, kind, protocol, _, address in found:
        if not allowed(str(address[0]), server.reach, server.networks):
            continue
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        try:
            await loop.sock_connect(opened, address)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


def _refused(code: int) -> Attempt:
    if code in _OVERLOADED:
        return Attempt(Outcome.THROTTLED, FailureReason.REJECTED, code)
    return Attempt(Outcome.FAILED, FailureReason.REJECTED, code)


def _reason(error: BaseException) -> FailureReason:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for kinds, reason in _REASONS:
        if any(isinstance(cause, kinds) for cause in causes):
            return reason
    return FailureReason.BAD_ANSWER


def _line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)

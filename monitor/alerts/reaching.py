"""Whether a receiver can be reached at all, without telling it anything."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import aiosmtplib
from yarl import URL

from monitor.alerts.mail import Mailbox, MailServer, connected
from monitor.alerts.port import FailureReason, Receiver
from monitor.alerts.sender import AlertRequest, HttpReceiver, Sender
from monitor.clock import Clock

_HELLO: Final = "livecordon.invalid"


async def why_unreachable(receiver: Receiver, clock: Clock, within_s: float) -> FailureReason | None:
    """Knock at a receiver's door: HEAD of its host's root, or a mail server's greeting.

    Addresses and certificates are checked as for alerts. Any answer will do: whether alerts are taken, and the secrets right,
    is not asked.

    Returns:
        None when it answers.

    Raises:
        LookupError: nothing here knows how to reach receivers of its kind without telling them something.
    """
    try:
        async with asyncio.timeout(within_s):
            if isinstance(receiver, Mailbox):
                await _greet(receiver.server, within_s)
                return None
            url = getattr(receiver, "url", None)
            if isinstance(receiver, HttpReceiver) and isinstance(url, URL):
                return await _head(receiver, url.origin(), clock)
    except TimeoutError:
        return FailureReason.TIMEOUT
    except ssl.SSLError:
        return FailureReason.TLS
    except (OSError, aiosmtplib.SMTPException):
        return FailureReason.DISCONNECTED
    raise LookupError(receiver.name)


async def _head(receiver: HttpReceiver, root: URL, clock: Clock) -> FailureReason | None:
    async with Sender(receiver, clock) as sender:
        attempt = await sender.send(lambda _: AlertRequest(root, b"", {}, "HEAD"))
    return attempt.reason if attempt.http_status is None else None


async def _greet(server: MailServer, within_s: float) -> None:
    plain = server.encryption == "none"
    client = aiosmtplib.SMTP(
        hostname=server.host,
        sock=await connected(server),
        use_tls=server.encryption == "implicit",
        start_tls=server.encryption == "starttls",
        tls_context=None if plain else server.tls or ssl.create_default_context(),
        local_hostname=_HELLO,
        timeout=within_s,
    )
    async with client:
        await client.ehlo()

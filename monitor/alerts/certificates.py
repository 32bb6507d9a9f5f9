"""When the certificates expire that receivers show: an alert that cannot be delivered is noticed too late."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from typing_extensions import override

from monitor.metrics import RECEIVER_CERTIFICATE


def noting_certificates_of(receiver: str) -> type[aiohttp.ClientResponse]:
    """Return a class of answers that notes, for the metrics, when the certificate of its connection expires."""

    class Answer(aiohttp.ClientResponse):
        @override
        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            # An answer without a body gives its connection back before anybody could ask it anything.
            transport = connection.transport
            certificate: dict[str, Any] = ({} if transport is None else transport.get_extra_info("peercert")) or {}
            if (ends := certificate.get("notAfter")) is not None:
                RECEIVER_CERTIFICATE.labels(receiver).set(ssl.cert_time_to_seconds(ends))
            return await super().start(connection)

    return Answer

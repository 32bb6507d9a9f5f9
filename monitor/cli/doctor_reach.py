"""Whether media servers and receivers answer from this machine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY

from monitor.alerts.port import FailureReason, Receiver
from monitor.alerts.reaching import why_unreachable
from monitor.alerts.receivers import build_receivers
from monitor.cli.check import opened, relay_to_run, words
from monitor.cli.doctor_finding import Finding, Grade
from monitor.clock import SystemClock
from monitor.config.loading import LoadedConfig
from monitor.config.servers import AnyServer
from monitor.errors import MediaServerError, ProblemsError
from monitor.redact import redact_text

_WITHIN_S: Final = 10.0
_CERTIFICATE_LEFT_S: Final = 14 * 86400.0
_DAY_S: Final = 86400.0

_MENDS: Final = {
    FailureReason.TIMEOUT: "look at firewalls between here and there",
    FailureReason.REFUSED: "is it running, and the port right?",
    FailureReason.DNS: "is the host's name right, and does this machine resolve names?",
    FailureReason.TLS: "its certificate does not fit its name, has expired, or is signed by somebody unknown: see ca_file",
    FailureReason.BLOCKED_ADDRESS: "it is on your own network: see allow_networks",
}


@dataclass(frozen=True, slots=True)
class Reached:
    """What was found.

    Attributes:
        live_streams: How many streams all media servers list together.
    """

    findings: Sequence[Finding]
    live_streams: int


async def reach(loaded: LoadedConfig) -> Reached:
    """Ask everybody at once."""
    try:
        receivers = build_receivers(loaded.config.alerts.receivers, os.environ, config_file=str(loaded.file))
        complaints = []
    except ProblemsError as failure:
        receivers = ()
        complaints = [Finding(Grade.WRONG, "receivers", str(problem)) for problem in failure.problems]
    servers, partners = await asyncio.gather(
        asyncio.gather(*(_server(index, one, loaded) for index, one in enumerate(loaded.config.servers))),
        asyncio.gather(*(_receiver(one) for one in receivers)),
    )
    findings = [finding for found, _ in servers for finding in found]
    return Reached([*findings, *complaints, *partners], sum(live for _, live in servers))


async def _server(index: int, section: AnyServer, loaded: LoadedConfig) -> tuple[list[Finding], int]:
    subject = f"server {section.name}"
    if relay_to_run(section) is not None:
        return [Finding(Grade.OK, subject, "the daemon will run it")], 0
    try:
        async with opened(section, loaded) as server:
            warnings = await server.probe()
            live = len(await server.list_streams())
    except MediaServerError as failure:
        problem = loaded.problem(("servers", index), words(failure), "is it running, and the address right?")
        return [Finding(Grade.WRONG, subject, str(problem))], 0
    except ProblemsError as failure:
        return [Finding(Grade.WRONG, subject, str(problem)) for problem in failure.problems], 0
    found = [Finding(Grade.WARNING, subject, redact_text(warning)) for warning in warnings]
    return [Finding(Grade.OK, subject, f"answers, and lists {live} live stream{'s' * (live != 1)}"), *found], live


async def _receiver(receiver: Receiver) -> Finding:
    subject = f"receiver {receiver.name}"
    try:
        reason = await why_unreachable(receiver, SystemClock(), _WITHIN_S)
    except LookupError:
        return Finding(Grade.UNKNOWN, subject, "cannot be tried without telling it something", "try it with a drill")
    if reason is not None:
        return Finding(Grade.WRONG, subject, f"cannot be reached ({reason})", _MENDS.get(reason, "see its own log"))
    ends = REGISTRY.get_sample_value(
        "livecordon_receiver_certificate_expiry_timestamp_seconds", {"receiver": receiver.name}
    )
    if ends is None:
        return Finding(Grade.OK, subject, "answers")
    left_s = ends - time.time()
    what = f"answers; its certificate is good for {left_s / _DAY_S:.0f} days"
    if left_s < _CERTIFICATE_LEFT_S:
        return Finding(Grade.WARNING, subject, what, "have it renewed, or alerts stop that day")
    return Finding(Grade.OK, subject, what)

"""The timeline says why each thing happened: it is what a person who was cut off is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import aiohttp

from monitor.protocol.decision import Reason
from monitor.web.port import TimelineEntry
from monitor.web.server import WebServer
from tests.fakes.web_daemon import NOON, FakeDaemon, detail_of, incident


async def test_every_entry_says_why(open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    entries = [
        TimelineEntry(NOON + timedelta(seconds=number), "protocol", reason, "before", "after")
        for number, reason in enumerate(Reason)
    ]
    entries.append(TimelineEntry(NOON, "ana", None, "", "", "a word by hand"))
    shown = incident()
    daemon.details[shown.incident_id] = replace(detail_of(shown), timeline=tuple(entries))

    async with http.get(f"{open_web.url}/incidents/{shown.incident_id}") as reply:
        page = await reply.text()

    said = [part.partition("</strong>")[0] for part in page.partition('<ol class="timeline">')[2].split("<strong>")[1:]]
    words = ["noted" if reason is Reason.NO_TRANSITION else reason.value.replace("_", " ") for reason in Reason]
    # Newest first; what follows the list has headings of its own.
    assert said[: len(entries)] == ["noted", *reversed(words)]

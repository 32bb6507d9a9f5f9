"""A process that delivers what waits in a store, for tests that kill it: ``python outbox_process.py STORE URL``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pydantic import SecretStr
from yarl import URL

from monitor.alerts.addresses import Reach
from monitor.alerts.outbox import Outbox
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.clock import SystemClock
from monitor.store.database import Database
from tests.fakes.receiver import SECRET


async def main(store: Path, url: str) -> None:
    receiver = SignedWebhook(
        name="partner", url=URL(url), signer=Signer([SecretStr(SECRET)]), reach=Reach.LOOPBACK, timeout_s=10
    )
    async with Database(store) as database, Outbox(database, [receiver], SystemClock()):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

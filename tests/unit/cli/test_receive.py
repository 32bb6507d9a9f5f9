from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime

import aiohttp
from pydantic import SecretStr

from monitor.alerts.events import compose
from monitor.alerts.signing import Signer
from monitor.vocabulary import AlertEvent
from tests.fakes.receiver import SECRET
from tests.fakes.snapshots import SNAPSHOT


async def test_it_prints_what_is_genuine_once_and_refuses_the_rest() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "receive", "--port=0", "--count=2"),
        env={**os.environ, "LIVECORDON_RECEIVE_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession(trust_env=False) as client:
            url = (await process.stderr.readline()).decode().partition(": ")[2].strip()

            async def send(event_id: str, *, forged: bool = False) -> int:
                body = compose(AlertEvent.RAISED, SNAPSHOT, source="site", event_id=event_id).body
                headers = Signer([SecretStr(SECRET)]).headers(event_id, body, at=datetime.now(UTC))
                async with client.post(url, data=body + b" " * forged, headers=headers) as answer:
                    return answer.status

            assert [await send("e1"), await send("e1", forged=True), await send("e1"), await send("e2")] == [
                204,
                401,
                204,
                204,
            ]
            printed = (await process.stdout.read()).decode().splitlines()
            assert [json.loads(line)["id"] for line in printed] == ["e1", "e2"]
            assert (await process.stderr.read()).decode() == "refused: forged\n"
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

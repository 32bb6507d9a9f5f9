"""Debian's Prometheus as a process of its own, scraping one daemon."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from monitor.demo.stage import free_port
from tests.fakes.waiting import eventually

PROMETHEUS = shutil.which("prometheus")


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs; asked over its own API."""

    url: str
    client: aiohttp.ClientSession

    async def ask(self, path: str, **query: str) -> Any:
        """Return the data of an answer; AssertionError with Prometheus's own words if it refuses."""
        async with self.client.get(f"{self.url}/api/v1/{path}", params=query) as reply:
            answer = await reply.json()
        assert answer["status"] == "success", f"{query}: {answer.get('error')}"
        return answer["data"]

    async def values(self, expression: str) -> list[float]:
        """Return what an expression is worth now; a number that is none is left out."""
        found = (await self.ask("query", query=expression))["result"]
        numbers = [float(one["value"][1]) for one in found]
        return [number for number in numbers if number == number]  # noqa: PLR0124 - NaN


def written_into(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))


@asynccontextmanager
async def prometheus_scraping(daemon_url: str, folder: Path, rules: Path) -> AsyncIterator[Prometheus]:
    """Run Prometheus with these rules; it scrapes the daemon each second, under the job ``livecordon``."""
    assert PROMETHEUS is not None
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "livecordon", "static_configs": [{"targets": [daemon_url.removeprefix("http://")]}]}
        ],
    }
    written_into(folder, config)
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False) as client:
            running = Prometheus(f"http://{address}", client)

            async def ready() -> bool:
                assert process.returncode is None, (folder / "prometheus.log").read_text()
                try:
                    async with client.get(f"{running.url}/-/ready") as reply:
                        return reply.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(ready, deadline_s=30)

            async def scraped() -> bool:
                # What is counted before the first scrape did not grow for Prometheus.
                return bool(await running.values("livecordon_build_info"))

            await eventually(scraped, deadline_s=30)
            yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()

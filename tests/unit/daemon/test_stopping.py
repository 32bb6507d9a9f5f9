"""The order of stopping, and that it ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest

from monitor.daemon import stopping

ENOUGH_S = 60


class FakeParts:
    """Notes what is asked of it, in which order."""

    def __init__(self, *, hangs: str = "") -> None:
        self.asked: list[str] = []
        self.hangs = hangs

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.hangs == what:
            await asyncio.Event().wait()

    async def idle(self) -> None:
        await self._ask("effects")

    async def settled(self) -> None:
        await self._ask("observations")

    async def keep(self) -> None:
        await self._ask("thresholds")


@pytest.mark.parametrize("hangs", ["", "effects", "observations"])
async def test_new_streams_stop_first_and_nothing_is_waited_for_without_end(
    hangs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "EFFECTS_S", 0.01)
    monkeypatch.setattr(stopping, "SETTLE_S", 0.01)
    parts = FakeParts(hangs=hangs)

    async def discover() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            parts.asked.append("discovery over")

    discovering = asyncio.create_task(discover())
    await asyncio.sleep(0)
    await stopping.wind_down([discovering], parts, parts, parts)  # type: ignore[arg-type] # stands for all three
    await asyncio.wait({discovering})
    wanted = {"effects", "discovery over", "observations"} | ({"thresholds"} if hangs != "observations" else set())
    assert set(parts.asked) == wanted
    assert discovering.cancelled()


def test_what_ends_in_time_is_not_ended() -> None:
    before = threading.active_count()
    with stopping.bounded(0.01) as asked:
        asked.set()
    with stopping.bounded(0.01):
        pass
    assert threading.active_count() == before


def ending(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_hangs_is_ended_even_if_it_is_the_event_loop() -> None:
    code = (
        "import time\nfrom monitor.daemon.stopping import bounded\n"
        "with bounded(0.05) as asked:\n asked.set()\n time.sleep(600)\n"
    )
    with ending(code) as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == stopping.FORCED_EXIT
    assert "stop_took_too_long" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_forces(number: signal.Signals) -> None:
    code = (
        "import asyncio, time\nfrom monitor.cli.stop_signals import stop_on_signals\n"
        "async def main():\n"
        " stop = asyncio.Event()\n"
        " stop_on_signals(asyncio.get_running_loop(), stop.set)\n"
        " print('up', flush=True)\n"
        " await stop.wait()\n"
        " print('asked', flush=True)\n"
        " time.sleep(600)\n"  # hangs, loop and all
        "asyncio.run(main())\n"
    )
    with ending(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        began_s = time.monotonic()
        process.send_signal(number)
        assert process.wait(ENOUGH_S) == -number
        assert time.monotonic() - began_s < ENOUGH_S

"""Video is handed over by the watcher that has a stream, or by any other; see `tests.fakes.fake_watcher`."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from monitor.clock import SystemClock
from monitor.vocabulary import Posture
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from tests.fakes import fake_watcher
from tests.fakes.recorder import until

SETTINGS = WatchSettings(
    model="fake",
    watchers=2,
    spares=0,
    restart_longest_s=0.5,
    command=(sys.executable, "-P", str(Path(fake_watcher.__file__))),
)


def watchers_with(settings: WatchSettings) -> Watchers:
    return Watchers(
        settings, SystemClock(), on_observation=lambda *_: None, on_status=lambda _: None, on_fault=lambda _: None
    )


async def contents(watchers: Watchers, stream_id: str, deadline_s: float = 20.0) -> list[str]:
    async with watchers.video(stream_id, deadline_s) as handed_over:
        assert handed_over.folder is not None, handed_over.trouble
        return [(handed_over.folder / file.name).read_text() for file in handed_over.files]


async def test_the_watcher_that_has_the_stream_hands_over_and_nothing_stays(tmp_path: Path) -> None:
    async with watchers_with(replace(SETTINGS, spool=tmp_path / "spool")) as watchers:
        await until(lambda: sum(view.ready for view in watchers.stats()) == 2, deadline_s=30)
        for stream_id in ("s0", "s1"):
            await watchers.assign(stream_id, "fake://ok/key", Posture.CALM)
        for stream_id in ("s0", "s1"):
            (pid,) = [view.pid for view in watchers.stats() if stream_id in view.streams]
            assert await contents(watchers, stream_id) == [f"video of {stream_id} by {pid}"]
        assert list((tmp_path / "spool" / "handover").iterdir()) == []
    assert list((tmp_path / "spool").iterdir()) == []


async def test_after_its_watcher_has_died_another_hands_over(tmp_path: Path) -> None:
    async with watchers_with(replace(SETTINGS, watchers=1, spool=tmp_path / "spool")) as watchers:
        await watchers.assign("s0", "fake://ok/key", Posture.CALM)
        await until(lambda: any(view.ready for view in watchers.stats()), deadline_s=30)
        (pid,) = [view.pid for view in watchers.stats()]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        (content,) = await contents(watchers, "s0", 30)
        assert content.startswith("video of s0 by ")
        await until(lambda: all(view.pid != pid for view in watchers.stats()))


async def test_where_there_is_no_spool_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    for spool in (None, tmp_path / "spool"):
        settings = replace(SETTINGS, watchers=1, spool=spool)
        async with watchers_with(settings) as watchers, watchers.video("s0", 1) as handed_over:
            assert (handed_over.folder, handed_over.files, handed_over.trouble) == (None, (), "no_spool")


async def test_where_no_watcher_comes_it_says_so(tmp_path: Path) -> None:
    settings = replace(SETTINGS, watchers=1, spool=tmp_path / "spool", command=(*SETTINGS.command, "--startup=never"))
    async with watchers_with(settings) as watchers, watchers.video("s0", 0.2) as handed_over:
        assert handed_over.trouble == "no_watcher"

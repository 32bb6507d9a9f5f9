"""Real watchers that gave up what they do not need: they watch and keep evidence as before."""

from __future__ import annotations

import os
import platform
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from socket import socket

import av
import pytest

from monitor.clock import SystemClock
from monitor.errors import WatcherError
from monitor.vocabulary import Posture
from monitor.watch.messages import Observation
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from tests.fakes.footage import Footage, film_bytes
from tests.fakes.loopback import http_server
from tests.fakes.recorder import until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="where it can be looked at"),
]
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

STREAM_ID = "loud-0123456789abcdef"
SETTINGS = WatchSettings(model="violent-motion", watchers=1, spares=0)
FOOTAGE = Footage(duration_s=40.0, frame_rate=15, width=160, height=120, gop_s=1.0)


@pytest.fixture(scope="module")
def live_url() -> Iterator[str]:
    data = film_bytes("mpegts", FOOTAGE)

    def answer(connection: socket, _path: str, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
        piece = len(data) // int(FOOTAGE.duration_s * 10)
        for at in range(0, len(data), piece):
            connection.sendall(data[at : at + piece])
            if over.wait(0.1):
                return

    with http_server(answer) as base:
        yield f"{base}/live.ts"


def status_of(pid: int | None) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def watched(settings: WatchSettings, url: str, into: Path) -> tuple[dict[str, str], list[Path]]:
    """Watch until there are clips and some video; return what the kernel says of the watcher, and the video."""
    observations: list[Observation] = []
    async with Watchers(
        settings,
        SystemClock(),
        on_observation=lambda observation, _: observations.append(observation),
        on_status=lambda _: None,
        on_fault=lambda fault: pytest.fail(f"{fault.reason}: {fault.detail}"),
    ) as watchers:
        await until(lambda: any(view.ready for view in watchers.stats()), deadline_s=60)
        await watchers.assign(STREAM_ID, url, Posture.CALM)
        await until(lambda: len(observations) >= 3, deadline_s=40)
        (pid,) = (view.pid for view in watchers.stats())
        status = status_of(pid)
        kept = []
        if settings.spool is not None:
            parts = list((settings.spool / STREAM_ID).iterdir())
            assert {path.stat().st_uid for path in parts} == {int(status["Uid"].split()[0])}
        async with watchers.video(STREAM_ID, 20) as handed:
            if settings.spool is not None:
                assert handed.folder is not None
                assert handed.trouble == ""
                for file in handed.files:
                    kept.append(into / file.name)
                    kept[-1].write_bytes((handed.folder / file.name).read_bytes())
    return status, kept


def plays(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


async def test_watchers_give_up_system_calls_and_watch_as_before(tmp_path: Path, live_url: str) -> None:
    status, _ = await watched(SETTINGS, live_url, tmp_path)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")


async def test_an_operator_may_leave_the_system_calls_alone(tmp_path: Path, live_url: str) -> None:
    status, _ = await watched(replace(SETTINGS, refuse_system_calls=False), live_url, tmp_path)
    assert status["Seccomp"] == "0"


@root
async def test_watchers_become_another_user_and_evidence_works(tmp_path: Path, live_url: str) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")
    settings = replace(SETTINGS, run_as_user="nobody", spool=data / "spool")
    status, videos = await watched(settings, live_url, tmp_path)
    assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert status["Groups"] == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert [plays(video) > 15 for video in videos] == [True]
    assert list((data / "spool").iterdir()) == []


@root
def test_it_still_dies_with_its_parent_as_another_user() -> None:
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from monitor.watch.confinement import forbid_new_privileges\n"
        "from monitor.watch.users import confine\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    forbid_new_privileges()\n"
        "    confine(user_name='nobody', refuse_system_calls=True, spool=None, parent_pid=os.getppid())\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert status_of(child)["Uid"].split()[0] == str(pwd.getpwnam("nobody").pw_uid)
        parent.kill()
        give_up_at = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and status_of(child).get("State", "Z")[0] != "Z":
            assert time.monotonic() < give_up_at
            time.sleep(0.02)


@root
async def test_a_user_that_is_not_there_stops_the_daemon_from_watching_as_root(tmp_path: Path) -> None:
    settings = replace(SETTINGS, run_as_user="no-such-user", spool=tmp_path / "spool")
    with pytest.raises(WatcherError) as caught:
        async with Watchers(
            settings, SystemClock(), on_observation=lambda *_: None, on_status=lambda _: None, on_fault=lambda _: None
        ):
            pass
    assert caught.value.reason == "user_unusable"

"""Evidence of a stream on nginx-rtmp: what a player makes of it, and what is left of it by whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.stage import free_port
from monitor.watch.spool_folder import ABANDONED_AFTER_S
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.nginx import entry_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

DEADLINE_S = 60.0
RING_TOTAL_BYTES = 64 * 1024 * 1024
PARAMETERS = ("codec_name", "profile", "level", "width", "height", "pix_fmt", "extradata_hash")


@dataclass(frozen=True, slots=True)
class Site:
    """A daemon that watches an nginx."""

    folder: Path
    daemon: RealDaemon
    address: str

    def packages(self) -> list[dict[str, Any]]:
        """Return the manifests of all packages, oldest first, each with its `folder`."""
        paths = (self.folder / "data" / "evidence").glob("*/[!.]*/manifest.json")
        return [
            json.loads(path.read_text()) | {"folder": path.parent}
            for path in sorted(paths, key=lambda path: path.stat().st_mtime)
        ]

    def videos(self) -> list[tuple[Path, dict[str, Any]]]:
        return [
            (package["folder"] / name, entry)
            for package in self.packages()
            for name, entry in package["files"].items()
            if name.startswith("video")
        ]

    def spooled(self) -> list[Path]:
        return [path for path in (self.folder / "data" / "spool").rglob("*") if path.is_file()]

    async def first_incident(self) -> Any:
        return await eventually(self._incident, deadline_s=DEADLINE_S, interval_s=0.02)

    async def kept(self, count: int = 1) -> None:
        """Wait for so many files of video in packages."""

        async def look() -> bool:
            return len(self.videos()) >= count

        await eventually(look, deadline_s=DEADLINE_S)

    async def preserved(self, incident_id: str) -> bool:
        """Whether an incident has had evidence kept, and nothing that it asked for is still to do."""
        effects = (await self.daemon.get(f"/api/v1/incidents/{incident_id}"))["effects"]
        outcomes = [effect["outcome"] for effect in effects if effect["kind"] == "preserve"]
        return "succeeded" in outcomes and None not in outcomes

    def kill_watchers(self) -> None:
        for pid in self.daemon.watcher_pids():
            if b"monitor.watch.watcher" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    async def _incident(self) -> Any:
        return next(iter(await self.daemon.incidents()), None)


@asynccontextmanager
async def watching(folder: Path, *, protocol: str) -> AsyncIterator[Site]:
    port = free_port()
    (folder / "nginx").mkdir()
    async with AsyncExitStack() as stack:
        nginx = await stack.enter_async_context(RealNginx(folder / "nginx"))
        config = {
            "web": {"listen": f"127.0.0.1:{port}"},
            "watch": {"watchers": 1, "ring_total_bytes": "64MiB"},
            "servers": [entry_for(nginx, list_interval="500ms", protocol=protocol)],
        }
        daemon = await stack.enter_async_context(RealDaemon(folder, config))
        yield Site(folder, daemon, f"{nginx.rtmp_url}/live/loud")


@pytest.fixture(scope="session")
def turning(tmp_path_factory: pytest.TempPathFactory, calm: Path, brawl: Path) -> Path:
    """Sixteen seconds of calm, then as many of brawl."""
    folder = tmp_path_factory.mktemp("turning")
    (folder / "list.txt").write_text(f"file '{calm}'\nfile '{brawl}'\n")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "concat", "-safe", "0", "-i", folder / "list.txt", "-c", "copy",
         folder / "turning.mp4"],
        check=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return folder / "turning.mp4"


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def probed(path: Path) -> dict[str, Any]:
    """Return what ffprobe says of a file's video, having decoded all of it without a word of complaint."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_data_hash", "sha256", "-count_frames"]
    done = subprocess.run(
        [*command, "-show_entries", "stream:format=duration", "-of", "json", path],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    found = json.loads(done.stdout)
    stream: dict[str, Any] = found["streams"][0]
    return stream | {"length_s": float(found["format"]["duration"])}


def is_the_publishers(video: Path, original: Path) -> None:
    """Check that a file plays, and was not encoded anew."""
    found, sent = probed(video), probed(original)
    assert {name: found[name] for name in PARAMETERS} == {name: sent[name] for name in PARAMETERS}
    assert int(found["nb_read_frames"]) >= 10


async def test_the_video_covers_what_came_before_and_after(tmp_path: Path, turning: Path) -> None:
    async with watching(tmp_path, protocol="immediate") as site, ffmpeg_copying(turning, site.address):
        incident = await site.first_incident()
        await site.kept(2)
        video, entry = site.videos()[-1]
        is_the_publishers(video, turning)
        assert probed(video)["length_s"] == pytest.approx(entry["end_s"] - entry["start_s"], abs=0.5)
        detail = await site.daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
        opened_at = datetime.fromisoformat(detail["incident"]["opened_at"]).timestamp()
        assert entry["arrived_from"] < opened_at - 5
        assert entry["arrived_to"] > opened_at


async def test_a_watcher_killed_upon_detection_costs_no_evidence(tmp_path: Path, turning: Path) -> None:
    async with watching(tmp_path, protocol="assisted") as site, ffmpeg_copying(turning, site.address):
        await site.first_incident()
        site.kill_watchers()
        await site.kept()
        for video, _ in site.videos():
            is_the_publishers(video, turning)
        await eventually(lambda: site.daemon.scored("loud"), deadline_s=DEADLINE_S)


async def test_a_daemon_killed_upon_detection_leaves_evidence_for_the_next_and_nothing_for_good(
    tmp_path: Path, turning: Path
) -> None:
    async with watching(tmp_path, protocol="assisted") as site, ffmpeg_copying(turning, site.address):
        incident = await site.first_incident()
        pids = site.daemon.watcher_pids()
        await site.daemon.kill()
        killed_at = time.time()

        async def all_dead() -> bool:
            return not any(is_running(pid) for pid in pids)

        await eventually(all_dead, deadline_s=5)
        left, done_before = set(site.spooled()), len(site.packages())
        assert left
        await site.daemon.start()

        await eventually(lambda: site.daemon.scored("loud"), deadline_s=DEADLINE_S)
        assert incident["incident_id"] in [one["incident_id"] for one in await site.daemon.incidents()]
        await eventually(lambda: site.preserved(incident["incident_id"]), deadline_s=DEADLINE_S)
        assert len(site.packages()) > done_before
        # What the dead daemon's watchers saw is in what the next one keeps.
        early = [video for video, entry in site.videos() if entry["arrived_from"] < killed_at - 5]
        assert early
        for video in early:
            is_the_publishers(video, turning)

        # It stays for a while, within the bound, and then goes, though the stream is still watched.
        assert left & set(site.spooled())
        assert sum(path.stat().st_size for path in site.spooled()) <= RING_TOTAL_BYTES
        long_ago = time.time() - ABANDONED_AFTER_S - 1
        for path in left & set(site.spooled()):
            os.utime(path, (long_ago, long_ago))

        async def swept() -> bool:
            return not left & set(site.spooled())

        await eventually(swept, deadline_s=DEADLINE_S)
        assert site.spooled()
        pids = site.daemon.watcher_pids()
        assert await site.daemon.stop() == 0
        assert not any(is_running(pid) for pid in pids)
        assert list((tmp_path / "data" / "spool").iterdir()) == []
        assert "Traceback" not in site.daemon.log

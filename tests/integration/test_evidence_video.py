"""What is kept of a stream that was cut is its own video, picture for picture."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import av
import pytest

from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

DEADLINE_S = 40.0


def config(port: int, relay_url: str, **watch: object) -> dict[str, Any]:
    return {
        "web": {"listen": f"127.0.0.1:{port}"},
        "servers": [{"name": "demo", "kind": "embedded", "url": relay_url, "list_interval": "500ms"}],
        "protocol": {"default": "immediate"},
        "watch": {"watchers": 1, **watch},
    }


def fingerprints(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in container.decode(video=0)]


def packages(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "evidence").glob("*/[!.]*/manifest.json"), key=lambda path: path.stat().st_mtime)


async def preserved(daemon: RealDaemon, folder: Path) -> tuple[Path, dict[str, Any], Any]:
    """Wait for the first package; return its folder, its manifest and the incident as the API shows it."""

    async def look() -> bool:
        return bool(packages(folder))

    await eventually(look, deadline_s=DEADLINE_S)
    manifest = packages(folder)[0]

    async def shown() -> Any:
        for incident in await daemon.incidents():
            detail = await daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
            if any(effect["kind"] == "preserve" and effect["outcome"] for effect in detail["effects"]):
                return detail
        return None

    return manifest.parent, json.loads(manifest.read_text()), await eventually(shown, deadline_s=DEADLINE_S)


def follows_the_original(found: list[str], original: list[str]) -> bool:
    """Whether `found` is a stretch of the original played over and over, without a gap."""
    places: dict[str, set[int]] = {}
    for index, fingerprint in enumerate(original):
        places.setdefault(fingerprint, set()).add(index)
    starts = places.get(found[0], set())
    return any(
        all((start + offset) % len(original) in places.get(one, ()) for offset, one in enumerate(found))
        for start in starts
    )


async def test_evidence_holds_the_video_that_was_sent(tmp_path: Path, brawl: Path) -> None:
    port, relay_port = free_port(), free_port()
    relay_url = f"http://127.0.0.1:{relay_port}"
    async with RealDaemon(tmp_path, config(port, relay_url)) as daemon:
        async with ffmpeg_copying(brawl, f"{relay_url}/live/loud"):
            package, manifest, detail = await preserved(daemon, tmp_path)

            async def kept_again() -> bool:
                return len(packages(tmp_path)) >= 2

            await eventually(kept_again, deadline_s=DEADLINE_S)
        entry = manifest["files"]["video.mp4"]
        upon_the_cut = json.loads(packages(tmp_path)[-1].read_text())["files"]["video.mp4"]
        assert upon_the_cut["start_s"] <= entry["end_s"] <= upon_the_cut["end_s"]
        video = package / "video.mp4"
        assert hashlib.sha256(video.read_bytes()).hexdigest() == entry["sha256"]
        assert entry["end_s"] > entry["start_s"]
        assert entry["arrived_to"] <= manifest["preserved_at"] + 1
        found = fingerprints(video)
        assert len(found) > 15
        assert follows_the_original(found, fingerprints(brawl))
        evidence = detail["evidence"][0]
        assert evidence["videos"] == 1
        assert evidence["video_bytes"] == video.stat().st_size == entry["size_bytes"]
        assert evidence["video_s"] == pytest.approx(entry["end_s"] - entry["start_s"])
        (effect,) = [one for one in detail["effects"] if one["kind"] == "preserve"][:1]
        assert f"video bytes {entry['size_bytes']}" in effect["detail"]
        spool = tmp_path / "data" / "spool"
        assert spool.stat().st_mode & 0o777 == 0o700
        assert "livecordon_spool_bytes" in await daemon.text("/metrics")
        assert list((spool / "handover").iterdir()) == []
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
        assert list(spool.iterdir()) == []


async def test_a_disk_that_cannot_be_used_costs_the_video_alone(tmp_path: Path, brawl: Path) -> None:
    port, relay_port = free_port(), free_port()
    relay_url = f"http://127.0.0.1:{relay_port}"
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    async with (
        RealDaemon(tmp_path, config(port, relay_url, spool=str(shared))) as daemon,
        ffmpeg_copying(brawl, f"{relay_url}/live/loud"),
    ):
        package, manifest, detail = await preserved(daemon, tmp_path)
        assert list(package.glob("video*")) == []
        assert manifest["files"]["scores.json"]
        assert detail["evidence"][0]["videos"] == 0
        (effect,) = [one for one in detail["effects"] if one["kind"] == "preserve"][:1]
        assert effect["outcome"] == "succeeded"
        assert "no_spool" in effect["detail"]
        assert daemon.log.count("spool_unusable") == 1
        assert list(shared.iterdir()) == []


def kill_watchers(daemon: RealDaemon) -> None:
    for pid in daemon.watcher_pids():
        if b"monitor.watch.watcher" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


async def test_video_outlives_the_watcher_that_kept_it(tmp_path: Path, brawl: Path, calm: Path) -> None:
    port, relay_port = free_port(), free_port()
    relay_url = f"http://127.0.0.1:{relay_port}"
    async with (
        RealDaemon(tmp_path, config(port, relay_url)) as daemon,
        ffmpeg_copying(calm, f"{relay_url}/live/loud") as quiet,
    ):
        await eventually(lambda: daemon.scored("loud"), deadline_s=DEADLINE_S)
        spool = tmp_path / "data" / "spool"

        async def some_seconds() -> bool:
            return len(list(spool.rglob("*.part"))) >= 3

        await eventually(some_seconds, deadline_s=DEADLINE_S)
        before = {part.name.partition("-")[0] for part in spool.rglob("*.part")}
        kill_watchers(daemon)

        async def taken_over() -> bool:
            return {part.name.partition("-")[0] for part in spool.rglob("*.part")} > before

        await eventually(taken_over, deadline_s=DEADLINE_S)
        quiet.kill()
        async with ffmpeg_copying(brawl, f"{relay_url}/live/loud"):
            package, manifest, _ = await preserved(daemon, tmp_path)
        videos = sorted(name for name in manifest["files"] if name.startswith("video"))
        assert videos[0] == "video-1.mp4"
        assert len(videos) >= 2
        assert follows_the_original(fingerprints(package / videos[0]), fingerprints(calm))
        assert set(fingerprints(package / videos[-1])) & set(fingerprints(brawl))

"""Another model under eight real streams, with real watchers; and the same of the real daemon, asked by signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from monitor.clock import SystemClock
from monitor.demo.stage import free_port
from monitor.servers.embedded.relay import Relay
from monitor.vocabulary import Posture
from monitor.watch import overlaps
from monitor.watch.messages import Observation, Ready, StreamStatus, WatcherFault
from monitor.watch.model_swaps import ModelSwapRefused
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from tests.fakes import model_packages as toys
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.footage import Footage, film
from tests.fakes.recorder import until
from tests.fakes.waiting import eventually

FOOTAGE = Footage(duration_s=60.0, frame_rate=15, width=160, height=120, gop_s=1.0)
STREAMS = 8
MARGIN_S = 0.5


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("footage") / "minute.mp4", FOOTAGE)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Three packages: two that work, with clips of different sizes, and one whose self-test fails."""
    folder = tmp_path / "models"
    toys.write_image_package(folder / "toy-image")
    toys.write_motion_package(folder / "toy-motion")
    wrong = {**toys.motion_manifest(), "name": "toy-wrong"}
    toys.write_motion_package(folder / "toy-wrong", manifest=wrong, test_scores=[[0.9, 0.9], [0.1, 0.1]])
    return folder


class Heard:
    """What was heard of each stream, in order."""

    def __init__(self) -> None:
        self.observations: list[tuple[str, Observation]] = []
        self.models: dict[str, str] = {}
        self.statuses: list[StreamStatus] = []
        self.faults: list[WatcherFault] = []

    def model(self, stream_id: str, model: str) -> None:
        self.models[stream_id] = model

    def observation(self, observation: Observation, labels: tuple[str, ...]) -> None:
        assert len(labels) == len(observation.scores)
        self.observations.append((self.models[observation.stream_id], observation))

    def scored_by(self, model: str, mark: int = 0) -> set[str]:
        return {one.stream_id for by, one in self.observations[mark:] if by == model}

    def oldest_verdict_s(self, since: int, until_number: int | None = None) -> float:
        """Return the greatest age that any stream's newest verdict reached: when the next one came, it was so old."""
        ages = [0.0]
        for name in {one.stream_id for _, one in self.observations}:
            heard = [one for _, one in self.observations[since:until_number] if one.stream_id == name]
            ages += [later.scored_at - earlier.arrived_at for earlier, later in pairwise(heard)]
        return max(ages)


@asynccontextmanager
async def watching(settings: WatchSettings) -> AsyncIterator[tuple[Watchers, Heard]]:
    heard = Heard()
    async with Watchers(
        settings,
        SystemClock(),
        on_observation=heard.observation,
        on_status=heard.statuses.append,
        on_fault=heard.faults.append,
        on_model=heard.model,
    ) as watchers:
        ready = settings.watchers + settings.spares
        await until(lambda: sum(view.ready for view in watchers.stats()) == ready, deadline_s=60)
        yield watchers, heard


def settings_for(models: Path, model: str) -> WatchSettings:
    return WatchSettings(model=model, models_dir=models, watchers=2, spares=1, read_timeout_s=3.0, keep_replaced_s=0.5)


async def assign(watchers: Watchers, video: Path) -> set[str]:
    names = {f"s{number}" for number in range(STREAMS)}
    for name in sorted(names):
        await watchers.assign(name, str(video), Posture.CALM)
    return names


async def accept(_: Ready) -> None:
    """Every model is welcome."""


async def scored(heard: Heard, model: str, names: set[str], *, times: int = 1) -> int:
    """Wait until every stream was scored by `model`; return how much had been heard then."""
    for _ in range(times):
        mark = len(heard.observations)
        await until(lambda mark=mark: heard.scored_by(model, mark) == names, deadline_s=60)  # type: ignore[misc] # bound early
    return len(heard.observations)


async def test_no_verdict_grows_old_while_another_model_takes_over(
    video: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(models, "toy-image")
    async with watching(settings) as (watchers, heard):
        names = await assign(watchers, video)
        begun = await scored(heard, "toy-image@1.2.3", names)
        swapping = await scored(heard, "toy-image@1.2.3", names, times=8)
        await watchers.swap_model(replace(settings, model="toy-motion"), accept)
        await until(lambda: not watchers.swapping, deadline_s=90)
        swapped = len(heard.observations)
        assert heard.scored_by("toy-motion@1.2.3") == names
        await scored(heard, "toy-motion@1.2.3", names, times=8)
        usual_s = max(heard.oldest_verdict_s(begun, swapping), heard.oldest_verdict_s(swapped))
        longest_s = heard.oldest_verdict_s(swapping, swapped)
        assert heard.scored_by("toy-image@1.2.3", swapped) == set()
        assert heard.faults == []
        assert {status.state.value for status in heard.statuses} == {"opening", "watching"}
    with capsys.disabled():
        sys.stdout.write(f"\noldest verdict: usually {usual_s:.2f} s, while the model was swapped {longest_s:.2f} s\n")
    assert longest_s < usual_s + MARGIN_S


@pytest.mark.skipif(sys.platform != "linux", reason="watchers share a classifier on Linux only")
async def test_a_shared_classifier_is_swapped_likewise_and_a_wrong_one_refused(video: Path, models: Path) -> None:
    settings = replace(settings_for(models, "toy-image"), classifier="shared")
    async with watching(settings) as (watchers, heard):
        names = await assign(watchers, video)
        await scored(heard, "toy-image@1.2.3", names)
        with pytest.raises(ModelSwapRefused):
            await watchers.swap_model(replace(settings, model="toy-wrong"), accept)
        swapping = await scored(heard, "toy-image@1.2.3", names)
        await watchers.swap_model(replace(settings, model="toy-motion"), accept)
        await until(lambda: not watchers.swapping, deadline_s=90)
        await scored(heard, "toy-motion@1.2.3", names, times=2)
        assert heard.oldest_verdict_s(swapping) < 2.0 + MARGIN_S
        assert heard.faults == []


@pytest.mark.parametrize("which", ["old", "new"])
async def test_a_watcher_killed_in_the_middle_leaves_no_stream_behind(video: Path, models: Path, which: str) -> None:
    settings = settings_for(models, "toy-image")
    async with watching(settings) as (watchers, heard):
        names = await assign(watchers, video)
        await scored(heard, "toy-image@1.2.3", names)
        outdated = {view.pid for view in watchers.stats()}
        await watchers.swap_model(replace(settings, model="toy-motion"), accept)
        await until(lambda: heard.scored_by("toy-motion@1.2.3"), deadline_s=60)
        victim = next(view for view in watchers.stats() if view.streams and (view.pid in outdated) == (which == "old"))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: not watchers.swapping, deadline_s=90)
        mark = len(heard.observations)
        await until(lambda: heard.scored_by("toy-motion@1.2.3", mark) == names, deadline_s=60)
        assert heard.scored_by("toy-image@1.2.3", mark) == set()
        await until(lambda: sum(view.ready for view in watchers.stats()) == 3 == len(watchers.stats()), deadline_s=60)


async def test_a_package_that_fails_its_self_test_changes_nothing(video: Path, models: Path) -> None:
    settings = settings_for(models, "toy-image")
    async with watching(settings) as (watchers, heard):
        names = await assign(watchers, video)
        await scored(heard, "toy-image@1.2.3", names)
        before = {view.pid for view in watchers.stats()}
        with pytest.raises(ModelSwapRefused):
            await watchers.swap_model(replace(settings, model="toy-wrong"), accept)
        assert {view.pid for view in watchers.stats() if view.ready} == before
        await scored(heard, "toy-image@1.2.3", names)
        assert heard.faults == []


@asynccontextmanager
async def live_streams(video: Path, relay: Relay, count: int) -> AsyncIterator[dict[str, str]]:
    """Publish the footage over and over as so many live streams; yields their addresses by id."""
    addresses = {f"s{number}": f"{relay.url}/live/s{number}" for number in range(count)}
    async with AsyncExitStack() as stack:
        for address in addresses.values():
            _ = await stack.enter_async_context(ffmpeg_copying(video, address))
        yield addresses


@pytest.mark.real_server
async def test_live_streams_go_over_without_a_gap(
    video: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(models, "toy-image")
    async with (
        Relay() as relay,
        live_streams(video, relay, STREAMS) as addresses,
        watching(settings) as (watchers, heard),
    ):
        names = set(addresses)
        for name, address in addresses.items():
            await watchers.assign(name, address, Posture.CALM)
        begun = await scored(heard, "toy-image@1.2.3", names)
        swapping = await scored(heard, "toy-image@1.2.3", names, times=8)
        await watchers.swap_model(replace(settings, model="toy-motion"), accept)
        await until(lambda: not watchers.swapping, deadline_s=90)
        swapped = len(heard.observations)
        await scored(heard, "toy-motion@1.2.3", names, times=8)
        usual_s = max(heard.oldest_verdict_s(begun, swapping), heard.oldest_verdict_s(swapped))
        longest_s = heard.oldest_verdict_s(swapping, swapped)
        assert heard.faults == []
    with capsys.disabled():
        sys.stdout.write(f"\nlive, oldest verdict: usually {usual_s:.2f} s, while swapped {longest_s:.2f} s\n")
    assert longest_s < usual_s + MARGIN_S


@pytest.mark.real_server
async def test_streams_that_can_be_read_only_once_move_all_the_same(
    video: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlaps, "PATIENCE_S", 1.0)
    settings = settings_for(models, "toy-image")
    async with (
        Relay(max_viewers=2) as relay,
        live_streams(video, relay, 2) as addresses,
        watching(settings) as (watchers, heard),
    ):
        for name, address in addresses.items():
            await watchers.assign(name, address, Posture.CALM)
        await scored(heard, "toy-image@1.2.3", set(addresses))
        await watchers.swap_model(replace(settings, model="toy-motion"), accept)
        await until(lambda: not watchers.swapping, deadline_s=90)
        await scored(heard, "toy-motion@1.2.3", set(addresses))
        assert heard.faults == []


def config(video: Path, models: Path) -> dict[str, Any]:
    streams = [{"name": f"s{number}", "url": str(video)} for number in range(STREAMS)]
    return {
        "web": {"listen": f"127.0.0.1:{free_port()}"},
        "log": {"format": "json"},
        "servers": [{"name": "files", "kind": "static", "loop_files": True, "streams": streams}],
        "watch": {"watchers": 2, "models_dir": str(models), "model": "toy-image"},
        "protocol": {"default": "observe"},
    }


def events(daemon: RealDaemon, name: str) -> list[Mapping[str, Any]]:
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


async def test_the_daemon_takes_the_configured_model_at_a_signal(tmp_path: Path, video: Path, models: Path) -> None:
    said = config(video, models)
    async with RealDaemon(tmp_path, said) as daemon:
        names = [f"s{number}" for number in range(STREAMS)]
        await eventually(lambda: daemon.scored(*names), deadline_s=60)

        async def ask_for(model: str) -> None:
            wanted = {**said, "watch": {**said["watch"], "model": model}}
            (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data_dir": "data", **wanted}))
            os.kill(daemon.pid, signal.SIGHUP)

        async def says(*texts: str) -> bool:
            numbers = await daemon.text("/metrics")
            return all(text in numbers for text in texts)

        async def refused(times: int) -> bool:
            return len(events(daemon, "configuration_refused")) == times

        in_force = 'livecordon_model_info{{model="{}@1.2.3",provider="cpu",role="acting"}} 1.0'
        await ask_for("toy-wrong")
        await eventually(lambda: says('livecordon_model_swaps_total{outcome="refused"} 1.0'), deadline_s=60)
        await ask_for("no-such-model")
        await eventually(lambda: refused(2), deadline_s=60)
        assert await says(in_force.format("toy-image"))
        assert await daemon.scored(*names)
        await ask_for("toy-motion")
        await eventually(
            lambda: says('livecordon_model_swaps_total{outcome="swapped"} 1.0', in_force.format("toy-motion")),
            deadline_s=60,
        )
        await asyncio.wait_for(_moved(daemon), 90)
        await ask_for("toy-motion")
        await eventually(lambda: says('livecordon_model_swaps_total{outcome="unchanged"} 1.0'), deadline_s=60)
        assert await daemon.scored(*names)
        assert (await daemon.get("/api/v1/status"))["model"] == "toy-motion@1.2.3"
        (swapped,) = events(daemon, "model_in_force")[:1]
        assert (swapped["before"], swapped["model"]) == ("toy-image@1.2.3", "toy-motion@1.2.3")


async def _moved(daemon: RealDaemon) -> None:
    async def done() -> bool:
        return bool(events(daemon, "watchers_replaced"))

    await eventually(done, deadline_s=90)


async def test_a_model_beside_it_looks_on_and_harms_nothing_when_it_fails(
    tmp_path: Path, video: Path, models: Path
) -> None:
    # It passes its self-test, and fails as soon as a picture stands still.
    broken = {**toys.motion_manifest(), "name": "toy-broken"}
    moving = toys.make_clip(toys.grey_frames(0, 51, 51, 102))
    toys.write_motion_package(
        models / "toy-broken",
        manifest=broken,
        model=toys.motion_model(divide_by_change=True),
        test_clips=[moving, moving],
        test_scores=[[1.0, 0.1], [1.0, 0.1]],
    )
    still = film(tmp_path / "still.mp4", FOOTAGE, lambda _: np.full((120, 160, 3), 90, np.uint8))
    said = config(still, models)
    said["watch"] |= {"model": "toy-motion", "shadow_model": "toy-image"}
    async with RealDaemon(tmp_path, said) as daemon:
        names = [f"s{number}" for number in range(STREAMS)]

        async def value(line: str) -> float:
            numbers = dict(one.rsplit(" ", 1) for one in (await daemon.text("/metrics")).splitlines() if one[:1] != "#")
            return float(numbers.get(line, "nan"))

        async def looks_on() -> bool:
            return await value('livecordon_shadow_clips_total{outcome="scored"}') > STREAMS

        await eventually(looks_on, deadline_s=60)
        assert await value('livecordon_model_info{model="toy-image@1.2.3",provider="cpu",role="shadow"}') == 1
        compared = await value("livecordon_shadow_difference_score_count")
        # The two have no label in common.
        assert compared == 0
        verdicts = [
            await value(f'livecordon_shadow_verdicts_total{{acting="{one}",severity="review",shadow="{other}"}}')
            for one in ("yes", "no")
            for other in ("yes", "no")
        ]
        assert sum(verdicts) > STREAMS

        said["watch"]["shadow_model"] = "toy-broken"
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data_dir": "data", **said}))
        os.kill(daemon.pid, signal.SIGHUP)

        async def has_failed() -> bool:
            return await value("livecordon_shadow_failures_total") >= 2

        await eventually(has_failed, deadline_s=90)
        assert await daemon.scored(*names)
        assert events(daemon, "watcher_fault") == []
        assert 'role="acting"' in await daemon.text("/metrics")
        assert (await daemon.get("/api/v1/status"))["ready"]

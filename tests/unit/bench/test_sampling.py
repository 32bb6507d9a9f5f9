from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from monitor.bench import sampling
from monitor.bench.methods import Job, Outcome
from monitor.bench.sampling import CONTENDERS, Contender, MeasurementFailed, Recording, measure, run_job
from monitor.video.clip import ClipSpec
from tests.fakes.footage import Footage, film

SPEC = ClipSpec(frames=8, spacing_s=0.0667, width=128, height=96)
NO_FILE = Recording("720p30", Path("none.flv"), Path("short.flv"), 10)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("recording")
    film(folder / "a.flv", Footage(duration_s=8, b_frames=3, sound=True))
    film(folder / "short.flv", Footage(duration_s=2, b_frames=3, sound=True))
    return Recording("small", folder / "a.flv", folder / "short.flv", 8)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Jobs that were run instead of running them; each takes as many seconds as its method's name has letters."""
    ran: list[Job] = []

    def run(job: Job) -> Outcome:
        ran.append(job)
        if job.method == "opencv":
            raise MeasurementFailed("no such codec")
        return Outcome(cpu_s=len(job.method) + len(ran) % 2, samples=20)

    monkeypatch.setattr(sampling, "run_job", run)
    return ran


def test_every_way_of_sampling_works_and_takes_what_it_says(recording: Recording) -> None:
    contenders = [one for one in CONTENDERS if one.method != "ffmpeg" or shutil.which("ffmpeg")]
    rows, failures = measure([recording], SPEC, contenders=contenders, rounds=1)
    assert failures == {}
    fps = {(row.method, row.like_for_like): row.sampled_fps for row in rows}
    assert fps.pop(("calm", False)) == pytest.approx(4)
    assert fps.pop(("close", False)) == pytest.approx(15, abs=1)
    assert fps.pop(("full", False)) == pytest.approx(15, abs=1)
    assert fps.pop(("keyframe", False)) == pytest.approx(0.5)
    assert len(fps) == len(contenders) - 4
    for (_, like_for_like), sampled in fps.items():
        assert like_for_like
        assert sampled == pytest.approx(2, abs=0.26)
    assert all(row.cpu_s_per_stream_s > 0 for row in rows)


def test_the_warm_up_is_not_counted(recording: Recording) -> None:
    job = Job("pyav", str(recording.file), str(recording.warm_up_file), 1, 0.5, 128, 96, 15, 2.0)
    assert run_job(job).samples == 16


def test_medians_of_rounds_in_turns_and_in_changing_order(jobs: list[Job]) -> None:
    contenders = (Contender("calm", "", spaced=False), Contender("pyav", "", spaced=True))
    rows, _ = measure([NO_FILE], SPEC, contenders=contenders, rounds=5)
    assert {row.rounds for row in rows} == {5}
    for number in range(0, 10, 2):
        assert {job.method for job in jobs[number : number + 2]} == {"calm", "pyav"}
    assert len({job.method for job in jobs[::2]}) == 2
    for row in rows:
        assert row.lowest_cpu_s <= row.cpu_s_per_stream_s <= row.highest_cpu_s
        assert row.lowest_cpu_s == 0.4
        assert row.highest_cpu_s == 0.5


def test_what_fails_is_said_and_left_out(jobs: list[Job]) -> None:
    rows, failures = measure([NO_FILE], SPEC, rounds=3)
    assert failures == {"opencv on 720p30": "no such codec"}
    assert "opencv" not in {row.method for row in rows}
    assert [job.method for job in jobs].count("opencv") == 1


def test_rounds_that_would_not_fit_are_not_begun(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr("monitor.bench.sampling.time", SimpleNamespace(monotonic=lambda: next(now)))
    rows, _ = measure([NO_FILE], SPEC, contenders=CONTENDERS[:1], rounds=5, budget_s=35.0)
    assert rows[0].rounds == 3


def test_progress_is_told(jobs: list[Job]) -> None:
    told: list[tuple[int, int]] = []
    measure([NO_FILE], SPEC, contenders=CONTENDERS[:2], rounds=2, on_run=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_models_clips_and_single_frames_are_asked_for(jobs: list[Job]) -> None:
    measure([NO_FILE], SPEC, rounds=1)
    asked = {(job.method, job.frames, job.spacing_s) for job in jobs}
    assert {("calm", 8, 0.0667), ("close", 8, 0.0667), ("close", 1, 0.5), ("keyframe", 1, 0.5)} <= asked
    assert {(job.width, job.height, job.every) for job in jobs} == {(128, 96, 15)}


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    job = Job("pyav", str(tmp_path / "none.flv"), str(tmp_path / "none.flv"), 1, 0.5, 128, 96, 15, 2.0)
    with pytest.raises(MeasurementFailed, match="No such file"):
        run_job(job)

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from monitor.bench.results import LATEST_MS, REAL_TIME, percentile, percentiles
from tests.fakes.bench_results import results, row, step


def test_ratios_compare_with_the_same_stream_only() -> None:
    found = results(
        rows=[
            row("calm", 0.02),
            row("ffmpeg", 0.1, like_for_like=True),
            row("opencv", 0.12, like_for_like=True),
            row("ffmpeg", 0.3, like_for_like=True, stream="1080p30"),
        ]
    )
    shown = found.to_dict()["rows"]
    assert shown[0]["times_cheaper_than_ffmpeg"] == pytest.approx(5)
    assert shown[0]["times_cheaper_than_opencv"] == pytest.approx(6)
    assert shown[0]["streams_per_core"] == pytest.approx(50)
    assert shown[3]["times_cheaper_than_ffmpeg"] == 1
    assert shown[3]["times_cheaper_than_opencv"] is None


def test_real_time_is_lost_by_missing_clips_and_by_lateness() -> None:
    assert step(1, share=REAL_TIME).in_real_time
    assert not step(1, share=REAL_TIME - 0.001).in_real_time
    assert not step(1, late_ms=LATEST_MS + 1).in_real_time


def test_the_most_in_real_time_has_no_lost_step_below_it() -> None:
    found = results(scaling={"files": [step(1), step(40, share=0.5), step(20), step(30, share=0.9), step(35)]})
    most = found.most_in_real_time("files")
    assert most is not None
    assert most.streams == 20
    assert found.limit_was_found("files")
    assert not results(scaling={"files": [step(1)]}).limit_was_found("files")
    assert results(scaling={"files": [step(1, share=0.2)]}).most_in_real_time("files") is None
    assert found.to_dict()["realtime_streams_per_core"] == {"files": 10, "rtmp": None}


def test_memory_is_the_slope_over_the_number_of_streams() -> None:
    assert results(scaling={"files": [step(1), step(10), step(40)]}).memory_mib_per_stream() == pytest.approx(12)
    assert results(scaling={"files": [step(1)]}).memory_mib_per_stream() is None
    assert results(scaling={"files": [step(4), step(4)]}).memory_mib_per_stream() is None


def test_latency_comes_from_the_network_at_about_half_of_what_real_time_allows() -> None:
    steps = [step(n, verdicts_ms=(float(n), n + 1.0)) for n in (1, 18, 30, 40)]
    lost = step(60, share=0.4, verdicts_ms=(900.0,))
    found = results(scaling={"files": [step(25, verdicts_ms=(1.0,))], "rtmp": [*steps, lost]})
    measured = found.latency_step()
    assert measured is not None
    assert measured.streams == 18
    assert found.to_dict()["verdict_latency_ms"] == {"p50": 18.0, "p95": 19.0}
    assert results(scaling={"files": steps}).latency_step() is None


def test_what_was_not_measured_is_null() -> None:
    shown = results(not_measured={"ffmpeg": "not installed"}).to_dict()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["rows"] == []
    assert shown["memory_mib_per_stream"] is None
    assert shown["verdict_latency_ms"] == {"p50": None, "p95": None}
    assert shown["with_inference"] == {"files": None, "rtmp": None}
    assert shown["not_measured"] == {"ffmpeg": "not installed"}


def test_cost_with_inference_is_that_of_the_most_streams() -> None:
    cheap = replace(step(30), cpu_s_per_stream_s=0.025)
    found = results(scaling={"files": [step(1), cheap]}).to_dict()["with_inference"]["files"]
    assert found == {"streams": 30, "cpu_s_per_stream_s": 0.025, "streams_per_core": 40.0}
    untold = replace(step(30), cpu_s_per_stream_s=None, decode_share=None)
    assert results(scaling={"files": [untold]}).to_dict()["with_inference"]["files"] is None


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.95) == 95
    assert percentile([7.0], 0.95) == 7
    assert percentile(values, 1.0) == 100
    assert percentiles([]) is None
    assert percentiles([1.0, 2.0]) == {"p50": 1.0, "p95": 2.0}

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor import metrics
from monitor.config.loading import load_config
from monitor.daemon.model import chosen_package, chosen_shadow
from monitor.daemon.shadow import ShadowJudge
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.errors import ConfigError
from monitor.watch.messages import Ready, ShadowScores
from tests.fakes import model_packages as toys

READY = Ready("old@1", ("violence", "weapon"), "cpu", "new@1", ("violence", "gore"))


def rules(review: float, act: float, *labels: str) -> dict[str, DetectionRule]:
    rule = DetectionRule(LevelRule(review, 3, 5), LevelRule(act, 4, 6), 0.8, 10.0)
    return dict.fromkeys(labels, rule)


def verdicts() -> dict[tuple[str, str, str], float]:
    (metric,) = metrics.SHADOW_VERDICTS.collect()
    return {
        (sample.labels["severity"], sample.labels["acting"], sample.labels["shadow"]): sample.value
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def total(metric: Any, *labels: str) -> tuple[float, float]:
    child = metric.labels(*labels) if labels else metric
    return child._sum.get(), sum(bucket.get() for bucket in child._buckets)


@pytest.fixture
def judge() -> ShadowJudge:
    made = ShadowJudge(lambda stream_id: rules(0.5, 0.7, "violence", "weapon") if stream_id == "s" else None)
    made.use("new@1", rules(0.2, 0.4, "violence", "gore"))
    metrics.initialise()
    return made


@pytest.mark.parametrize(
    ("acting", "shadow", "at_review", "at_act"),
    [
        ((0.6, 0.0), (0.3, 0.0), ("yes", "yes"), ("no", "no")),
        ((0.0, 0.9), (0.1, 0.1), ("yes", "no"), ("yes", "no")),
        ((0.4, 0.4), (0.0, 0.5), ("no", "yes"), ("no", "yes")),
        ((0.1, 0.1), (0.1, 0.1), ("no", "no"), ("no", "no")),
    ],
)
def test_each_is_judged_by_its_own_thresholds(
    judge: ShadowJudge, acting: tuple[float, float], shadow: tuple[float, float], at_review: Any, at_act: Any
) -> None:
    before = verdicts()
    judge.take(ShadowScores("s", acting, shadow), READY)
    after = verdicts()
    assert {key for key in after if after[key] > before[key]} == {("review", *at_review), ("act", *at_act)}


def test_scores_and_their_difference_over_common_labels_are_measured(judge: ShadowJudge) -> None:
    before = [total(metrics.SHADOW_SCORES, "acting"), total(metrics.SHADOW_SCORES, "shadow")]
    difference = total(metrics.SHADOW_DIFFERENCE)
    judge.take(ShadowScores("s", (0.3, 0.8), (0.1, 0.9)), READY)
    after = [total(metrics.SHADOW_SCORES, "acting"), total(metrics.SHADOW_SCORES, "shadow")]
    assert [now[0] - then[0] for now, then in zip(after, before, strict=True)] == pytest.approx([0.8, 0.9])
    assert total(metrics.SHADOW_DIFFERENCE)[0] - difference[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("message", "ready"),
    [
        (ShadowScores("gone", (0.9, 0.9), (0.9, 0.9)), READY),
        (ShadowScores("s", (0.9, 0.9), (float("nan"), 0.9)), READY),
        (ShadowScores("s", (0.9, 0.9), (0.9,)), Ready("old@1", ("violence", "weapon"), "cpu", "third@1", ("gore",))),
    ],
)
def test_what_cannot_be_judged_is_not_counted(judge: ShadowJudge, message: ShadowScores, ready: Ready) -> None:
    before = verdicts()
    judge.take(message, ready)
    assert verdicts() == before


def write(folder: Path, **watch: Any) -> Path:
    toys.write_motion_package(folder / "toy-motion")
    toys.write_image_package(folder / "toy-image")
    servers = [{"name": "demo", "kind": "embedded"}]
    file = folder / "config.yaml"
    settings = {"models_dir": ".", "model": "toy-motion", **watch}
    file.write_text(yaml.safe_dump({"servers": servers, "watch": settings}, sort_keys=False))
    return file


def shadow_of(file: Path) -> str | None:
    loaded = load_config(file, {})
    shadow = chosen_shadow(loaded, chosen_package(loaded))
    return None if shadow is None else shadow.name


def test_a_model_that_the_clips_do_for_may_look_on(tmp_path: Path) -> None:
    assert shadow_of(write(tmp_path)) is None
    assert shadow_of(write(tmp_path, shadow_model="toy-image")) == "toy-image@1.2.3"


@pytest.mark.parametrize(
    ("watch", "what"),
    [
        (
            {"model": "toy-image", "shadow_model": "toy-motion"},
            "toy-motion@1.2.3 wants 4 frames 0.1 s apart, which clips of 1 frames 1 s apart do not hold",
        ),
        ({"shadow_model": "toy-motion"}, "this is the acting model itself"),
        (
            {"shadow_model": "toy-image", "classifier": "shared"},
            "a second model cannot run where watchers share a classifier",
        ),
        (
            {"shadow_model": "toy-image", "provider": "cuda"},
            "a second model cannot run where watchers share a classifier",
        ),
    ],
)
def test_one_that_cannot_is_refused_with_the_reason_and_the_line(
    tmp_path: Path, watch: dict[str, str], what: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        shadow_of(write(tmp_path, **watch))
    (problem,) = refused.value.problems
    assert (problem.where, problem.what) == ("watch.shadow_model", what)
    assert problem.line is not None

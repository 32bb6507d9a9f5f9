"""What the daemon makes of streams whose model changes under them."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.classify.package import load_package
from monitor.detect.persistence import Cleared, DetectionRule, Detector, LevelRule, Raised
from monitor.vocabulary import Severity
from tests.fakes import model_packages as toys


def rule(review: float, act: float, *, hits: int = 3, of: int = 5) -> DetectionRule:
    return DetectionRule(LevelRule(review, hits, of), LevelRule(act, hits + 1, of + 1), 0.8, 5.0)


def test_an_attack_that_two_models_saw_one_after_the_other_is_one_attack() -> None:
    before = Detector({"violence": rule(0.5, 0.7)})
    for second in range(2):
        assert before.observe(second, {"violence": 0.6}) == ()
    after = before.successor({"violence": rule(0.1, 0.3)})
    assert after.suspicious
    assert after.observe(2, {"violence": 0.15}) == (Raised("violence", Severity.REVIEW, 0.15),)


def test_what_was_ordinary_for_the_old_model_is_no_hit_for_the_new_one() -> None:
    before = Detector({"violence": rule(0.5, 0.7)})
    for second in range(4):
        before.observe(second, {"violence": 0.4})
    after = before.successor({"violence": rule(0.1, 0.3)})
    assert not after.suspicious
    assert after.observe(5, {"violence": 0.2}) == ()


def test_what_was_raised_stays_raised_until_the_new_model_has_seen_quiet() -> None:
    before = Detector({"violence": rule(0.5, 0.7), "weapon": rule(0.5, 0.7)})
    for second in range(4):
        before.observe(second, {"violence": 0.9, "weapon": 0.0})
    assert before.severities == {"violence": Severity.ACT}
    after = before.successor({"violence": rule(0.1, 0.3), "gore": rule(0.5, 0.7)})
    assert after.severities == {"violence": Severity.ACT}
    changes = [change for second in range(4, 12) for change in after.observe(second, {"violence": 0.01, "gore": 0.0})]
    assert changes == [Cleared("violence", Severity.NONE)]


def test_a_shorter_window_takes_the_newest_clips() -> None:
    before = Detector({"violence": rule(0.5, 0.7)})
    for second, score in enumerate((0.6, 0.6, 0.0, 0.0)):
        before.observe(second, {"violence": score})
    after = before.successor({"violence": rule(0.5, 0.7, hits=1, of=2)})
    assert after.observe(4, {"violence": 0.1}) == ()


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("summary", "Other words.", True),
        ("operating_points", {"brightness": {"review": 0.2, "act": 0.3, "rule": "toy"}}, True),
        ("version", "1.2.4", False),
        ("clip", {"frames": toys.FRAMES, "spacing_s": 0.2, "width": toys.WIDTH, "height": toys.HEIGHT}, False),
    ],
)
def test_the_digest_is_that_of_what_scores_depend_on(tmp_path: Path, key: str, value: object, same: bool) -> None:
    one = load_package(toys.write_motion_package(tmp_path / "one"))
    manifest = {**toys.motion_manifest(), key: value}
    if key == "operating_points":
        manifest["operating_points"] = {**toys.motion_manifest()["operating_points"], **dict(value)}  # type: ignore[call-overload] # it is a mapping
    other = load_package(toys.write_motion_package(tmp_path / "other", manifest=manifest))
    assert (one.score_digest == other.score_digest) is same


def test_another_graph_is_another_digest(tmp_path: Path) -> None:
    one = load_package(toys.write_motion_package(tmp_path / "one"))
    other = load_package(toys.write_motion_package(tmp_path / "other", model=toys.motion_model(brighter=0.5)))
    assert one.score_digest != other.score_digest
    assert len(one.score_digest) == 64

"""The alert rules that ship: what fires them, what does not, and what whoever is woken finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from monitor import metrics
from tests.fakes.checkout import ROOT
from tests.fakes.expressions import names_in, registered

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "livecordon.rules.yaml"
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"

PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def promtool(*arguments: str) -> str:
    if PROMTOOL is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs promtool: make packages installs it")
        pytest.skip("needs promtool: make packages installs it")
    done = subprocess.run([PROMTOOL, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.name)
def test_every_alert_fires_when_it_should_and_not_otherwise(file: Any) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(file))


def tried() -> Iterator[tuple[str, bool]]:
    for file in TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for question in case["alert_rule_test"]:
                yield question["alertname"], bool(question["exp_alerts"])


def test_every_alert_is_tried_both_ways() -> None:
    # The dead man's switch has no other way.
    expected = {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)} - {("LivecordonWatchdog", False)}
    assert set(tried()) == expected


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {rule["annotations"]["runbook"] for rule in ALERTS} == {
        path.relative_to(ROOT).as_posix() for path in RUNBOOKS.glob("*.md")
    }
    for rule in ALERTS:
        text = (ROOT / rule["annotations"]["runbook"]).read_text()
        assert text.startswith(f"# {rule['alert']}\n\n**{rule['annotations']['summary']}.**")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What it means", "Where to look", "What to do"]


def test_every_alert_says_whom_it_wakes_and_why() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket", "none"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]


def test_whoever_is_woken_at_once_need_not_wait() -> None:
    for rule in ALERTS:
        if rule["labels"]["severity"] == "page":
            assert rule.get("for", "0s") in ("0s", "15s", "30s", "1m"), rule["alert"]


def test_every_expression_is_about_metrics_that_exist() -> None:
    for rule in rules():
        unknown = names_in(rule["expr"]) - registered() - RECORDED - {"up"}
        assert unknown == set(), rule


def test_the_objective_is_a_bound_of_the_buckets() -> None:
    bounds = {float(one) for rule in rules() for one in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert bounds == {10.0}
    assert bounds | {5.0, 60.0} <= set(metrics.DETECTION_TO_CONTAINED._kwargs["buckets"])


def test_runbooks_name_only_what_there_is() -> None:
    sources = [*(ROOT / "monitor").rglob("*.py"), *(ROOT / "protocols").glob("*.yaml")]
    known = {word for path in sources for word in re.findall(r"\w+", path.read_text())}
    for path in RUNBOOKS.glob("*.md"):
        named = set(re.findall(r"`([a-z]+_[a-z_]+)`", path.read_text()))
        assert {word for word in named if not word.startswith("livecordon_")} <= known, path.name

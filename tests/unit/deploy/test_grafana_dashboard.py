"""The dashboard that ships: what it asks for exists, and whoever looks at it is told what they see."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

from monitor import metrics
from tests.fakes.checkout import ROOT
from tests.fakes.expressions import names_in, registered

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "livecordon.json").read_text())
ROWS = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def test_its_rows_are_the_questions_of_whoever_is_on_duty() -> None:
    assert ROWS == [
        "Are we watching?",
        "Are we fast?",
        "What did we do?",
        "Are people answering?",
        "Are partners reached?",
        "Is the machine well?",
    ]


def test_every_expression_is_about_metrics_that_exist() -> None:
    for expression in EXPRESSIONS:
        names = names_in(expression)
        assert names
        assert names <= registered() | OF_THE_PROCESS, expression


def test_every_label_that_is_asked_for_exists() -> None:
    labels = {label for one in vars(metrics).values() for label in getattr(one, "_labelnames", ())}
    known = labels | {"job", "instance", "le", "model", "provider", "version"}
    for panel in PANELS:
        for target in panel["targets"]:
            selected = re.findall(r"[{,]\s*(\w+)\s*=", target["expr"])
            grouped = {
                word for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for word in re.findall(r"\w+", group)
            }
            shown = re.findall(r"{{(\w+)}}", target["legendFormat"])
            assert {*selected, *grouped, *shown} <= known, target


def test_a_histogram_is_asked_for_bounds_that_it_has() -> None:
    for expression in EXPRESSIONS:
        for name, bound in re.findall(r'(livecordon_\w+)_bucket{[^}]*le="([\d.]+)"', expression):
            (found,) = [one for one in vars(metrics).values() if getattr(one, "_name", "") == name]
            assert float(bound) in found._kwargs["buckets"], expression


def test_every_panel_has_a_title_a_unit_and_a_description() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]


def test_every_query_goes_to_the_chosen_source_and_to_the_chosen_daemons() -> None:
    (datasource, *others) = DASHBOARD["templating"]["list"]
    assert (datasource["name"], datasource["type"]) == ("datasource", "datasource")
    assert [one["name"] for one in others] == ["job", "instance"]
    for one in [*others, *PANELS, *(target for panel in PANELS for target in panel["targets"])]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for expression in EXPRESSIONS:
        selectors = re.findall(r"{[^}]*}", expression)
        assert selectors
        assert all('job=~"$job", instance=~"$instance"' in one for one in selectors), expression


def test_no_panel_covers_another() -> None:
    assert max(Counter(panel["id"] for panel in DASHBOARD["panels"]).values()) == 1
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above

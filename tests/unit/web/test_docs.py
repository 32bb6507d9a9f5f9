from __future__ import annotations

import re
from pathlib import Path

import msgspec

from monitor.web import enforcement_wire, gate, thresholds, wire
from monitor.web.app import MAIN_ROUTES
from monitor.web.refusals import STATUS, Refusal

TEXT = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    documented = set(re.findall(r"`((?:GET|POST|DELETE|PUT|PATCH) /[^`?]*)`", TEXT))
    routes = {f"{route.method} {route.path}" for route in (*MAIN_ROUTES, *gate.ROUTES)}
    assert documented == routes


def test_every_reason_is_documented_with_its_status() -> None:
    documented = {
        reason: int(status) for reason, status in re.findall(r"^\| `(\w+)` \| (\d{3}) \|", TEXT, re.MULTILINE)
    }
    assert documented == {refusal.value: STATUS[refusal] for refusal in Refusal}


def test_every_field_is_documented() -> None:
    structs = [
        value
        for module in (wire, enforcement_wire, thresholds)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    ]
    assert len(structs) > 15
    known = set(re.findall(r"`(\w+)`", TEXT)) | set(re.findall(r'"(\w+)":', TEXT))
    missing = {
        f"{struct.__name__}.{name}"
        for struct in structs
        for name in struct.__struct_encode_fields__
        if name not in known
    }
    assert missing == set()

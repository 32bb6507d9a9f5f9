"""The committed schema and the page of settings say what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from monitor.cli.main import cli
from monitor.config.models import Config
from monitor.config.reference import markdown, setting_paths
from monitor.config.schema import config_schema, keys_at, places_of, schema_text
from monitor.config.section import Section
from monitor.config.servers import BUILT_IN_SECTIONS

DOCS = Path(__file__).parents[3] / "docs"


def test_the_committed_schema_is_up_to_date() -> None:
    assert (DOCS / "config.schema.json").read_text() == schema_text(), (
        "run: livecordon config-schema > docs/config.schema.json"
    )


def test_the_page_of_settings_is_up_to_date() -> None:
    assert (DOCS / "configuration.md").read_text() == markdown(), (
        "run: livecordon config-schema --markdown > docs/configuration.md"
    )


def test_the_command_prints_both() -> None:
    assert json.loads(CliRunner().invoke(cli, ["config-schema"]).output) == config_schema()
    assert CliRunner().invoke(cli, ["config-schema", "--markdown"]).output == markdown()


def test_every_setting_is_described() -> None:
    sections = {
        "log",
        "web",
        "store",
        "watch",
        "detection",
        "protocol",
        "responders",
        "alerts",
        "evidence",
        "retention",
        "effects",
        "strikes",
        "reports",
    }
    for definition in config_schema()["$defs"].values():
        assert definition["description"]
        for name, field in definition["properties"].items():
            assert field.get("description"), name
    for name, field in config_schema()["properties"].items():
        assert name in sections or field.get("description"), name


def test_every_setting_stands_on_the_page() -> None:
    paths = set(setting_paths())
    # A section of its own, such as a secret, has a heading instead of a row.
    paths |= {path.rpartition(".")[0] for path in paths}
    for server in BUILT_IN_SECTIONS.values():
        assert {f"servers[].{name}" for name in server.model_fields} <= paths
    for name, section in Config.model_fields.items():
        inner = section.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            plain = {key for key in inner.model_fields if not config_ref(name, key)}
            assert {f"{name}.{key}" for key in plain} <= paths


def config_ref(section: str, key: str) -> bool:
    """Whether a setting is a section of its own, with a heading instead of a row."""
    field = keys_at((section,), {})[key]
    return "$ref" in field or any("$ref" in option for option in field.get("anyOf", ()))


def test_defaults_in_the_schema_are_what_one_may_write() -> None:
    for definition in config_schema()["$defs"].values():
        for field in definition["properties"].values():
            kinds = {"string": str, "boolean": bool, "integer": int, "number": float, "array": list, "object": dict}
            if "default" in field and "type" in field:
                assert isinstance(field["default"], kinds[field["type"]])


@pytest.mark.parametrize(
    ("path", "data", "some"),
    [
        ((), {}, {"web", "servers", "dry_run"}),
        (("web", "tokens", 0, "secret"), {}, {"env", "file"}),
        (("servers", 0), {"servers": [{"kind": "static"}]}, {"streams", "name"}),
        (("servers", 0, "streams", 3), {"servers": [{"kind": "static"}]}, {"url", "name"}),
        (("web", "gate_token"), {}, {"env", "file"}),
    ],
)
def test_which_keys_may_stand_where(path: tuple[str | int, ...], data: Any, some: set[str]) -> None:
    assert some <= set(keys_at(path, data))


@pytest.mark.parametrize(
    ("path", "data"),
    [(("servers", 0), {"servers": [{"kind": "x"}]}), (("servers", 0), {"servers": 5}), (("nowhere", 1), {})],
)
def test_nothing_is_known_below_what_is_not_understood(path: tuple[str | int, ...], data: Any) -> None:
    assert dict(keys_at(path, data)) == {}


def test_where_a_setting_belongs() -> None:
    assert list(places_of("gate_listen")) == ["web"]
    assert list(places_of("directory")) == ["protocol", "evidence"]

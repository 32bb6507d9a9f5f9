"""The JSON schema of config.yaml, and the shape of the settings as other parts want to walk it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from monitor.config.fields import DURATION_PATTERN, SIZE_PATTERN
from monitor.config.models import Config
from monitor.config.receivers import DEFAULT_KIND
from monitor.config.server_plugins import find_plugin
from monitor.units import format_duration, format_size
from monitor.yaml_source import Path

SCHEMA_FILE: Final = "docs/config.schema.json"

_DEFINITIONS: Final = "#/$defs/"


@cache
def config_schema() -> Mapping[str, Any]:
    """Return the JSON schema; do not change it."""
    schema = Config.model_json_schema(schema_generator=GenerateJsonSchema)
    described = {"$schema": GenerateJsonSchema.schema_dialect, "title": "Livecordon's config.yaml"}
    _tidy_all(schema)
    return {**described, **schema}


@cache
def _plugin_schema(kind: str) -> Mapping[str, Any]:
    """Return the schema of an entry of a kind that an installed package adds; empty where none does."""
    try:
        plugin = find_plugin(kind)
    except ValueError:
        return {}
    if plugin is None:
        return {}
    schema = plugin.section.model_json_schema(ref_template=f"{_DEFINITIONS}{kind}/{{model}}")
    _tidy_all(schema)
    return schema


def _tidy_all(schema: dict[str, Any]) -> None:
    for definition in [schema, *schema.get("$defs", {}).values()]:
        for field in definition.get("properties", {}).values():
            _tidy(field)
        definition.pop("title", None)


def _tidy(field: dict[str, Any]) -> None:
    field.pop("title", None)
    if "$ref" in field:
        # The section's own fields say their defaults.
        field.pop("default", None)
    elif field.get("pattern") == DURATION_PATTERN and "default" in field:
        field["default"] = format_duration(field["default"])
    elif field.get("pattern") == SIZE_PATTERN and "default" in field:
        field["default"] = format_size(field["default"])
    elif field.get("items", {}).get("pattern") == DURATION_PATTERN and "default" in field:
        field["default"] = [format_duration(entry) for entry in field["default"]]
    elif "default" in field and field["default"] is None:
        del field["default"]


def keys_at(path: Path, data: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return the keys that may stand directly below `path`, each with its schema; empty where none may.

    Args:
        path: Where.
        data: The values, whose ``kind`` says which keys a media server's or receiver's entry may have.
    """
    schema: Mapping[str, Any] = config_schema()
    value = data
    for part in path:
        below = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
        schema = resolve(below, value)
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return properties


def resolve(schema: Mapping[str, Any], value: Any = None) -> Mapping[str, Any]:
    """Follow references, optional values and, by the ``kind`` of `value`, alternatives."""
    while True:
        if "$ref" in schema:
            plugin, _, name = schema["$ref"].removeprefix(_DEFINITIONS).rpartition("/")
            schema = (_plugin_schema(plugin) if plugin else config_schema())["$defs"][name]
        elif "discriminator" in schema:
            mapping = schema["discriminator"]["mapping"]
            kind = (
                value.get("kind", DEFAULT_KIND if DEFAULT_KIND in mapping else None)
                if isinstance(value, Mapping)
                else None
            )
            if not isinstance(kind, str):
                return {}
            schema = {"$ref": mapping[kind]} if kind in mapping else _plugin_schema(kind)
        elif "anyOf" in schema:
            schema = next((option for option in schema["anyOf"] if option.get("type") != "null"), {})
        else:
            return schema


def places_of(key: str) -> Iterator[str]:
    """Yield the sections, as text, in which a setting named `key` exists."""
    for name, field in config_schema()["properties"].items():
        if key in resolve(field).get("properties", {}):
            yield name


def schema_text() -> str:
    """Return the schema as it is committed in docs/config.schema.json."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"

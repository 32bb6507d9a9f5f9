"""Every key of manifest.yaml as a page for people, made from the models themselves so that it cannot fall behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from monitor.classify.manifest import Manifest

_TITLES: Final = {
    "clip": "clip",
    "inputs": "inputs[]",
    "inputs.size": "inputs[].size",
    "inputs.scaling": "inputs[].scaling",
    "outputs": "outputs[]",
    "outputs.calibration": "outputs[].calibration.LABEL",
    "operating_points": "operating_points.LABEL",
    "operating_points.measured": "operating_points.LABEL.measured[]",
    "self_test": "self_test",
    "remote": "remote",
    "variants": "variants.NAME",
}
"""Headings, in the order of the page; the parts' places without list marks."""


def format_markdown() -> str:
    """Return the reference of manifest.yaml, in Markdown."""
    schema = Manifest.model_json_schema()
    found: dict[str, Mapping[str, Any]] = {"": schema}
    lines = list(_table("", schema, schema, found))
    for place, title in _TITLES.items():
        part = found[place]
        lines += [
            f"### `{title}`",
            "",
            str(part.get("description", "")).strip().replace("\n", " ").replace("``", "`"),
            "",
        ]
        lines += _table(place, part, schema, found)
    return "\n".join(lines).rstrip() + "\n"


def _table(
    place: str, part: Mapping[str, Any], schema: Mapping[str, Any], found: dict[str, Mapping[str, Any]]
) -> Iterator[str]:
    required = part.get("required", ())
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for name, raw in part["properties"].items():
        field, mark = _inner(raw, schema)
        inside = f"{place}.{name}" if place else name
        if "properties" in field:
            found[inside] = field
            kind = {"": "see below", "[]": "list, see below", "{}": "by name, see below"}[mark]
        else:
            kind = f"list of {_type(field)}" if mark == "[]" else _type(field)
        default = raw.get("default")
        shown = "must be set" if name in required else "" if default in (None, {}, []) else f"`{json.dumps(default)}`"
        meaning = (
            str(raw.get("description", field.get("description", "")))
            .strip()
            .replace("\n", " ")
            .replace("``", "`")
            .replace("|", "\\|")
        )
        yield f"| `{name}` | {kind} | {shown} | {meaning} |"
    yield ""


def _inner(field: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the field without references and options, and ``[]`` or ``{}`` if it holds many."""
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    if options:
        return _inner(options[0], schema)
    if "$ref" in field:
        return schema["$defs"][field["$ref"].rpartition("/")[2]], ""
    if field.get("type") == "array":
        items = field.get("items") or field["prefixItems"][0]
        return _inner(items, schema)[0], "[]"
    values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")][0]
    if isinstance(values, dict):
        return _inner(values, schema)[0], "{}"
    return field, ""


def _type(field: Mapping[str, Any]) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"])
    words = {"integer": "whole number", "number": "number", "string": "text"}
    bounds = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
    told = "".join(f" {word} {field[key]:g}" for key, word in bounds if key in field)
    return words.get(str(field.get("type")), "value") + told

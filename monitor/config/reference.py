"""docs/configuration.md, made from the settings themselves so that it cannot fall behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from monitor.config.fields import DURATION_PATTERN, SIZE_PATTERN
from monitor.config.schema import config_schema, resolve

_INTRODUCTION: Final = """\
<!-- Made by `livecordon config-schema --markdown`; a test fails when it is out of date. Change the descriptions in
monitor/config/models.py, or the introduction in monitor/config/reference.py, and make it anew. -->

# Configuration

Livecordon reads one YAML file: the one named with `--config` or in `LIVECORDON_CONFIG`, else `config.yaml` in the
working directory, else the example that comes with it. [config.yaml](../config.yaml) is that example; its comments say
what each setting is for and why. This page lists every setting.

**Check before you start.** `livecordon check` reads the configuration, every protocol file and the model, and asks each
media server whether it answers. It prints one line for each problem, with file, line and what to write instead, and exits
with 0 (usable, perhaps with warnings) or 2 (not usable). `livecordon run` refuses the same mistakes. Unknown settings,
repeated keys and values without their unit are mistakes, never passed over.

**Editors.** [config.schema.json](config.schema.json) is the JSON schema; the first line of the example tells editors that
understand the YAML language server where it lies.

**YAML.** One document, in UTF-8, of at most 1 MiB. Only `true` and `false` are truth values of YAML here, dates are plain
text, and merge keys and tags are refused.

**Durations and sizes** carry their unit: `250ms`, `20s`, `10m`, `12h`, `30d`; `64KiB`, `512MiB`, `2GiB`.

**Paths** that are relative are taken from the folder of the configuration file, wherever the daemon was started. With the
shipped example they are taken from the working directory.

**Environment.** Every setting can be replaced by a variable: `LIVECORDON_`, then its place with two underscores between
the parts, in capitals. List entries are counted from 0, and the number after the last one adds an entry. Values are read
as YAML.

| setting | variable |
| --- | --- |
| `dry_run` | `LIVECORDON_DRY_RUN=true` |
| `web.listen` | `LIVECORDON_WEB__LISTEN=127.0.0.1:9000` |
| `servers[0].dry_run` | `LIVECORDON_SERVERS__0__DRY_RUN=true` |
| `servers[0].applications` | `LIVECORDON_SERVERS__0__APPLICATIONS='[live, events]'` |

An empty variable changes nothing. A variable that begins with `LIVECORDON_` and is no setting is a mistake, unless the
configuration names it as a secret's `env` or in `${…}`.

**Secrets** never stand in the file. Each is named by `env` (a variable) or `file` (the first line counts):

```yaml
secret:
  file: /run/credentials/livecordon/night-shift
```

A secret's value is never printed, logged or put into an error.
"""


def markdown() -> str:
    """Return the page."""
    return "\n".join([_INTRODUCTION, *_sections("", config_schema())]).rstrip() + "\n"


def setting_paths() -> list[str]:
    """Return every setting as it is written on the page, such as ``servers[].name``."""
    return re.findall(r"^\| `([^`]+)` \|", "\n".join(_sections("", config_schema())), re.MULTILINE)


def _sections(prefix: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the page's lines: a table of plain settings, then what is nested, depth first."""
    nested: list[tuple[str, str, Mapping[str, Any]]] = []
    required = schema.get("required", ())
    rows = []
    for name, field in schema["properties"].items():
        path = f"{prefix}{name}"
        inner, mark = _inside(field)
        for section in inner:
            kind = section["properties"].get("kind", {}).get("const")
            meaning = section["description"] if mark else field.get("description", section["description"])
            nested.append((f"{path}{mark}" + (f" (kind: {kind})" if kind else ""), meaning, section))
        if not inner or mark:
            rows.append(_row(path, field, mandatory=name in required))
    yield from ("| name | type | default | what it does |", "| --- | --- | --- | --- |", *rows, "")
    for heading, meaning, section in nested:
        place = heading.partition(" ")[0]
        yield from (f"## {heading}" if "." not in place else f"### {heading}", "", meaning, "")
        yield from _sections(f"{place}.", section)


def _inside(field: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str]:
    """Return the sections below a field and ``[]`` if it is a list of them."""
    schema = resolve(field)
    mark = ""
    if schema.get("type") == "array":
        schema, mark = schema["items"], "[]"
    options = schema.get("oneOf", [schema])
    sections = [resolve(option) for option in options]
    return ([section for section in sections if "properties" in section], mark)


def _row(path: str, field: Mapping[str, Any], *, mandatory: bool) -> str:
    default = field.get("default")
    if mandatory:
        shown = "must be set"
    elif default is None or default in ([], {}):
        shown = ""
    else:
        shown = f"`{default if isinstance(default, str) else json.dumps(default)}`"
    description = str(field.get("description", "")).replace("\n", " ").replace("|", "\\|")
    return f"| `{path}` | {_type(field)} | {shown} | {description} |"


def _type(field: Mapping[str, Any]) -> str:
    schema = resolve(field)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    kind = str(schema.get("type"))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "string":
        special = {DURATION_PATTERN: "duration", SIZE_PATTERN: "size"}
        plain = "path" if schema.get("format") == "path" else "text"
        return special.get(schema.get("pattern", ""), plain)
    words = {"boolean": "`true` or `false`", "integer": "whole number", "number": "number"}
    return words.get(kind, "entries") + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    words = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
    return "".join(f" {word} {schema[key]}" for key, word in words if key in schema)

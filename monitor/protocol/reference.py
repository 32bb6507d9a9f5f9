"""The parts of docs/protocols.md that are made from the code and the shipped files, so that they cannot fall behind.

A part stands between ``<!-- part: NAME -->`` and ``<!-- end -->``; parts are ``keys``, ``postures``, ``triggers``,
``guards``, ``effects``, ``script`` and, for each definition, ``diagram NAME``: its picture, which `pictures` makes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from monitor.protocol import script, words
from monitor.protocol.definition import Definition
from monitor.protocol.drawing import to_svg

_PART = re.compile(r"(<!-- part: ([a-z_ -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, definitions: Mapping[str, Definition]) -> str:
    """Return `page` with every part made anew.

    Raises:
        KeyError: the page names a part that there is not.
    """
    parts = {
        "keys": _keys(),
        "postures": _table(("posture", "meaning"), words.POSTURES),
        "triggers": _triggers(),
        "guards": _table(("guard", "holds when"), words.GUARDS),
        "effects": _effects(),
        "script": _script(),
    } | {f"diagram {name}": f"![{one.summary}](images/protocol-{name}.svg)\n" for name, one in definitions.items()}
    return _PART.sub(lambda part: f"{part[1]}\n{parts[part[2]]}\n{part[3]}", page)


def pictures(definitions: Mapping[str, Definition]) -> dict[str, str]:
    """Return the SVG pictures that the page shows, by file name below ``docs/images``."""
    return {f"protocol-{name}.svg": to_svg(definition) for name, definition in definitions.items()}


def _keys() -> str:
    return "\n".join(
        [
            "At the top of the file:\n",
            _table(("key", "meaning"), words.DOCUMENT_KEYS),
            "In each parameter, unless it is just its default:\n",
            _table(("key", "meaning"), words.PARAMETER_KEYS),
            "In each state, all of which may be left out:\n",
            _table(("key", "meaning"), words.STATE_KEYS),
            "In each transition, beside exactly one trigger:\n",
            _table(("key", "meaning"), words.TRANSITION_KEYS),
        ]
    )


def _triggers() -> str:
    values: dict[str, Mapping[str, str]] = {
        "detection": words.DETECTIONS,
        "review": words.REVIEWS,
        "stream": words.STREAM_CHANGES,
        "effect": words.OUTCOMES,
        "watched": words.WATCHED,
        "partner": words.PARTNERS,
    }
    rows = ["| trigger | value | happens when |", "|---|---|---|"]
    for trigger, meaning in words.TRIGGERS.items():
        rows.append(f"| `{trigger}` | | {meaning} |")
        label = "outcome: " if trigger == "effect" else ""
        rows += [f"| | `{label}{value}` | {inner} |" for value, inner in values.get(trigger, {}).items()]
        rows += [
            f"| | `{detail}: …` (may be left out) | {inner} |"
            for detail, (owner, inner) in words.TRIGGER_DETAILS.items()
            if owner == trigger and detail != "outcome"
        ]
    return "\n".join(rows) + "\n"


def _effects() -> str:
    rows = ["| effect | parameter | meaning |", "|---|---|---|"]
    for effect, word in words.EFFECTS.items():
        rows.append(f"| `{effect}` | | {word.meaning} |")
        rows += [
            f"| | `{name}`{'' if name in word.required else ' (may be left out)'} | {meaning} |"
            for name, meaning in word.parameters.items()
        ]
    return "\n".join(
        [
            *rows,
            "",
            _table(("`event` of an alert", "says"), words.ALERTS),
            _table(("`priority` of an alert", "meaning"), words.PRIORITIES),
        ]
    )


def _script() -> str:
    rows = ["| event | with | meaning |", "|---|---|---|"]
    for event, (meaning, details) in script.EVENTS.items():
        rows.append(f"| `{event}` | | {meaning} |")
        rows += [f"| | `{name}` (may be left out) | {inner} |" for name, inner in details.items()]
    return "\n".join([_table(("key", "meaning"), script.SCRIPT_KEYS), *rows]) + "\n"


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [
        f"| {head[0]} | {head[1]} |",
        "|---|---|",
        *(f"| `{word}` | {meaning} |" for word, meaning in rows.items()),
    ]
    return "\n".join(lines) + "\n"

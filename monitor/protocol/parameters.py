"""Parameters of a protocol: values with a name, a default and perhaps a range, which the configuration may set otherwise.

They are put into the document before it is read, so that every rule for the values themselves holds for them as well,
and a definition never knows that one of its values had a name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from monitor.errors import Problem
from monitor.protocol import words
from monitor.units import parse_duration_s
from monitor.yaml_source import Path, YamlDocument

Value = str | int

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_ALL_CORNERS: Final = 6
"""Up to so many parameters with a range, every combination of smallest and largest values is looked at."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter as a protocol declares it; `least` and `most` are None where the file sets no bound."""

    name: str
    default: Value
    least: Value | None = None
    most: Value | None = None
    summary: str = ""

    @property
    def kind(self) -> str:
        """``duration``, ``number`` or ``word``."""
        return kind_of(self.default) or "word"

    def objection(self, value: Any) -> str | None:
        """Return why `value` cannot be set, in words, or None if it can."""
        if kind_of(value) != self.kind:
            return f"this is no {self.kind}, as its default {self.default} is"
        if self.least is not None and _size(value) < _size(self.least):
            return f"this is less than {self.least}, the smallest value allowed"
        if self.most is not None and _size(value) > _size(self.most):
            return f"this is more than {self.most}, the largest value allowed"
        return None


def kind_of(value: Any) -> str | None:
    """Return what kind of parameter `value` could be: ``duration``, ``number`` or ``word``; None if of none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "number"
    if not isinstance(value, str):
        return None
    try:
        parse_duration_s(value)
    except ValueError:
        return "word" if _WORD.fullmatch(value) else None
    return "duration"


def _size(value: Value) -> float:
    return parse_duration_s(value) if isinstance(value, str) else float(value)


def corners(specs: Mapping[str, ParameterSpec]) -> Iterator[dict[str, Value]]:
    """Yield the sets of values, beside the defaults, that lie at the ends of the ranges.

    What is said of times only compares them, so whatever holds at every corner holds in between. Where there are too
    many ranges for every corner, each pair's are yielded, with the others at their defaults.
    """
    ranged = {
        # Where there is no bound, the default stands for the end.
        name: list(dict.fromkeys(spec.default if bound is None else bound for bound in (spec.least, spec.most)))
        for name, spec in specs.items()
        if spec.least is not None or spec.most is not None
    }
    together = [tuple(ranged)] if len(ranged) <= _ALL_CORNERS else itertools.combinations(ranged, 2)
    for names in together:
        for values in itertools.product(*(ranged[name] for name in names)):
            chosen = dict(zip(names, values, strict=True))
            if any(value != specs[name].default for name, value in chosen.items()):
                yield chosen


def read_specs(document: YamlDocument) -> tuple[dict[str, ParameterSpec], list[Problem]]:
    """Return what a protocol's file declares under ``parameters``, and what is wrong with it."""
    declared = document.data.get("parameters") if isinstance(document.data, dict) else None
    if declared is None:
        return {}, []
    if not isinstance(declared, dict):
        mend = "write each as a name and its default: decide_within: 60s"
        return {}, [document.problem(("parameters",), "this is no mapping", mend)]
    specs: dict[str, ParameterSpec] = {}
    problems: list[Problem] = []
    for name, value in declared.items():
        path: Path = ("parameters", name)
        found = list(_mistakes(name, value))
        problems += [document.problem((*path, *where), what, mend) for where, what, mend in found]
        if not found:
            keys = value if isinstance(value, dict) else {"default": value}
            specs[name] = ParameterSpec(
                name, keys["default"], keys.get("least"), keys.get("most"), str(keys.get("summary", "")).strip()
            )
    return specs, problems


def _mistakes(name: str, value: Any) -> Iterator[tuple[Path, str, str]]:
    if _NAME.fullmatch(name) is None:
        yield (), f"{name!r} is no name", "use lower-case letters, digits, _ and -, and begin with a letter"
    keys = value if isinstance(value, dict) else {"default": value}
    for key in keys:
        if key not in words.PARAMETER_KEYS:
            yield (key,), f"unknown key {key!r}", words.suggestion(key, words.PARAMETER_KEYS)
    if "default" not in keys:
        yield (), "a parameter without a default", "add default:"
        return
    kind = kind_of(keys["default"])
    if kind is None:
        where: Path = ("default",) if isinstance(value, dict) else ()
        yield where, "this is no duration, whole number or word", "write 60s, 3 or crisis"
        return
    bounds = {bound: keys[bound] for bound in ("least", "most") if bound in keys}
    wrong = {bound for bound, given in bounds.items() if kind == "word" or kind_of(given) != kind}
    for bound in sorted(wrong):
        what = "a word has no smallest or largest value" if kind == "word" else f"this is no {kind}, as the default is"
        yield (bound,), what, "remove it" if kind == "word" else f"write a {kind}"
    if not wrong:
        spec = ParameterSpec(name, keys["default"], bounds.get("least"), bounds.get("most"))
        if (objection := spec.objection(spec.default)) is not None:
            yield (), f"the default is out of its own range: {objection}", "change default, least or most"


def filled(
    document: YamlDocument, specs: Mapping[str, ParameterSpec], values: Mapping[str, Value]
) -> tuple[YamlDocument, list[Problem]]:
    """Return the document with every ``$name`` and ``{parameter: name}`` below ``states`` replaced by its value.

    Problems are names that are not declared, and declared ones that nothing uses.
    """
    if not isinstance(document.data, dict) or "states" not in document.data:
        return document, []
    problems: list[Problem] = []
    used: set[str] = set()

    def look(value: Any, path: Path) -> Any:
        name = _named(value)
        if name is not None:
            if name in values:
                used.add(name)
                return values[name]
            mend = words.suggestion(name, specs) if specs else "declare it under parameters:"
            problems.append(document.problem(path, f"there is no parameter {name!r}", mend))
            return value
        if isinstance(value, dict):
            return {key: look(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [look(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    states = look(document.data["states"], ("states",))
    for name in specs:
        if name not in used:
            what = "nothing uses this parameter"
            problems.append(document.problem(("parameters", name), what, f"write ${name} somewhere, or remove it"))
    return replace(document, data={**document.data, "states": states}), problems


def _named(value: Any) -> str | None:
    if isinstance(value, str) and value.startswith("$"):
        return value[1:]
    if isinstance(value, dict) and set(value) == {"parameter"} and isinstance(value["parameter"], str):
        return value["parameter"]
    return None

"""Which metrics a PromQL expression is about, as far as that can be told without parsing it."""

from __future__ import annotations

import re

from prometheus_client import Counter, Gauge, Histogram, Info

from monitor import metrics

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTED = re.compile(r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^\]]*\]")
_WORD = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")
_OPERATORS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "Inf", "NaN"}


def names_in(expression: str) -> set[str]:
    """Return every name in an expression that is no function, label or operator."""
    plain = _SELECTED.sub(" ", _STRING.sub('""', expression))
    return {word for word in _WORD.findall(plain) if word not in _OPERATORS and not word.startswith("__")}


def registered() -> set[str]:
    """Return the names under which Prometheus stores what `monitor.metrics` exports."""
    names: set[str] = set()
    for one in vars(metrics).values():
        match one:
            case Counter():
                names |= {f"{one._name}_total"}
            case Info():
                names |= {f"{one._name}_info"}
            case Histogram():
                names |= {f"{one._name}_{end}" for end in ("bucket", "sum", "count")}
            case Gauge():
                names |= {one._name}
            case _:
                pass
    return names

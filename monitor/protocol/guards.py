"""What has to hold beside a trigger: one class per guard, and each as stored JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monitor.vocabulary import EffectKind, Severity


@dataclass(frozen=True, slots=True)
class SeverityAtLeast:
    """The stream's current severity, over all labels, is at least this."""

    severity: Severity


@dataclass(frozen=True, slots=True)
class MaxSeverityAtLeast:
    """The highest severity that this incident has seen is at least this."""

    severity: Severity


@dataclass(frozen=True, slots=True)
class LabelDetected:
    """This label is at ``review`` or above now."""

    label: str


@dataclass(frozen=True, slots=True)
class StrikesAtLeast:
    """At least so many strikes stand against the publisher."""

    count: int


@dataclass(frozen=True, slots=True)
class ViewersAtLeast:
    """At least so many watch the stream now."""

    count: int


@dataclass(frozen=True, slots=True)
class ReportsAtLeast:
    """Users reported the stream at least so often in this incident."""

    count: int


@dataclass(frozen=True, slots=True)
class ServerCan:
    """The stream's media server can do this; known, and put in place, when the protocol is bound to it."""

    kind: EffectKind


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of these holds."""

    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these holds."""

    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """This does not hold."""

    guard: Guard


Guard = (
    SeverityAtLeast
    | MaxSeverityAtLeast
    | LabelDetected
    | StrikesAtLeast
    | ViewersAtLeast
    | ReportsAtLeast
    | ServerCan
    | AllOf
    | AnyOf
    | Not
)


def each_guard(guard: Guard | None) -> Iterator[Guard]:
    """Yield the simple guards that a guard is made of."""
    match guard:
        case None:
            return
        case AllOf(guards) | AnyOf(guards):
            for inner in guards:
                yield from each_guard(inner)
        case Not(inner):
            yield from each_guard(inner)
        case _:
            yield guard


def where_server_can(guard: Guard) -> Guard:
    """Return a guard as it is on a media server that can do whatever it asks about."""
    match guard:
        case ServerCan():
            return AllOf(())
        case AllOf(guards):
            return AllOf(tuple(map(where_server_can, guards)))
        case AnyOf(guards):
            return AnyOf(tuple(map(where_server_can, guards)))
        case Not(inner):
            return Not(where_server_can(inner))
        case _:
            return guard


def guard_out(guard: Guard) -> dict[str, Any]:  # noqa: C901, PLR0911 - one per word
    """Return a guard as JSON values."""
    match guard:
        case SeverityAtLeast(severity):
            return {"severity": severity.word}
        case MaxSeverityAtLeast(severity):
            return {"max_severity": severity.word}
        case LabelDetected(label):
            return {"label": label}
        case StrikesAtLeast(count):
            return {"strikes": count}
        case ViewersAtLeast(count):
            return {"viewers": count}
        case ReportsAtLeast(count):
            return {"reports": count}
        case ServerCan(kind):
            return {"can": kind.value}
        case AllOf(guards):
            return {"all": [guard_out(inner) for inner in guards]}
        case AnyOf(guards):
            return {"any": [guard_out(inner) for inner in guards]}
        case Not(inner):
            return {"not": guard_out(inner)}


def guard_in(data: Any) -> Guard:  # noqa: PLR0911 - one per word
    """Return the guard that `guard_out` wrote; KeyError, TypeError or ValueError for anything else."""
    match data:
        case {"severity": word}:
            return SeverityAtLeast(Severity.from_word(word))
        case {"max_severity": word}:
            return MaxSeverityAtLeast(Severity.from_word(word))
        case {"label": label}:
            return LabelDetected(label)
        case {"strikes": count}:
            return StrikesAtLeast(count)
        case {"viewers": count}:
            return ViewersAtLeast(count)
        case {"reports": count}:
            return ReportsAtLeast(count)
        case {"can": word}:
            return ServerCan(EffectKind(word))
        case {"all": inner}:
            return AllOf(tuple(guard_in(guard) for guard in inner))
        case {"any": inner}:
            return AnyOf(tuple(guard_in(guard) for guard in inner))
        case _:
            return Not(guard_in(data["not"]))

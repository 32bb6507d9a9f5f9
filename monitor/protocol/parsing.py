"""From a YAML document to a `Definition`: words, types and durations. Whether it makes sense, `checks` says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from monitor.errors import Problem, ProtocolDefinitionError
from monitor.protocol import words
from monitor.protocol.definition import (
    After,
    AllOf,
    AnyOf,
    Definition,
    Effect,
    Guard,
    LabelDetected,
    MaxSeverityAtLeast,
    Not,
    OnDetection,
    OnEased,
    OnEffect,
    OnKnownContent,
    OnPartner,
    OnReport,
    OnReview,
    OnStream,
    OnStrikes,
    OnViewers,
    OnWatched,
    Parameter,
    ReportsAtLeast,
    ServerCan,
    SeverityAtLeast,
    State,
    StreamChange,
    StrikesAtLeast,
    Transition,
    Trigger,
    ViewersAtLeast,
)
from monitor.units import parse_duration_s
from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, PartnerSignal, Posture, ReviewDecision, Severity
from monitor.yaml_source import Path, YamlDocument

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_NAME_MEND = "use lower-case letters, digits, _ and -, at most 48, and begin with a letter"
_DURATION_MEND = "write a number and a unit: 20s, 10m, 12h, 30d"

_EFFECT_WORDS: Mapping[str, Iterable[str]] = {
    "event": words.ALERTS,
    "priority": words.PRIORITIES,
    "else": (EffectKind.CUT.value,),
}

MAY_BE_UNSUPPORTED = frozenset({EffectKind.HOLD, EffectKind.SHARE})
"""Effects that some media servers or installations have no way to carry out."""

MOST_PEOPLE = 5
"""More would never be awake at once."""

T = TypeVar("T")


def parse_definition(document: YamlDocument) -> Definition:
    """Read one protocol.

    Args:
        document: The parsed file.

    Returns:
        A definition whose words are all known; its names may still lead nowhere.

    Raises:
        ProtocolDefinitionError: with every problem found.
    """
    reader = _Reader(document)
    try:
        definition = reader.definition()
    except _Unreadable:
        raise ProtocolDefinitionError(reader.problems) from None
    if reader.problems:
        raise ProtocolDefinitionError(reader.problems)
    return definition


class _Unreadable(Exception):
    """The value at hand is of no use; its problem has been noted."""


class _Reader:
    """Reads values and notes problems, going on with the next sibling after each."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def definition(self) -> Definition:
        data = self._mapping(self._document.data, (), words.DOCUMENT_KEYS, required=words.REQUIRED_KEYS)
        name = self._or(self._name, data["protocol"], ("protocol",), "")
        version = data["version"]
        if not _is_integer(version) or version < 1:
            self._note(("version",), "the version is no whole number from 1", "write version: 1")
        summary = self._or(self._text, data["summary"], ("summary",), "")
        initial = self._or(self._name, data["initial"], ("initial",), "")
        named = data["states"]
        if not isinstance(named, dict) or not named:
            self._refuse(("states",), "there are no states", "write each as a name with keys below it")
        states: dict[str, State] = {}
        for key, value in named.items():
            path: Path = ("states", key)
            try:
                states[self._name(key, path)] = self._state(value, path, initial=key == initial)
            except _Unreadable:
                continue
        return Definition(name, version, summary, initial, states)

    def _state(self, value: Any, path: Path, *, initial: bool) -> State:
        data = self._mapping({} if value is None else value, path, words.STATE_KEYS)
        final = self._truth(data, path, "final")
        posture = Posture.CALM if initial or final else Posture.CLOSE
        if "posture" in data:
            posture = Posture(self._word(data["posture"], (*path, "posture"), words.POSTURES))
        return State(
            posture=posture,
            final=final,
            enter=self._list(data, path, "enter", self._effect),
            transitions=self._list(data, path, "on", self._transition),
            summary=self._text(data["summary"], (*path, "summary")) if "summary" in data else "",
        )

    def _transition(self, value: Any, path: Path) -> Transition:
        allowed = [*words.TRIGGERS, *words.TRIGGER_DETAILS, *words.TRANSITION_KEYS]
        data = self._mapping(value, path, allowed)
        triggers = [word for word in words.TRIGGERS if word in data]
        if not triggers and len(data) < len(value):
            raise _Unreadable  # a misspelt trigger, which has been noted
        if len(triggers) != 1:
            what = (
                f"a transition on {' and '.join(triggers)}" if triggers else "a transition without anything to wait for"
            )
            self._refuse(path, what, f"name exactly one of: {', '.join(words.TRIGGERS)}")
        for detail, (owner, _) in words.TRIGGER_DETAILS.items():
            if detail in data and triggers != [owner]:
                article = "an" if detail[0] in "aeiou" else "a"
                what = f"{article} {detail} without {'an' if owner[0] in 'aeiou' else 'a'} {owner}"
                self._refuse((*path, detail), what, f"only {owner}: goes with {detail}:")
        trigger = self._trigger(triggers[0], data, path)
        guard = self._guard(data["if"], (*path, "if")) if "if" in data else None
        to = self._name(data["to"], (*path, "to")) if "to" in data else None
        return Transition(trigger, guard, to, self._list(data, path, "do", self._effect))

    def _trigger(self, kind: str, data: Mapping[str, Any], path: Path) -> Trigger:  # noqa: C901, PLR0911 - one per word
        value, place = data[kind], (*path, kind)
        match kind:
            case "detection":
                return self._detection(data, path)
            case "review":
                return OnReview(ReviewDecision(self._word(value, place, words.REVIEWS)))
            case "effect":
                effect = EffectKind(self._word(value, place, words.EFFECTS))
                return OnEffect(effect, self._outcomes(effect, data, path), self._truth(data, path, "late"))
            case "stream":
                return OnStream(StreamChange(self._word(value, place, words.STREAM_CHANGES)))
            case "watched":
                return OnWatched(Freshness(self._word(value, place, words.WATCHED)))
            case "report":
                return OnReport(self._name_or_any(value, place))
            case "partner":
                return OnPartner(PartnerSignal(self._word(value, place, words.PARTNERS)))
            case "known_content":
                return OnKnownContent(self._name_or_any(value, place))
            case "viewers":
                return OnViewers(self._count(value, place))
            case "strikes":
                return OnStrikes(self._count(value, place))
            case _:
                delay_s = self._duration_s(value, place)
                if delay_s < 1:
                    self._refuse(place, "a deadline shorter than a second", "write 1s or more")
                return After(delay_s)

    def _detection(self, data: Mapping[str, Any], path: Path) -> Trigger:
        word = self._word(data["detection"], (*path, "detection"), words.DETECTIONS)
        label = self._text(data["label"], (*path, "label")) if "label" in data else None
        if word == "eased":
            return OnEased(label)
        return OnDetection(Severity.NONE if word == "cleared" else Severity.from_word(word), label)

    def _outcomes(self, kind: EffectKind, data: Mapping[str, Any], path: Path) -> tuple[EffectOutcome, ...]:
        place = (*path, "outcome")
        if not data.get("outcome"):
            self._refuse(
                path, "an effect without an outcome", f"add outcome: with {_one_of(words.OUTCOMES)}, or a list"
            )
        value = data["outcome"]
        items = value if isinstance(value, list) else [value]
        found = [EffectOutcome(self._word(item, place, words.OUTCOMES)) for item in items]
        if len(set(found)) < len(found):
            self._refuse(place, "an outcome is there twice", "remove one")
        if EffectOutcome.UNSUPPORTED in found and kind not in MAY_BE_UNSUPPORTED:
            self._refuse(place, f"{kind.value} never ends so", "remove unsupported: what cannot be done has failed")
        return tuple(found)

    def _guard(self, value: Any, path: Path) -> Guard:  # noqa: C901, PLR0911 - one per word
        data = self._mapping(value, path, words.GUARDS)
        if not data and value:
            raise _Unreadable  # a misspelt word, which has been noted
        if len(data) != 1:
            what = f"a guard with {len(data)} words" if data else "a guard without a word"
            self._refuse(path, what, "write exactly one, and put several into all: [ … ] or any: [ … ]")
        ((word, inner),) = data.items()
        place = (*path, word)
        match word:
            case "severity":
                return SeverityAtLeast(Severity.from_word(self._word(inner, place, words.SEVERITIES)))
            case "max_severity":
                return MaxSeverityAtLeast(Severity.from_word(self._word(inner, place, words.SEVERITIES)))
            case "label":
                return LabelDetected(self._text(inner, place))
            case "strikes":
                return StrikesAtLeast(self._count(inner, place))
            case "viewers":
                return ViewersAtLeast(self._count(inner, place))
            case "reports":
                return ReportsAtLeast(self._count(inner, place))
            case "can":
                return ServerCan(EffectKind(self._word(inner, place, (EffectKind.HOLD.value,))))
            case "not":
                return Not(self._guard(inner, place))
            case _:
                guards = self._list(data, path, word, self._guard)
                if not guards:
                    self._refuse(place, "a list of no guards", "put guards into it, or leave the guard out")
                return AllOf(guards) if word == "all" else AnyOf(guards)

    def _effect(self, value: Any, path: Path) -> Effect:
        if isinstance(value, dict) and len(value) != 1:
            self._refuse(path, f"an effect with {len(value)} names", "begin each effect with its own dash")
        name, given = next(iter(value.items())) if isinstance(value, dict) else (value, None)
        kind = self._word(name, path, words.EFFECTS)
        word = words.EFFECTS[kind]
        data = self._mapping({} if given is None else given, (*path, kind), word.parameters, required=word.required)
        parameters: dict[str, Parameter] = {}
        for key, text in data.items():
            place = (*path, kind, key)
            if key in words.DURATIONS:
                parameters[f"{key}_s"] = self._duration_s(text, place)
            elif key == "people":
                parameters[key] = self._people(text, place)
            elif key == "policy":
                parameters[key] = self._name(text, place)
            else:
                parameters[key] = self._word(text, place, _EFFECT_WORDS[key])
        if kind == EffectKind.ALERT:
            parameters.setdefault("priority", "normal")
        return Effect(EffectKind(kind), parameters)

    def _mapping(
        self, value: Any, path: Path, allowed: Iterable[str], *, required: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return the known keys of a mapping; unknown ones are noted and left out, a missing one is refused."""
        known = tuple(allowed)
        if not isinstance(value, dict):
            expected = f"write keys below it: {', '.join(known)}" if known else "write nothing below it"
            self._refuse(path, "this is no mapping" if path or value is not None else "the file is empty", expected)
        for key in value:
            if key not in known:
                mend = words.suggestion(key, known) if known else "it takes none, remove it"
                self._note((*path, key), f"unknown key {key!r}", mend)
        missing = [key for key in required if key not in value]
        if missing:
            self._refuse(path, f"{', '.join(missing)} is missing", "add it" if len(missing) == 1 else "add them")
        return {key: inner for key, inner in value.items() if key in known}

    def _list(self, data: Mapping[str, Any], path: Path, key: str, read: Callable[[Any, Path], T]) -> tuple[T, ...]:
        value = data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._refuse((*path, key), "this is no list", "begin each entry with a dash")
        found: list[T] = []
        for index, item in enumerate(value):
            try:
                found.append(read(item, (*path, key, index)))
            except _Unreadable:
                continue
        return tuple(found)

    def _word(self, value: Any, path: Path, allowed: Iterable[str]) -> str:
        known = tuple(allowed)
        if not isinstance(value, str) or value not in known:
            self._refuse(path, f"unknown word {_shown(value)}", words.suggestion(value, known))
        return value

    def _name(self, value: Any, path: Path) -> str:
        if not isinstance(value, str) or _NAME.fullmatch(value) is None:
            self._refuse(path, f"{_shown(value)} is no name", _NAME_MEND)
        return value

    def _text(self, value: Any, path: Path) -> str:
        if not isinstance(value, str) or not value.strip():
            self._refuse(path, f"{_shown(value)} is no text", "write some, in quotes if it looks like a number")
        return value.strip()

    def _name_or_any(self, value: Any, path: Path) -> str | None:
        name = self._name(value, path)
        return None if name == words.ANY else name

    def _count(self, value: Any, path: Path) -> int:
        if not _is_integer(value) or value < 1:
            self._refuse(path, f"{_shown(value)} is no whole number from 1", "write one, without quotes")
        return int(value)

    def _people(self, value: Any, path: Path) -> int:
        if not _is_integer(value) or not 1 <= value <= MOST_PEOPLE:
            self._refuse(path, f"{_shown(value)} is no number of people", f"write 1 to {MOST_PEOPLE}")
        return int(value)

    def _truth(self, data: Mapping[str, Any], path: Path, key: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            self._refuse((*path, key), f"{key} is neither true nor false", f"write {key}: true, or leave it out")
        return value

    def _duration_s(self, value: Any, path: Path) -> float:
        try:
            duration_s = parse_duration_s(value if isinstance(value, str) else "")
        except ValueError:
            self._refuse(path, f"{_shown(value)} is no duration", _DURATION_MEND)
        if duration_s <= 0:
            self._refuse(path, "a duration of nothing", _DURATION_MEND)
        return duration_s

    def _or(self, read: Callable[[Any, Path], T], value: Any, path: Path, fallback: T) -> T:
        try:
            return read(value, path)
        except _Unreadable:
            return fallback

    def _note(self, path: Path, what: str, mend: str) -> None:
        self.problems.append(self._document.problem(path, what, mend))

    def _refuse(self, path: Path, what: str, mend: str) -> NoReturn:
        self._note(path, what, mend)
        raise _Unreadable


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """Name a value without quoting a whole section of the file."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else repr(str(value)[:60])


def _one_of(allowed: Iterable[str]) -> str:
    return " or ".join(allowed)

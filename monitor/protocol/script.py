"""Scripts for simulations: what happens on a stream, when, and how effects end. Read as strictly as protocols are.

A script is a YAML file: ``events`` in order of time, each with ``at`` and one event in the words of triggers, and perhaps
``outcomes``, by kind of effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from monitor.errors import Problem, ProblemsError
from monitor.protocol import words
from monitor.protocol.events import (
    DetectionCleared,
    DetectionRaised,
    Event,
    KnownContentMatched,
    PartnerAlerted,
    Reviewed,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.units import parse_duration_s
from monitor.vocabulary import (
    EffectKind,
    EffectOutcome,
    Freshness,
    PartnerSignal,
    ReviewDecision,
    ReviewReason,
    Severity,
)
from monitor.yaml_source import Path, YamlDocument, parse_yaml

DEFAULT_DELAY_S: Final = 0.5
"""How long an effect takes where the script says nothing."""
DEFAULT_LABEL: Final = "violence"
NEVER: Final = "never"
SCRIPT_KEYS: Final[Mapping[str, str]] = {
    "summary": "one sentence on what is played through; may be left out",
    "strikes": "how many strikes stand against the publisher before anything happens; 0 if left out",
    "viewers": "how many watch before anything happens; 0 if left out",
    "until": "how long the script goes on; if left out, until nothing more would happen, at most two days after the last event",
    "outcomes": "how effects end, by kind; `succeeded` after 500ms where nothing is said",
    "events": "what happens, in order of time",
}
OUTCOMES: Final = (*words.OUTCOMES, NEVER)
EVENTS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "detection": (
        "`review` or `act`: raised to it; `eased`: back at `review`; `cleared`: back at `none`",
        {"label": f"which label; `{DEFAULT_LABEL}` if left out", "score": "from 0 to 1; 0.9 if left out"},
    ),
    "review": (
        "a responder decides, in the words of triggers",
        {"by": "who", "why": "their words", "reason": "why, in one word"},
    ),
    "stream": ("`ended` or `returned`", {}),
    "watched": ("`late`, `blind` or `fresh`", {}),
    "report": ("a user reports the stream, for this category", {}),
    "partner": ("`raised` or `withdrawn`", {"by": "which partner"}),
    "known_content": ("the stream shows content of this list", {}),
    "viewers": ("so many watch now", {}),
    "strikes": ("so many strikes stand against the publisher now", {}),
}


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """Something that happens `at_s` seconds after the beginning."""

    at_s: float
    event: Event


@dataclass(frozen=True, slots=True)
class PlannedOutcome:
    """How an effect ends: so, so many seconds after it was asked for; None never ends."""

    outcome: EffectOutcome | None = EffectOutcome.SUCCEEDED
    after_s: float = DEFAULT_DELAY_S


@dataclass(frozen=True, slots=True)
class Script:
    """What is fed to a protocol.

    Attributes:
        events: In order of time.
        outcomes: Per kind of effect, how its requests end one after the other; the last holds for all that follow.
        summary: What is played through.
        strikes, viewers: What is known of the stream before anything happens.
        until_s: When it is over; None when nothing more would happen.
    """

    events: tuple[TimedEvent, ...]
    outcomes: Mapping[EffectKind, tuple[PlannedOutcome, ...]] = field(default_factory=dict)
    summary: str = ""
    strikes: int = 0
    viewers: int = 0
    until_s: float | None = None

    def outcome_of(self, kind: EffectKind, number: int) -> PlannedOutcome:
        """Return how the request number `number` of a kind, from 0, ends."""
        planned = self.outcomes.get(kind)
        return planned[min(number, len(planned) - 1)] if planned else PlannedOutcome()


def load_script(text: str | bytes, file: str) -> Script:
    """Read one script.

    Args:
        text: Its content.
        file: Its name, as problems print it.

    Raises:
        ProblemsError: with every mistake and its line.
    """
    document = parse_yaml(text, file, ProblemsError)
    reader = _Reader(document)
    script = reader.script()
    if reader.problems:
        raise ProblemsError(sorted(reader.problems, key=lambda problem: problem.line or 0))
    return script


_T = TypeVar("_T")


class _Wrong(Exception):
    """The value at hand is of no use; its problem has been noted."""


class _Reader:
    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def script(self) -> Script:
        data = self._document.data
        if not isinstance(data, dict) or not isinstance(data.get("events"), list) or not data["events"]:
            self._note(
                (), "this is no script", "write events: and, below it, a list such as - {at: 5s, detection: act}"
            )
            return Script(())
        self._known(data, (), SCRIPT_KEYS)
        events: list[TimedEvent] = []
        for index, value in enumerate(data["events"]):
            path: Path = ("events", index)
            timed = self._or(partial(self._timed, value, path), None)
            if timed is None:
                continue
            if events and timed.at_s < events[-1].at_s:
                self._note(path, "this happens before what stands above it", "put events in order of time")
            events.append(timed)
        return Script(
            tuple(events),
            self._outcomes(data.get("outcomes"), ("outcomes",)),
            str(data.get("summary", "")).strip(),
            self._or(partial(self._count, data.get("strikes", 0), ("strikes",)), 0),
            self._or(partial(self._count, data.get("viewers", 0), ("viewers",)), 0),
            self._until_s(data),
        )

    def _until_s(self, data: Mapping[str, Any]) -> float | None:
        return self._or(partial(self._duration_s, data["until"], ("until",)), 0.0) if "until" in data else None

    def _timed(self, value: Any, path: Path) -> TimedEvent | None:
        if not isinstance(value, dict):
            self._refuse(path, "this is no event", "write {at: 5s, detection: act}")
        named = [word for word in EVENTS if word in value]
        if len(named) != 1:
            unknown = next((key for key in value if key != "at"), "")
            mend = (
                f"use exactly one of: {', '.join(EVENTS)}"
                if named or not unknown
                else words.suggestion(unknown, EVENTS)
            )
            self._refuse(path, "an event needs exactly one thing that happens", mend)
        word = named[0]
        self._known(value, path, ["at", word, *EVENTS[word][1]])
        if "at" not in value:
            self._refuse(path, "it is not said when this happens", "add at: 5s")
        at_s = self._duration_s(value["at"], (*path, "at"))
        return TimedEvent(at_s, self._event(word, value, path))

    def _event(self, word: str, value: Mapping[str, Any], path: Path) -> Event:  # noqa: PLR0911 - one per word
        said, place = value[word], (*path, word)
        match word:
            case "detection":
                return self._detection(said, value, path)
            case "review":
                decision = ReviewDecision(self._word(said, place, words.REVIEWS))
                reasons = [reason.value for reason in ReviewReason]
                reason = self._word(value.get("reason", ReviewReason.OTHER.value), (*path, "reason"), reasons)
                by = self._text(value.get("by", "responder"), (*path, "by"))
                return Reviewed(decision, by, str(value.get("why", "")), ReviewReason(reason))
            case "stream":
                ended = self._word(said, place, words.STREAM_CHANGES) == "ended"
                return StreamEnded() if ended else StreamReturned()
            case "watched":
                return WatchChanged(Freshness(self._word(said, place, words.WATCHED)))
            case "report":
                return UserReported(self._text(said, place))
            case "partner":
                signal = PartnerSignal(self._word(said, place, words.PARTNERS))
                return PartnerAlerted(self._text(value.get("by", "partner"), (*path, "by")), signal)
            case "known_content":
                return KnownContentMatched(self._text(said, place))
            case "viewers":
                return ViewersChanged(self._count(said, place))
            case _:
                return StrikesChanged(self._count(said, place))

    def _detection(self, said: Any, value: Mapping[str, Any], path: Path) -> Event:
        change = self._word(said, (*path, "detection"), words.DETECTIONS)
        label = self._text(value.get("label", DEFAULT_LABEL), (*path, "label"))
        score = value.get("score", 0.9)
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            self._refuse((*path, "score"), "this is no score", "write a number from 0 to 1")
        match change:
            case "eased":
                return DetectionCleared(label, Severity.REVIEW)
            case "cleared":
                return DetectionCleared(label, Severity.NONE)
            case _:
                return DetectionRaised(label, Severity.from_word(change), float(score))

    def _outcomes(self, value: Any, path: Path) -> dict[EffectKind, tuple[PlannedOutcome, ...]]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._note(path, "this is no mapping", "write each as an effect and how it ends: cut: failed")
            return {}
        self._known(value, path, words.EFFECTS)
        found = {}
        for kind, given in value.items():
            if kind not in words.EFFECTS:
                continue
            several = given if isinstance(given, list) else [given]
            planned = []
            for index, one in enumerate(several):
                where: Path = (*path, kind, index) if isinstance(given, list) else (*path, kind)
                outcome = self._or(partial(self._outcome, one, where), None)
                planned += [] if outcome is None else [outcome]
            if planned:
                found[EffectKind(kind)] = tuple(planned)
        return found

    def _outcome(self, value: Any, path: Path) -> PlannedOutcome | None:
        keys = value if isinstance(value, dict) else {"outcome": value}
        self._known(keys, path, ("outcome", "after"))
        word = self._word(keys.get("outcome", EffectOutcome.SUCCEEDED.value), path, OUTCOMES)
        after_s = self._duration_s(keys["after"], (*path, "after")) if "after" in keys else DEFAULT_DELAY_S
        return PlannedOutcome(None if word == NEVER else EffectOutcome(word), after_s)

    def _known(self, data: Mapping[str, Any], path: Path, allowed: Iterable[str]) -> None:
        allowed = tuple(allowed)
        for key in data:
            if key not in allowed:
                self._note((*path, key), f"unknown key {key!r}", words.suggestion(key, allowed))

    def _word(self, value: Any, path: Path, allowed: Iterable[str]) -> str:
        allowed = tuple(allowed)
        if value not in allowed:
            self._refuse(path, f"unknown word {str(value)[:48]!r}", words.suggestion(value, allowed))
        return str(value)

    def _text(self, value: Any, path: Path) -> str:
        if not isinstance(value, str) or not value:
            self._refuse(path, "this is no text", "write a word")
        return str(value)

    def _count(self, value: Any, path: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._refuse(path, "this is no whole number from 0", "write one, without quotes")
        return int(value)

    def _duration_s(self, value: Any, path: Path) -> float:
        try:
            return parse_duration_s(value if isinstance(value, str) else str(value))
        except ValueError:
            self._refuse(path, f"{str(value)[:48]!r} is no duration", "write a number and its unit, such as 5s")

    def _or(self, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except _Wrong:
            return otherwise

    def _note(self, path: Path, what: str, mend: str) -> None:
        self.problems.append(self._document.problem(path, what, mend))

    def _refuse(self, path: Path, what: str, mend: str) -> NoReturn:
        self._note(path, what, mend)
        raise _Wrong

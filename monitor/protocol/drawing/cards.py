"""Every state as a box of text: its header, what is done on entry, and one row per transition.

A transition's label stands in its own row, where its arrow begins, so that labels never meet arrows or each other.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from enum import Enum
from typing import Final

from monitor.protocol.checks.harm import silenced_states
from monitor.protocol.definition import After, Definition, Effect, OnEffect, OnReview, State, Transition
from monitor.protocol.diagram import guard_words, trigger_words
from monitor.protocol.graph import edges_of
from monitor.units import format_duration
from monitor.vocabulary import EffectKind

CARD_WIDTH: Final = 320.0
PADDING: Final = 10.0
LINE: Final = 14.0
TITLE_HEIGHT: Final = 24.0
ROW_GAP: Final = 5.0
ICON: Final = 16.0
"""Room for the sign in front of a row, in user units."""
_ROW_COLUMNS: Final = 42
"""Characters of a fixed-width face of 11 units that fit beside the sign."""
_SUMMARY_COLUMNS: Final = 46
_ARROW_COLUMNS: Final = 3


class Sign(Enum):
    """What stands in front of a row."""

    TIMER = "timer"
    PERSON = "person"
    OUTCOME = "outcome"
    EVENT = "event"


class Look(Enum):
    """How a state's box is coloured."""

    INITIAL = "initial"
    PLAIN = "plain"
    ACTING = "acting"
    SILENCED = "silenced"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Row:
    """One transition.

    Attributes:
        sign: What kind of trigger it has.
        words: Trigger and guard, in lines.
        effects: What it does, in lines; empty if nothing.
        target: The state it leads to; None stays.
        anew: It enters its own state again.
        top, height: Below the top of its card, in user units.
        target_line: Which of its lines, over `words` and `effects`, also names the target; one more than there are
            where none has room.
    """

    sign: Sign
    words: tuple[str, ...]
    effects: tuple[str, ...]
    target: str | None
    anew: bool
    top: float
    height: float
    target_line: int

    @property
    def port(self) -> float:
        """Where its arrow begins, below the top of its card."""
        return self.top + ROW_GAP / 2 + LINE * (self.target_line + 0.5)


@dataclass(frozen=True, slots=True)
class Card:
    """One state.

    Attributes:
        name: Its name.
        look: How it is coloured.
        posture: As shown in the header.
        summary: For responders, in lines.
        enter: What is done on entry, in lines.
        rows: Its transitions.
        height: In user units.
    """

    name: str
    look: Look
    posture: str
    summary: tuple[str, ...]
    enter: tuple[str, ...]
    rows: tuple[Row, ...]
    height: float


def cards_of(definition: Definition) -> dict[str, Card]:
    """Return a card for each state, in file order."""
    silenced = silenced_states(definition)
    acting = {
        edge.target
        for edge in edges_of(definition)
        if edge.asks(EffectKind.HOLD, EffectKind.CUT, EffectKind.BLOCK) and edge.transition.to is not None
    }
    cards = {}
    for name, state in definition.states.items():
        if state.final:
            look = Look.FINAL
        elif name in acting:
            look = Look.ACTING
        elif name in silenced:
            look = Look.SILENCED
        else:
            look = Look.INITIAL if name == definition.initial else Look.PLAIN
        cards[name] = _card(name, state, look)
    return cards


def effect_words(effect: Effect) -> str:
    """Return an effect in a few words with all its values: ``alert raised, crisis``, ``block for 30d``."""
    values = []
    for name, value in effect.parameters.items():
        match name:
            case "event":
                values.append(str(value))
            case "priority":
                values += [str(value)] if value != "normal" else []
            case _ if name.endswith("_s") and isinstance(value, int | float):
                values.append(f"{name[:-2]} {format_duration(float(value))}")
            case _:
                values.append(f"{name} {value}")
    return f"{effect.kind.value} ({', '.join(values)})" if values else effect.kind.value


def _card(name: str, state: State, look: Look) -> Card:
    summary = tuple(textwrap.wrap(state.summary, _SUMMARY_COLUMNS))
    enter = _effect_lines(state.enter)
    top = TITLE_HEIGHT + LINE * (len(summary) + len(enter)) + (ROW_GAP if summary or enter else 0.0)
    rows = []
    for transition in state.transitions:
        row = _row(name, transition, top)
        rows.append(row)
        top += row.height
    return Card(name, look, state.posture.value, summary, enter, tuple(rows), top + ROW_GAP / 2)


def _row(source: str, transition: Transition, top: float) -> Row:
    words = trigger_words(transition.trigger).replace("_", " ")
    if transition.guard is not None:
        inner = guard_words(transition.guard).replace("_", " ")
        words += f" if {inner[1:-1] if _is_wrapped(inner) else inner}"
    said = tuple(textwrap.wrap(words, _ROW_COLUMNS))
    effects = _effect_lines(transition.effects)
    lines = said + effects
    target = transition.to
    target_line = len(lines) - 1
    if target is not None and len(lines[-1]) + len(target) + _ARROW_COLUMNS > _ROW_COLUMNS:
        target_line = len(lines)
    height = ROW_GAP + LINE * max(len(lines), target_line + 1)
    return Row(_sign(transition), said, effects, target, target == source, top, height, target_line)


def _effect_lines(effects: tuple[Effect, ...]) -> tuple[str, ...]:
    text = ", ".join(effect_words(effect) for effect in effects)
    return tuple(textwrap.wrap(f"/ {text}", _ROW_COLUMNS, subsequent_indent="  ")) if effects else ()


def _is_wrapped(words: str) -> bool:
    """Whether one pair of brackets holds all of it."""
    depth = 0
    for place, character in enumerate(words):
        depth += (character == "(") - (character == ")")
        if not depth:
            return character == ")" and place == len(words) - 1
    return False


def _sign(transition: Transition) -> Sign:
    match transition.trigger:
        case After():
            return Sign.TIMER
        case OnReview():
            return Sign.PERSON
        case OnEffect():
            return Sign.OUTCOME
        case _:
            return Sign.EVENT

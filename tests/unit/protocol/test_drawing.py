from __future__ import annotations

from itertools import combinations

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given, settings

from monitor.protocol.checks.harm import silenced_states
from monitor.protocol.definition import Definition
from monitor.protocol.drawing import to_svg
from monitor.protocol.drawing.cards import CARD_WIDTH, Look, cards_of
from monitor.protocol.drawing.layout import Layout, laid_out
from tests.fakes.protocols import definitions, shipped

SHIPPED = ["observe", "assisted", "immediate"]


def boxes(definition: Definition, layout: Layout) -> dict[str, tuple[float, float, float, float]]:
    return {
        name: (x, y, x + CARD_WIDTH, y + cards_of(definition)[name].height) for name, (x, y) in layout.places.items()
    }


def check_apart(definition: Definition) -> None:
    layout = laid_out(definition, cards_of(definition))
    found = boxes(definition, layout)
    for (_, one), (_, other) in combinations(found.items(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for trunk in layout.trunks:
        for x1, y1, x2, y2 in trunk.lines:
            assert x1 == x2 or y1 == y2
            for left, top, right, bottom in found.values():
                inside_x = min(x1, x2) < right and max(x1, x2) > left
                inside_y = min(y1, y2) < bottom and max(y1, y2) > top
                assert not (inside_x and inside_y), f"a line to {trunk.target} runs through a box"


def check_joined(definition: Definition) -> None:
    """From each row with a target, its lines lead to that target's tip, and every piece hangs together."""
    cards = cards_of(definition)
    layout = laid_out(definition, cards)
    trunks = {trunk.target: trunk for trunk in layout.trunks}
    for card in cards.values():
        for row in card.rows:
            if row.target is None or row.anew:
                continue
            x, y = layout.places[card.name]
            trunk = trunks[row.target]
            reached = {(x + CARD_WIDTH, y + row.port)}
            lines = set(trunk.lines)
            while touching := [line for line in lines if any(_touches(line, point) for point in reached)]:
                lines -= set(touching)
                reached |= {end for x1, y1, x2, y2 in touching for end in ((x1, y1), (x2, y2))}
                reached |= {joint for joint in trunk.joints if any(_touches(line, joint) for line in touching)}
            assert trunk.tip in reached, f"{card.name} does not reach {row.target}"


def _touches(line: tuple[float, float, float, float], point: tuple[float, float]) -> bool:
    x1, y1, x2, y2 = line
    x, y = point
    near = 1e-6
    return min(x1, x2) - near <= x <= max(x1, x2) + near and min(y1, y2) - near <= y <= max(y1, y2) + near


@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_runs_into_anything(name: str) -> None:
    check_apart(shipped()[name])
    check_joined(shipped()[name])


@settings(max_examples=40, deadline=None)
@given(definitions())
def test_no_box_of_any_protocol_is_touched(definition: Definition) -> None:
    check_apart(definition)
    check_joined(definition)


@pytest.mark.parametrize("name", SHIPPED)
def test_text_stays_in_its_box(name: str) -> None:
    """A fixed-width face of 11 units takes 6.6 a character; 26 units go to the sign and the margin."""
    for card in cards_of(shipped()[name]).values():
        for row in card.rows:
            assert all(len(line) * 6.63 <= CARD_WIDTH - 32 for line in (*row.words, *row.effects))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_picture_is_xml_that_names_every_state_and_needs_nothing_else(name: str) -> None:
    definition = shipped()[name]
    drawn = to_svg(definition)
    texts = [element.text for element in fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]

    assert set(definition.states) <= set(texts)
    assert drawn == to_svg(definition)
    assert "href" not in drawn
    assert "url(" not in drawn
    for state in definition.states.values():
        for transition in state.transitions:
            assert transition.to is None or any(text == f"\N{RIGHTWARDS ARROW} {transition.to}" for text in texts)


def test_states_look_like_what_they_do() -> None:
    cards = cards_of(shipped()["assisted"])

    assert {name for name, card in cards.items() if card.look is Look.ACTING} == {"holding", "containing", "upholding"}
    assert {name for name, card in cards.items() if card.look is Look.SILENCED} == {
        "held",
        "contained",
        "upheld",
        "cut_failed",
        "releasing",
        "showing",
        "release_failed",
    }
    assert {name for name, card in cards.items() if card.look is Look.FINAL} == {"dismissed", "released", "closed"}
    assert silenced_states(shipped()["observe"]) == frozenset()

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from monitor.protocol.definition import AnyOf, Definition, LabelDetected, Not, OnDetection, SeverityAtLeast, Transition
from monitor.protocol.loading import load_definition
from monitor.vocabulary import Severity
from tests.fakes.protocols import definitions, shipped


@settings(max_examples=100, deadline=None)
@given(definitions())
def test_json_gives_back_the_same_definition(definition: Definition) -> None:
    again = Definition.from_json(definition.to_json())

    assert again == definition
    assert again.digest == definition.digest
    assert list(again.states) == list(definition.states)


@pytest.mark.parametrize("name", ["observe", "assisted", "immediate"])
def test_shipped_protocols_survive_json(name: str) -> None:
    assert Definition.from_json(shipped()[name].to_json()) == shipped()[name]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"protocol": "x"}', '{"states": []}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Definition.from_json(text)


def test_digest_changes_with_content_and_not_with_order_of_states() -> None:
    definition = shipped()["assisted"]
    reordered = replace(definition, states=dict(reversed(list(definition.states.items()))))
    changed = replace(
        definition, states={**definition.states, "closed": replace(definition.states["closed"], enter=())}
    )

    assert reordered.digest == definition.digest
    assert changed.digest != definition.digest
    assert len(definition.digest) == 64


def test_comments_and_layout_do_not_change_the_digest() -> None:
    head = "protocol: p\nversion: 1\nsummary: s\ninitial: calm\nstates:\n"
    calm = "  calm:\n    on:\n      - {detection: act, do: [preserve], to: done}\n"
    block = "  calm:\n    on:\n      # loud\n      - detection: act\n        to: done\n        do:\n        - preserve: {}\n"
    end = "  done: {final: true}\n"

    one = load_definition(head + calm + end, "p.yaml")
    two = load_definition(head + block + end, "p.yaml")

    assert one.digest == two.digest


def test_labels_are_those_that_guards_name() -> None:
    definition = shipped()["observe"]
    guard = AnyOf((Not(LabelDetected("weapon")), LabelDetected("fight"), SeverityAtLeast(Severity.ACT)))
    calm = replace(definition.states["calm"], transitions=(Transition(OnDetection(Severity.ACT), guard, "grave"),))

    assert definition.labels == frozenset()
    assert replace(definition, states={**definition.states, "calm": calm}).labels == {"weapon", "fight"}

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.config.loading import load_config
from monitor.daemon.protocols import choose_protocols
from monitor.incidents.library import load_protocol_templates
from monitor.protocol import words
from monitor.protocol.diagram import to_mermaid
from monitor.protocol.loading import load_definition
from monitor.protocol.reference import filled, pictures
from monitor.shipped import protocols_dir
from monitor.vocabulary import AlertEvent, EffectKind, EffectOutcome, Freshness, PartnerSignal, Posture, ReviewDecision
from tests.fakes.protocols import shipped

PAGE = Path(__file__).parents[3] / "docs" / "protocols.md"
MEND = (
    'run: python -c "from pathlib import Path; from monitor.incidents.library import load_protocols; '
    "from monitor.protocol.reference import filled, pictures; page = Path('docs/protocols.md'); "
    "all = load_protocols(Path('protocols')); page.write_text(filled(page.read_text(), all)); "
    "[Path('docs/images', name).write_text(drawn) for name, drawn in pictures(all).items()]\""
)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text(), shipped()), MEND


@pytest.mark.parametrize("name", ["observe", "assisted", "immediate"])
def test_the_pictures_are_up_to_date(name: str) -> None:
    file = f"protocol-{name}.svg"

    assert (PAGE.parent / "images" / file).read_text() == pictures(shipped())[file], MEND


def test_the_page_has_every_part_and_links_every_protocol() -> None:
    page = PAGE.read_text()

    for part in ("keys", "postures", "triggers", "guards", "effects", *(f"diagram {name}" for name in shipped())):
        assert f"<!-- part: {part} -->" in page
    for name in shipped():
        assert f"[{name}](../protocols/{name}.yaml)" in page


def test_every_example_on_the_page_may_run(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    protocols = [text for text in examples if not text.startswith("protocol:\n")]
    configurations = [text for text in examples if text.startswith("protocol:\n")]

    assert protocols
    assert configurations
    for text in protocols:
        name = text.split()[1]
        assert load_definition(text, f"{name}.yaml").name == name
    for text in configurations:
        file = tmp_path / "config.yaml"
        file.write_text("servers: [{kind: embedded, name: relay, url: 'http://127.0.0.1:8935'}]\n" + text)
        templates = load_protocol_templates(protocols_dir())
        assert choose_protocols(load_config(file, {}), templates, None)["relay"].rules


def test_every_value_of_the_vocabulary_is_a_word_of_the_language() -> None:
    assert set(words.EFFECTS) == {kind.value for kind in EffectKind}
    assert set(words.OUTCOMES) == {outcome.value for outcome in EffectOutcome}
    assert set(words.POSTURES) == {posture.value for posture in Posture}
    assert set(words.WATCHED) == {freshness.value for freshness in Freshness}
    assert set(words.REVIEWS) == {decision.value for decision in ReviewDecision}
    assert set(words.PARTNERS) == {signal.value for signal in PartnerSignal}
    # That a review is overdue, or somebody on it, only the daemon can know.
    told_by_the_daemon = {AlertEvent.REVIEW_OVERDUE, AlertEvent.ACKNOWLEDGED}
    assert set(words.ALERTS) == {event.value for event in set(AlertEvent) - told_by_the_daemon}


@pytest.mark.parametrize("name", ["observe", "assisted", "immediate"])
def test_a_diagram_has_every_state_and_every_transition(name: str) -> None:
    definition = shipped()[name]
    lines = to_mermaid(definition).splitlines()

    leading = [t for state in definition.states.values() for t in state.transitions if t.to is not None]
    final = [state for state in definition.states.values() if state.final]
    assert lines[0] == "stateDiagram-v2"
    assert sum(" --> " in line for line in lines) == 1 + len(leading) + len(final)
    assert sum(line.strip().startswith("note ") for line in lines) == sum(
        any(t.to is None for t in state.transitions) for state in definition.states.values()
    )


def test_a_diagram_says_it_in_the_words_of_the_file() -> None:
    text = """protocol: two-words
version: 1
summary: s
initial: calm
states:
  calm:
    on:
      - {detection: act, if: {any: [{label: fight}, {not: {max_severity: act}}]}, do: [alert: {event: raised}], to: in-it}
  in-it:
    enter: [preserve]
    on:
      - {stream: ended, do: [preserve]}
      - {effect: preserve, outcome: [failed, unverified], if: {all: [{severity: review}]}, to: done}
      - {detection: cleared, to: done}
      - {review: confirm, to: done}
      - {after: 90s, to: done}
  done: {final: true}
"""

    assert to_mermaid(load_definition(text, "two-words.yaml")) == (
        "stateDiagram-v2\n"
        "    [*] --> calm\n"
        "    calm --> in_it : detection act if (label fight or not max_severity act) / alert raised\n"
        '    state "in-it" as in_it\n'
        "    in_it : in-it / preserve\n"
        "    in_it --> done : preserve failed or unverified if (severity review)\n"
        "    in_it --> done : detection cleared\n"
        "    in_it --> done : review confirm\n"
        "    in_it --> done : after 90s\n"
        "    note right of in_it\n"
        "        stream ended / preserve\n"
        "    end note\n"
        "    done --> [*]\n"
    )

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.loading import load_config
from monitor.daemon.protocols import ServerProtocols, choose_protocols
from monitor.errors import ConfigError
from monitor.incidents.library import load_protocol_templates
from monitor.vocabulary import EffectKind, StreamRef

SERVERS = """\
servers:
  - {name: relay, kind: embedded}
  - {name: cams, kind: static, streams: [{name: door, url: a.ts}]}
"""

DESK = """\
protocol: desk
version: 1
summary: A desk decides.
initial: calm
parameters:
  decide_within: {default: 60s, least: 10s, most: 5m}
  wakes: normal
states:
  calm:
    on:
      - {detection: review, do: [alert: {event: raised, priority: $wakes}], to: asking}
  asking:
    enter: [request_review: {within: $decide_within}]
    on:
      - {review: confirm, to: closed}
      - {review: dismiss, to: closed}
      - {after: $decide_within, to: closed}
  closed: {final: true}
"""

HOLDING = """\
protocol: holding
version: 1
summary: Hold it.
initial: calm
states:
  calm:
    on:
      - {detection: act, do: [alert: {event: raised}, hold%s], to: held}
  held:
    on:
      - {effect: hold, outcome: [succeeded, failed, unverified], do: [preserve]}
      - {effect: cut, outcome: [succeeded, failed, unverified], do: [preserve]}
      - {review: dismiss, to: releasing}
      - {after: 5m, to: releasing}
  releasing:
    enter: [release, unblock]
    on:
      - {effect: release, outcome: [succeeded, failed, unverified], do: [preserve]}
      - {effect: unblock, outcome: [succeeded, failed, unverified], to: closed}
      - {review: dismiss, to: releasing}
      - {after: 5m, to: closed}
  closed: {final: true}
"""


def choose(folder: Path, protocol: str, *, labels: tuple[str, ...] | None = None) -> dict[str, ServerProtocols]:
    protocols = folder / "protocols"
    protocols.mkdir(exist_ok=True)
    (protocols / "desk.yaml").write_text(DESK)
    (protocols / "desk2.yaml").write_text(DESK.replace("protocol: desk", "protocol: desk2"))
    (protocols / "careful.yaml").write_text(HOLDING.replace("holding", "careful") % ": {else: cut}")
    config = folder / "config.yaml"
    config.write_text(SERVERS + protocol)
    return choose_protocols(load_config(config, {}), load_protocol_templates(protocols), labels)


def refused(folder: Path, protocol: str, *, labels: tuple[str, ...] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        choose(folder, protocol, labels=labels)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


RULES = """\
protocol:
  default: desk
  parameters: {decide_within: 30s}
  rules:
    - {server: relay, app: news, name: "desk-*", protocol: desk2}
    - {app: news, parameters: {decide_within: 5m, wakes: crisis}}
    - {name: door, parameters: {decide_within: 10s}}
"""


@pytest.mark.parametrize(
    ("ref", "protocol", "values"),
    [
        (StreamRef("relay", "live", "cam1"), "desk", ("30s", "normal")),
        (StreamRef("relay", "news", "desk-1"), "desk2", ("60s", "normal")),
        (StreamRef("relay", "news", "street"), "desk", ("5m", "crisis")),
        (StreamRef("relay", "News", "street"), "desk", ("30s", "normal")),
        (StreamRef("cams", "news", "desk-1"), "desk", ("5m", "crisis")),
        (StreamRef("cams", "static", "door"), "desk", ("10s", "normal")),
    ],
)
def test_the_first_rule_that_matches_a_stream_counts(
    tmp_path: Path, ref: StreamRef, protocol: str, values: tuple[str, str]
) -> None:
    chosen = choose(tmp_path, RULES)[ref.server]
    definition = next((rule.definition for rule in chosen.rules if rule.matches(ref)), chosen.default)

    assert definition.name == protocol
    assert tuple(definition.parameters.values()) == values


def test_values_reach_effects_and_deadlines_and_make_another_definition(tmp_path: Path) -> None:
    chosen = choose(tmp_path, RULES)["relay"]
    (raised,) = chosen.rules[1].definition.states["calm"].transitions[0].effects

    assert raised.parameters["priority"] == "crisis"
    assert chosen.rules[1].definition.states["asking"].enter[0].parameters == {"within_s": 300.0}
    assert chosen.rules[1].definition.digest != chosen.default.digest


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (
            "protocol: {default: dask}\n",
            "config.yaml:4: protocol.default: there is no such protocol: use one of careful, desk, desk2",
        ),
        (
            "protocol: {default: desk, rules: [{server: rely, protocol: desk}]}\n",
            "config.yaml:4: protocol.rules[0].server: there is no media server of this name: use one of relay, cams",
        ),
        (
            "protocol: {default: desk, rules: [{protocol: dask}]}\n",
            "config.yaml:4: protocol.rules[0].protocol: there is no such protocol: use one of careful, desk, desk2",
        ),
        (
            "protocol: {default: desk, parameters: {decide: 5s}}\n",
            "config.yaml:4: protocol.parameters.decide: protocol desk has no such parameter: it has decide_within, wakes",
        ),
        (
            "protocol: {default: desk, rules: [{app: a, parameters: {decide_within: 3}}]}\n",
            (
                "config.yaml:4: protocol.rules[0].parameters.decide_within: this is no duration, as its default 60s is: "
                "the default is 60s"
            ),
        ),
        (
            "protocol: {default: desk, parameters: {decide_within: 5s}}\n",
            (
                "config.yaml:4: protocol.parameters.decide_within: this is less than 10s, the smallest value allowed: "
                "the default is 60s"
            ),
        ),
        (
            'protocol: {default: desk, rules: [{app: "news*", protocol: desk}, {app: newsroom, name: a, protocol: desk2}]}\n',
            (
                "config.yaml:4: protocol.rules[1]: this rule can never apply: entry 0 (counted from 0) is for all of these "
                "streams, too: put it first, or remove it"
            ),
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, protocol: str, expected: str) -> None:
    assert refused(tmp_path, protocol) == [expected]


def test_a_value_that_the_protocol_does_not_take_is_refused_with_both_places(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "protocol: {default: desk, parameters: {wakes: everybody}}\n")

    assert problem.startswith("config.yaml:4: protocol.parameters: with these values protocol desk must not run: ")
    assert "desk.yaml:11" in problem
    assert "unknown word 'everybody'" in problem


def test_labels_that_the_model_does_not_give_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "protocols"
    folder.mkdir()
    (folder / "picky.yaml").write_text(
        DESK.replace("protocol: desk", "protocol: picky").replace("review, do", "review, label: weapon, do")
    )

    (problem,) = refused(tmp_path, "protocol: {default: picky}\n", labels=("violence",))

    assert "waits for labels that the model does not give: weapon" in problem


def test_a_hold_with_an_alternative_is_a_cut_where_the_server_cannot_hold(tmp_path: Path) -> None:
    chosen = choose(tmp_path, "protocol: {default: careful}\n")

    def kinds(server: str) -> list[EffectKind]:
        return [effect.kind for effect in chosen[server].default.states["calm"].transitions[0].effects]

    assert kinds("relay") == [EffectKind.ALERT, EffectKind.HOLD]
    assert kinds("cams") == [EffectKind.ALERT, EffectKind.CUT]


def test_a_hold_without_one_is_refused_there_with_both_places(tmp_path: Path) -> None:
    folder = tmp_path / "protocols"
    folder.mkdir()
    hold = HOLDING.replace("      - {effect: cut, outcome: [succeeded, failed, unverified], do: [preserve]}\n", "") % ""
    (folder / "holding.yaml").write_text(hold)

    (problem,) = refused(tmp_path, "protocol: {default: holding}\n")

    assert problem.startswith("config.yaml:4: protocol.default: media server cams cannot carry this protocol out: ")
    assert "holding.yaml:8: states.calm.on[0].do[1]: a media server that cannot hold does nothing here" in problem


def test_policies_that_a_protocol_names_must_be_configured(tmp_path: Path) -> None:
    (tmp_path / "protocols").mkdir()
    citing = DESK.replace("protocol: desk", "protocol: citing").replace(
        "priority: $wakes", "priority: $wakes, policy: spam"
    )
    (tmp_path / "protocols" / "citing.yaml").write_text(citing)
    rule = "policies: [{code: %s, title: No spam, category: fraud}]\nprotocol: {default: citing}\n"
    (problem,) = refused(tmp_path, rule % "other")
    assert "policies that there are not: spam" in problem
    assert choose(tmp_path, rule % "spam")["relay"].default.policies == {"spam"}

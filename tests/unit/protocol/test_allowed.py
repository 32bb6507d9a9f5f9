"""What the checks must let through although it comes near a mistake."""

from __future__ import annotations

import pytest

from monitor.errors import ProtocolDefinitionError
from monitor.protocol.loading import load_definition

HEAD = "protocol: near\nversion: 1\nsummary: Near a mistake.\ninitial: calm\nstates:\n"
END = "  closed: {final: true}\n"

TOLD_AFTERWARDS = """\
  calm:
    on:
      - {detection: act, do: [cut], to: cutting}
  cutting:
    on:
      - {effect: cut, outcome: succeeded, do: [alert: {event: contained}], to: cut}
      - {effect: cut, outcome: [failed, unverified], do: [alert: {event: raised}], to: cut}
      - {review: dismiss, do: [unblock, alert: {event: dismissed}], to: cut}
      - {after: 1m, do: [alert: {event: raised}], to: cut}
  cut:
    on:
      - {effect: unblock, outcome: [succeeded, failed, unverified], do: [preserve]}
      - {review: dismiss, do: [unblock], to: cut}
      - {after: 1d, to: closed}
"""


def load(states: str) -> None:
    load_definition(HEAD + states + END, "near.yaml")


def waiting(*transitions: str) -> str:
    lines = "".join(f"      - {{{line}}}\n" for line in (*transitions, "after: 10m, to: closed"))
    return "  calm:\n    on:\n      - {detection: review, do: [preserve], to: waiting}\n  waiting:\n    on:\n" + lines


def test_telling_people_right_after_the_cut_on_every_way_out() -> None:
    load(TOLD_AFTERWARDS)


def test_but_not_on_only_some_of_them() -> None:
    silent = TOLD_AFTERWARDS.replace("{after: 1m, do: [alert: {event: raised}], to: cut}", "{after: 1m, to: cut}")

    with pytest.raises(ProtocolDefinitionError, match="nobody is told of this cut"):
        load(silent)


@pytest.mark.parametrize(
    "transitions",
    [
        pytest.param(("detection: act, to: closed", "detection: review, do: [preserve]"), id="graver first"),
        pytest.param(
            ("review: dismiss, if: {severity: act}, do: [preserve]", "review: dismiss, to: closed"), id="guarded first"
        ),
        pytest.param(("after: 1m, do: [preserve]", "after: 1m, if: {severity: act}, to: closed"), id="two at once"),
        pytest.param(("after: 5m, if: {severity: act}, to: waiting",), id="an earlier deadline again"),
        pytest.param(
            (
                "effect: preserve, outcome: failed, to: closed",
                "effect: preserve, outcome: [failed, succeeded], do: [alert: {event: updated}]",
            ),
            id="outcomes that overlap",
        ),
        pytest.param(("stream: ended, do: [preserve]", "stream: returned, do: [preserve]"), id="both stream changes"),
        pytest.param(("detection: cleared, to: closed", "detection: act, do: [preserve]"), id="cleared and raised"),
        pytest.param(
            ("viewers: 1000, do: [preserve]", "viewers: 100, if: {not: {viewers: 1000}}, to: closed"), id="excluded"
        ),
        pytest.param(
            (
                "detection: act, label: fight, to: closed",
                "detection: act, do: [preserve]",
                "detection: review, label: fight, do: [alert: {event: updated}]",
            ),
            id="both said first",
        ),
        pytest.param(
            ("review: confirm, if: {severity: act}, to: closed", "review: confirm, if: {label: fight}, to: closed"),
            id="two ways to the same",
        ),
        pytest.param(
            (
                "detection: cleared, label: fight, if: {severity: review}, do: [preserve]",
                "detection: cleared, to: closed",
            ),
            id="one label and all",
        ),
        pytest.param(
            (
                "after: 1m, if: {all: [{severity: act}, {can: hold}]}, to: closed",
                "after: 1m, if: {severity: act}, do: [preserve], to: waiting",
            ),
            id="what only some servers can",
        ),
    ],
)
def test_transitions_that_only_look_alike(transitions: tuple[str, ...]) -> None:
    load(waiting(*transitions))


def test_keys_without_values_and_effects_in_long_form() -> None:
    load("""\
  calm:
    enter:
    on:
      - detection: act
        do:
          - preserve:
          - alert:
              event: raised
        to: waiting
  waiting:
    on: [{after: 1m, to: closed}]
""")

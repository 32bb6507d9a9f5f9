"""The closed vocabulary of protocol files, with what each word means. Parser and documentation both read it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from monitor.vocabulary import AlertEvent, EffectKind, EffectOutcome, Freshness, PartnerSignal, Posture, ReviewDecision

REQUIRED_KEYS: Final = ("protocol", "version", "summary", "initial", "states")

DOCUMENT_KEYS: Final[Mapping[str, str]] = {
    "protocol": "name of the protocol, the same as the file's",
    "version": "whole number from 1; count it up when you change the file",
    "summary": "what it does, in a sentence or two, for people who choose a protocol",
    "initial": "state of a stream on which nothing has happened",
    "states": "all states, by name",
    "parameters": "values that the configuration may set otherwise, by name; may be left out",
}

PARAMETER_KEYS: Final[Mapping[str, str]] = {
    "default": "the value where the configuration names none: a duration, a whole number or a word",
    "least": "the smallest value allowed, for durations and numbers; may be left out",
    "most": "the largest value allowed; may be left out",
    "summary": "one sentence on what it changes; may be left out",
}

STATE_KEYS: Final[Mapping[str, str]] = {
    "summary": "one sentence for the responder who sees an incident in this state; may be left out",
    "posture": "how closely the stream is watched; left out: `calm` in the initial state and in final ones, else `close`",
    "enter": "effects, done in this order on every entry",
    "on": "transitions; the first in file order that matches is taken",
    "final": "`true`: the incident is over here",
}

TRANSITION_KEYS: Final[Mapping[str, str]] = {
    "if": "a guard that has to hold as well",
    "to": "state to enter; its own name enters it anew, left out: stay, with all deadlines running on",
    "do": "effects of this transition, done before those that the new state does on entry",
}

POSTURES: Final[Mapping[str, str]] = {
    Posture.CALM.value: "sampled as cheaply as possible",
    Posture.CLOSE.value: "sampled evenly and more often",
    Posture.FULL.value: "sampled as often as the classifier can use",
}

DETECTIONS: Final[Mapping[str, str]] = {
    "review": "a detection was raised to `review` or above",
    "act": "a detection was raised to `act`",
    "eased": "the stream was at `act` and is not any more; with `label`, that label",
    "cleared": "the last detection on the stream has cleared; with `label`, that of this label",
}

REVIEWS: Final[Mapping[str, str]] = {
    ReviewDecision.CONFIRM.value: "a responder says that it is what it looks like",
    ReviewDecision.DISMISS.value: "a responder says that it is a mistake",
    ReviewDecision.ESCALATE.value: "a responder wants others to decide, or harder measures",
    ReviewDecision.RELEASE.value: "a responder wants a held stream back on the air, whatever it was",
}

STREAM_CHANGES: Final[Mapping[str, str]] = {
    "ended": "the publication is gone from the media server",
    "returned": "a publication of the same name is live again",
}

WATCHED: Final[Mapping[str, str]] = {
    Freshness.LATE.value: "the last verdict is older than `watch.late_after`",
    Freshness.BLIND.value: "the last verdict is older than `watch.blind_after`: nobody knows what is on the stream now",
    Freshness.FRESH.value: "there is a recent verdict again",
}

PARTNERS: Final[Mapping[str, str]] = {
    PartnerSignal.RAISED.value: "another platform warns of this stream",
    PartnerSignal.WITHDRAWN.value: "it takes its warning back",
}

OUTCOMES: Final[Mapping[str, str]] = {
    EffectOutcome.SUCCEEDED.value: "it was done, and for a hold, a release and a cut that was verified",
    EffectOutcome.FAILED.value: "it could not be done, and will not be tried further",
    EffectOutcome.UNVERIFIED.value: "it was accepted, but its result could not be confirmed",
    EffectOutcome.UNSUPPORTED.value: "this media server or installation has no way to do it (`hold` and `share` only)",
}

TRIGGERS: Final[Mapping[str, str]] = {
    "detection": "scores persisted, or stayed quiet",
    "review": "a responder decided",
    "effect": "an effect that this incident asked for has ended; `outcome` names one outcome or a list of them",
    "stream": "the publication went or came",
    "watched": "how recent the last verdict on the stream is has changed",
    "report": "a user reported the stream; the value is a category of yours, or `any`",
    "partner": "another platform spoke of this stream",
    "known_content": "the stream shows known content; the value is the name of a list, or `any`",
    "viewers": "the number of viewers rose to this or above, from below",
    "strikes": "somebody goes live against whom so many strikes stand; or their number rose to this or above, from below",
    "after": "this long (`60s`, `10m`, `1d`; at least 1s) after the state was entered",
}

TRIGGER_DETAILS: Final[Mapping[str, tuple[str, str]]] = {
    "outcome": ("effect", "which outcome, or a list of them; must be given"),
    "late": ("effect", "`true`: outcomes of requests that a newer one of the same kind has replaced count as well"),
    "label": ("detection", "only this label counts"),
}
"""Further keys of a trigger: which one they go with, and what they mean."""

ANY: Final = "any"

GUARDS: Final[Mapping[str, str]] = {
    "severity": "`review` or `act`: the stream's severity is at least that now",
    "max_severity": "`review` or `act`: it has been at least that at some time in this incident",
    "label": "name of a label: it is at `review` or above now",
    "strikes": "whole number from 1: at least so many strikes stand against the publisher",
    "viewers": "whole number from 1: at least so many watch the stream now",
    "reports": "whole number from 1: users reported the stream at least so often in this incident",
    "can": "`hold`: the stream's media server can do that",
    "all": "list of guards: every one holds",
    "any": "list of guards: at least one holds",
    "not": "a guard: it does not hold",
}

SEVERITIES: Final = ("review", "act")

PRIORITIES: Final[Mapping[str, str]] = {
    "normal": "the usual; used when `priority` is left out",
    "crisis": "wakes people up",
}

ALERTS: Final[Mapping[str, str]] = {
    AlertEvent.RAISED.value: "something has been detected",
    AlertEvent.UPDATED.value: "something that matters has changed",
    AlertEvent.CONTAINED.value: "nobody sees the stream any more, verified; only allowed on `outcome: succeeded` of `cut` or `hold`",
    AlertEvent.RELEASED.value: "the publisher is back, or may be; only allowed on `outcome: succeeded` of `unblock` or `release`",
    AlertEvent.DISMISSED.value: "it was a mistake: what was said before is withdrawn",
    AlertEvent.CLOSED.value: "the incident is over",
}


@dataclass(frozen=True, slots=True)
class EffectWord:
    """One effect: what it means, and its parameters with what they mean; `required` ones must be given."""

    meaning: str
    parameters: Mapping[str, str]
    required: tuple[str, ...] = ()


_WITHIN = "how long it is tried; the configured time if left out"
_POLICY = "code of the policy that this enforces; that of the incident's detection or report if left out"
_RETRY = "how long to wait between two tries; rising from 100 ms to 2 s if left out"

EFFECTS: Final[Mapping[str, EffectWord]] = {
    EffectKind.PRESERVE.value: EffectWord(
        "keep the last minute as evidence", {"within": "how long it is tried; once if left out", "retry": _RETRY}
    ),
    EffectKind.ALERT.value: EffectWord(
        "tell every receiver",
        {"event": "why, from the list below", "priority": "`normal` or `crisis`", "policy": _POLICY},
        ("event",),
    ),
    EffectKind.REQUEST_REVIEW.value: EffectWord(
        "ask a responder to decide",
        {
            "within": "how long they have, as shown to them",
            "people": "how many different people must confirm; 1 if left out",
        },
        ("within",),
    ),
    EffectKind.HOLD.value: EffectWord(
        "let nobody see the stream while its encoder stays connected, and verify that; `release` takes it back",
        {
            "within": _WITHIN,
            "retry": _RETRY,
            "else": "`cut`: cut instead on a media server that cannot hold",
            "policy": _POLICY,
        },
    ),
    EffectKind.RELEASE.value: EffectWord(
        "show a held stream again; a stream that is not held is left alone", {"within": _WITHIN, "retry": _RETRY}
    ),
    EffectKind.CUT.value: EffectWord(
        "end the stream at the media server and verify that it is gone",
        {
            "for": "how long afterwards to cut again if the encoder comes back; the configured time if left out",
            "within": _WITHIN,
            "retry": _RETRY,
            "policy": _POLICY,
        },
    ),
    EffectKind.BLOCK.value: EffectWord(
        "refuse the publisher's return; under a policy of the tiers in `strikes.tiers` also a strike, which `unblock` takes back",
        {"for": "how long", "policy": _POLICY},
        ("for",),
    ),
    EffectKind.UNBLOCK.value: EffectWord("lift the block of this stream", {}),
    EffectKind.SHARE.value: EffectWord("tell partners what to look out for; needs partners to be configured", {}),
}

DURATIONS: Final = ("for", "within", "retry")
"""Parameters of effects that are durations; definitions keep them in seconds, under names that end in ``_s``."""

CONTAINS: Final = frozenset({EffectKind.HOLD, EffectKind.CUT, EffectKind.BLOCK})
"""Effects that silence somebody: people must know of them, and a mistake must be undone."""


def suggestion(word: object, allowed: Iterable[str]) -> str:
    """Return how to mend an unknown word: the nearest one there is, or all of them."""
    words = tuple(allowed)
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of: {', '.join(words)}"

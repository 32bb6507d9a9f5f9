"""Sections of config.yaml about rules and those who break them: policies, strikes, users' reports."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from monitor.config.fields import Duration, HttpAddress, PolicyCode
from monitor.config.section import Secret, Section

TierWord = Literal["most_serious", "serious", "other"]
CategoryWord = Literal[
    "violence",
    "terrorism",
    "self_harm",
    "minors",
    "sexual",
    "hate",
    "harassment",
    "dangerous_acts",
    "animals",
    "illegal_goods",
    "fraud",
    "privacy",
    "copyright",
    "other",
]


class PolicySection(Section):
    """One rule of yours. Alerts, incidents, strikes and the audit log say which one they enforce."""

    code: PolicyCode
    """Short name, used in protocols (`policy: …`), alerts and reports."""
    title: str = Field(min_length=1, max_length=200)
    """What people are told that they broke."""
    url: HttpAddress | None = None
    """Where the rule can be read."""
    text: str | None = Field(default=None, min_length=1, max_length=4000)
    """The rule itself, where there is no such place."""
    category: CategoryWord
    """What it is about; users' reports in this category come under it."""
    tier: TierWord = "serious"
    """How grave it is to break it; see `strikes.tiers`."""
    labels: tuple[str, ...] = ()
    """Detection labels that it covers. The first policy that names none covers all that no other one names."""

    @model_validator(mode="after")
    def _readable(self) -> PolicySection:
        if self.url is not None and self.text is not None:
            message = "a rule stands in one place: write url or text, not both"
            raise ValueError(message)
        return self


class StrikesSection(Section):
    """What a publisher who breaks a policy has to expect."""

    tiers: tuple[TierWord, ...] = ("most_serious",)
    """Policies of these tiers give a strike: each `block` of a protocol under such a policy, and each offence reported by
    `POST /api/v1/strikes`. An empty list gives none."""
    ladder: tuple[Duration, ...] = Field(default=(30 * 86_400.0,), min_length=1, max_length=20)
    """How long a publisher is barred from live, from the decision on: at the first strike that stands, the second, and so
    on; the last entry counts for all further ones. A protocol's block that lasts longer stays as it is."""
    remember: Duration = 365 * 86_400.0
    """How long a strike stands, which is how long it counts for the ladder and for `strikes` in protocols; at least as long
    as it bars."""
    scope: Literal["server", "everywhere"] = "server"
    """Whether a publisher is barred on the media server of the offence, or, under the same identity, on all of them."""
    account_pattern: str | None = Field(default=None, min_length=1, max_length=500)
    """Regular expression that finds a publisher's account in `app/name`, as its group `account`, such as
    `^live/(?P<account>[a-z0-9]+)-`. Without one, a publisher is known by application and stream name alone."""
    addresses: bool = False
    """Bar the publisher's network address too (of IPv6, its /64). Addresses are shared: this hits bystanders."""
    key: Secret | None = None
    """Where the key is found under which identities are hashed; by default a file `identity.key` below `data_dir` that is
    made when it is missing. Daemons that share a store need the same."""

    @model_validator(mode="after")
    def _finds_accounts(self) -> StrikesSection:
        if self.account_pattern is not None:
            try:
                names = re.compile(self.account_pattern).groupindex
            except re.error:
                message = "account_pattern is no regular expression: mend it"
                raise ValueError(message) from None
            if "account" not in names:
                message = "account_pattern has no group `account`: write (?P<account>…) around what finds it"
                raise ValueError(message)
        return self


class ReportsSection(Section):
    """Reports by users, which `POST /api/v1/reports` takes."""

    per_reporter: int = Field(default=5, ge=1, le=1000)
    """Reports that one reporter may send in a minute."""
    per_token: int = Field(default=600, ge=1, le=100_000)
    """Reports that may come in a minute under one token."""
    remember_ended: Duration = 3600.0
    """How long after its end a stream can still be reported."""


DEFAULT_POLICY = PolicySection(
    code="violence",
    title="Real violence against people must not be streamed",
    text="Livecordon's own words, in force where you name no policies.",
    category="violence",
    tier="most_serious",
)
"""In force where the operator names no policies, so that nobody is cut off without a reason."""

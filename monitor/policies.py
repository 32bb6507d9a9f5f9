"""The operator's rules: what each containment, strike and alert says that it enforces."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.vocabulary import Category, PolicyTier


@dataclass(frozen=True, slots=True)
class Policy:
    """One rule.

    Attributes:
        code: Its short name.
        title: What people are told that they broke.
        category: What it is about.
        tier: How grave it is to break it.
        url: Where it can be read, or None.
        text: The rule itself, or None.
        labels: Detection labels that it covers.
    """

    code: str
    title: str
    category: Category
    tier: PolicyTier
    url: str | None = None
    text: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policies:
    """All rules, in the operator's order."""

    all: tuple[Policy, ...] = ()

    @property
    def otherwise(self) -> Policy | None:
        """The rule for what no other one covers: the first that names no labels."""
        return next((policy for policy in self.all if not policy.labels), None)

    def get(self, code: str | None) -> Policy | None:
        """Return the rule of this code, or None."""
        return next((policy for policy in self.all if policy.code == code), None)

    def of_label(self, label: str) -> Policy | None:
        """Return the rule that a detection of `label` comes under."""
        return next((policy for policy in self.all if label in policy.labels), self.otherwise)

    def of_category(self, category: str) -> Policy | None:
        """Return the rule that a report in this category comes under; None where no rule is about it."""
        return next((policy for policy in self.all if policy.category == category), None)

"""What the configuration says of policies and strikes, as values that can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitor.clock import Clock
from monitor.config.enforcement import PolicySection, ReportsSection
from monitor.config.loading import LoadedConfig
from monitor.config.secrets import resolve_secret
from monitor.daemon.reports import Reports
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.effects.identity import Identifier, identity_key
from monitor.effects.strikes import StrikeRules, Striking
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import StreamContext
from monitor.policies import Policies, Policy
from monitor.store.database import Database
from monitor.vocabulary import Category, PolicyTier, StreamRef


@dataclass(frozen=True, slots=True)
class Enforcement:
    """The operator's rules, what breaking them leads to, and how publishers are known again."""

    policies: Policies
    rules: StrikeRules
    identifier: Identifier
    report_settings: ReportsSection

    def striking(self, address_of: Callable[[StreamRef], str | None]) -> Striking:
        """Return what writes strikes; `address_of` says from where a live stream comes."""
        return Striking(self.rules, self.policies, self.identifier, address_of)

    def reports(
        self,
        database: Database,
        engine: IncidentEngine,
        registry: StreamRegistry,
        clock: Clock,
        context_of: Callable[[WatchedStream, bool], StreamContext],
    ) -> Reports:
        """Return what takes users' reports; see `Reports`."""
        return Reports(
            database,
            engine,
            registry,
            clock,
            identifier=self.identifier,
            settings=self.report_settings,
            context_of=context_of,
        )


def enforcement_of(loaded: LoadedConfig, environ: Mapping[str, str]) -> Enforcement:
    """Read policies, rules and the key of identities, which is made when there is none yet. Blocking.

    Raises:
        ConfigError: the key cannot be had.
    """
    config, section = loaded.config, loaded.config.strikes
    if section.key is None:
        key = identity_key(config.data_dir / "identity.key")
    else:
        key = resolve_secret(section.key, environ).get_secret_value().encode()
    return Enforcement(
        policies=policies_of(config.policies_in_force),
        rules=StrikeRules(
            tiers=frozenset(PolicyTier(tier) for tier in section.tiers),
            ladder_s=section.ladder,
            remember_s=section.remember,
            scope=section.scope,
        ),
        identifier=Identifier(key, account_pattern=section.account_pattern, addresses=section.addresses),
        report_settings=config.reports,
    )


def policies_of(sections: tuple[PolicySection, ...]) -> Policies:
    """Return the rules that the configuration names."""
    return Policies(
        tuple(
            Policy(
                code=section.code,
                title=section.title,
                category=Category(section.category),
                tier=PolicyTier(section.tier),
                url=section.url,
                text=section.text,
                labels=section.labels,
            )
            for section in sections
        )
    )

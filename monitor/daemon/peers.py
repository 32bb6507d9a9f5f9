"""Partners of the configuration as values that can be used: who signs how, and what they may lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from monitor.alerts.port import Receiver
from monitor.alerts.receivers import build_receivers
from monitor.alerts.signing import Signer
from monitor.alerts.verifying import Verifier
from monitor.config.loading import LoadedConfig
from monitor.config.models import Config
from monitor.config.partners import PartnerSection
from monitor.config.receivers import ReceiverSection
from monitor.config.secrets import resolve_secret
from monitor.vocabulary import Posture, Severity


@dataclass(frozen=True, slots=True)
class Peer:
    """One partner.

    Attributes:
        settings: What the configuration says of it.
        verifier: Knows its signatures.
        signer: Signs receipts.
    """

    settings: PartnerSection
    verifier: Verifier = field(repr=False)
    signer: Signer = field(repr=False)

    @property
    def name(self) -> str:
        """The operator's name for it."""
        return self.settings.name

    @property
    def posture(self) -> Posture:
        """How closely streams are watched because of it."""
        return Posture(self.settings.posture)

    @property
    def least(self) -> Severity:
        """From which severity on its alerts lead to anything."""
        return Severity.from_word(self.settings.from_severity)


def build_peers(loaded: LoadedConfig, environ: Mapping[str, str]) -> tuple[Peer, ...]:
    """Read the secrets of all partners, which `monitor.config.checks` has found to be good.

    Raises:
        ConfigError: a secret cannot be read.
    """
    return tuple(_peer(section, environ) for section in loaded.config.partners)


def told_by(config: Config) -> tuple[ReceiverSection, ...]:
    """Return everybody who is told: receivers, and partners with an address."""
    partners = [receiver for one in config.partners if (receiver := one.receiver) is not None]
    return (*config.alerts.receivers, *partners)


def partner_receivers(loaded: LoadedConfig, environ: Mapping[str, str]) -> tuple[Receiver, ...]:
    """Return the receivers of alerts that partners with an address are.

    Raises:
        ConfigError: an address or a secret cannot be used.
    """
    entries = [receiver for one in loaded.config.partners if (receiver := one.receiver) is not None]
    return build_receivers(entries, environ, config_file=str(loaded.file), where="partners")


def _peer(section: PartnerSection, environ: Mapping[str, str]) -> Peer:
    secrets = [resolve_secret(secret, environ) for secret in section.secrets]
    keys = [resolve_secret(key, environ) for key in section.signing_keys]
    verifier = Verifier(secrets, [SecretStr(key) for key in section.public_keys])
    return Peer(section, verifier, Signer(secrets, keys))

"""Parts that are read and checked before anything starts: model, protocols, rules, receivers, policies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import URL

from monitor import shipped
from monitor.alerts.links import Links
from monitor.alerts.port import Receiver
from monitor.alerts.receivers import build_receivers
from monitor.classify.package import ModelPackage
from monitor.config.loading import LoadedConfig
from monitor.config.models import Config
from monitor.config.secrets import resolve_secret
from monitor.config.watching import WatchSection
from monitor.daemon.enforcement import Enforcement, enforcement_of
from monitor.daemon.keeper import ServerPolicy
from monitor.daemon.model import chosen_package, chosen_shadow
from monitor.daemon.peers import Peer, build_peers, partner_receivers
from monitor.daemon.place import store_place
from monitor.daemon.protocols import choose_protocols
from monitor.daemon.remote import remote_settings
from monitor.detect.persistence import DetectionRule
from monitor.detect.rules import rules_for
from monitor.incidents.library import load_protocol_templates
from monitor.protocol.template import Template
from monitor.vocabulary import StreamRef
from monitor.watch.settings import WatchSettings
from monitor.web.settings import WebSettings


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a daemon is built from; all of it is valid."""

    config: Config
    package: ModelPackage
    shadow: ModelPackage | None
    rules: Mapping[str, DetectionRule]
    policies: Mapping[str, ServerPolicy]
    receivers: tuple[Receiver, ...]
    peers: tuple[Peer, ...]
    links: Links
    web: WebSettings
    watch: WatchSettings
    store: Path | URL
    enforcement: Enforcement

    def title(self, ref: StreamRef) -> str:
        """Return a stream's name as people may see it."""
        policy = self.policies.get(ref.server)
        # A server that was taken out of the configuration may have had secret names.
        return f"{ref.app}/{ref.name}" if policy is not None and not policy.names_are_secret else ref.stream_id


def build_parts(loaded: LoadedConfig, environ: Mapping[str, str]) -> Parts:
    """Read and check everything that the configuration names. Blocking.

    Raises:
        ProblemsError: a model package, protocol, secret or setting cannot be used.
    """
    config = loaded.config
    package = chosen_package(loaded)
    templates = load_protocol_templates(config.protocol.directory or shipped.protocols_dir())
    enforcement = enforcement_of(loaded, environ)
    links = Links(enforcement.identifier.derived_key("acknowledgements"), config.alerts.page_url)
    return Parts(
        config=config,
        package=package,
        shadow=chosen_shadow(loaded, package),
        rules=rules_for(config.detection, package),
        policies=_policies(loaded, templates, package),
        receivers=(
            *build_receivers(config.alerts.receivers, environ, config_file=str(loaded.file), links=links),
            *partner_receivers(loaded, environ),
        ),
        peers=build_peers(loaded, environ),
        links=links,
        web=WebSettings.from_config(config.web, lambda secret: resolve_secret(secret, environ).get_secret_value()),
        watch=replace(
            watch_settings(config.watch), spool=config.spool_directory, remote=remote_settings(loaded, package, environ)
        ),
        store=store_place(loaded, environ),
        enforcement=enforcement,
    )


def watch_settings(section: WatchSection) -> WatchSettings:
    """Return how watchers are run under this section of the configuration."""
    cores = len(os.sched_getaffinity(0))
    return WatchSettings(
        model=section.model,
        models_dir=section.models_dir,
        model_variant=section.model_variant,
        shadow_model=section.shadow_model,
        shadow_share=section.shadow_share,
        provider=section.provider,
        classifier=section.classifier,
        watchers=section.watchers or cores,
        open_timeout_s=section.open_timeout,
        read_timeout_s=section.read_timeout,
        ring_bytes=section.ring_bytes,
        ring_total_bytes=section.ring_total_bytes,
        run_as_user=section.run_as_user,
        refuse_system_calls=section.refuse_system_calls,
    )


def _policies(
    loaded: LoadedConfig, templates: Mapping[str, Template], package: ModelPackage
) -> dict[str, ServerPolicy]:
    config = loaded.config
    chosen = choose_protocols(loaded, templates, package.manifest.labels)
    return {
        server.name: ServerPolicy(
            definition=chosen[server.name].default,
            dry_run=config.dry_run or server.dry_run,
            names_are_secret=server.names_are_secret,
            rules=chosen[server.name].rules,
        )
        for server in config.servers
    }

"""Another model while the daemon runs: checked, tried, written into the audit log, and only then in force."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from monitor import metrics
from monitor.classify.package import ModelPackage
from monitor.clock import Clock
from monitor.config.loading import LoadedConfig
from monitor.daemon.keeper import Keeper, ServerPolicy
from monitor.daemon.model import chosen_package, chosen_shadow
from monitor.daemon.parts import Parts, watch_settings
from monitor.daemon.remote import remote_settings
from monitor.daemon.shadow import ShadowJudge
from monitor.daemon.thresholds import Thresholds
from monitor.detect.rules import rules_for
from monitor.errors import LivecordonError, StoreError
from monitor.store import audit
from monitor.store.database import Database
from monitor.watch.messages import Ready
from monitor.watch.model_swaps import ModelSwapRefused
from monitor.watch.supervisor import Watchers

log = structlog.get_logger()

BY_CONFIGURATION: Final = "configuration"
"""Who asks for another model when the configuration is read again."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """What became of a request that was not refused.

    Attributes:
        before, after: ``name@version`` of the models; the same where nothing was to be done.
        digest: `ModelPackage.score_digest` of the model in force now.
        changed: Whether there was anything to be done; it may have been about the model beside it alone.
    """

    before: str
    after: str
    digest: str
    changed: bool


class ModelSwap:
    """Takes another model into use, or refuses it and leaves everything as it is.

    Of a configuration that is read again only what says which model is taken: `watch.model`, `watch.models_dir`,
    `watch.model_variant`, `watch.remote`, `watch.shadow_model` and `watch.shadow_share`.
    """

    def __init__(
        self,
        parts: Parts,
        watchers: Watchers,
        *,
        keeper: Keeper,
        shadow: ShadowJudge,
        thresholds: Thresholds,
        database: Database,
        clock: Clock,
    ) -> None:
        """Begin with the models of `parts`."""
        self._parts = parts
        self._watchers = watchers
        self._keeper = keeper
        self._thresholds = thresholds
        self._database = database
        self._clock = clock
        self._package = parts.package
        self._judge = shadow
        self._beside: tuple[str, float] | None = None
        self._set_beside(parts.shadow, parts.watch.shadow_share)
        self._asked = asyncio.Lock()

    @property
    def package(self) -> ModelPackage:
        """The model in force: that by which streams are judged, or are about to be."""
        return self._package

    def use_policies(self, policies: Mapping[str, ServerPolicy]) -> None:
        """Look at the labels that these protocols wait for, from the next request on."""
        self._parts = replace(self._parts, policies=policies)

    async def swap(self, loaded: LoadedConfig, *, by: str, why: str) -> Swapped:
        """Take the model of `loaded` into use; returns when it has passed its self-test and is in force.

        Watchers are then replaced one after the other, and each stream is judged by the model that has scored it.

        Args:
            loaded: What says which model.
            by: Who asks; written into the audit log.
            why: Their reason, likewise.

        Raises:
            ConfigError: it cannot be run so.
            ModelPackageError: there is no such package, or it is refused.
            ModelSwapRefused: a watcher cannot use it; it lacks a label that a protocol waits for; it is another package of
                the same name and version; or another swap is under way (``swap_under_way``).
            StoreError: the audit log cannot be written, or what was learnt for this model cannot be read.
        """
        try:
            async with self._asked:
                swapped = await self._swap(loaded, by, why)
        except LivecordonError as error:
            metrics.MODEL_SWAPS.labels("refused").inc()
            log.error("model_refused", model=self._package.name, reason=error.reason, problem=str(error)[:2000])  # noqa: TRY400 - a trace says no more
            await self._record_refusal(error, by, why)
            raise
        metrics.MODEL_SWAPS.labels("swapped" if swapped.changed else "unchanged").inc()
        log.info("model_in_force", before=swapped.before, model=swapped.after, digest=swapped.digest)
        return swapped

    async def _swap(self, loaded: LoadedConfig, by: str, why: str) -> Swapped:
        before = self._package
        package = await asyncio.to_thread(chosen_package, loaded)
        remote = await asyncio.to_thread(remote_settings, loaded, package, os.environ)
        shadow = await asyncio.to_thread(chosen_shadow, loaded, package)
        share = loaded.config.watch.shadow_share
        if package.name == before.name:
            if (package.model, package.manifest) != (before.model, before.manifest):
                message = f"this is not the {package.name} that is in force: give it a version of its own"
                raise ModelSwapRefused(message, reason="same_version")
            if self._beside == (None if shadow is None else (shadow.name, share)):
                return Swapped(before.name, before.name, before.score_digest, changed=False)
        self._check_labels(package)
        rules = rules_for(self._parts.config.detection, package)
        settings = replace(watch_settings(loaded.config.watch), remote=remote)

        async def approve(ready: Ready) -> None:
            if ready.model != package.name:
                message = f"the package has changed while it was tried: {package.name} became {ready.model}"
                raise ModelSwapRefused(message, reason="package_changed")
            learnt = await self._thresholds.prepare(package.name, package.score_digest, rules)
            # Written before it judges anybody: a model that nobody can be told of has no say.
            await self._record(by, why, package, shadow)
            if package.name != before.name:
                self._thresholds.adopt(learnt)
                self._keeper.adopt(package.name, rules)
            self._package = package
            self._set_beside(shadow, share)

        await self._watchers.swap_model(settings, approve)
        return Swapped(before.name, package.name, package.score_digest, changed=True)

    def _check_labels(self, package: ModelPackage) -> None:
        wanted = {
            label
            for policy in self._parts.policies.values()
            for definition in (policy.definition, *(rule.definition for rule in policy.rules))
            for label in definition.labels
        }
        if missing := sorted(wanted - set(package.manifest.labels)):
            message = f"{package.name} has no scores for {', '.join(missing)}, which protocols in force wait for"
            raise ModelSwapRefused(message, reason="labels_missing")

    def _set_beside(self, shadow: ModelPackage | None, share: float) -> None:
        self._beside = None if shadow is None else (shadow.name, share)
        if shadow is not None:
            self._judge.use(shadow.name, rules_for(self._parts.config.detection, shadow))

    async def _record(self, by: str, why: str, package: ModelPackage, shadow: ModelPackage | None) -> None:
        before = self._package
        async with self._database.transaction() as connection:
            await audit.append(
                connection,
                at=self._clock.now().timestamp(),
                actor=by,
                action="model_swapped",
                incident_id=None,
                detail={
                    "before": before.name,
                    "before_digest": before.score_digest,
                    "after": package.name,
                    "after_digest": package.score_digest,
                    "shadow": None if shadow is None else shadow.name,
                    "why": why,
                },
            )

    async def _record_refusal(self, error: LivecordonError, by: str, why: str) -> None:
        try:
            async with self._database.transaction() as connection:
                await audit.append(
                    connection,
                    at=self._clock.now().timestamp(),
                    actor=by,
                    action="model_refused",
                    incident_id=None,
                    detail={"in_force": self._package.name, "reason": error.reason, "why": why},
                )
        except StoreError as failure:
            log.error("model_refusal_not_recorded", reason=failure.reason)  # noqa: TRY400 - a trace says no more

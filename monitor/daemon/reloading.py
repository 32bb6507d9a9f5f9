"""Another configuration while the daemon runs: checked whole, refused whole or taken whole."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import sdnotify
import structlog

from monitor import metrics
from monitor.alerts.outbox import Outbox
from monitor.clock import Clock
from monitor.config.loading import LoadedConfig
from monitor.config.models import Config
from monitor.daemon.auditing import digest_of, in_force
from monitor.daemon.keeper import Keeper
from monitor.daemon.model_swap import BY_CONFIGURATION, ModelSwap
from monitor.daemon.parts import Parts, build_parts
from monitor.daemon.people import People
from monitor.errors import ConfigError, LivecordonError, StoreError

_RELOADABLE: Final = frozenset(
    {
        "alerts",
        "protocol",
        "responders",
        "watch.model",
        "watch.models_dir",
        "watch.model_variant",
        "watch.remote",
        "watch.shadow_model",
        "watch.shadow_share",
    }
)
"""Settings that are taken without a restart, and each media server's `protocol`."""

log = structlog.get_logger()


class Reload:
    """Takes protocols, their rules and parameters, receivers, groups of responders and the model from files read anew.

    Incidents under way end under the protocol that they began with; new ones begin under the new one. A configuration
    with any mistake, or with a change that takes a restart, changes nothing at all.
    """

    def __init__(
        self, parts: Parts, *, keeper: Keeper, models: ModelSwap, people: People, outbox: Outbox, clock: Clock
    ) -> None:
        """Begin with `parts` in force."""
        self._parts = parts
        self._keeper = keeper
        self._models = models
        self._people = people
        self._outbox = outbox
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._ready = asyncio.Event()

    def begin(self) -> None:
        """Say that the daemon runs: what came before waits for it."""
        self._note_success()
        self._ready.set()

    async def reload(self, load: Callable[[], LoadedConfig]) -> bool:
        """Read, check and take into use; returns whether it is in force. Every refusal is logged, counted and audited.

        Args:
            load: Reads the configuration; may block.
        """
        await self._ready.wait()
        async with self._one_at_a_time:
            notifier = sdnotify.SystemdNotifier()
            notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                await self._reload(load)
            except LivecordonError as error:
                metrics.CONFIG_RELOAD_OK.set(0)
                # Its problems name files, lines and settings, and quote no value.
                log.error("configuration_refused", reason=error.reason, problem=str(error)[:2000])  # noqa: TRY400 - a trace says no more
                await self._note_refusal(error)
                return False
            finally:
                notifier.notify("READY=1")
            return True

    async def _reload(self, load: Callable[[], LoadedConfig]) -> None:
        loaded = await asyncio.to_thread(load)
        parts = await asyncio.to_thread(build_parts, loaded, os.environ)
        if changed := sorted(set(fixed_changes(self._parts.config, parts.config))):
            problem = loaded.problem((), f"these take a restart: {', '.join(changed)}", "change them back, or restart")
            raise ConfigError([problem])
        # The last that can be refused, and the only one that takes time: watchers try the model first.
        await self._models.swap(loaded, by=BY_CONFIGURATION, why="the configuration was read again")
        detail = {"cause": "reload", "before": digest_of(self._parts), **in_force(parts)}
        await self._people.auditing.note("configuration_in_force", detail)
        self._parts = parts
        self._keeper.use_policies(parts.policies)
        self._models.use_policies(parts.policies)
        self._people.use(parts)
        await self._outbox.use(parts.receivers)
        self._note_success()
        log.info("configuration_in_force", configuration=digest_of(parts), protocols=detail["protocols"])

    async def _note_refusal(self, error: LivecordonError) -> None:
        try:
            detail = {"in_force": digest_of(self._parts), "reason": error.reason}
            await self._people.auditing.note("configuration_refused", detail)
        except StoreError as failure:
            log.error("configuration_refusal_not_recorded", reason=failure.reason)  # noqa: TRY400 - see above

    def _note_success(self) -> None:
        metrics.CONFIG_RELOAD_OK.set(1)
        metrics.CONFIG_RELOAD_AT.set(self._clock.now().timestamp())


def fixed_changes(before: Config, after: Config) -> Iterator[str]:
    """Yield the settings that differ and cannot be changed while the daemon runs, as ``section.key``."""
    old, new = _without_reloadable(before), _without_reloadable(after)
    for section in old.keys() | new.keys():
        was, now = old.get(section), new.get(section)
        if was == now:
            continue
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from (f"{section}.{key}" for key in was.keys() | now.keys() if was.get(key) != now.get(key))
        else:
            yield section


def _without_reloadable(config: Config) -> dict[str, Any]:
    values = config.model_dump()
    for path in _RELOADABLE:
        section, _, key = path.partition(".")
        if key:
            del values[section][key]
        else:
            del values[section]
    for server in values["servers"]:
        del server["protocol"]
    return values

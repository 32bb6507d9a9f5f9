"""Keeps the audit log's head where its loss would show, and writes down under which configuration decisions are taken."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Final

import structlog

from monitor import __version__, metrics
from monitor.clock import Clock
from monitor.daemon.parts import Parts
from monitor.errors import StoreError
from monitor.store import audit
from monitor.store.anchor import read_anchor, write_anchor
from monitor.store.audit import Head
from monitor.store.database import Database

_EVERY_S: Final = 5.0
_SAY_EVERY_S: Final = 3600.0

log = structlog.get_logger()


class Auditing:
    """Notes the head of the log in a file, a gauge and, every hour, the daemon's own log."""

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        """Keep the head in ``audit.head`` in `folder`."""
        self._database = database
        self._folder = folder
        self._clock = clock
        self._noted: Head | None = None
        self._said_s: float | None = None

    async def begin(self, parts: Parts) -> None:
        """Look whether the log still holds what it held, and write down what is in force from now on.

        Raises:
            StoreError: the store cannot be written.
        """
        now = self._clock.now().timestamp()
        kept = await asyncio.to_thread(read_anchor, self._folder)
        async with self._database.transaction() as connection:
            if kept is not None and not await audit.holds(connection, kept):
                newest = await audit.head(connection)
                metrics.AUDIT_HEAD_MISSING.inc()
                log.error("audit_head_missing", kept=kept.number, newest=newest.number)
                detail: dict[str, Any] = {"kept": kept.number, "kept_hash": kept.hash, "newest": newest.number}
                await audit.append(
                    connection, at=now, actor="daemon", action="audit_head_missing", incident_id=None, detail=detail
                )
            await audit.append(
                connection,
                at=now,
                actor="daemon",
                action="configuration_in_force",
                incident_id=None,
                detail={"cause": "start", **in_force(parts)},
            )

    async def note(self, action: str, detail: dict[str, Any], *, actor: str = "daemon") -> None:
        """Append one row that belongs to no incident.

        Raises:
            StoreError: nothing was written.
        """
        async with self._database.transaction() as connection:
            at = self._clock.now().timestamp()
            await audit.append(connection, at=at, actor=actor, action=action, incident_id=None, detail=detail)

    async def run(self) -> None:
        """Keep the head until cancelled."""
        while True:
            await self.keep()
            await self._clock.sleep(_EVERY_S)

    async def keep(self, *, last: bool = False) -> None:
        """Note the head, if there is a new one; with `last`, say it too."""
        try:
            async with self._database.reading() as connection:
                head = await audit.head(connection)
            if head != self._noted:
                at = self._clock.now().timestamp()
                await asyncio.to_thread(write_anchor, self._folder, head, at=at)
                self._noted = head
        except (StoreError, OSError) as error:
            log.warning("audit_head_not_kept", error=type(error).__name__)
            return
        metrics.AUDIT_ENTRIES.set(head.number)
        now_s = self._clock.monotonic_s()
        if last or self._said_s is None or now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            log.info("audit_head", number=head.number, hash=head.hash)


def in_force(parts: Parts) -> dict[str, Any]:
    """Return what decisions are taken under, as JSON: digests, versions, thresholds and names; no address and no secret."""
    definitions = {policy.definition.digest: policy.definition for policy in parts.policies.values()}
    for policy in parts.policies.values():
        definitions |= {rule.definition.digest: rule.definition for rule in policy.rules}
    return {
        "version": __version__,
        "configuration": digest_of(parts),
        "protocols": [
            {"name": one.name, "version": one.version, "digest": digest} for digest, one in sorted(definitions.items())
        ],
        "model": parts.package.name,
        "thresholds": {
            label: {"review": rule.review.threshold, "act": rule.act.threshold} for label, rule in parts.rules.items()
        },
        "receivers": [receiver.name for receiver in parts.receivers],
        "dry_run": parts.config.dry_run,
        "dry_run_servers": sorted(name for name, policy in parts.policies.items() if policy.dry_run),
    }


def digest_of(parts: Parts) -> str:
    """Return the hex SHA-256 of the settings in force, without the secrets that they point to."""
    return hashlib.sha256(parts.config.model_dump_json().encode()).hexdigest()

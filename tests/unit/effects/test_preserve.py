"""Keeping evidence: once, or for as long as the protocol says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from monitor.effects import preserve
from monitor.effects.port import EffectResult
from monitor.effects.preserve import Kept, PreservePerformer
from monitor.errors import EffectError
from monitor.evidence.package import Frame, ScoredClip, packages_of, write_package
from monitor.store.effects import EffectRecord
from monitor.vocabulary import EffectKind, EffectOutcome
from tests.fakes.clock import ManualClock
from tests.fakes.store import incident_record

NOTHING = Kept((), ())
SOMETHING = Kept((Frame(1.0, 2.0, b"jpeg"),), (ScoredClip(0.0, 1.0, {"violence": 0.9}),))


class Watcher:
    """Hands over, one after the other, what it has; the last for ever."""

    def __init__(self, *kept: Kept) -> None:
        self.left = list(kept)
        self.asked = 0

    async def kept(self, stream_id: str) -> Kept:
        assert stream_id == incident_record().stream_id
        self.asked += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


async def keep(root: Path, watcher: Watcher, clock: ManualClock, **parameters: float) -> EffectResult:
    effect = EffectRecord(
        id="effect-1",
        incident_id="incident-0001",
        key="1.1.preserve",
        position=1,
        kind=EffectKind.PRESERVE,
        parameters=parameters,
        status="pending",
        attempts=1,
        requested_at=clock.now().timestamp(),
        started_at=None,
        finished_at=None,
        detail=None,
    )
    task = asyncio.create_task(PreservePerformer(watcher, root, clock).perform(effect, incident_record()))
    while not task.done():
        # Files are written in a thread: only what sleeps is moved on.
        if clock.sleepers:
            await clock.advance(0.05)
        else:
            await asyncio.wait({task}, timeout=0.001)
    return task.result()


async def test_it_is_tried_once_where_the_protocol_says_nothing(tmp_path: Path) -> None:
    watcher, clock = Watcher(NOTHING, SOMETHING), ManualClock()
    result = await keep(tmp_path, watcher, clock)
    assert (result.outcome, dict(result.detail)) == (EffectOutcome.FAILED, {"reason": "nothing_kept"})
    assert (watcher.asked, clock.monotonic_s()) == (1, 0.0)


async def test_it_is_tried_again_until_the_watcher_that_follows_has_something(tmp_path: Path) -> None:
    watcher, clock = Watcher(NOTHING, NOTHING, SOMETHING), ManualClock()
    result = await keep(tmp_path, watcher, clock, within_s=20.0, retry_s=5.0)
    assert (result.outcome, result.detail["tries"], result.detail["frames"]) == (EffectOutcome.SUCCEEDED, 3, 1)
    assert clock.monotonic_s() == pytest.approx(10.0, abs=0.1)
    assert len(packages_of(tmp_path, "incident-0001")) == 1


async def test_it_gives_up_after_that_time(tmp_path: Path) -> None:
    watcher, clock = Watcher(NOTHING), ManualClock()
    result = await keep(tmp_path, watcher, clock, within_s=10.0, retry_s=4.0)
    assert (result.outcome, result.detail["reason"]) == (EffectOutcome.FAILED, "nothing_kept")
    assert watcher.asked == 3, "at 0, 4 and 8 s"
    assert clock.monotonic_s() < 10.0


async def test_a_full_disk_is_tried_again_and_a_name_that_leads_elsewhere_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [EffectError("full", reason="evidence_not_written")]
    write = write_package

    def flaky(*arguments: object, **more: object) -> object:
        if failures:
            raise failures.pop()
        return write(*arguments, **more)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(preserve, "write_package", flaky)
    result = await keep(tmp_path, Watcher(SOMETHING), ManualClock(), within_s=5.0)
    assert (result.outcome, result.detail["tries"]) == (EffectOutcome.SUCCEEDED, 2)

    failures.append(EffectError("no", reason="unsafe_name", retryable=False))
    with pytest.raises(EffectError, match="no"):
        await keep(tmp_path / "other", Watcher(SOMETHING), ManualClock(), within_s=5.0)
    failures.append(EffectError("full", reason="evidence_not_written"))
    with pytest.raises(EffectError, match="full"):
        await keep(tmp_path / "third", Watcher(SOMETHING), ManualClock())

"""Which watcher processes may have evidence of which stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from monitor.watch.child import WatcherChild
from monitor.watch.messages import Evidence
from monitor.watch.recent import KEEP_AFTER_RELEASE_S


@dataclass(slots=True)
class EvidenceHolders:
    """Remembers where each stream is and was, for as long as a watcher keeps what it saw."""

    _holders: dict[str, dict[WatcherChild, float | None]] = field(default_factory=dict)

    def came(self, stream_id: str, child: WatcherChild) -> None:
        """A process watches the stream from now on."""
        holders = self._holders.setdefault(stream_id, {})
        holders.pop(child, None)
        holders[child] = None

    def left(self, stream_id: str, child: WatcherChild, now_s: float) -> None:
        """A process watches the stream no longer, and keeps what it has for a while."""
        if child in (holders := self._holders.get(stream_id, {})):
            holders[child] = now_s

    def ended(self, child: WatcherChild) -> None:
        """A process is gone with all that it had."""
        for holders in self._holders.values():
            holders.pop(child, None)

    def has_any(self, child: WatcherChild) -> bool:
        """Whether a process may have evidence of any stream."""
        return any(child in holders for holders in self._holders.values())

    def forget(self, now_s: float) -> None:
        """Drop what no process keeps any more."""
        for stream_id, holders in list(self._holders.items()):
            for child, left_s in list(holders.items()):
                if left_s is not None and now_s - left_s > KEEP_AFTER_RELEASE_S:
                    del holders[child]
            if not holders:
                del self._holders[stream_id]

    def newest_or_any(self, stream_id: str, children: Iterable[WatcherChild]) -> WatcherChild | None:
        """Return the process that has had a stream last, else any of `children` that is ready; None if none is."""
        ready = [child for child in children if child.ready is not None]
        holders = [child for child in self._holders.get(stream_id, ()) if child in ready]
        return holders[-1] if holders else next(iter(ready), None)

    async def ask(self, stream_id: str, deadline_s: float, labels: tuple[str, ...]) -> Evidence:
        """Return what every holder has of a stream, in the order in which they had it; empty if nobody answers.

        Scores for other labels than `labels`, of a model that has just been replaced, are left out.
        """
        children = tuple(self._holders.get(stream_id, ()))
        answers = await asyncio.gather(*(child.evidence(stream_id, deadline_s) for child in children))
        parts = [answer for answer in answers if answer is not None]
        return Evidence(
            request_id=0,
            stream_id=stream_id,
            frames=tuple(frame for part in parts for frame in part.frames),
            scores=tuple(
                score
                for child, part in zip(children, answers, strict=True)
                if part is not None and child.ready is not None and child.ready.labels == labels
                for score in part.scores
            ),
        )

"""Which listings to believe, and which streams of them are ours to watch."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from monitor.clock import Clock
from monitor.config.section import ServerSection, StreamFilter
from monitor.servers.port import LiveStream

_DOUBT_AFTER_S = 10.0
_SEVERAL = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """The streams of one media server that are to be watched, by `include` and `exclude` of its entry."""

    include: tuple[StreamFilter, ...] = ()
    exclude: tuple[StreamFilter, ...] = ()

    @classmethod
    def of(cls, section: ServerSection) -> Wanted:
        """Return what an entry of the configuration asks for."""
        return cls(section.include, section.exclude)

    def __call__(self, live: LiveStream) -> bool:
        """Whether a stream is to be watched. A publisher's unknown address is no reason not to."""
        included = not self.include or any(_matches(one, live, unknown=True) for one in self.include)
        return included and not any(_matches(one, live, unknown=False) for one in self.exclude)


def _matches(one: StreamFilter, live: LiveStream, *, unknown: bool) -> bool:
    if not (fnmatchcase(live.ref.app, one.app) and fnmatchcase(live.ref.name, one.name)):
        return False
    if one.publisher is None:
        return True
    if live.publisher_address is None:
        return unknown
    try:
        return ipaddress.ip_address(live.publisher_address) in ipaddress.ip_network(one.publisher)
    except ValueError:
        return unknown


@dataclass(slots=True)
class Believable:
    """Keeps a listing that has suddenly become empty from ending streams that are still there to be seen.

    A media server that was reloaded, or whose session with its own database is lost, lists nothing although its streams go
    on. So an empty listing that follows one with streams ends only those streams that their watchers do not read any
    more, and those that we have cut ourselves. A listing with streams in it is believed as it is.

    Attributes:
        is_read: Whether a watcher receives the stream of this id at the moment.
        clock: Source of monotonic time.
        kept: How many streams are taken to be live although the last listing had none.
    """

    is_read: Callable[[str], bool]
    clock: Clock
    kept: int = 0
    _last: tuple[LiveStream, ...] = ()
    _over: set[str] = field(default_factory=set)
    _doubtful_since_s: float | None = None

    def over(self, stream_id: str) -> None:
        """Note that a stream was proved to be gone: nobody has to see that once more."""
        self._over.add(stream_id)

    def take(self, listing: Iterable[LiveStream]) -> tuple[LiveStream, ...]:
        """Take in a listing; returns what is to be taken for live."""
        listed = tuple(listing)
        over, self._over = self._over, set()
        if listed:
            self._doubtful_since_s = None
            self.kept = 0
            self._last = listed
            return listed
        self._last = tuple(
            live for live in self._last if live.ref.stream_id not in over and self.is_read(live.ref.stream_id)
        )
        self.kept = len(self._last)
        if not self._last:
            self._doubtful_since_s = None
        elif self._doubtful_since_s is None:
            self._doubtful_since_s = self.clock.monotonic_s()
        return self._last

    @property
    def doubtful(self) -> bool:
        """Whether the server cannot be relied on: it lists nothing, and streams of it are still there to be seen.

        One stream that ends is seen for some seconds more, as its watcher waits for pictures that do not come. Several at
        once are no coincidence.
        """
        since_s = self._doubtful_since_s
        return since_s is not None and (self.kept >= _SEVERAL or self.clock.monotonic_s() - since_s >= _DOUBT_AFTER_S)

"""Who may decode next, in a watcher whose streams want more than its processors can give.

Packets are decoded one at a time, each while its stream holds a slot. Where several streams wait for one, the closest
posture goes first; in calm posture, those that have begun a clip go before those at the head of a group of pictures,
so that what was begun is finished; and among equals, the stream goes first that was looked at longest ago, one never
looked at before all others. At heads, the time since then counts as many times as the stream has weight. But while such newcomers wait, one head in four is that of a stream already known, if one
waits: a crowd that comes at once must not blind those that are watched already. One turn in four goes to a calmer
stream if one waits, and one in 64 to a head if one waits, so nobody starves: a turn at a head is a whole clip, some 16
packets.

A calm stream that gets no turn at a head within its patience leaves that head out (`thinned`): it is looked at less
often, but never later and later.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from monitor.vocabulary import Posture

DROP_THINNED = "thinned"

TURNS_PER_CALMER = 4
TURNS_PER_HEAD = 64
TURNS_PER_KNOWN = 4

PRESSED_FOR_S = 1.0
"""How long a watcher counts as pressed, in seconds, after a head was left out."""


class Rank(IntEnum):
    """What a turn is wanted for; higher goes first."""

    HEAD = 0
    BEGUN = 1
    CLOSE = 2
    FULL = 3


_RANK_OF = {Posture.CALM: Rank.BEGUN, Posture.CLOSE: Rank.CLOSE, Posture.FULL: Rank.FULL}


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A stream's wish for one turn.

    Attributes:
        looked_at_s: When the stream was last looked at, on a monotonic clock; minus infinity if never.
        granted: Set once the turn has come.
    """

    rank: Rank
    looked_at_s: float
    granted: threading.Event = field(default_factory=threading.Event)

    @property
    def is_new(self) -> bool:
        """Whether the stream was never looked at."""
        return self.looked_at_s == -math.inf


@dataclass(slots=True)
class Turns:
    """The order of turns. No lock, no clock: what waits goes in, what is next comes out."""

    _waiting: list[Wanted] = field(default_factory=list)
    _calmer_passed: int = 0
    _heads_passed: int = 0
    _newcomers_passed: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, wanted: Wanted) -> None:
        """Wait for a turn."""
        self._waiting.append(wanted)

    def give_up(self, wanted: Wanted) -> None:
        """Wait no longer."""
        self._waiting.remove(wanted)

    def next(self) -> Wanted:
        """Return whose turn it is, who then waits no longer; somebody must be waiting."""
        chosen = min(self._candidates(), key=lambda wanted: wanted.looked_at_s)
        if chosen.rank is Rank.HEAD:
            chosen = self._known_or_new(chosen)
        self._waiting.remove(chosen)
        return chosen

    def _known_or_new(self, chosen: Wanted) -> Wanted:
        known = [wanted for wanted in self._waiting if wanted.rank is Rank.HEAD and not wanted.is_new]
        if not chosen.is_new or not known:
            return chosen
        self._newcomers_passed += 1
        if self._newcomers_passed % TURNS_PER_KNOWN == 0:
            return min(known, key=lambda wanted: wanted.looked_at_s)
        return chosen

    def _candidates(self) -> list[Wanted]:
        heads = [wanted for wanted in self._waiting if wanted.rank is Rank.HEAD]
        packets = [wanted for wanted in self._waiting if wanted.rank is not Rank.HEAD]
        if heads and packets:
            self._heads_passed += 1
        if not packets or (heads and self._heads_passed % TURNS_PER_HEAD == 0):
            return heads
        highest = max(wanted.rank for wanted in packets)
        calmer = [wanted for wanted in self._waiting if wanted.rank < highest]
        if calmer and highest > Rank.BEGUN:
            self._calmer_passed += 1
            if self._calmer_passed % TURNS_PER_CALMER == 0:
                # Heads take part only where no calmer packet waits: what was begun is finished first.
                return [wanted for wanted in calmer if wanted.rank is not Rank.HEAD] or calmer
        return [wanted for wanted in packets if wanted.rank == highest]


class DecodeAdmission:
    """The decode slots of one watcher. Thread-safe."""

    def __init__(self, slots: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Let `slots` streams decode at the same time."""
        self._free = slots
        self._monotonic_s = monotonic_s
        self._turns = Turns()
        self._lock = threading.Lock()
        self._thinned = 0
        self._thinned_at_s = -math.inf

    @property
    def under_pressure(self) -> bool:
        """Whether heads have been left out lately, so that there is no room for anything else."""
        return self._monotonic_s() - self._thinned_at_s < PRESSED_FOR_S

    @property
    def thinned(self) -> int:
        """How many heads have been left out so far."""
        return self._thinned

    @property
    def waiting(self) -> int:
        """How many streams wait for a turn now."""
        return len(self._turns)

    def lease(self, posture: Callable[[], Posture]) -> DecodeLease:
        """Return one stream's way in; `posture` is asked before each turn."""
        return DecodeLease(self, posture)

    def now_s(self) -> float:
        """Return the time by which streams are compared, in seconds."""
        return self._monotonic_s()

    def acquire(self, rank: Rank, looked_at_s: float, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds for a turn; whether it came. Who has had it gives it back with `release`."""
        with self._lock:
            # A slot is only free while nobody waits: `release` hands it on.
            if self._free > 0:
                self._free -= 1
                return True
            wanted = Wanted(rank, looked_at_s)
            self._turns.ask(wanted)
        if wanted.granted.wait(timeout_s):
            return True
        with self._lock:
            if wanted.granted.is_set():
                return True
            self._turns.give_up(wanted)
            return False

    def release(self) -> None:
        """Give a slot back, to whoever is next."""
        with self._lock:
            if len(self._turns):
                self._turns.next().granted.set()
            else:
                self._free += 1

    def count_thinned(self) -> None:
        """A head was left out."""
        with self._lock:
            self._thinned += 1
            self._thinned_at_s = self._monotonic_s()


class DecodeLease:
    """One stream's way to the decode slots; what `VideoSource.clips` takes as `decode_slots`, and as `admit`.

    Attributes:
        weight: How much the stream matters: its wait for a head counts so many times as long as it is.
    """

    def __init__(self, admission: DecodeAdmission, posture: Callable[[], Posture]) -> None:
        self._admission = admission
        self._posture = posture
        self.weight = 1.0
        self._looked_at_s = -math.inf
        self._heads = (0, 0)
        self._decode_cpu_s = 0.0
        self._decoding_from_s = 0.0

    @property
    def decode_cpu_s(self) -> float:
        """Processor time that the stream's thread took while it held a slot, in seconds."""
        return self._decode_cpu_s

    @property
    def heads(self) -> tuple[int, int]:
        """How many heads were admitted so far, and how many were left out."""
        return self._heads

    def acquire(self, *, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the turn to decode a packet; whether it came."""
        granted = self._admission.acquire(_RANK_OF[self._posture()], self._looked_at_s, timeout)
        self._decoding_from_s = time.thread_time()
        return granted

    def release(self) -> None:
        """The packet is decoded."""
        self._decode_cpu_s += time.thread_time() - self._decoding_from_s
        self._admission.release()

    def admit(self, patience_s: float) -> bool:
        """Wait up to `patience_s` seconds until there is room for another clip; False leaves the head out.

        With a patience of 0 the head is left out whether there is room or not.
        """
        admitted, left_out = self._heads
        if patience_s <= 0 or not self._admission.acquire(Rank.HEAD, self._counted_from_s(), patience_s):
            self._heads = (admitted, left_out + 1)
            self._admission.count_thinned()
            return False
        self._heads = (admitted + 1, left_out)
        # Not only when the clip is complete: streams that never give one would always go first.
        self.looked()
        self._admission.release()
        return True

    def _counted_from_s(self) -> float:
        if self.weight == 1.0 or self._looked_at_s == -math.inf:
            return self._looked_at_s
        now_s = self._admission.now_s()
        return now_s - (now_s - self._looked_at_s) * self.weight

    def looked(self) -> None:
        """The stream has been looked at now."""
        self._looked_at_s = self._admission.now_s()

"""The port behind which every media server stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from monitor.errors import MediaServerRefused
from monitor.vocabulary import StreamRef


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a media server can do, declared by its adapter.

    Attributes:
        cut: It can end one stream.
        synchronous_block: It asks the publish gate and waits for the answer, so a block holds from the first byte.
        publisher_address: Listings or gate requests carry the publisher's network address.
        gate_down_refuses: It refuses new publishers while the gate does not answer (fail-closed).
        residue_after_cut: What viewers may still fetch after a cut, in words; empty if nothing.
        hold: It can keep a stream from its viewers while the encoder stays connected, and show it again.
        seen_while_held: Watchers still see a held stream, so that somebody can say whether to release it.
    """

    cut: bool
    synchronous_block: bool
    publisher_address: bool
    gate_down_refuses: bool
    residue_after_cut: str = ""
    hold: bool = False
    seen_while_held: bool = True


@dataclass(frozen=True, slots=True)
class LiveStream:
    """One publication as listed by its media server.

    Attributes:
        ref: Which stream.
        session: The media server's identifier of this one publication; a publisher that comes back has another.
        publisher_address: IP address of the publisher, or None where the server does not tell.
        started_at: Aware UTC start of the publication, or None if unknown.
        viewers: Viewers connected now, without the publisher; 0 if unknown.
        video: Codec and size in words (``H264 1280x720``), or empty if unknown.
        held: Its viewers see nothing until it is released.
    """

    ref: StreamRef
    session: str
    publisher_address: str | None = None
    started_at: datetime | None = None
    viewers: int = 0
    video: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True)
class HoldResult:
    """What one hold or release did.

    Attributes:
        matched: Publications that the media server says it held or released; 0 if it found none.
        verified: A listing after the call shows every publication that was meant as held, or, for a release, as not
            held; true also when there is none any more.
        detail: One safe sentence for people: no names, keys or query strings.
    """

    matched: int
    verified: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CutResult:
    """What one cut did.

    Attributes:
        matched: Publications that the media server says it dropped; 0 if it found none.
        verified: A listing after the call no longer shows the publication that was meant.
        detail: One safe sentence for people: no names, keys or query strings.
    """

    matched: int
    verified: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RawGateRequest:
    """A publish-gate request as it came in over HTTP; body already bounded by the web layer."""

    content_type: str
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateRequest:
    """What a media server asks before it lets somebody publish.

    Attributes:
        call: ``publish`` is decided on; every other call is allowed and only noted.
        ref: The stream to be published; None for calls that name none (such as ``connect``).
        session: The publication's identifier as in `LiveStream.session`, or empty.
        publisher_address: IP address of the publisher as the media server saw it, or None.
        news: It asks nothing, but tells that streams have come or gone: the listing is worth a look at once.
    """

    call: str
    ref: StreamRef | None
    session: str = ""
    publisher_address: str | None = None
    news: bool = False


@dataclass(frozen=True, slots=True)
class GateReply:
    """The HTTP answer that this media server understands as yes or no. The web layer closes the connection after it."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


class MediaServer(Protocol):
    """One configured media server. An async context manager; methods may be called concurrently."""

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def kind(self) -> str:
        """The adapter's word in the configuration, such as ``nginx_rtmp``."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this server can do as it is configured."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def probe(self) -> tuple[str, ...]:
        """Check that the control interface answers.

        Returns:
            Warnings in words (an old version, several workers …); empty when all is well.

        Raises:
            MediaServerError: it cannot be used.
        """
        ...

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return every live publication.

        Raises:
            MediaServerUnreachable: no answer within the adapter's deadline.
            MediaServerRefused: an answer that is no listing.
        """
        ...

    def pull_url(self, ref: StreamRef) -> str:
        """Return the address under which a watcher reads the stream; may hold secrets, so never log it.

        Raises:
            UnsafeCallRefused: the name cannot be put into an address without changing its meaning.
        """
        ...

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """End one stream: send the server's command once, then list to verify.

        Args:
            ref: Which stream.
            session: Only this publication, where given; a newer one under the same name is left alone.

        Returns:
            ``verified`` is true also when the stream was gone already (``matched`` 0).

        Raises:
            MediaServerUnreachable, MediaServerRefused: the command was not accepted.
            UnsafeCallRefused: the command could hit more than this stream; nothing was sent.
        """
        ...

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Keep one stream from its viewers while its encoder stays connected: send the command once, then verify.

        Watchers go on reading it at `pull_url`, unless `capabilities` say otherwise: somebody has to see whether it can be
        released.

        Args:
            ref: Which stream.
            session: Only this publication, where given.

        Raises:
            MediaServerUnreachable, MediaServerRefused: the command was not accepted; ``reason`` ``cannot_hold`` where
                `capabilities.hold` is false.
            UnsafeCallRefused: the command could hit more than this stream; nothing was sent.
        """
        ...

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Show a held stream to its viewers again; arguments and errors as for `hold`."""
        ...

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read this server's hook body.

        Raises:
            GateRequestError: malformed, incomplete or contradictory.
        """
        ...

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:
        """Build the answer; `request` is None when it could not be parsed."""
        ...


@runtime_checkable
class KeepsTheDoor(Protocol):
    """An adapter whose media server leaves the publish gate to decide on more than blocks; check with ``isinstance``.

    Such a server asks the gate in place of its own list of users, about readers too.
    """

    async def refusal(self, request: RawGateRequest, asked: GateRequest) -> GateReply | None:
        """Return the answer for somebody who may not come in although not blocked; None for whoever may.

        Answers well within the 2 s that the gate has for everything, and raises nothing: where it cannot tell, it
        refuses, since nobody else has looked at the password.
        """
        ...


@runtime_checkable
class HidesNames(Protocol):
    """An adapter that holds streams under names that nobody can guess; check with ``isinstance`` and give it the key."""

    def use_key(self, key: bytes) -> None:
        """Make those names under `key`, so that a daemon that starts again knows what it held. Before the first call."""
        ...


@runtime_checkable
class HasMembers(Protocol):
    """Several media servers that are one to everybody else; check with ``isinstance``."""

    @property
    def trouble(self) -> str:
        """Why some member's last listing could not be had, in a word; empty if all answered."""
        ...


def cannot_hold() -> MediaServerRefused:
    """Return the error for `MediaServer.hold` and `MediaServer.release` on a server that has no way to hold."""
    return MediaServerRefused("this media server cannot hold a stream", reason="cannot_hold", retryable=False)


@runtime_checkable
class EndsStreams(Protocol):
    """An adapter that cannot see by itself that a stream is over; check with ``isinstance`` and tell it."""

    def mark_ended(self, ref: StreamRef) -> None:
        """Note that the watcher has read the stream to its end; unknown streams are ignored."""
        ...


@runtime_checkable
class TakesBlocks(Protocol):
    """An adapter whose media server can keep publishers out by itself; check with ``isinstance``, then `takes_blocks`."""

    @property
    def takes_blocks(self) -> bool:
        """Whether it can, as it is configured."""
        ...

    async def block(self, ref: StreamRef, until: datetime) -> None:
        """Have whoever publishes under this name refused until then (aware UTC), which may have been asked before.

        Raises:
            MediaServerUnreachable, MediaServerRefused: it was not accepted.
            UnsafeCallRefused: the command could hit more than this stream; nothing was sent.
        """
        ...

    async def unblock(self, ref: StreamRef) -> None:
        """Have them let in again before that time; errors as for `block`."""
        ...

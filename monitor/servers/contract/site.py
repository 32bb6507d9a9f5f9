"""What the suite needs to know of a live media server: its adapter, and a way to publish on it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from monitor.servers.port import MediaServer


class Encoder(Protocol):
    """A publisher that the test started: an ffmpeg, or whatever else sends video to the media server.

    It does not come back by itself: a test that wants it to, publishes again.
    """

    @property
    def live(self) -> bool:
        """Whether it still sends."""
        ...

    async def ended(self) -> None:
        """Wait until it was refused or cut."""
        ...

    async def stop(self) -> None:
        """Stop sending, as a publisher that has had enough; may be called again."""
        ...


class Site(Protocol):
    """A media server, alone for one test, with its adapter.

    Attributes:
        server: The adapter, entered, whose configured name is ``edge``.
        app: The application on which `publish` publishes; nothing else publishes on the server.
        has_gate: Whether the media server asks a publish gate, and tells by itself who came and who left. The site
            serves the gate with the adapter's own `parse_gate_request` and `gate_reply`.
        refused: Names that this gate refuses; filled by tests.
    """

    server: MediaServer
    app: str
    has_gate: bool
    refused: set[str]

    async def publish(self, name: str) -> Encoder:
        """Begin to publish under `name`, which is letters and digits. Only ``cam1`` and ``cam2`` where there is no gate."""
        ...

    def unreachable(self) -> MediaServer | None:
        """Return the same adapter for a media server that is not running, not entered; None if there can be none."""
        ...


@runtime_checkable
class HasViewers(Protocol):
    """What the site of a media server that can hold says, too."""

    def view_url(self, name: str) -> str:
        """Return where viewers, as opposed to watchers, see the stream."""
        ...

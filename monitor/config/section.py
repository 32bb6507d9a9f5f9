"""What every section of config.yaml has in common, and how it names secrets."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitor.config.fields import AnchoredPath, ControlAddress, Duration, Name, Network


class Section(BaseModel):
    """Base of every section: unknown keys refused, nothing changed after loading, values never echoed in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


class Secret(Section):
    """Where a secret is found: an environment variable or a file; never the configuration itself."""

    env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the secret."""
    file: AnchoredPath | None = None
    """File whose first line is the secret; keep it readable by the daemon's user only."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            message = "a secret lies in one place: name either env or file"
            raise ValueError(message)
        return self


class RemainsSection(Section):
    """What viewers may still fetch of a stream after a cut, such as HLS that the server has written, and how it is taken away."""

    folder: AnchoredPath | None = None
    """Folder into which the server writes HLS or DASH; `{app}` stands for the application, where each has its own."""
    address: ControlAddress | None = None
    """Address of a stream's playlist, which is asked whether it is still there; `{app}` and `{name}` stand for the stream's."""
    purge: bool = False
    """Delete the stream's playlist and segments from `folder`, and nothing else."""
    purge_command: tuple[str, ...] = ()
    """Program and arguments that take away what lies elsewhere, run without a shell; `{app}` and `{name}` stand for the stream's."""
    timeout: Duration = 3.0
    """How long looking and taking away may take, each."""

    @model_validator(mode="after")
    def _purges_a_folder(self) -> RemainsSection:
        if self.purge and self.folder is None:
            message = "there is nothing to purge from: name the folder"
            raise ValueError(message)
        return self


class StreamFilter(Section):
    """Some of a server's streams: those for which all that is said here holds."""

    app: str = Field(default="*", min_length=1)
    """Applications whose name matches; `*`, `?` and `[abc]` stand for any letters, one, or one of these."""
    name: str = Field(default="*", min_length=1)
    """Streams whose name matches, in the same way."""
    publisher: Network | None = None
    """Publishers at this address or in this network."""


class ServerSection(Section):
    """What every media server's entry may say. A kind of media server adds its own settings, and narrows `kind`."""

    name: Name
    """Your name for this server."""
    dry_run: bool = False
    """Decide and record as usual, but cut and block nothing on this server."""
    protocol: Name | None = None
    """Protocol for this server's streams instead of `protocol.default`."""
    names_are_secret: bool = False
    """Set this where the stream name is the publisher's key: pages, API and alerts then show `stream_id` only."""
    learn_apart: tuple[str, ...] = ()
    """Applications whose thresholds are learnt apart from those of all others, because their streams differ; see `detection.review.budget`."""
    list_interval: Duration = 2.0
    """How often the server is asked for its streams."""
    request_timeout: Duration = 3.0
    """How long one request to its control interface may take."""
    insecure_control: bool = False
    """Let its control interface be used unencrypted over a network: whoever is on the way can then cut every stream."""
    cluster: Name | None = None
    """Servers of one cluster carry the same streams: each stream is watched once, and contained on all of them. Streams go by the
    name of the cluster's first server, whose settings about streams count."""
    include: tuple[StreamFilter, ...] = ()
    """Only these streams are watched; all by default. A publisher whose address is not known may be any."""
    exclude: tuple[StreamFilter, ...] = ()
    """These streams are not watched, whatever `include` says. Whoever is blocked stays so."""
    second_control: ControlAddress | None = None
    """Another address of the same control interface (scheme, host and port), used while the first does not answer."""
    emergency_command: tuple[str, ...] = ()
    """Program and arguments, run without a shell, when the control interface does not cut a stream within five seconds; `{app}`,
    `{name}`, `{session}` and `{address}` stand for the stream's, the publication's and the publisher's."""
    remains: RemainsSection | None = None
    """What viewers may still fetch of a stream after a cut, and how it is taken away."""
    kind: str
    """Which adapter."""

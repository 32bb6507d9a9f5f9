"""What every section of config.yaml has in common, and how it names secrets."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitor.config.fields import AnchoredPath, Duration, Name


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
    list_interval: Duration = 2.0
    """How often the server is asked for its streams."""
    request_timeout: Duration = 3.0
    """How long one request to its control interface may take."""
    insecure_control: bool = False
    """Let its control interface be used unencrypted over a network: whoever is on the way can then cut every stream."""
    kind: str
    """Which adapter."""

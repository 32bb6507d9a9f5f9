"""What every section of config.yaml has in common, and how it names secrets."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitor.config.fields import AnchoredPath


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

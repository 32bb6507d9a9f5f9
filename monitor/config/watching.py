"""The section `watch` of config.yaml: how streams are decoded and classified."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from monitor.config.fields import AnchoredPath, Duration, HttpAddress, ModelName, Name, Size
from monitor.config.section import Secret, Section


class RemoteSection(Section):
    """The inference server of a model package that is on one (`remote` in its manifest)."""

    url: HttpAddress
    """Address of the server, without `/v2`; https unless the host is loopback."""
    timeout: Duration = 1.0
    """How long one request may take."""
    token: Secret | None = None
    """Where the bearer token is found, if the server asks for one."""
    plain_text: bool = False
    """Let pictures and token travel unencrypted to another host."""
    failures: int = Field(default=3, ge=1, le=100)
    """So many failed requests in a row, and the server is left alone until it is well again."""
    retry: Duration = 5.0
    """How often it is then tried whether the server is well."""
    fallback: ModelName | None = None
    """Model package that scores in the meantime. Without one nothing does: streams become late, then blind."""


class WatchSection(Section):
    """How streams are decoded and classified."""

    watchers: int | None = Field(default=None, ge=1, le=256)
    """Watcher processes; one per core by default."""
    model: ModelName = "violent-motion"
    """Model package: a name below `models_dir` or a folder."""
    models_dir: AnchoredPath | None = None
    """Folder of model packages; the shipped ones by default."""
    remote: RemoteSection | None = None
    """Where the model runs, if its package says that it is on an inference server."""
    model_variant: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Which of the package's variants to run, such as `int8` or `fp16`; its main file by default."""
    provider: Literal["cpu", "cuda", "tensorrt", "openvino", "coreml"] = "cpu"
    """ONNX Runtime's execution provider. It must be installed; falling back to another one is an error."""
    classifier: Literal["auto", "own", "shared"] = "auto"
    """`own`: every watcher runs the model itself. `shared`: one process runs it for all watchers (Linux). `auto`: own with
    `cpu`, shared with every other provider, so that the model is on the accelerator once."""
    shadow_model: ModelName | None = None
    """A second model that scores the same clips without any effect, to be compared with `model`; see docs/models.md."""
    shadow_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the clips that it is given, evenly chosen."""
    open_timeout: Duration = 10.0
    """How long opening a stream may take."""
    read_timeout: Duration = 5.0
    """Silence after which a stream counts as stalled and is opened anew."""
    ring: bool = True
    """Keep the compressed video of each stream's last minute on disk, so that `preserve` can add it to the evidence."""
    spool: AnchoredPath | None = None
    """Folder for that video, the daemon's own and on a local disk; `spool` below `data_dir` by default."""
    ring_bytes: Size = Field(default=24 * 1024**2)
    """Most of it that is kept of one stream; beyond that, less than a minute is."""
    ring_total_bytes: Size = Field(default=4 * 1024**3)
    """Most of it that is kept in all; beyond that, the oldest goes."""
    run_as_user: Name | None = None
    """User whom watchers become before they open any video; needs a daemon that runs as root. It must be able to read the
    files that are watched, if any; what it writes to the spool is its own."""
    refuse_system_calls: bool = True
    """Have watchers give up system calls that reading video does not need, such as starting programs (Linux on x86-64 and
    ARM64; elsewhere a warning says that it cannot be done)."""
    late_after: Duration = 10.0
    """A stream whose last verdict is older is called late."""
    blind_after: Duration = 30.0
    """A stream whose last verdict is older is called blind."""

"""config.yaml as typed models. Every field's description is its documentation and lands in the JSON schema.

Rules that look at several sections at once, such as names that must differ, stand in `checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from monitor.config.enforcement import DEFAULT_POLICY, PolicySection, ReportsSection, StrikesSection
from monitor.config.fields import (
    AnchoredPath,
    Budget,
    Duration,
    Listen,
    Name,
    Network,
    Score,
    Size,
)
from monitor.config.partners import PartnerSection
from monitor.config.people import AlertsSection, RespondersSection
from monitor.config.retention import RetentionSection
from monitor.config.section import Secret, Section
from monitor.config.servers import AnyServer
from monitor.config.watching import WatchSection

__all__ = ["AlertsSection", "RespondersSection", "Secret", "Section", "WatchSection"]


class LogSection(Section):
    """What the daemon writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important level that is written."""
    format: Literal["console", "json"] = "console"
    """`console` for people, `json` for log collectors."""


class TokenEntry(Section):
    """One bearer token and whom it stands for."""

    name: Name
    """Who uses it; written into the audit log with every review."""
    role: Literal["reporter", "viewer", "responder", "admin"]
    """`reporter` reports streams and nothing else, `viewer` reads, `responder` also reviews, `admin` also changes blocks."""
    secret: Secret
    """Where the token is found; at least 16 characters."""
    person: Name | None = None
    """Who holds it, where one person has several tokens: they count as one where two people must confirm."""


class WebSection(Section):
    """The daemon's own HTTP surface: page, API, metrics, health and publish gate."""

    listen: Listen = "127.0.0.1:8930"
    """Address and port of page, API, metrics and health. Anything but loopback needs tokens. Port 0 takes a free one."""
    gate_listen: Listen | None = None
    """A second address for the publish gate alone, for media servers on other hosts; without it the gate shares `listen`."""
    gate_token: Secret | None = None
    """When set, gate requests must carry it as `?token=`, except from `gate_peers`."""
    gate_peers: tuple[Network, ...] = ()
    """Networks from which the gate may be asked without the token, such as `10.0.0.0/28`. Anything but loopback needs these or
    the token; where there are peers and no token, nobody else is answered."""
    gate_when_unsure: Literal["fail_open", "fail_closed"] = "fail_open"
    """Whether the gate lets publishers in, or refuses them, while it cannot know who is barred: it fails itself, or the store
    takes no writes. Whoever it knows to be barred is refused either way."""
    tokens: tuple[TokenEntry, ...] = ()
    """Who may use the API and the page. None at all means: everybody who reaches loopback is `admin`."""
    max_body: Size = Field(default=64 * 1024)
    """Largest request body that is read; larger ones are refused with 413."""


class StoreSection(Section):
    """Where incidents, effects, alerts and blocks are kept."""

    path: AnchoredPath | None = None
    """SQLite file; `livecordon.sqlite3` below `data_dir` by default."""
    url: Secret | None = None
    """Where to find the address of a PostgreSQL database (`postgresql://user:password@host/database`) to be used instead."""

    @model_validator(mode="after")
    def _at_most_one(self) -> StoreSection:
        if self.path is not None and self.url is not None:
            message = "there is one store: name either path or url"
            raise ValueError(message)
        return self


class LevelSection(Section):
    """Persistence for one severity: so many of the last so many clips."""

    threshold: Score | None = None
    """Score that counts as a hit; the model's own operating point by default."""
    budget: Budget | None = None
    """False alarms that you can bear, such as `20 per 1000 stream-hours`; the threshold is then learnt from your streams."""
    hits: int = Field(default=3, ge=1, le=100)
    """Hits needed."""
    of: int = Field(default=5, ge=1, le=100)
    """Size of the window in clips."""

    @model_validator(mode="after")
    def _hits_fit(self) -> LevelSection:
        if self.hits > self.of:
            message = f"{self.hits} hits do not fit into a window of {self.of}: lower hits or raise of"
            raise ValueError(message)
        return self


class ActLevelSection(LevelSection):
    """Persistence for severity `act`: asks for more than `review` does."""

    hits: int = Field(default=4, ge=1, le=100)
    """Hits needed."""
    of: int = Field(default=6, ge=1, le=100)
    """Size of the window in clips."""


class DetectionSection(Section):
    """From scores to detections."""

    review: LevelSection = LevelSection()
    """When a detection is worth a person's look."""
    act: ActLevelSection = ActLevelSection()
    """When a detection is grave enough to act on."""
    clear_ratio: float = Field(default=0.8, gt=0, le=1)
    """A clip counts as quiet when its score is below this share of the threshold (hysteresis)."""
    clear_after: Duration = 10.0
    """How long a stream must stay quiet before a detection clears."""


ProtocolValues = dict[Name, str | int]


class ProtocolRule(Section):
    """Streams that run under another protocol, or with other values of its parameters."""

    server: Name | None = None
    """Only streams of this media server; of any by default."""
    app: str = Field(default="*", min_length=1)
    """Only streams of applications whose name matches; `*`, `?` and `[abc]` stand for any letters, one, or one of these."""
    name: str = Field(default="*", min_length=1)
    """Only streams whose name matches, in the same way."""
    protocol: Name | None = None
    """Their protocol; the one that they would have otherwise by default."""
    parameters: ProtocolValues = Field(default={})
    """Values for the protocol's parameters, by name; those that it declares as defaults otherwise."""

    @model_validator(mode="after")
    def _says_something(self) -> ProtocolRule:
        if self.protocol is None and not self.parameters:
            message = "a rule that changes nothing: name protocol or parameters"
            raise ValueError(message)
        return self


class ProtocolSection(Section):
    """Which protocol runs."""

    default: Name = "assisted"
    """Protocol for servers that name none."""
    parameters: ProtocolValues = Field(default={})
    """Values for the default protocol's parameters, by name; those that it declares as defaults otherwise."""
    rules: tuple[ProtocolRule, ...] = ()
    """Other protocols or values for some streams; of several rules that match a stream, the first counts."""
    directory: AnchoredPath | None = None
    """Folder of protocol files; the shipped ones by default."""


class EvidenceSection(Section):
    """What is kept when a protocol says `preserve`."""

    directory: AnchoredPath | None = None
    """Folder of evidence packages; `evidence` below `data_dir` by default."""


class EffectsSection(Section):
    """How hard effects try."""

    cut_deadline: Duration = 30.0
    """How long a cut is repeated until it is verified; then it has failed."""
    hold_off: Duration = 10.0
    """How long after a verified cut the stream is watched for the encoder coming back, and cut again if it does."""


class Config(Section):
    """The whole of config.yaml."""

    data_dir: AnchoredPath = Field(default=Path("livecordon-data"), validate_default=True)
    """Folder for everything that the daemon writes."""
    dry_run: bool = False
    """Decide, record and alert as usual, but cut and block nothing anywhere."""
    log: LogSection = LogSection()
    web: WebSection = WebSection()
    store: StoreSection = StoreSection()
    servers: tuple[AnyServer, ...] = Field(min_length=1)
    """The media servers to watch."""
    watch: WatchSection = WatchSection()
    detection: DetectionSection = DetectionSection()
    protocol: ProtocolSection = ProtocolSection()
    responders: RespondersSection = RespondersSection()
    alerts: AlertsSection = AlertsSection()
    partners: tuple[PartnerSection, ...] = ()
    """Other platforms that tell each other of attacks."""
    evidence: EvidenceSection = EvidenceSection()
    retention: RetentionSection = RetentionSection()
    effects: EffectsSection = EffectsSection()
    policies: tuple[PolicySection, ...] = ()
    """Your rules. Without any, a built-in one with the code `violence`, of the tier `most_serious`, is cited."""
    strikes: StrikesSection = StrikesSection()
    reports: ReportsSection = ReportsSection()

    @property
    def policies_in_force(self) -> tuple[PolicySection, ...]:
        """The rules that are enforced."""
        return self.policies or (DEFAULT_POLICY,)

    @property
    def store_path(self) -> Path:
        """The SQLite file in force."""
        return self.store.path or self.data_dir / "livecordon.sqlite3"

    @property
    def evidence_directory(self) -> Path:
        """The evidence folder in force."""
        return self.evidence.directory or self.data_dir / "evidence"

    @property
    def spool_directory(self) -> Path | None:
        """The folder in force for the last minute's video; None when none is kept."""
        return (self.watch.spool or self.data_dir / "spool") if self.watch.ring else None

"""One model per kind of media server: what its entry under ``servers`` may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, GetCoreSchemaHandler, ValidationInfo, ValidatorFunctionWrapHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from monitor.config.fields import (
    ControlAddress,
    Duration,
    HttpAddress,
    ReadAddress,
    RelayAddress,
    RtmpAddress,
    SourceAddress,
)
from monitor.config.section import Secret, Section, ServerSection
from monitor.config.server_plugins import find_plugin


class NginxRtmpServer(ServerSection):
    """nginx with libnginx-mod-rtmp."""

    kind: Literal["nginx_rtmp"]
    """Which adapter."""
    stat_url: ControlAddress
    """Address of the `rtmp_stat all` location."""
    control_url: ControlAddress
    """Address of the `rtmp_control all` location."""
    rtmp_url: RtmpAddress
    """Base address from which watchers pull, such as `rtmp://127.0.0.1:1935`."""
    server_index: int = Field(default=0, ge=0)
    """Index of the `server {}` block inside `rtmp {}`."""
    applications: tuple[str, ...] = ()
    """Applications to watch; all by default."""


class EmbeddedServer(ServerSection):
    """Livecordon's own small relay, for demo and tests; not for production."""

    kind: Literal["embedded"]
    """Which adapter."""
    url: RelayAddress = "http://127.0.0.1:8935"
    """Address of the relay."""
    serve: bool = True
    """Run the relay inside the daemon; false connects to one that runs already."""
    gate_url: RelayAddress | None = None
    """Where the served relay asks before it lets somebody publish; the daemon's own gate by default."""


class StaticStream(Section):
    """One stream with a known address."""

    name: str = Field(min_length=1, max_length=200)
    """Your name for the stream."""
    url: SourceAddress
    """Address or file: rtmp, rtmps, rtsp, rtsps, http, https (also HLS) or a path. May use `${ENVIRONMENT_VARIABLE}`."""


class StaticServer(ServerSection):
    """Streams with known addresses and no control interface of their own."""

    kind: Literal["static"]
    """Which adapter."""
    streams: tuple[StaticStream, ...] = Field(min_length=1)
    """What to watch."""
    cut_webhook: ControlAddress | None = None
    """Called with a POST of `{"server","app","name","session"}` to cut a stream; any 2xx means done."""
    cut_command: tuple[str, ...] = ()
    """Program and arguments that cut a stream, run without a shell; `{name}` stands for the stream's name."""
    restart_delay: Duration = 1.0
    """How long after its end a finite file is taken to be live again; see `loop_files`."""
    loop_files: bool = False
    """Watch files over and over instead of once."""

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> StaticServer:
        if self.cut_webhook and self.cut_command:
            message = "there are two ways to cut: name cut_webhook or cut_command, not both"
            raise ValueError(message)
        return self


class MediaMtxAccount(Section):
    """A user whom the publish gate lets in, where MediaMTX asks it instead of its own list of users."""

    username: str = Field(min_length=1)
    """As publishers, readers or tools send it."""
    password: Secret
    """The user's password."""
    actions: tuple[Literal["publish", "read", "playback", "api", "metrics", "pprof"], ...] = ("publish",)
    """What the user may do; what no user may do is open, as without any users."""


class MediaMtxServer(ServerSection):
    """MediaMTX."""

    kind: Literal["mediamtx"]
    """Which adapter."""
    api_url: ControlAddress = "http://127.0.0.1:9997"
    """Address of the Control API."""
    pull_url: ReadAddress
    """Base address from which watchers read, such as `rtsp://127.0.0.1:8554`; an `http` one is that of HLS."""
    username: str = Field(default="livecordon", pattern=r"^[^:]+$")
    """Livecordon's own user on this server, for the Control API and for reading."""
    password: Secret | None = None
    """That user's password; without one, it is made up at every start, which does where MediaMTX asks the publish gate."""
    accounts: tuple[MediaMtxAccount, ...] = ()
    """Who may do what, where the publish gate answers alone; without any, whoever is not blocked."""
    auth_url: ControlAddress | None = None
    """Your own HTTP authentication for MediaMTX: the publish gate asks it about everybody who is not blocked."""

    @model_validator(mode="after")
    def _one_list_of_users(self) -> MediaMtxServer:
        if self.accounts and self.auth_url is not None:
            message = "two places say who may come in: name accounts or auth_url, not both"
            raise ValueError(message)
        return self


class LiveKitServer(ServerSection):
    """LiveKit."""

    kind: Literal["livekit"]
    """Which adapter."""
    api_url: ControlAddress = "http://127.0.0.1:7880"
    """Address of its API; `http` or `https` even where clients write `ws` or `wss`."""
    api_key: str = Field(min_length=1)
    """One of its API keys."""
    api_secret: Secret
    """That key's secret; it signs our calls and LiveKit's webhooks."""
    watch_url: str | None = Field(
        default=None,
        pattern=r"^(?:rtsps?|rtmps?|https?)://[^?#\s]*(?:\{room\}[^?#\s]*\{identity\}|\{identity\}[^?#\s]*\{room\})",
    )
    """Where watchers see a participant, such as `rtsp://127.0.0.1:8554/livekit/{room}/{identity}`. Without it, a hidden subscriber
    of Livecordon's own joins the rooms (extra `livekit`)."""


class SrsServer(ServerSection):
    """SRS (Simple Realtime Server)."""

    kind: Literal["srs"]
    """Which adapter."""
    api_url: ControlAddress = "http://127.0.0.1:1985"
    """Address of the HTTP API: scheme, host and port."""
    username: str | None = Field(default=None, min_length=1, pattern=r"^[^:]+$")
    """The HTTP API's user, where `http_api.auth` is on."""
    password: Secret | None = None
    """The HTTP API's password; SRS never accepts one with a colon."""
    rtmp_url: RtmpAddress
    """Base address from which watchers pull, such as `rtmp://127.0.0.1:1935`."""
    flv_url: HttpAddress | None = None
    """Base address of HTTP-FLV, where `http_remux` is on: opened sooner, and it tells at once when a stream is over."""

    @model_validator(mode="after")
    def _user_with_password(self) -> SrsServer:
        if (self.username is None) != (self.password is None):
            message = "user and password go together: name both username and password, or neither"
            raise ValueError(message)
        return self


class OvenMediaEngineServer(ServerSection):
    """OvenMediaEngine."""

    kind: Literal["ovenmediaengine"]
    """Which adapter."""
    api_url: ControlAddress = "http://127.0.0.1:8081"
    """Address of the REST API: scheme, host and port."""
    access_token: Secret
    """The `AccessToken` of `Managers.API`."""
    webhook_secret: Secret | None = None
    """The `SecretKey` of the `AdmissionWebhooks`; without it the publish gate lets nobody in."""
    hls_urls: dict[str, HttpAddress] = Field(default={"default": "http://127.0.0.1:3333"}, min_length=1)
    """For each virtual host, the base address from which watchers pull HLS; the host in it must be one of its own names."""
    hls_path: str = Field(default="{app}/{name}/llhls.m3u8", pattern=r"^[^?#]*\{app\}[^?#]*\{name\}[^?#]*$")
    """Path of a stream's playlist behind it, such as `{app}/{name}/ts:master.m3u8` where TS segments are written."""


class NodeMediaServer(ServerSection):
    """Node-Media-Server, version 4."""

    kind: Literal["node_media_server"]
    """Which adapter."""
    api_url: ControlAddress = "http://127.0.0.1:8000"
    """Address of its HTTP server."""
    username: str = Field(default="admin", min_length=1)
    """One of `auth.jwt.users`."""
    password: Secret
    """That user's password."""
    rtmp_url: RtmpAddress
    """Base address from which watchers pull, such as `rtmp://127.0.0.1:1935`."""
    play_secret: Secret | None = None
    """Its `auth.secret`, where `auth.play` is on: the addresses from which watchers pull are signed with it."""


class CustomCall(Section):
    """How one thing is asked of a media server of yours: by a program, or by a webhook."""

    command: tuple[str, ...] = ()
    """Program and arguments, run without a shell. It reads JSON from its standard input and writes JSON; 0 means done. In an argument,
    `{app}`, `{name}`, `{session}`, `{address}` and `{until}` stand for what is asked about."""
    webhook: ControlAddress | None = None
    """Called with a POST of JSON, and answers with JSON; any 2xx means done."""

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> CustomCall:
        if bool(self.command) == (self.webhook is not None):
            message = "there is one way to ask: name either command or webhook"
            raise ValueError(message)
        return self


class CustomServer(ServerSection):
    """Any other media server, through programs and webhooks of your own."""

    kind: Literal["custom"]
    """Which adapter."""
    on_list: CustomCall
    """Tells every live stream."""
    on_cut: CustomCall | None = None
    """Ends one stream."""
    on_hold: CustomCall | None = None
    """Keeps one stream from its viewers while its encoder stays connected."""
    on_release: CustomCall | None = None
    """Shows it to them again."""
    on_block: CustomCall | None = None
    """Keeps a publisher out until a time, beside the publish gate or instead of it."""
    on_unblock: CustomCall | None = None
    """Lets them in again before that time."""
    pull_url: str | None = Field(
        default=None, pattern=r"^(rtmps?|rtsps?|https?)://[^{}?#]*\{app\}[^{}?#]*\{name\}[^{}?#]*$"
    )
    """Where watchers read, such as `rtsp://127.0.0.1:8554/{app}/{name}`; streams that `on_list` gives an address have that."""
    webhook_token: Secret | None = None
    """Sent with every webhook as `Authorization: Bearer …`."""
    promises: tuple[Literal["publisher_address", "synchronous_block", "gate_down_refuses", "seen_while_held"], ...] = ()
    """What your server does beside: lists publishers' addresses; waits for the publish gate; refuses while the gate does not answer; lets watchers see a held stream."""

    @model_validator(mode="after")
    def _fits_together(self) -> CustomServer:
        for one, other in (("on_hold", "on_release"), ("on_block", "on_unblock")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                message = f"nobody is shut out without a way back: name both {one} and {other}, or neither"
                raise ValueError(message)
        if self.second_control is not None:
            message = (
                "programs and webhooks are called as they are written: remove it, and try the second address there"
            )
            raise ValueError(message)
        if "synchronous_block" in self.promises and self.pull_url is None:
            message = "the publish gate lets in only what can be watched, before it is listed: name pull_url"
            raise ValueError(message)
        return self


BuiltInServer = Annotated[
    NginxRtmpServer
    | MediaMtxServer
    | LiveKitServer
    | SrsServer
    | OvenMediaEngineServer
    | NodeMediaServer
    | CustomServer
    | EmbeddedServer
    | StaticServer,
    Field(discriminator="kind"),
]
"""The kinds that come with Livecordon; the JSON schema and the page of settings describe these."""

BUILT_IN_SECTIONS: Final[Mapping[str, type[ServerSection]]] = {
    get_args(section.model_fields["kind"].annotation)[0]: section for section in get_args(get_args(BuiltInServer)[0])
}
"""Each built-in kind with its model."""


class _AlsoFromPlugins:
    """Has an entry checked by the model of the installed package that adds its kind, where it is no built-in one."""

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_wrap_validator_function(_validated, handler.generate_schema(BuiltInServer))


def _validated(value: Any, built_in: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if isinstance(value, ServerSection):
        return value
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if isinstance(kind, str) and kind not in BUILT_IN_SECTIONS and (plugin := find_plugin(kind)) is not None:
        return plugin.section.model_validate(value, context=info.context)
    return built_in(value)


AnyServer = Annotated[ServerSection, _AlsoFromPlugins()]
"""A media server's entry, of a built-in kind or of one that an installed package adds."""

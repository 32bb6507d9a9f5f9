"""What MediaMTX's Control API and its HTTP authentication say, as far as it is read.

Fields that are not named here are passed over. `ready` and `readyTime` are what versions before `online` call the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

Item = TypeVar("Item")


class Source(msgspec.Struct, rename="camel"):
    """Who feeds a path: the kind of connection and, where somebody publishes, its UUID."""

    type: str
    id: str | None = None


class CodecProps(msgspec.Struct, rename="camel"):
    """Size in pixels, for video."""

    width: int | None = None
    height: int | None = None


class Track(msgspec.Struct, rename="camel"):
    """One track of a path."""

    codec: str
    codec_props: CodecProps | None = None


class PathItem(msgspec.Struct, rename="camel"):
    """One path.

    Attributes:
        available: Somebody may read it, be it the clip that stands in for an absent publisher.
        online: Its own source feeds it.
    """

    name: str
    available: bool | None = None
    available_time: datetime | None = None
    online: bool | None = None
    online_time: datetime | None = None
    ready: bool | None = None
    ready_time: datetime | None = None
    source: Source | None = None
    tracks2: list[Track] | None = None
    readers: list[object] | None = None


class Connection(msgspec.Struct, rename="camel"):
    """One publisher's or reader's connection; `remote_addr` is an address with its port."""

    id: str
    remote_addr: str = ""


class Page(msgspec.Struct, Generic[Item], rename="camel"):
    """One page of a listing, with how much there is on all of them."""

    item_count: int
    page_count: int
    items: list[Item] | None


class Failure(msgspec.Struct):
    """What the API itself says when it refuses; a wrong address gives no such answer."""

    error: str


class Permission(msgspec.Struct, rename="camel"):
    """One entry of ``authHTTPExclude``."""

    action: str = ""


class Settings(msgspec.Struct):
    """The global settings that decide whether the publish gate is asked."""

    auth_method: str = msgspec.field(name="authMethod", default="internal")
    auth_http_address: str = msgspec.field(name="authHTTPAddress", default="")
    auth_http_exclude: list[Permission] | None = msgspec.field(name="authHTTPExclude", default=None)
    api_address: str = msgspec.field(name="apiAddress", default="")


class AuthQuestion(msgspec.Struct):
    """What MediaMTX asks before it lets somebody publish, read, or use its API."""

    action: str
    ip: str = ""
    user: str = ""
    password: str = ""
    token: str = ""
    path: str = ""
    id: str | None = None

"""The kinds of values in config.yaml: durations, sizes, names, addresses, paths."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic.json_schema import WithJsonSchema

from monitor.units import parse_duration_s, parse_size_bytes

PATHS_FROM: Final = "paths_from"
"""Key of the validation context: the folder that relative paths are taken from."""

DURATION_PATTERN: Final = r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)\s*$"
SIZE_PATTERN: Final = r"^\s*\d+(\.\d+)?\s*(B|KiB|MiB|GiB|TiB)\s*$"

MOST_BUDGET_PER_H: Final = 4.0
"""Beyond this, whether a stream may alarm at all is no question of its threshold."""

BUDGET_PATTERN: Final = r"^\s*(\d+(\.\d+)?)\s+per\s+(\d+)\s+stream-hours\s*$"

# Messages of validators read "what: mend" and never quote the value, which may be a secret in the wrong place.


def _duration(value: Any) -> Any:
    try:
        return parse_duration_s(value)
    except (TypeError, ValueError):
        message = "this is no duration: write a number and a unit (ms, s, m, h, d), such as 20s"
        raise ValueError(message) from None


def _size(value: Any) -> Any:
    try:
        return parse_size_bytes(value)
    except (TypeError, ValueError):
        message = "this is no size: write a whole number and a unit (B, KiB, MiB, GiB, TiB), such as 512MiB"
        raise ValueError(message) from None


def parse_budget_per_h(text: str) -> float:
    """Return detections per stream-hour for text such as ``20 per 1000 stream-hours``.

    Raises:
        ValueError: it reads otherwise, or allows none, or more than one in a quarter of an hour.
    """
    match = re.match(BUDGET_PATTERN, text, re.ASCII)
    if match is None or float(match[3]) == 0:
        message = "this is no budget: write how many in how many hours, such as 20 per 1000 stream-hours"
        raise ValueError(message)
    per_h = float(match[1]) / float(match[3])
    if not 1e-5 <= per_h <= MOST_BUDGET_PER_H:
        message = (
            "this budget cannot be kept: allow at least 1 per 100000 stream-hours, and at most 4 per 1 stream-hours"
        )
        raise ValueError(message)
    return per_h


def _budget(value: Any) -> Any:
    if not isinstance(value, str):
        message = "this is no budget: write how many in how many hours, such as 20 per 1000 stream-hours"
        raise ValueError(message)  # noqa: TRY004 - pydantic reports ValueError
    return parse_budget_per_h(value)


def _anchored(path: Path, info: ValidationInfo) -> Path:
    """Take relative paths from the folder in the validation context; without one they stay as they are."""
    folder = (info.context or {}).get(PATHS_FROM)
    if "\0" in str(path):
        message = "this is no path: write it without control characters"
        raise ValueError(message)
    try:
        return path if folder is None else Path(folder) / path.expanduser()
    except RuntimeError:
        message = "there is no such home folder: write the path out"
        raise ValueError(message) from None


def _anchored_text(text: str, info: ValidationInfo) -> str:
    return str(_anchored(Path(text), info)) if "/" in text else text


def _anchored_source(text: str, info: ValidationInfo) -> str:
    return text if "://" in text or text.startswith("${") else str(_anchored(Path(text), info))


def _with_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        message = "this is no address: write scheme://host, or scheme://host:port with a port from 1 to 65535"
        raise ValueError(message)
    return url


def _with_host_only(url: str) -> str:
    parts = urlsplit(_with_host(url))
    if parts.username is not None or parts.query or parts.fragment:
        message = "there is a password or a query in the address: remove it, secrets are named and not written here"
        raise ValueError(message)
    return url


def _with_port(listen: str) -> str:
    if int(listen.rpartition(":")[2]) > 65535:
        message = "there is no such port: use one from 1 to 65535, or 0 for a free one"
        raise ValueError(message)
    return listen


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        message = "this is no network: write an address, or its first address and its length, such as 10.0.0.0/28"
        raise ValueError(message) from None
    return text


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["20s"]}),
]
"""Seconds, written with a unit (``20s``)."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN, "examples": ["512MiB"]}),
]
"""Bytes, written with a unit (``512MiB``)."""

Budget = Annotated[
    float,
    BeforeValidator(_budget),
    WithJsonSchema({"type": "string", "pattern": BUDGET_PATTERN, "examples": ["20 per 1000 stream-hours"]}),
]
"""Detections per stream-hour, written with both numbers (``20 per 1000 stream-hours``)."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
"""A short name of the operator's choosing, safe in logs, labels and file names."""

PolicyCode = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
"""As protocols write it."""

Score = Annotated[float, Field(gt=0, lt=1)]

AnchoredPath = Annotated[Path, AfterValidator(_anchored)]
"""A path; a relative one is taken from the folder of config.yaml."""

CONTROL: Final = "control"
"""Marks addresses through which a media server is controlled; see `monitor.config.control_addresses`."""

HttpAddress = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_with_host)]
RtmpAddress = Annotated[str, Field(pattern=r"^rtmps?://"), AfterValidator(_with_host)]

ControlAddress = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_with_host), CONTROL]
"""Where a media server is controlled: https or loopback, unless its entry says `insecure_control`; no password in it."""

ReadAddress = Annotated[str, Field(pattern=r"^(rtsps?|rtmps?|https?)://"), AfterValidator(_with_host_only)]
"""Where watchers read: scheme, host, port and perhaps a folder; no password in it."""

RelayAddress = Annotated[str, Field(pattern=r"^http://"), AfterValidator(_with_host), CONTROL]
Listen = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z.-]+):\d{1,5}$"), AfterValidator(_with_port)]

Network = Annotated[str, AfterValidator(_network)]
"""An IP address, or a network in CIDR notation."""

SourceAddress = Annotated[str, Field(min_length=1), AfterValidator(_anchored_source)]
"""A URL, or a file; a relative one is taken from the folder of config.yaml."""

ModelName = Annotated[str, Field(min_length=1), AfterValidator(_anchored_text)]
"""A name, or, where it contains a slash, a folder."""

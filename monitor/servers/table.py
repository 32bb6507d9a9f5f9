"""The table of what each media server can do, made from the adapters' own declarations.

``python -m monitor.servers.table docs/media-servers/README.md`` puts it into that page; a test fails when it is out of date.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from monitor.config.server_secrets import secrets_within
from monitor.config.servers import AnyServer
from monitor.servers.factory import BUILT_IN, capabilities_of
from monitor.servers.port import Capabilities

BEGIN: Final = "<!-- Made by `python -m monitor.servers.table docs/media-servers/README.md`. -->"
END: Final = "<!-- The end of what is made. -->"

_HEADINGS: Final[Mapping[str, str]] = {
    "cut": "cuts one stream",
    "hold": "holds and releases",
    "seen_while_held": "held streams are watched",
    "synchronous_block": "blocks hold from the first byte",
    "publisher_address": "tells publishers' addresses",
    "gate_down_refuses": "lets nobody in while the gate is down",
}


def table() -> str:
    """Return the table, one row for each built-in kind, and below it what remains after a cut."""
    declared = {kind: _capabilities(kind) for kind in BUILT_IN}
    flags = [field.name for field in fields(Capabilities) if field.type in {"bool", bool}]
    headings = [_HEADINGS.get(flag, flag.replace("_", " ")) for flag in flags]
    lines = [_row("kind", *headings), _row(*["---"] * (len(flags) + 1))]
    for kind, capabilities in declared.items():
        values = ("yes" if _applies(flag, capabilities) else "" for flag in flags)
        lines.append(_row(f"[`{kind}`]({page_of(kind)})", *values))
    lines += ["", "What viewers may still fetch after a cut:", ""]
    lines += [f"- `{kind}`: {each.residue_after_cut or 'nothing'}." for kind, each in declared.items()]
    return "\n".join(lines) + "\n"


def page_of(kind: str) -> str:
    """Return the name of the page about a kind."""
    return f"{kind.replace('_', '-')}.md"


def with_table(page: str) -> str:
    """Return a page with the table of now between its two marks.

    Raises:
        ValueError: it does not have them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        message = "the page has no place for the table"
        raise ValueError(message)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def _capabilities(kind: str) -> Capabilities:
    adapter: TypeAdapter[AnyServer] = TypeAdapter(AnyServer)
    section = adapter.validate_python({"kind": kind, "name": "example", **BUILT_IN[kind].example})
    with _made_up({secret.env for _, secret in secrets_within(section) if secret.env is not None}):
        return capabilities_of(section)


def _applies(flag: str, capabilities: Capabilities) -> bool:
    # What happens to a held stream says nothing where none can be held.
    return bool(getattr(capabilities, flag)) and (flag != "seen_while_held" or capabilities.hold)


@contextmanager
def _made_up(secrets: set[str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in secrets}
    os.environ.update(dict.fromkeys(secrets, "made up, since nothing is asked of a server"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")

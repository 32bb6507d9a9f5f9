"""The address under which watchers see a participant, from the operator's template."""

from __future__ import annotations

import re
from urllib.parse import quote

from monitor.errors import UnsafeCallRefused

_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,255}")
# What separates or leaves folders is not made harmless by an escape: servers undo those before they look.
_TEXT = re.compile(r"[^\x00-\x1f\x7f/\\%]{1,255}")
_STEPS = frozenset({".", ".."})


def watch_address(template: str, *, room: str, identity: str) -> str:
    """Fill in ``{room}`` and ``{identity}``.

    Raises:
        UnsafeCallRefused: either would lead to another address, or cannot be part of one.
    """
    is_web = template.startswith("http")
    for word in (room, identity):
        fits = _TEXT.fullmatch(word) and is_text(word) if is_web else _SAFE.fullmatch(word)
        if not fits or word in _STEPS:
            raise UnsafeCallRefused("the room's or the participant's name cannot be put into this address")
    filled = {"room": quote(room, safe=""), "identity": quote(identity, safe="")}
    # In one go: a room that is called {identity} is not filled in a second time.
    return re.sub(r"\{(room|identity)\}", lambda match: filled[match[1]], template)


def is_text(name: str) -> bool:
    """Whether the name is text at all; half a surrogate pair is not."""
    return not any("\ud800" <= character <= "\udfff" for character in name)

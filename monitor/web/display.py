"""Text from strangers, made fit to be shown."""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def displayable(text: str, *, max_characters: int = 200) -> str:
    r"""Return `text` with every invisible, direction-changing or unpaired character spelled out (``\u202e``) and bounded.

    What remains is plain text: it still has to be escaped for HTML, and always encodes as UTF-8.
    """
    if len(text) > max_characters:
        text = text[: max_characters - 1] + "…"
    if text.isprintable():
        return text
    return "".join(_plain(character) for character in text)


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in _INVISIBLE:
        return f"\\u{ord(character):04x}"
    return " " if category == "Zs" else character


def displayable_lines(text: str, *, max_characters: int = 4000) -> str:
    """As `displayable`, but keep line breaks and tabs: for what responders write."""
    return "\n".join(
        displayable(line.replace("\t", "    "), max_characters=max_characters)
        for line in text[:max_characters].replace("\r\n", "\n").split("\n")
    )

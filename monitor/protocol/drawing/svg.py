"""The picture itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from monitor.protocol.definition import Definition
from monitor.protocol.drawing.cards import (
    CARD_WIDTH,
    ICON,
    LINE,
    PADDING,
    ROW_GAP,
    TITLE_HEIGHT,
    Card,
    Look,
    Row,
    Sign,
    cards_of,
)
from monitor.protocol.drawing.layout import Layout, Trunk, laid_out

_EDGE: Final = 24.0
_LEGEND_HEIGHT: Final = 64.0
_HEAD_LINE: Final = 18.0
_BASELINE: Final = 11.0
"""From the top of a line to the foot of its letters."""
_LOOKS: Final = {
    # Header, body and border, by day and by night.
    Look.INITIAL: (("#dbe8f3", "#f7fafd", "#5b7f9f"), ("#1f3a52", "#131c24", "#6f93b5")),
    Look.PLAIN: (("#e6eaee", "#fafbfc", "#7d8a96"), ("#2a323a", "#151a1f", "#76828e")),
    Look.ACTING: (("#f3c0ba", "#fdf3f2", "#b3392c"), ("#6b221b", "#241311", "#e0685c")),
    Look.SILENCED: (("#f8dfc8", "#fef8f2", "#bf7432"), ("#5c3612", "#20170f", "#d68f4e")),
    Look.FINAL: (("#3f4a54", "#eef0f2", "#3f4a54"), ("#c9d1d9", "#1b2128", "#c9d1d9")),
}
_TRUNKS: Final = (
    ("#1f5fa8", "#6cb0ff"),
    ("#b3392c", "#ff8579"),
    ("#2b7a4b", "#62c98a"),
    ("#8a4fa3", "#cf98e8"),
    ("#a86a00", "#e6ac45"),
    ("#00798c", "#4cc7da"),
    ("#c2368a", "#f58ac6"),
    ("#5b6b2f", "#b3c76f"),
    ("#4b4fc4", "#a0a3ff"),
    ("#8b5a3c", "#d6a487"),
    ("#5a6672", "#a6b2be"),
)
_INKS: Final = {
    # What is drawn in which colour, by day and by night.
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#22303c", "#d5dde5"),
    "quiet": ("#5a6672", "#9aa6b2"),
    "does": ("#7a4b00", "#e3b873"),
    "onfinal": ("#ffffff", "#0d1117"),
    "timer": ("#fff3c9", "#3a3010"),
    "clock": ("#a86a00", "#e6ac45"),
    "person": ("#1f5fa8", "#6cb0ff"),
    "done": ("#2b7a4b", "#62c98a"),
}
_FONTS: Final = """
    .sans { font: 11px "DejaVu Sans", Verdana, Helvetica, Arial, sans-serif; }
    .mono { font: 11px "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; }
    .head { font-size: 20px; font-weight: bold; }
    .name { font-size: 13px; font-weight: bold; }
    .line { fill: none; stroke-width: 1.6; stroke-linecap: round; }
    .rim { fill: none; stroke-width: 4; }
    .rule { fill: none; stroke-opacity: 0.25; }
"""


def _style() -> str:
    """Return the style sheet: every colour as a class for filling and one for lines, for bright and dark pages."""
    return f"{_FONTS}{_colours(0)}\n    @media (prefers-color-scheme: dark) {{{_colours(1)}\n    }}\n"


def _colours(which: int) -> str:
    named = {name: pair[which] for name, pair in _INKS.items()}
    named |= {f"t{place}": pair[which] for place, pair in enumerate(_TRUNKS)}
    for look, pairs in _LOOKS.items():
        named |= dict(zip((f"{look.value}-{part}" for part in _PARTS), pairs[which], strict=True))
    return "".join(
        f"\n    .f-{name} {{ fill: {value}; }} .s-{name} {{ stroke: {value}; }}" for name, value in named.items()
    )


_PARTS: Final = ("header", "body", "border")


def to_svg(definition: Definition) -> str:
    """Return the definition as one SVG document, the same for the same definition.

    States are boxes with posture, summary, entry effects and a row for each transition; an arrow leads from the row to
    the state that it enters, along one line for all that enter it. Timers have a clock and a coloured row, states that
    silence somebody are red, those in which somebody may still be silenced are orange, final ones dark.
    """
    cards = cards_of(definition)
    layout = laid_out(definition, cards)
    head = _head(definition, layout.width)
    head_height = _EDGE + _HEAD_LINE * (len(head) + 0.5)
    width = layout.width + 2 * _EDGE
    height = head_height + layout.height + _LEGEND_HEIGHT + 2 * _EDGE
    size, sized = f"{_n(width)} {_n(height)}", f'width="{_n(width)}" height="{_n(height)}"'
    colours = {trunk.target: f"t{place % len(_TRUNKS)}" for place, trunk in enumerate(layout.trunks)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {sized} role="img" aria-labelledby="t">',
        f'<title id="t">Protocol {escape(definition.name)}: {escape(definition.summary)}</title>',
        f"<style>{_style()}</style>",
        '<rect width="100%" height="100%" class="f-page"/>',
    ]
    for place, (style, text) in enumerate(head):
        parts.append(_text(_EDGE, _EDGE + _HEAD_LINE * (place + 0.7), text, style))
    parts.append(f'<g transform="translate({_n(_EDGE)} {_n(head_height)})">')
    for trunk in layout.trunks:
        parts += _trunk(trunk, colours[trunk.target])
    initial_x, initial_y = layout.places[definition.initial]
    parts += _beginning(initial_x, initial_y + TITLE_HEIGHT / 2)
    for name, card in cards.items():
        parts += _card(card, *layout.places[name], colours)
    parts.append("</g>")
    parts += _legend(height - _EDGE - _LEGEND_HEIGHT + LINE, _fits(layout))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _head(definition: Definition, width: float) -> list[tuple[str, str]]:
    columns = max(40, int(width / 7.5))
    lines = [("sans head f-ink", definition.name)]
    lines += [
        ("sans f-ink", line) for line in textwrap.wrap(f"version {definition.version}. {definition.summary}", columns)
    ]
    if definition.parameters:
        values = "; ".join(f"{name} = {value}" for name, value in definition.parameters.items())
        lines += [("mono f-ink", line) for line in textwrap.wrap(f"parameters: {values}", columns)]
    return lines


def _card(card: Card, x: float, y: float, colours: dict[str, str]) -> Iterator[str]:
    look = card.look.value
    final = card.look is Look.FINAL
    yield f'<g transform="translate({_n(x)} {_n(y)})">'
    if final:
        yield _rect(-4, -4, CARD_WIDTH + 8, card.height + 8, f'rx="9" fill="none" class="s-{look}-border"')
    yield _rect(0, 0, CARD_WIDTH, card.height, f'rx="6" class="f-{look}-body s-{look}-border" stroke-width="1.5"')
    yield f'<path d="{_header_path(TITLE_HEIGHT)}" class="f-{look}-header"/>'
    yield _text(PADDING, 16, card.name, f"sans name {'f-onfinal' if final else 'f-ink'}")
    if final:
        yield _text(CARD_WIDTH - PADDING, 16, "final", "sans f-onfinal", end=True)
    else:
        yield _text(CARD_WIDTH - PADDING, 16, f"watched: {card.posture}", "sans f-quiet", end=True)
    at = TITLE_HEIGHT + _BASELINE + 1
    for line in card.summary:
        yield _text(PADDING, at, line, "sans f-quiet")
        at += LINE
    for line in card.enter:
        yield _text(PADDING, at, line, "mono f-does")
        at += LINE
    for row in card.rows:
        yield from _row(row, look, colours)
    yield "</g>"


def _row(row: Row, look: str, colours: dict[str, str]) -> Iterator[str]:
    if row.sign is Sign.TIMER:
        yield _rect(1, row.top, CARD_WIDTH - 2, row.height, 'class="f-timer"')
    yield f'<path d="M0 {_n(row.top)}H{_n(CARD_WIDTH)}" class="rule s-{look}-border"/>'
    yield _sign(row.sign, PADDING + 4, row.top + ROW_GAP / 2 + LINE / 2)
    at = row.top + ROW_GAP / 2 + _BASELINE
    for line in row.words:
        yield _text(PADDING + ICON, at, line, "mono f-ink")
        at += LINE
    for line in row.effects:
        yield _text(PADDING + ICON, at, line, "mono f-does")
        at += LINE
    if row.target is not None:
        said = "enters anew" if row.anew else row.target
        colour = "ink" if row.anew else colours[row.target]
        foot = row.top + ROW_GAP / 2 + LINE * row.target_line + _BASELINE
        arrow = "\N{CLOCKWISE OPEN CIRCLE ARROW}" if row.anew else "\N{RIGHTWARDS ARROW}"
        yield _text(CARD_WIDTH - 6, foot, f"{arrow} {said}", f"mono f-{colour}", end=True)


def _sign(sign: Sign, x: float, y: float) -> str:
    at = f'transform="translate({_n(x)} {_n(y)})"'
    match sign:
        case Sign.TIMER:
            drawn = '<circle r="5" class="f-page s-clock"/><path d="M0 -3.2V0H2.6"/>'
            return f'<g {at} class="s-clock" stroke-width="1.3" fill="none">{drawn}</g>'
        case Sign.PERSON:
            return f'<g {at} class="f-person"><circle cy="-2.6" r="2.5"/><path d="M-4.6 5a4.6 4.6 0 0 1 9.2 0z"/></g>'
        case Sign.OUTCOME:
            return f'<path {at} d="M-4 0L-1 3.2L4.4 -3.4" fill="none" class="s-done" stroke-width="1.8"/>'
        case Sign.EVENT:
            return f'<path {at} d="M1.4 -5L-3.6 1H0L-1.4 5L3.6 -1H0z" class="f-quiet"/>'


def _trunk(trunk: Trunk, colour: str) -> Iterator[str]:
    path = "".join(f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}" for x1, y1, x2, y2 in trunk.lines)
    # A white rim where lines cross shows which of them goes on.
    yield f'<path d="{path}" class="rim s-page"/>'
    yield f'<path d="{path}" class="line s-{colour}"/>'
    for x, y in trunk.joints:
        yield f'<circle cx="{_n(x)}" cy="{_n(y)}" r="2.6" class="f-{colour}"/>'
    x, y = trunk.tip
    yield f'<path d="M{_n(x)} {_n(y)}l-10 -5v10z" class="f-{colour}"/>'


def _beginning(x: float, y: float) -> Iterator[str]:
    yield f'<circle cx="{_n(x - 20)}" cy="{_n(y)}" r="5" class="f-ink"/>'
    yield f'<path d="M{_n(x - 20)} {_n(y)}H{_n(x - 8)}" class="line s-ink"/>'
    yield f'<path d="M{_n(x)} {_n(y)}l-10 -5v10z" class="f-ink"/>'


def _fits(layout: Layout) -> int:
    return max(1, int(layout.width // 250))


def _legend(top: float, in_a_line: int) -> Iterator[str]:
    looks = {
        Look.ACTING: "holds, cuts or blocks on entry",
        Look.SILENCED: "somebody may be silenced",
        Look.PLAIN: "nobody is silenced",
        Look.FINAL: "the incident is over",
    }
    signs = {
        Sign.TIMER: "a time has passed",
        Sign.PERSON: "a responder decided",
        Sign.OUTCOME: "an effect has ended",
        Sign.EVENT: "something happened",
    }
    entries = [(look, None, said) for look, said in looks.items()] + [
        (None, sign, said) for sign, said in signs.items()
    ]
    for place, (look, sign, said) in enumerate(entries):
        line, column = divmod(place, in_a_line)
        x, y = _EDGE + 250 * column, top + LINE * 1.3 * line
        if look is not None:
            yield _rect(x, y - 9, 16, 11, f'rx="2" class="f-{look.value}-header s-{look.value}-border"')
        elif sign is not None:
            yield _sign(sign, x + 8, y - 4)
        yield _text(x + 24, y, said, "sans f-quiet")
    line = (len(entries) - 1) // in_a_line + 1
    said = "/ does this, on entry or on the way; first row that matches is taken; a row without an arrow stays"
    yield _text(_EDGE, top + LINE * 1.3 * line, said, "sans f-quiet")


def _header_path(height: float) -> str:
    return (
        f"M0.75 {_n(height)}V6a5.25 5.25 0 0 1 5.25 -5.25H{_n(CARD_WIDTH - 6)}a5.25 5.25 0 0 1 5.25 5.25V{_n(height)}z"
    )


def _rect(x: float, y: float, width: float, height: float, more: str) -> str:
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" {more}/>'


def _text(x: float, y: float, text: str, style: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" class="{style}"{anchor}>{escape(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

"""A definition drawn as one SVG picture, without any tool: a layered layout whose labels cannot run into each other.

What each module does:

- `cards`: every state as a box of text, with one row per transition
- `layout`: boxes in columns, and one trunk line per target state that the arrows of all its transitions join
- `svg`: the picture
"""

from monitor.protocol.drawing.svg import to_svg

__all__ = ["to_svg"]

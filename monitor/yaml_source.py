"""YAML that operators write, read strictly and with line numbers. Pure: text in, values out.

The scalar rules are those of YAML 1.2: only ``true`` and ``false`` are truth values (so the key ``on`` and the
country ``no`` stay text), ``0123`` is a number without surprises, and dates and ``1:30`` stay text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from typing_extensions import override

from monitor.errors import ConfigError, Problem, ProblemsError

MAX_BYTES: Final = 1024**2
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 20_000
"""Values after every alias has been written out: what makes an alias bomb harmless."""

Path = tuple[str | int, ...]
"""Keys and list indices from the top of a document."""

_FLOAT: Final = r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_RESOLVERS: Final = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", _FLOAT, "-+.0123456789"),
)
_SAFE_WORDS: Final = ("expected ", "could not find expected", "found unexpected ", "found unknown escape character")
"""Beginnings of PyYAML's messages that quote at most one character of the document."""


_PLAIN_KEY: Final = re.compile(r"(?!whsec_)[\w.-]{1,64}")


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One parsed document.

    Attributes:
        file: The name that problems print.
        data: Plain values: dict with text keys, list, str, int, float, bool or None (also for an empty document).
        lines: Line, from 1, of every key and list item.
    """

    file: str
    data: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int | None:
        """Return the line, from 1, where `path` is written, or that of its nearest parent; None in an empty document."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None

    def problem(self, path: Path, what: str, mend: str = "") -> Problem:
        """Return a `Problem` that points at `path`."""
        return Problem(self.file, path_text(path), what, mend, self.line(path))


def path_text(path: Path) -> str:
    """Return a path as people write it: ``servers[0].url``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # A key that looks like nothing we know may be hostile, or a secret in the wrong place.
            shown = part if _PLAIN_KEY.fullmatch(part) else "…"
            text += f".{shown}" if text else shown
    return text


def parse_yaml(text: str | bytes, file: str, error: type[ProblemsError] = ConfigError) -> YamlDocument:
    """Parse one document.

    Args:
        text: The file's content; bytes are taken as UTF-8.
        file: The name that problems print.
        error: What to raise.

    Returns:
        The document; `data` is None if it is empty.

    Raises:
        ProblemsError: of class `error`: no text, no YAML, larger than `MAX_BYTES`, deeper than `MAX_DEPTH`, more
            than `MAX_VALUES` values, several documents, a key twice, a key that is no text, merge keys, or tags.
    """
    text = _decoded(text, file, error)
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return YamlDocument(file, None, {})
        builder = _Builder(file)
        data = builder.build(root, (), root.start_mark.line + 1)
    except yaml.MarkedYAMLError as mistake:
        raise error([_syntax_problem(file, mistake)]) from None
    except yaml.YAMLError:
        what = "the file holds characters that YAML does not allow"
        raise error([Problem(file, "", what, "remove control characters")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if builder.problems:
        raise error(builder.problems)
    return YamlDocument(file, data, builder.lines)


def parse_scalar(text: str) -> Any:
    """Return what `text` would mean as a value in a file (``true``, ``5``, ``[a, b]``); else the text itself."""
    try:
        value = parse_yaml(text, "").data
    except ConfigError:
        return text
    # Without quotes a text stays whole: nobody who sets a variable means "#" as the start of a comment.
    return text if isinstance(value, str) and text[0] not in "\"'" else value


def _decoded(text: str | bytes, file: str, error: type[ProblemsError]) -> str:
    if len(text) > MAX_BYTES:
        raise error([Problem(file, "", f"the file is larger than {MAX_BYTES // 1024} KiB", "is it the right file?")])
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as mistake:
        line = text[: mistake.start].count(b"\n") + 1
        raise error([Problem(file, "", "the file is no UTF-8 text", "is it the right file?", line)]) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars, and a bound on nesting that holds before Python's stack ends."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth > MAX_DEPTH:
            mark = self.get_mark()
            raise _TooDeep(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


for _tag, _pattern, _first in _RESOLVERS:
    # PyYAML looks resolvers up by first character; the empty scalar has the key "".
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [c.replace("\0", "") for c in _first])


class _TooDeep(yaml.MarkedYAMLError):
    pass


class _Builder:
    """Turns nodes into plain values and notes the line of each."""

    def __init__(self, file: str) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Path, line: int) -> Any:
        if len(self.lines) >= MAX_VALUES:
            raise _refused(node, f"more than {MAX_VALUES} values, with aliases written out")
        self.lines[path] = line
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise _refused(node, "an alias that contains itself")
        self._open.add(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            self._tagged(node, path)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                self._note(path, line, "a key here is no text", "put it in quotes")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                self._note(path, line, "merge keys (<<) are not supported", "write the keys out")
            elif key in values:
                first = self.lines[(*path, key)]
                self._note((*path, key), line, f"the key is there twice, first in line {first}", "remove one")
            else:
                values[key] = self.build(value_node, (*path, key), line)
        return values

    def _sequence(self, node: yaml.Node, path: Path) -> list[Any]:
        if node.tag != "tag:yaml.org,2002:seq":
            self._tagged(node, path)
        return [self.build(item, (*path, index), item.start_mark.line + 1) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text: str = node.value
        match node.tag:
            case "tag:yaml.org,2002:str":
                return text
            case "tag:yaml.org,2002:null":
                return None
            case "tag:yaml.org,2002:bool":
                return text.lower() == "true"
            case "tag:yaml.org,2002:int":
                return self._integer(text, path)
            case "tag:yaml.org,2002:float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            case _:
                self._tagged(node, path)
                return None

    def _integer(self, text: str, path: Path) -> int | None:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        try:
            return int(text, base)
        except ValueError:  # Python refuses thousands of digits
            self._note(path, self.lines[path], "the number is too long", "write a smaller one")
            return None

    def _tagged(self, node: yaml.Node, path: Path) -> None:
        self._note(
            path, node.start_mark.line + 1, "tags (!) are not supported", "put a text that starts with ! in quotes"
        )

    def _note(self, path: Path, line: int, what: str, mend: str) -> None:
        self.problems.append(Problem(self._file, path_text(path), what, mend, line))


def _refused(node: yaml.Node, what: str) -> yaml.MarkedYAMLError:
    return _TooDeep(problem=what, problem_mark=node.start_mark)


def _syntax_problem(file: str, mistake: yaml.MarkedYAMLError) -> Problem:
    """Name a mistake without quoting the document, which may hold secrets that ended up in the wrong place."""
    mark = mistake.problem_mark or mistake.context_mark
    words = mistake.problem or ""
    what, mend = "this is no YAML", "look for a missing quote, colon or space in this line and the one before"
    if isinstance(mistake, _TooDeep):
        what, mend = words, "write less nesting and fewer aliases"
    elif "'\\t'" in words:
        what, mend = "a tab where YAML wants spaces", "indent with spaces"
    elif words.startswith("found character"):
        what, mend = "a plain text cannot start with this character", "put it in quotes"
    elif words.startswith("mapping values"):
        what, mend = "a second key in one line, or a wrong indentation", "start a new line, or put the value in quotes"
    elif words.startswith("found undefined alias"):
        what, mend = "an alias without its anchor", "put a text that starts with * in quotes"
    elif "but found another document" in words:
        what, mend = "a second document starts here", "keep one document in a file"
    elif words.startswith(_SAFE_WORDS):
        what = f"this is no YAML ({words})"
    return Problem(file, "", what, mend, None if mark is None else mark.line + 1)

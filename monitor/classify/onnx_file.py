"""What an ONNX file says of itself that ONNX Runtime does not tell: its opset, and the operator behind each output.

Reads just enough of the file's protocol buffers for that, so the `onnx` package is not needed. Field numbers are those of
onnx.proto, which never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_MODEL_GRAPH, _MODEL_OPSETS = 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR = 1, 2, 4

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_STEPS_BACK: Final = 16

PASSING: Final = frozenset(
    {"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Clip", "Slice", "Gather"}
)
"""Operators that leave a probability a probability."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What was found.

    Attributes:
        opset: Version of the standard operators; None if the file names none.
        last_operators: For each output that was asked for, the operator that made it, `PASSING` ones left out; empty
            where it cannot be told.
    """

    opset: int | None
    last_operators: dict[str, str]


def read_onnx(content: bytes, outputs: Sequence[str]) -> OnnxFile:
    """Return what `content` says; never raises: what cannot be read is left out, for ONNX Runtime judges the file."""
    opset: int | None = None
    makers: dict[str, tuple[str, str]] = {}
    try:
        for number, value in _fields(memoryview(content)):
            if number == _MODEL_OPSETS and isinstance(value, memoryview):
                told = dict(_fields(value))
                version = told.get(_OPSET_VERSION)
                if _text(told.get(_OPSET_DOMAIN)) in {"", "ai.onnx"} and isinstance(version, int):
                    opset = version
            elif number == _MODEL_GRAPH and isinstance(value, memoryview):
                makers.update(_makers(value))
    except (IndexError, ValueError):
        pass
    return OnnxFile(opset, {name: _last_operator(name, makers) for name in outputs})


def _makers(graph: memoryview) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield, for each value in the graph, the operator that makes it and that one's first input."""
    for number, node in _fields(graph):
        if number != _GRAPH_NODE or not isinstance(node, memoryview):
            continue
        inputs, made, operator = [], [], ""
        for field, value in _fields(node):
            if field == _NODE_INPUT:
                inputs.append(_text(value))
            elif field == _NODE_OUTPUT:
                made.append(_text(value))
            elif field == _NODE_OPERATOR:
                operator = _text(value)
        for name in made:
            yield name, (operator, inputs[0] if inputs else "")


def _last_operator(name: str, makers: dict[str, tuple[str, str]]) -> str:
    for _ in range(_MOST_STEPS_BACK):
        operator, name = makers.get(name, ("", ""))
        if operator not in PASSING:
            return operator
    return ""


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and value; raises IndexError or ValueError where the data is damaged."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
        else:
            message = "unknown kind of field"
            raise ValueError(message)
        if at + size > len(data):
            message = "a field is longer than the data"
            raise ValueError(message)
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    message = "a number is too long"
    raise ValueError(message)


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else ""

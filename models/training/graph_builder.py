"""A small helper to write ONNX graphs as expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9

ELEMENT_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


class GraphBuilder:
    """Collects nodes; every method takes and returns names of tensors."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], list(shape)))
        return name

    def const(self, value: ArrayLike, dtype: str = "float32") -> str:
        """Return a constant; equal constants are stored once."""
        array = np.ascontiguousarray(value, dtype=dtype)
        array = array.reshape(np.shape(value))
        key = (array.tobytes(), str(array.dtype), array.shape)
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = name
            self._initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        names = [f"{kind.lower()}_{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def add(self, left: str, right: str) -> str:
        """Element by element."""
        return self.op("Add", left, right)

    def sub(self, left: str, right: str) -> str:
        """Element by element."""
        return self.op("Sub", left, right)

    def mul(self, left: str, right: str) -> str:
        """Element by element."""
        return self.op("Mul", left, right)

    def div(self, left: str, right: str, floor: float = 0.0) -> str:
        """Divide; `floor` is added to the divisor, which must not be negative, to keep it off zero."""
        return self.op("Div", left, self.add(right, self.const(floor)) if floor else right)

    def log(self, value: str, floor: float) -> str:
        """Natural logarithm of ``value + floor``."""
        return self.op("Log", self.add(value, self.const(floor)))

    def mean(self, value: str, axes: Sequence[int], keepdims: bool = False) -> str:
        """Mean over `axes`."""
        return self.op("ReduceMean", value, axes=list(axes), keepdims=int(keepdims))

    def sum(self, value: str, axes: Sequence[int], keepdims: bool = False) -> str:
        """Sum over `axes`."""
        return self.op("ReduceSum", value, self.const(list(axes), "int64"), keepdims=int(keepdims))

    def max(self, value: str, axes: Sequence[int], keepdims: bool = False) -> str:
        """Largest over `axes`."""
        return self.op("ReduceMax", value, axes=list(axes), keepdims=int(keepdims))

    def std(self, value: str, axis: int) -> str:
        """Population standard deviation along one axis, which is dropped."""
        centred = self.sub(value, self.mean(value, [axis], keepdims=True))
        return self.op("Sqrt", self.mean(self.mul(centred, centred), [axis]))

    def length(self, vectors: str, axis: int, keepdims: bool = False) -> str:
        """Euclidean length along `axis`."""
        return self.op("ReduceL2", vectors, axes=[axis], keepdims=int(keepdims))

    def slice(self, value: str, axis: int, start: int, stop: int) -> str:
        """Part of one axis, from `start` to before `stop`."""
        ends = [self.const([bound], "int64") for bound in (start, stop, axis)]
        return self.op("Slice", value, *ends)

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Same values; -1 stands for the rest, 0 for the same extent."""
        return self.op("Reshape", value, self.const(list(shape), "int64"))

    def build(self, name: str, outputs: dict[str, tuple[str, Sequence[int | str]]]) -> onnx.ModelProto:
        """Return the checked model; `outputs` maps public names to inner names and shapes."""
        nodes = list(self._nodes)
        infos = []
        for public, (inner, shape) in outputs.items():
            nodes.append(helper.make_node("Identity", [inner], [public]))
            infos.append(helper.make_tensor_value_info(public, TensorProto.FLOAT, list(shape)))
        graph = helper.make_graph(nodes, name, self._inputs, infos, self._initializers)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opset, producer_name="livecordon")
        onnx.checker.check_model(model, full_check=True)
        return model

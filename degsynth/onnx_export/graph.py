"""An ONNX graph that is being built: its nodes, its constants, and the sizes that it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import sympy
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from degsynth.onnx_export.sizes import UNLIMITED, Size, is_formula

TYPES = {torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64, torch.bool: TensorProto.BOOL}
"""Types of the tensors of a graph."""
LAST = 2**63 - 1
"""The end of a slice that goes as far as there is something."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the image: the output of a node, or an input of the graph."""

    name: str
    shape: tuple[Size, ...]
    dtype: torch.dtype


def stored(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which the graph holds numbers of a type. It has single precision only, as TensorRT has."""
    if dtype.is_floating_point:
        return torch.float32
    return dtype if dtype == torch.bool else torch.int64


class Graph:
    """Nodes and constants, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[Any, ...], onnx.TensorProto] = {}
        self.hints: dict[Size, int] = {}
        """An example of each symbol, for the questions that no formula answers."""
        self._examples: dict[Size, int] = {}
        self._sources: dict[Size, Callable[[], str]] = {}
        self._computed: dict[Size, str] = {}

    def example(self, size: Size) -> int:
        """Return the value of a size in the example."""
        if not is_formula(size):
            return int(size)
        if size not in self._examples:
            value = size.subs(self.hints)
            self._examples[size] = 2**62 if value == UNLIMITED else int(value)
        return self._examples[size]

    def emit(self, kind: str, inputs: Sequence[str], shape: Sequence[Size], dtype: torch.dtype, **facts: Any) -> Value:
        """Add a node with one output, and return that. ``facts`` are the attributes of the node."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **facts))
        return Value(name, tuple(shape), dtype)

    def name(self, value: Any, dtype: torch.dtype | None = None) -> str:
        """Return the name of a value, constant or number in the graph, converted to a type where one is given."""
        if isinstance(value, Value):
            if dtype is None or value.dtype == dtype:
                return value.name
            return self.emit("Cast", [value.name], value.shape, dtype, to=TYPES[dtype]).name
        if is_formula(value):
            return self.name(Value(self.integer(value), (1,), torch.int64), dtype)
        tensor = value if isinstance(value, Tensor) else torch.tensor(value)
        return self._constant(tensor.detach().to(dtype or stored(tensor.dtype)))

    def _constant(self, tensor: Tensor) -> str:
        array = np.ascontiguousarray(tensor.cpu().numpy())
        shape = tuple(tensor.shape)  # a contiguous array has at least one dimension
        key = (array.tobytes(), shape, array.dtype.str)
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array.reshape(shape), f"c{len(self.constants)}")
        return str(self.constants[key].name)

    # --- sizes --------------------------------------------------------------------------------------------------

    def bind(self, symbol: Size, example: int, source: Callable[[], str]) -> Size:
        """Say where the value of a symbol comes from: ``source`` adds nodes and returns the name of a (1,) int64."""
        self.hints[symbol], self._sources[symbol] = example, source
        return symbol

    def length(self, value: Value, axis: int) -> str:
        """Return the name of the length of a tensor along an axis, (1,) int64."""
        return self.emit("Shape", [value.name], (1,), torch.int64, start=axis, end=axis + 1).name

    def integers(self, sizes: Sequence[Size]) -> str:
        """Return the name of a vector of sizes (N,) int64."""
        if not any(map(is_formula, sizes)):
            return self.name(torch.tensor([int(size) for size in sizes], dtype=torch.int64))
        parts = [self.integer(size) for size in sizes]
        return parts[0] if len(parts) == 1 else self.emit("Concat", parts, (len(parts),), torch.int64, axis=0).name

    def integer(self, size: Size) -> str:
        """Return the name of a size as (1,) int64; nodes compute it where it is a formula."""
        if not is_formula(size) or size == UNLIMITED or size.is_Integer:
            return self.integers([min(self.example(size), LAST)])
        if size not in self._computed:
            self._computed[size] = self._compute(size)
        return self._computed[size]

    def _compute(self, size: Size) -> str:
        if size.is_Symbol:
            return self._sources[size]()
        if isinstance(size, sympy.floor):
            return self._quotient(*sympy.fraction(sympy.together(size.args[0])))
        above, below = sympy.fraction(sympy.together(size))
        if below != 1:
            return self._quotient(above, below)
        kinds = {sympy.Add: "Add", sympy.Mul: "Mul", sympy.Mod: "Mod", sympy.Max: "Max", sympy.Min: "Min"}
        if size.is_Pow and size.exp.is_Integer and size.exp > 0:
            parts, kind = [size.base] * int(size.exp), "Mul"
        else:
            parts, kind = list(size.args), next(name for kind, name in kinds.items() if isinstance(size, kind))
        result = self.integer(parts[0])
        for part in parts[1:]:
            result = self._both(kind, result, self.integer(part))
        return result

    def _quotient(self, above: Size, below: Size) -> str:
        """Round down, which the division of ONNX does not do where the result is negative."""
        a, b = self.integer(above), self.integer(below)
        return self._both("Div", self._both("Sub", a, self._both("Mod", a, b)), b)

    def _both(self, kind: str, a: str, b: str) -> str:
        return self.emit(kind, [a, b], (1,), torch.int64).name

"""Operators that work on every element of a tensor by itself, and sums over its axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from degsynth.onnx_export.graph import Graph, Value, stored
from degsynth.onnx_export.sizes import broadcast


def shape_of(value: Any) -> tuple[Any, ...]:
    """Return the shape of a value, a constant, or a number."""
    return tuple(value.shape) if isinstance(value, (Value, Tensor)) else ()


def applied(graph: Graph, kind: str, dtype: torch.dtype, *inputs: Any, **facts: Any) -> Value:
    """Add a node whose inputs have the type of its result, and are broadcast to one shape."""
    shape = broadcast(*map(shape_of, inputs))
    return graph.emit(kind, [graph.name(one, dtype) for one in inputs], shape, dtype, **facts)


def _unary(kind: str) -> Callable[..., Value]:
    return lambda graph, dtype, x: applied(graph, kind, dtype, x)


def _binary(kind: str) -> Callable[..., Value]:
    return lambda graph, dtype, x, y: applied(graph, kind, dtype, x, y)


def _compared(kind: str) -> Callable[..., Value]:
    def rule(graph: Graph, dtype: torch.dtype, x: Any, y: Any) -> Value:
        common = _common(x, y)
        inputs = [graph.name(x, common), graph.name(y, common)]
        return graph.emit(kind, inputs, broadcast(shape_of(x), shape_of(y)), torch.bool)

    return rule


def _common(x: Any, y: Any) -> torch.dtype:
    """Return the type in which two values are compared."""
    examples = [torch.empty(1, dtype=one.dtype) if isinstance(one, (Value, Tensor)) else one for one in (x, y)]
    return stored(torch.result_type(*examples))


def _sum_of(kind: str) -> Callable[..., Value]:
    def rule(graph: Graph, dtype: torch.dtype, x: Any, y: Any, factor: Any = 1) -> Value:
        return applied(graph, kind, dtype, x, y if factor == 1 else applied(graph, "Mul", dtype, y, factor))

    return rule


def _divided(graph: Graph, dtype: torch.dtype, x: Any, y: Any, rounding: str | None = None) -> Value:
    result = applied(graph, "Div", dtype, x, y)
    if rounding not in (None, "floor") or not dtype.is_floating_point:
        raise ValueError
    return result if rounding is None else applied(graph, "Floor", dtype, result)


def _added_product(graph: Graph, dtype: torch.dtype, x: Any, y: Any, z: Any, value: Any = 1) -> Value:
    scaled = applied(graph, "Mul", dtype, y, z)
    return applied(graph, "Add", dtype, x, scaled if value == 1 else applied(graph, "Mul", dtype, scaled, value))


def _clamped(graph: Graph, dtype: torch.dtype, x: Any, low: Any = None, high: Any = None) -> Value:
    if low is not None:
        x = applied(graph, "Max", dtype, x, low)
    return x if high is None else applied(graph, "Min", dtype, x, high)


def _inverse_root(graph: Graph, dtype: torch.dtype, x: Any) -> Value:
    return applied(graph, "Reciprocal", dtype, applied(graph, "Sqrt", dtype, x))


def _normal_distribution(graph: Graph, dtype: torch.dtype, x: Any) -> Value:
    error = applied(graph, "Erf", dtype, applied(graph, "Mul", dtype, x, 1 / math.sqrt(2)))
    return applied(graph, "Mul", dtype, applied(graph, "Add", dtype, error, 1.0), 0.5)


def _softplus(graph: Graph, dtype: torch.dtype, x: Any, beta: float = 1, threshold: float = 20) -> Value:
    """Beyond the threshold torch returns x itself, which is the same to the last digit of single precision."""
    result = applied(graph, "Softplus", dtype, x if beta == 1 else applied(graph, "Mul", dtype, x, beta))
    return result if beta == 1 else applied(graph, "Div", dtype, result, beta)


def _softmax(graph: Graph, dtype: torch.dtype, x: Any, axis: int, _: Any = None) -> Value:
    return applied(graph, "Softmax", dtype, x, axis=axis)


def _where(graph: Graph, dtype: torch.dtype, condition: Any, x: Any, y: Any) -> Value:
    inputs = [graph.name(condition, torch.bool), graph.name(x, dtype), graph.name(y, dtype)]
    return graph.emit("Where", inputs, broadcast(*map(shape_of, (condition, x, y))), dtype)


def _converted(graph: Graph, dtype: torch.dtype, x: Any, *_: Any) -> Value:
    return Value(graph.name(x, dtype), shape_of(x), dtype)


def _reduced(kind: str) -> Callable[..., Value]:
    def rule(
        graph: Graph, dtype: torch.dtype, x: Any, axes: list[int] | None = None, keep: bool = False, _: Any = None
    ) -> Value:
        shape = shape_of(x)
        chosen = sorted(axis % len(shape) for axis in (axes or range(len(shape))))
        kept = [1 if place in chosen else size for place, size in enumerate(shape) if keep or place not in chosen]
        inputs = [graph.name(x, dtype), graph.integers(chosen)]
        return graph.emit(kind, inputs, kept, dtype, keepdims=int(keep))

    return rule


def _accumulated(graph: Graph, dtype: torch.dtype, x: Any, axis: int, _: Any = None) -> Value:
    return graph.emit("CumSum", [graph.name(x, dtype), graph.name(axis, torch.int64)], shape_of(x), dtype)


RULES: dict[str, Callable[..., Value]] = {
    **{
        kind.lower(): _unary(kind)
        for kind in (
            "Abs",
            "Exp",
            "Log",
            "Sqrt",
            "Floor",
            "Ceil",
            "Sin",
            "Cos",
            "Tanh",
            "Sigmoid",
            "Relu",
            "Erf",
            "Neg",
            "Sign",
            "Reciprocal",
            "Round",
        )
    },
    **{
        name: _compared(kind)
        for name, kind in (
            ("gt", "Greater"),
            ("ge", "GreaterOrEqual"),
            ("lt", "Less"),
            ("le", "LessOrEqual"),
            ("eq", "Equal"),
        )
    },
    "add": _sum_of("Add"),
    "sub": _sum_of("Sub"),
    "mul": _binary("Mul"),
    "div": _divided,
    "pow": _binary("Pow"),
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    "square": lambda graph, dtype, x: applied(graph, "Mul", dtype, x, x),
    "rsqrt": _inverse_root,
    "special_ndtr": _normal_distribution,
    "softplus": _softplus,
    "leaky_relu": lambda graph, dtype, x, slope=0.01: applied(graph, "LeakyRelu", dtype, x, alpha=float(slope)),
    "softmax": _softmax,
    "clamp": _clamped,
    "addcmul": _added_product,
    "where": _where,
    "to": _converted,
    "contiguous": _converted,
    "clone": _converted,
    "detach": _converted,
    "sum": _reduced("ReduceSum"),
    "mean": _reduced("ReduceMean"),
    "cumsum": _accumulated,
}
"""Rules by the names of the operators."""

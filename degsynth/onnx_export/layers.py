"""The layers of networks, and operators that look up, pad, enlarge and multiply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from degsynth.onnx_export.elementwise import shape_of
from degsynth.onnx_export.graph import Graph, Value
from degsynth.onnx_export.sizes import Size, broadcast, floor_division, is_formula, known

MODES = {"constant": "constant", "replicate": "edge", "reflect": "reflect"}
"""Names of the kinds of padding in torch and in ONNX."""


def _pair(value: Sequence[int]) -> list[int]:
    return list(value) if len(value) == 2 else list(value) * 2


def _only(translated: bool) -> None:
    """Raise ValueError for a use of an operator that has no translation."""
    if not translated:
        raise ValueError


def _lengths(shape: Sequence[Size], side: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> list[Size]:
    """Return the height and width of what a window gives that moves over an image."""
    return [
        floor_division(length + 2 * pad - window, step) + 1
        for length, window, step, pad in zip(shape[-2:], side, stride, padding, strict=True)
    ]


def _padded(graph: Graph, dtype: torch.dtype, x: Any, pads: list[Size], mode: str, value: float | None = None) -> Value:
    shape, count = shape_of(x), len(pads) // 2
    before = [0] * (len(shape) - count) + pads[0::2][::-1]
    after = [0] * (len(shape) - count) + pads[1::2][::-1]
    sizes = [low + size + high for low, size, high in zip(before, shape, after, strict=True)]
    inputs = [graph.name(x, dtype), graph.integers([*before, *after])]
    if value:
        inputs.append(graph.name(float(value), dtype))
    return graph.emit("Pad", inputs, sizes, dtype, mode=MODES[mode])


def _convolved(graph: Graph, dtype: torch.dtype, x: Any, weight: Any, bias: Any, *facts: Any) -> Value:
    stride, padding, dilation = (_pair(one) for one in facts[:3])
    groups = facts[3]
    side = [d * (k - 1) + 1 for k, d in zip(shape_of(weight)[2:], dilation, strict=True)]
    shape = [shape_of(x)[0], shape_of(weight)[0], *_lengths(shape_of(x), side, stride, padding)]
    inputs = [graph.name(one, dtype) for one in (x, weight, bias) if one is not None]
    return graph.emit(
        "Conv", inputs, shape, dtype, strides=stride, pads=padding * 2, dilations=dilation, group=known(groups)
    )


def _pooled(graph: Graph, dtype: torch.dtype, kind: str, x: Any, *window: Any, **facts: Any) -> Value:
    side, stride, padding = (_pair(one) if one else [] for one in window)
    stride, padding = stride or side, padding or [0, 0]
    shape = [*shape_of(x)[:-2], *_lengths(shape_of(x), side, stride, padding)]
    return graph.emit(
        kind, [graph.name(x, dtype)], shape, dtype, kernel_shape=side, strides=stride, pads=padding * 2, **facts
    )


def _largest(
    graph: Graph, dtype: torch.dtype, x: Any, side: Any, stride: Any = (), padding: Any = (), *facts: Any
) -> Value:
    _only(set(_pair(facts[0])) == {1} and not facts[1])  # dilation and ceil_mode
    return _pooled(graph, dtype, "MaxPool", x, side, stride, padding)


def _average(
    graph: Graph, dtype: torch.dtype, x: Any, side: Any, stride: Any = (), padding: Any = (), *facts: Any
) -> Value:
    _only(facts == (False, True, None))  # ceil_mode, count_include_pad, divisor_override
    return _pooled(graph, dtype, "AveragePool", x, side, stride, padding, count_include_pad=1)


def _enlarged(
    graph: Graph, dtype: torch.dtype, x: Any, size: list[Size] | None, scales: list[float] | None, **facts: Any
) -> Value:
    shape = shape_of(x)
    if scales is not None and size is None:
        _only(all(factor == int(factor) for factor in scales))
        sizes = [length * int(factor) for length, factor in zip(shape[2:], scales, strict=True)]
        factors = graph.name(torch.tensor([1.0, 1.0, *scales]))
        return graph.emit("Resize", [graph.name(x, dtype), "", factors], [*shape[:2], *sizes], dtype, **facts)
    wanted = [*shape[:2], *(size or [])]
    return graph.emit("Resize", [graph.name(x, dtype), "", "", graph.integers(wanted)], wanted, dtype, **facts)


def _bilinear(graph: Graph, dtype: torch.dtype, x: Any, size: Any, aligned: bool, scales: Any = None) -> Value:
    mode = "align_corners" if aligned else "half_pixel"
    return _enlarged(graph, dtype, x, size, scales, mode="linear", coordinate_transformation_mode=mode)


def _nearest(graph: Graph, dtype: torch.dtype, x: Any, size: Any, scales: Any = None) -> Value:
    facts = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    return _enlarged(graph, dtype, x, size, scales, **facts)


def _sampled(graph: Graph, dtype: torch.dtype, x: Any, grid: Any, mode: int, border: int, aligned: bool) -> Value:
    shape = [*shape_of(x)[:2], *shape_of(grid)[1:3]]
    facts = {
        "mode": ("bilinear", "nearest", "bicubic")[mode],
        "padding_mode": ("zeros", "border", "reflection")[border],
        "align_corners": int(aligned),
    }
    return graph.emit("GridSample", [graph.name(x, dtype), graph.name(grid, dtype)], shape, dtype, **facts)


def _product(graph: Graph, dtype: torch.dtype, x: Any, y: Any) -> Value:
    left, right = shape_of(x), shape_of(y)
    shape: list[Size] = list(broadcast(left[:-2], right[:-2])) if max(len(left), len(right)) > 2 else []
    shape += [*left[-2:-1], *(right[-1:] if len(right) > 1 else [])]
    return graph.emit("MatMul", [graph.name(x, dtype), graph.name(y, dtype)], shape, dtype)


def _einstein_sum(graph: Graph, dtype: torch.dtype, equation: str, factors: list[Any], *_: Any) -> Value:
    equation = equation.replace(" ", "")
    letters, result = equation.split("->")
    sizes: dict[str, Size] = {}
    for names, factor in zip(letters.split(","), factors, strict=True):
        for letter, size in zip(names, shape_of(factor), strict=True):
            if letter not in sizes or is_formula(sizes[letter]):
                sizes[letter] = size
    inputs = [graph.name(factor, dtype) for factor in factors]
    return graph.emit("Einsum", inputs, [sizes[letter] for letter in result], dtype, equation=equation)


RULES: dict[str, Callable[..., Value]] = {
    "pad": _padded,
    "conv2d": _convolved,
    "max_pool2d": _largest,
    "avg_pool2d": _average,
    "upsample_bilinear2d": _bilinear,
    "upsample_nearest2d": _nearest,
    "grid_sampler": _sampled,
    "matmul": _product,
    "einsum": _einstein_sum,
}
"""Rules by the names of the operators."""

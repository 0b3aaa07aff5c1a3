"""Operators that arrange the elements of tensors anew, choose some of them, or make new tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from degsynth.onnx_export.elementwise import applied, shape_of
from degsynth.onnx_export.graph import LAST, Graph, Value
from degsynth.onnx_export.sizes import (
    UNLIMITED,
    Size,
    floor_division,
    is_formula,
    larger,
    plain,
    product,
    same,
    smaller,
)


def _shaped(graph: Graph, dtype: torch.dtype, x: Any, sizes: Sequence[Size]) -> Value:
    """Reshape a tensor; one of the sizes may be -1."""
    total = product(shape_of(x))
    known = product([size for size in sizes if not same(size, -1)])
    shape = [_ratio(total, known) if same(size, -1) else size for size in sizes]
    if len(shape) == len(shape_of(x)) and all(map(same, shape, shape_of(x))):
        return Value(graph.name(x, dtype), tuple(shape), dtype)
    formulas = [place for place, size in enumerate(shape) if is_formula(size)]
    asked = [-1 if place in formulas[:1] else size for place, size in enumerate(shape)]  # a constant, if there is one
    return graph.emit("Reshape", [graph.name(x, dtype), graph.integers(asked)], shape, dtype)


def _ratio(a: Size, b: Size) -> Size:
    """Return a / b, which is a whole number."""
    return plain((a / b).simplify()) if is_formula(a) or is_formula(b) else a // b


def _flat(graph: Graph, dtype: torch.dtype, x: Any, first: int = 0, last: int = -1) -> Value:
    shape = shape_of(x)
    first, last = first % len(shape), last % len(shape)
    return _shaped(graph, dtype, x, [*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]])


def _permuted(graph: Graph, dtype: torch.dtype, x: Any, order: Sequence[int]) -> Value:
    shape = shape_of(x)
    order = [axis % len(shape) for axis in order]
    return graph.emit("Transpose", [graph.name(x, dtype)], [shape[axis] for axis in order], dtype, perm=order)


def _swapped(graph: Graph, dtype: torch.dtype, x: Any, first: int = 0, second: int = 1) -> Value:
    order = list(range(len(shape_of(x))))
    order[first], order[second] = order[second], order[first]
    return _permuted(graph, dtype, x, order)


def _unsqueezed(graph: Graph, dtype: torch.dtype, x: Any, axis: int) -> Value:
    shape = list(shape_of(x))
    axis %= len(shape) + 1
    inputs = [graph.name(x, dtype), graph.integers([axis])]
    return graph.emit("Unsqueeze", inputs, [*shape[:axis], 1, *shape[axis:]], dtype)


def _squeezed(graph: Graph, dtype: torch.dtype, x: Any, axis: int) -> Value:
    shape = list(shape_of(x))
    axis %= len(shape)
    if not same(shape[axis], 1):
        return Value(graph.name(x, dtype), tuple(shape), dtype)
    inputs = [graph.name(x, dtype), graph.integers([axis])]
    return graph.emit("Squeeze", inputs, [*shape[:axis], *shape[axis + 1 :]], dtype)


def _expanded(graph: Graph, dtype: torch.dtype, x: Any, sizes: Sequence[Size], *_: Any) -> Value:
    old = [1] * (len(sizes) - len(shape_of(x))) + list(shape_of(x))
    shape = [before if same(size, -1) else size for before, size in zip(old, sizes, strict=True)]
    if len(shape) == len(shape_of(x)) and all(map(same, shape, old)):
        return Value(graph.name(x, dtype), tuple(shape), dtype)
    return graph.emit("Expand", [graph.name(x, dtype), graph.integers(shape)], shape, dtype)


def _repeated(graph: Graph, dtype: torch.dtype, x: Any, counts: Sequence[Size]) -> Value:
    old = [1] * (len(counts) - len(shape_of(x))) + list(shape_of(x))
    reshaped = _shaped(graph, dtype, x, old)
    shape = [size * count for size, count in zip(old, counts, strict=True)]
    return graph.emit("Tile", [reshaped.name, graph.integers(counts)], shape, dtype)


def _joined(graph: Graph, dtype: torch.dtype, parts: list[Any], axis: int = 0) -> Value:
    shape = list(shape_of(parts[0]))
    axis %= len(shape)
    parts = [part for part in parts if not any(same(size, 0) for size in shape_of(part))]
    if len(parts) == 1:
        return Value(graph.name(parts[0], dtype), shape_of(parts[0]), dtype)
    shape[axis] = plain(sum(shape_of(part)[axis] for part in parts))
    return graph.emit("Concat", [graph.name(part, dtype) for part in parts], shape, dtype, axis=axis)


def _stacked(graph: Graph, dtype: torch.dtype, parts: list[Any], axis: int = 0) -> Value:
    return _joined(graph, dtype, [_unsqueezed(graph, dtype, part, axis) for part in parts], axis)


def _sliced(
    graph: Graph, dtype: torch.dtype, x: Any, axis: int = 0, start: Size = None, end: Size = None, step: int = 1
) -> Value:
    shape = list(shape_of(x))
    axis %= len(shape)
    length = shape[axis]
    first = _place(0 if start is None else start, length)
    last = length if end is None or same(end, LAST) or end == UNLIMITED else _place(end, length)
    if same(first, 0) and same(last, length) and step == 1:
        return Value(graph.name(x, dtype), tuple(shape), dtype)
    # The place of a kernel in a pool is not known, but it lies inside.
    placed = is_formula(first) and not is_formula(length) and not is_formula(plain(last - first))
    inside = last if placed else smaller(last, length)
    shape[axis] = -floor_division(first - inside, step)
    bounds = [graph.integers([one]) for one in (first, last, axis, step)]
    return graph.emit("Slice", [graph.name(x, dtype), *bounds], shape, dtype)


def _place(place: Size, length: Size) -> Size:
    """Return where a slice begins or ends, counted from the beginning, also where it was counted from the end."""
    return plain(larger(0, length + place)) if not is_formula(place) and place < 0 else place


def _selected(graph: Graph, dtype: torch.dtype, x: Any, axis: int, place: Size) -> Value:
    shape = list(shape_of(x))
    axis %= len(shape)
    index = graph.name(place, torch.int64)
    if is_formula(place):
        index = graph.emit("Reshape", [index, graph.name(torch.zeros(0, dtype=torch.int64))], (), torch.int64).name
    return graph.emit("Gather", [graph.name(x, dtype), index], shape[:axis] + shape[axis + 1 :], dtype, axis=axis)


def _looked_up(graph: Graph, dtype: torch.dtype, x: Any, places: list[Any]) -> Value:
    """Take the elements at places along one axis; the places for other axes are None."""
    (axis,) = (number for number, place in enumerate(places) if place is not None)
    shape, index = list(shape_of(x)), places[axis]
    if index.dtype != torch.int64:  # a mask
        raise ValueError
    sizes = [*shape[:axis], *shape_of(index), *shape[axis + 1 :]]
    return graph.emit("Gather", [graph.name(x, dtype), graph.name(index, torch.int64)], sizes, dtype, axis=axis)


def _windows(graph: Graph, dtype: torch.dtype, x: Any, axis: int, side: int, step: int) -> Value:
    """Return all windows along an axis, each along a new last axis."""
    shape = list(shape_of(x))
    axis %= len(shape)
    count = floor_division(shape[axis] - side, step) + 1
    starts = applied(graph, "Mul", torch.int64, _counted(graph, torch.int64, count), step)
    places = applied(graph, "Add", torch.int64, _unsqueezed(graph, torch.int64, starts, 1), torch.arange(side))
    taken = _looked_up(graph, dtype, x, [*[None] * axis, places])
    order = [number for number in range(len(shape) + 1) if number != axis + 1]
    return _permuted(graph, dtype, taken, [*order, axis + 1])


def _difference(graph: Graph, dtype: torch.dtype, x: Any, order: int = 1, axis: int = -1, *_: Any) -> Value:
    for _turn in range(order):
        x = applied(graph, "Sub", dtype, _sliced(graph, dtype, x, axis, 1, LAST), _sliced(graph, dtype, x, axis, 0, -1))
    return Value(graph.name(x, dtype), shape_of(x), dtype)


def _shuffled(graph: Graph, dtype: torch.dtype, x: Any, factor: int) -> Value:
    batch, channels, height, width = shape_of(x)
    shape = [batch, channels // factor**2, height * factor, width * factor]
    if factor == 1:
        return Value(graph.name(x, dtype), tuple(shape), dtype)
    return graph.emit("DepthToSpace", [graph.name(x, dtype)], shape, dtype, blocksize=factor, mode="CRD")


def _unshuffled(graph: Graph, dtype: torch.dtype, x: Any, factor: int) -> Value:
    """The order of the channels is that of ONNX for one channel only."""
    batch, channels, height, width = shape_of(x)
    height, width = floor_division(height, factor), floor_division(width, factor)
    shape = [batch, channels * factor**2, height, width]
    if factor == 1:
        return Value(graph.name(x, dtype), tuple(shape), dtype)
    if channels == 1:
        return graph.emit("SpaceToDepth", [graph.name(x, dtype)], shape, dtype, blocksize=factor)
    split = _shaped(graph, dtype, x, [batch, channels, height, factor, width, factor])
    return _shaped(graph, dtype, _permuted(graph, dtype, split, [0, 1, 3, 5, 2, 4]), shape)


def _filled(graph: Graph, dtype: torch.dtype, sizes: Sequence[Size], value: Any) -> Value:
    return _expanded(graph, dtype, torch.full([1] * len(sizes), value, dtype=dtype), sizes)


def _range(graph: Graph, dtype: torch.dtype, end: Size, *facts: Any) -> Value:
    """Return 0, 1, … end - 1; other ranges have more arguments."""
    if len(facts) != 4:
        raise ValueError
    return _counted(graph, dtype, end)


def _counted(graph: Graph, dtype: torch.dtype, end: Size) -> Value:
    scalar = graph.emit("Reshape", [graph.integer(end), graph.name(torch.zeros(0, dtype=torch.int64))], (), torch.int64)
    inputs = [graph.name(0, torch.int64), scalar.name, graph.name(1, torch.int64)]
    counted = graph.emit("Range", inputs, [end], torch.int64)
    return Value(graph.name(counted, dtype), (end,), dtype)


def _parts(graph: Graph, dtype: torch.dtype, x: Any, count: int, axis: int = 0) -> list[Value]:
    length = shape_of(x)[axis]
    size = -(-length // count)
    return [_sliced(graph, dtype, x, axis, first, first + size) for first in range(0, length, size)]


RULES: dict[str, Callable[..., Any]] = {
    "view": _shaped,
    "reshape": _shaped,
    "view_as": lambda graph, dtype, x, other: _shaped(graph, dtype, x, shape_of(other)),
    "reshape_as": lambda graph, dtype, x, other: _shaped(graph, dtype, x, shape_of(other)),
    "flatten": _flat,
    "permute": _permuted,
    "transpose": _swapped,
    "t": _swapped,
    "numpy_T": lambda graph, dtype, x: _permuted(graph, dtype, x, range(len(shape_of(x)))[::-1]),
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "expand": _expanded,
    "expand_as": lambda graph, dtype, x, other: _expanded(graph, dtype, x, shape_of(other)),
    "repeat": _repeated,
    "cat": _joined,
    "stack": _stacked,
    "chunk": _parts,
    "slice": _sliced,
    "select": _selected,
    "index": _looked_up,
    "unfold": _windows,
    "diff": _difference,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "zeros_like": lambda graph, dtype, x, *_: _filled(graph, dtype, shape_of(x), 0),
    "ones_like": lambda graph, dtype, x, *_: _filled(graph, dtype, shape_of(x), 1),
    "zeros": lambda graph, dtype, sizes, *_: _filled(graph, dtype, sizes, 0),
    "ones": lambda graph, dtype, sizes, *_: _filled(graph, dtype, sizes, 1),
    "new_zeros": lambda graph, dtype, x, sizes, *_: _filled(graph, dtype, sizes, 0),
    "new_full": lambda graph, dtype, x, sizes, value, *_: _filled(graph, dtype, sizes, value),
    "arange": _range,
}
"""Rules by the names of the operators."""

"""Sizes of images that are not known yet: whole numbers that follow from the height, the width and the batch.

A size is a Python integer, or a formula (of sympy) in the symbols for height, width and batch. sympy simplifies as it
goes: whether 2·h is even, or how far a kernel reaches, is known at once, so it becomes a constant of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import sympy

Size = Any
"""An int, or a sympy.Expr for a number that depends on the sizes of the images or on their code."""
UNLIMITED = sympy.oo
"""As many rows at a time as there are."""
BATCH = "batch"
"""Ending of the name of the symbol for the number of images."""


def symbol(name: str) -> Size:
    """Return the symbol of a size, which is 1 or more."""
    return sympy.Symbol(name, integer=True, positive=True)


def number(name: str) -> Size:
    """Return the symbol of a whole number that follows from the values of a tensor."""
    return sympy.Symbol(name, integer=True, nonnegative=True)


def is_formula(value: object) -> bool:
    """Tell whether a value is not known until the images are there."""
    return isinstance(value, sympy.Basic)


def plain(value: Size) -> Size:
    """Return a formula without symbols as the Python number or truth value that it is."""
    if value is sympy.true or value is sympy.false:
        return bool(value)
    if isinstance(value, sympy.Integer):
        return int(value)
    return value


class FormulaError(Exception):
    """A size must be known when the graph is made, but it is a formula."""

    def __init__(self, formula: Size) -> None:
        """Keep the formula."""
        super().__init__(str(formula))
        self.formula = formula


def known(size: Size) -> int:
    """Return a size as an integer; FormulaError where it depends on the images."""
    if is_formula(size):
        raise FormulaError(size)
    return int(size)


def floor_division(a: Size, b: Size) -> Size:
    """Return a // b."""
    if a == UNLIMITED:
        return a
    return plain(sympy.floor(sympy.sympify(a) / b)) if is_formula(a) or is_formula(b) else a // b


def remainder(a: Size, b: Size) -> Size:
    """Return a % b, with the sign of b."""
    return plain(sympy.Mod(a, b)) if is_formula(a) or is_formula(b) else a % b


def smaller(a: Size, b: Size) -> Size:
    """Return the smaller one of two sizes."""
    return plain(sympy.Min(a, b)) if is_formula(a) or is_formula(b) else min(a, b)


def larger(a: Size, b: Size) -> Size:
    """Return the larger one of two sizes."""
    return plain(sympy.Max(a, b)) if is_formula(a) or is_formula(b) else max(a, b)


def product(sizes: Sequence[Size]) -> Size:
    """Return the product of sizes."""
    return plain(math.prod(sizes))


def same(a: Size, b: Size) -> bool:
    """Tell whether two sizes are equal for all images."""
    return bool(a == b) or plain(sympy.expand(sympy.sympify(a) - b)) == 0


def broadcast(*shapes: Sequence[Size]) -> tuple[Size, ...]:
    """Return the shape of the result of an operation on tensors of these shapes, element by element."""
    result: list[Size] = []
    for place in range(max(map(len, shapes))):
        sizes = [shape[-1 - place] for shape in shapes if place < len(shape)]
        result.append(next((size for size in sizes if not same(size, 1)), 1))
    return tuple(reversed(result))

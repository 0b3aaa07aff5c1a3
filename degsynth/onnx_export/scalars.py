"""Operators of TorchScript on numbers, truth values and lists. They also take sizes that are formulas."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import sympy

from degsynth.onnx_export import sizes
from degsynth.onnx_export.sizes import is_formula, plain


def _compared(relation: Any, otherwise: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Compare by ``relation`` of sympy where one of the numbers is a formula."""

    def compare(a: Any, b: Any) -> Any:
        return plain(relation(a, b)) if is_formula(a) or is_formula(b) else otherwise(a, b)

    return compare


def _not(a: Any) -> Any:
    return plain(sympy.Not(a)) if is_formula(a) else not a


def _range_length(low: Any, high: Any, step: Any) -> Any:
    if step == sizes.UNLIMITED:
        return 1
    return sizes.larger(0, -sizes.floor_division(low - high, step))


def _derived_index(index: Any, start: Any, step: Any) -> Any:
    return start if index == 0 else start + index * step


def _set_item(items: list[Any], index: int, value: Any) -> list[Any]:
    items[index] = value
    return items


def _quotient(a: Any, b: Any) -> Any:
    return sympy.sympify(a) / b if is_formula(a) or is_formula(b) else a / b


def _appended(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


SCALARS: dict[str, Callable[..., Any]] = {
    "aten::add": operator.add,
    "aten::sub": operator.sub,
    "aten::mul": operator.mul,
    "aten::neg": operator.neg,
    "aten::div": _quotient,
    "aten::floordiv": sizes.floor_division,
    "aten::remainder": sizes.remainder,
    "aten::pow": operator.pow,
    "aten::sqrt": math.sqrt,
    "aten::lt": _compared(sympy.Lt, operator.lt),
    "aten::le": _compared(sympy.Le, operator.le),
    "aten::gt": _compared(sympy.Gt, operator.gt),
    "aten::ge": _compared(sympy.Ge, operator.ge),
    "aten::eq": _compared(sympy.Eq, operator.eq),
    "aten::ne": _compared(sympy.Ne, operator.ne),
    "aten::__not__": _not,
    "aten::__and__": _compared(sympy.And, lambda a, b: a and b),
    "aten::__or__": _compared(sympy.Or, lambda a, b: a or b),
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__range_length": _range_length,
    "aten::__derive_index": _derived_index,
    "prim::max": lambda *given: _extreme(sizes.larger, given),
    "prim::min": lambda *given: _extreme(sizes.smaller, given),
    "prim::abs": abs,
    "prim::unchecked_cast": lambda value: value,
    "aten::Int": lambda value: value if is_formula(value) else int(value),
    "aten::Float": lambda value: value if is_formula(value) else float(value),
    "aten::Bool": bool,
    "aten::format": lambda text, *_: text,
    "aten::warn": lambda *_: None,
}
"""Operators on numbers, by their names."""

LISTS: dict[str, Callable[..., Any]] = {
    "aten::append": _appended,
    "aten::pop": lambda items, index=-1: items.pop(index),
    "aten::len": len,
    "aten::list": list,
    "aten::__getitem__": lambda items, index: items[index],
    "aten::_set_item": _set_item,
    "aten::slice": lambda items, start, end, step: items[start:end:step],
    "aten::add": operator.add,
    "aten::mul": operator.mul,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::__contains__": lambda items, item: item in items,
}
"""Operators on a list, which is their first argument, by their names."""


def _extreme(choose: Callable[[Any, Any], Any], given: tuple[Any, ...]) -> Any:
    numbers = given[0] if isinstance(given[0], list) else given
    result = numbers[0]
    for number in numbers[1:]:
        result = choose(result, number)
    return result

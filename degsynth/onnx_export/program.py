"""Runs a compiled function of a checkpoint with tensors whose numbers and sizes are not known yet.

What does not depend on the image is computed at once, by torch. Loops and branches are followed, so none is left. Every
other operator is translated to nodes of an ONNX graph (`rules`).

Where a model has other code for a GPU than for a CPU, or other code while it learns, that code is translated: it
computes the same, without what makes a CPU fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import sympy
import torch
from torch import Tensor

from degsynth.model.checkpoint import LoadedDegrader
from degsynth.onnx_export.graph import Graph, Value, stored
from degsynth.onnx_export.rules import RULES
from degsynth.onnx_export.scalars import LISTS, SCALARS
from degsynth.onnx_export.sizes import BATCH, UNLIMITED, FormulaError, is_formula, number, plain, product

CODES = {torch.float32: 6, torch.float64: 7, torch.int64: 4, torch.bool: 11, torch.int32: 3, torch.float16: 5}
"""Numbers by which TorchScript knows types."""
AT_ONCE = "_at_once"
"""Ending of the name of an attribute that says how much a model computes at a time, to use less memory. In an ONNX
graph, which has no loops, all is computed at once."""


class UntranslatableError(Exception):
    """An operator, or a use of it, that has no translation."""

    def __init__(self, operator: str, reason: str) -> None:
        """``operator`` is named as in TorchScript, e.g. ``aten::fft_fft2``."""
        super().__init__(f"{operator}: {reason}")
        self.operator, self.reason = operator, reason


class BatchError(UntranslatableError):
    """A loop or a number of groups that follows from the batch: the graph can be made for one image at a time."""


class Program:
    """The compiled functions of one module, which are translated into one graph."""

    def __init__(self, module: LoadedDegrader, graph: Graph) -> None:
        """Translate functions of ``module`` into ``graph``."""
        self._module, self._graph = module, graph
        self._drawn: set[Any] = set()

    def run(self, function: Any, *arguments: Value | Tensor) -> Any:
        """Return the result of a function: torch's graph of it, all of whose calls are inlined."""
        names = [one.debugName() for one in function.inputs()]
        environment: dict[str, Any] = dict(zip(names, (self._module, *arguments), strict=True))
        with torch.no_grad():
            self._nodes(function, environment)
        return environment[next(function.outputs()).debugName()]

    def _nodes(self, block: Any, environment: dict[str, Any]) -> None:
        for node in block.nodes():
            inputs = [environment[one.debugName()] for one in node.inputs()]
            results = self._node(node, inputs, environment)
            for output, result in zip(node.outputs(), results, strict=True):
                environment[output.debugName()] = result

    def _inner(self, block: Any, environment: dict[str, Any], inputs: Sequence[Any] = ()) -> list[Any]:
        """Run a block of an `if` or a loop, and return what it returns."""
        environment.update(zip((one.debugName() for one in block.inputs()), inputs, strict=True))
        self._nodes(block, environment)
        return [environment[one.debugName()] for one in block.outputs()]

    def _node(self, node: Any, inputs: list[Any], environment: dict[str, Any]) -> list[Any]:
        kind = node.kind()
        if kind == "prim::If":
            return self._branch(inputs[0], list(node.blocks()), environment)
        if kind == "prim::Loop":
            return self._loop(node, inputs, environment)
        if kind == "prim::Constant":
            return [node.output().toIValue()]
        if kind == "prim::GetAttr":
            value = getattr(inputs[0], node.s("name"))
            return [UNLIMITED if node.s("name").endswith(AT_ONCE) and isinstance(value, int) else value]
        if kind in STRUCTURE:
            return STRUCTURE[kind](inputs)
        if kind in FACTS:
            return [FACTS[kind](*inputs)]
        if kind in IGNORED and inputs[:1] in ([], [None]):
            return [None for _ in node.outputs()]
        return [self._operator(node, inputs)]

    # --- flow ---------------------------------------------------------------------------------------------------

    def _branch(self, condition: Any, blocks: list[Any], environment: dict[str, Any]) -> list[Any]:
        if is_formula(condition) and all(map(_is_condition, blocks)):  # ``a or b`` is: True if a, else b
            (yes,), (no,) = (self._inner(block, environment) for block in blocks)
            return [plain(sympy.Or(sympy.And(condition, yes), sympy.And(sympy.Not(condition), no)))]
        return self._inner(blocks[0 if self._decided(condition, blocks) else 1], environment)

    def _decided(self, condition: Any, blocks: list[Any]) -> bool:
        """Return which way a branch goes for all images.

        Where no formula tells, a branch that only raises an error is not taken; and where both ways go on, which they
        do for speed or for borders, the example decides: the image of odd sizes that `export` uses.
        """
        if not is_formula(condition):
            return bool(condition)
        raising = [any(inner.kind() == "prim::RaiseException" for inner in block.nodes()) for block in blocks]
        if raising[0] != raising[1]:
            return raising[1]
        if condition.free_symbols & self._drawn:
            raise UntranslatableError("prim::If", "what is done depends on the numbers of the code or of the image")
        return bool(condition.subs(self._graph.hints))

    def _loop(self, node: Any, inputs: list[Any], environment: dict[str, Any]) -> list[Any]:
        (body,) = node.blocks()
        count, go_on, carried = inputs[0], inputs[1], inputs[2:]
        if is_formula(count):
            self._refuse(count, "prim::Loop", "how often it runs depends on the size of the image")
        turn = 0
        while turn < count and go_on:
            go_on, *carried = self._inner(body, environment, [turn, *carried])
            if is_formula(go_on):
                self._refuse(go_on, "prim::Loop", "when it ends depends on the size of the image")
            turn += 1
        return carried

    def _refuse(self, formula: Any, kind: str, reason: str) -> NoReturn:
        of_batch = all(symbol.name.endswith(BATCH) for symbol in formula.free_symbols)
        raise (BatchError if of_batch else UntranslatableError)(kind, reason)

    # --- operators ----------------------------------------------------------------------------------------------

    def _operator(self, node: Any, inputs: list[Any]) -> Any:
        kind = node.kind()
        if not any(map(_has_tensor, inputs)):
            if inputs and isinstance(inputs[0], list) and kind in LISTS:
                return LISTS[kind](*inputs)
            if kind in SCALARS:
                return plain(SCALARS[kind](*inputs))
        elif isinstance(inputs[0], list) and kind in LISTS:
            return LISTS[kind](*inputs)
        function = _function(node)
        if not any(map(_is_unknown, inputs)):
            return function(*inputs)
        if kind == "aten::Int":
            return self._integer(inputs[0])
        if kind not in RULES:
            raise UntranslatableError(kind, "it has no translation")
        return self._translated(kind, function, inputs)

    def _integer(self, value: Value) -> Any:
        symbol = number(f"n{len(self._graph.hints)}")
        self._drawn.add(symbol)

        def source() -> str:
            return self._graph.emit(
                "Reshape", [self._graph.name(value, torch.int64), self._graph.integers([1])], (1,), torch.int64
            ).name

        return self._graph.bind(symbol, 0, source)

    def _translated(self, kind: str, function: Callable[..., Any], inputs: list[Any]) -> Any:
        """Translate an operator. What torch says of the type and the shape in the example is compared with the rule."""
        try:
            expected = function(*(self._example(one) for one in inputs))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise UntranslatableError(kind, str(error).splitlines()[0]) from None
        several = isinstance(expected, (list, tuple))
        first = expected[0] if several else expected
        try:
            result = RULES[kind](self._graph, stored(first.dtype), *inputs)
        except FormulaError as error:
            self._refuse(error.formula, kind, "one of its settings depends on the size of the image")
        except (TypeError, ValueError, KeyError, IndexError):
            raise UntranslatableError(kind, "this use of it has no translation") from None
        for value, wanted in zip(result if several else [result], expected if several else [expected], strict=True):
            if tuple(map(self._graph.example, value.shape)) != tuple(wanted.shape):
                raise UntranslatableError(kind, f"its shape is {value.shape}, and should be {tuple(wanted.shape)}")
        return result

    def _example(self, argument: Any) -> Any:
        """Return an argument of the example, with zeros for what is not known."""
        if isinstance(argument, Value):
            return torch.zeros([self._graph.example(size) for size in argument.shape], dtype=argument.dtype)
        if isinstance(argument, list):
            return [self._example(item) for item in argument]
        return self._graph.example(argument) if is_formula(argument) else argument


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_tensor, value))
    return isinstance(value, (Tensor, Value))


def _is_unknown(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_is_unknown, value))
    return isinstance(value, Value) or is_formula(value)


def _is_condition(block: Any) -> bool:
    """Tell whether a block does nothing but find a truth value."""
    types = [output.type().kind() for output in block.outputs()]
    kinds = (node.kind() for node in block.nodes() if node.kind() not in ("prim::Constant", *SCALARS, *FACTS))
    return types == ["BoolType"] and not any(kinds)


def _function(node: Any) -> Callable[..., Any]:
    """Return torch's function for an operator of a graph."""
    namespace, _, name = node.kind().partition("::")
    signature = node.schema().partition("(")[0]
    overload = signature.rpartition(".")[2] if "." in signature else "default"
    packet = getattr(torch.ops.aten, name, None) if namespace == "aten" else None
    if packet is None:
        raise UntranslatableError(node.kind(), "it has no translation")
    function = getattr(packet, overload)
    settings = [argument.name if argument.kwarg_only else "" for argument in function._schema.arguments]

    def called(*inputs: Any) -> Any:
        named = {name: value for name, value in zip(settings, inputs, strict=True) if name}
        return function(*(value for name, value in zip(settings, inputs, strict=True) if not name), **named)

    return called


def _shape(value: Any) -> list[Any]:
    return list(value.shape)


STRUCTURE: dict[str, Callable[[list[Any]], list[Any]]] = {
    "prim::ListConstruct": lambda items: [list(items)],
    "prim::TupleConstruct": lambda items: [tuple(items)],
    "prim::ListUnpack": lambda items: list(items[0]),
    "prim::TupleUnpack": lambda items: list(items[0]),
    "prim::TupleIndex": lambda items: [items[0][items[1]]],
}
"""What makes and takes apart lists and tuples."""
FACTS: dict[str, Callable[..., Any]] = {
    "prim::is_cuda": lambda value: True,
    "prim::requires_grad": lambda value: True,
    "prim::device": lambda value: torch.device("cpu"),
    "prim::dtype": lambda value: CODES[value.dtype],
    "aten::dim": lambda value: len(value.shape),
    "aten::numel": lambda value: product(_shape(value)),
    "aten::size": lambda value, axis=None: _shape(value) if axis is None else _shape(value)[axis],
}
"""What is known of a tensor without its numbers."""
IGNORED = frozenset({"prim::Uninitialized", "prim::CreateObject", "prim::SetAttr", "prim::Enter", "prim::Exit"})
"""Nodes without a result that counts: all but the first come from `torch.no_grad`."""

"""The source text of a checkpoint's code, looked at before torch compiles it.

TorchScript is written as Python, so Python's own parser reads it. Torch's parser ends the process where expressions are
nested too deeply, and Python's does not.
"""

from __future__ import annotations

import ast
import re

LONGEST = 2**19
"""Largest length of all code together, characters. Parsing takes some 500 times as many bytes. The methods of
degsynth have up to 2**17."""
DEEPEST = 100
"""Deepest nesting of statements and expressions. The methods of degsynth have up to 25."""
RUN_AT_LOAD = re.compile(r"__setstate__|__forward_hooks__|__forward_pre_hooks__|#\s*type:")
"""What makes torch run code while a module is loaded, or beside its methods, and a comment that torch reads as code. No
method of degsynth needs them."""


def check(text: str) -> None:
    """Raise ValueError where code is too long or too deep for torch, or something runs before it can be checked."""
    if len(text) > LONGEST:
        raise ValueError(f"its code has {len(text)} characters, more than {LONGEST}")
    if found := RUN_AT_LOAD.search(text):
        raise ValueError(f"its code has {found[0]}, which runs before it can be checked")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"its code cannot be parsed: {type(error).__name__}") from None
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, ast.Compare | ast.BoolOp):  # for torch, a chain of them is nested
            depth += sum(1 for _ in ast.iter_child_nodes(node))
        if depth > DEEPEST:
            raise ValueError(f"its code is nested deeper than {DEEPEST}")
        if isinstance(node, ast.Attribute) and node.attr == "classes" and _name(node.value) == "torch":
            raise ValueError("its code has torch.classes, which are no part of a model")
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]


def _name(node: ast.expr) -> str:
    """Return the last part of a dotted name; empty for other expressions."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""

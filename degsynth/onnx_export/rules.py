"""The table of operators on tensors, by their names in TorchScript.

A rule takes the graph, the type of the result, and the arguments of the operator in the order of its schema; it adds
nodes to the graph and returns the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from degsynth.onnx_export import elementwise, layers, shapes

RULES: dict[str, Callable[..., Any]] = {
    f"aten::{name}": rule for part in (elementwise, shapes, layers) for name, rule in part.RULES.items()
}

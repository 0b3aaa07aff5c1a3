"""The table of methods, and what each of them provides.

A method is one file with a ``Config`` (pydantic, one docstring line under each field), ``PRESETS`` (name → values)
and a ``Method``. A new one is that file and one line here; the command line, the fit and the tests find it in the
table.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Protocol

from torch import Tensor

from degsynth.config import Strict, nearest
from degsynth.degrader import Degrader
from degsynth.errors import ConfigError

METHODS = {
    "linear": "degsynth.methods.linear",
}


class Method(Protocol):
    """All that `degsynth.fit` knows of a method. Made as ``Method(config, scale, channels)``."""

    paired: bool
    """Whether it needs aligned HR-LR pairs."""

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Estimation without gradients, from whole images hr (C, s·h, s·w) and lr (C, h, w) in [0, 1]."""

    def degrader(self) -> Degrader:
        """What has been learnt, ready to be exported."""

    def spec(self) -> dict[str, Any]:
        """The fields of `checkpoint.Spec` that the method decides: halos, tiling, levels, phase, …"""

    def report(self) -> dict[str, Any]:
        """What a user wants to know of the fit (kernel width, conditioning, …), for ``fit.json``."""

    def warnings(self) -> list[str]:
        """What a user should not overlook, each a line that tells the way out."""


class MethodModule(Protocol):
    """A file of the table."""

    Config: type[Strict]
    PRESETS: dict[str, dict[str, Any]]
    Method: Any


def get(name: str) -> MethodModule:
    """The module of a method; ConfigError names the nearest where there is none."""
    if name not in METHODS:
        raise ConfigError(f"there is no method '{name}'; {nearest(name, list(METHODS))}")
    return importlib.import_module(METHODS[name])

"""The table of methods.

A method is one file with a ``Config`` (pydantic, one docstring line under each field), ``PRESETS`` and ``QUICK`` (name →
values, and values with which a fit takes seconds), and a ``Method`` (see `degsynth.methods.protocol`). A new one is that
file and one line here; the command line, the fit and the tests find it in the table. ``examples/new_method.md`` walks
through one.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from degsynth.config import Strict, nearest
from degsynth.errors import ConfigError

METHODS = {
    "linear": "degsynth.methods.linear",
    "dml": "degsynth.methods.dml",
    "abl": "degsynth.methods.abl",
    "directkpn": "degsynth.methods.directkpn",
    "directnet": "degsynth.methods.directnet",
    "spectral": "degsynth.methods.spectral",
    "lfl": "degsynth.methods.lfl",
    "adl": "degsynth.methods.adl",
    "pdm": "degsynth.methods.pdm",
    "kmsr": "degsynth.methods.kmsr",
}
"""Modules of the methods, by name."""


class MethodModule(Protocol):
    """What the module of a method offers."""

    Config: type[Strict]
    """The method's options."""
    PRESETS: dict[str, dict[str, Any]]
    """Values of options by preset. Every method has ``default``; ``paper`` is what was published."""
    QUICK: dict[str, Any]
    """Values of options with which a fit takes seconds: for tests, not for use."""
    Method: Any
    """The method, made as ``Method(config, scale, channels, seed)``."""


def get(name: str) -> MethodModule:
    """Return the module of a method; ConfigError names the nearest where there is none."""
    if name not in METHODS:
        raise ConfigError(f"there is no method '{name}'; {nearest(name, list(METHODS))}")
    return importlib.import_module(METHODS[name])

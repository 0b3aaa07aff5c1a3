"""The table of methods.

A method is one file that offers the names in `MethodModule`: its options with their presets, and the class that learns.
A new method is that file and one line in `METHODS`, where the command line, the fit and the tests find it.
``examples/new_method.md`` walks through an example.
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
"""The module of each method, by the name that users give."""


class MethodModule(Protocol):
    """What the module of a method offers."""

    Config: type[Strict]
    """The options: a frozen record with a docstring under each field, which ``degsynth methods NAME`` prints."""
    PRESETS: dict[str, dict[str, Any]]
    """Values of options, by the name of the preset. One is named ``default``; ``paper`` is as published."""
    QUICK: dict[str, Any]
    """Values of options with which a fit takes seconds; they are meant for tests, not for use."""
    Method: Any
    """The class that learns (`degsynth.methods.protocol`), made as ``Method(config, scale, channels, seed)``."""


def get(name: str) -> MethodModule:
    """Return the module of a method. ConfigError for an unknown name suggests the most similar one."""
    if name not in METHODS:
        raise ConfigError(f"there is no method '{name}'; {nearest(name, list(METHODS))}")
    return importlib.import_module(METHODS[name])

"""Checkpoints as ONNX files. `export.write`, which the command line calls, needs the optional extra ``[onnx]``."""

from __future__ import annotations

import importlib.util

from degsynth.errors import ConfigError

LIBRARIES = ("onnx", "onnxruntime")
"""What the extra installs."""


def check_installed() -> None:
    """Raise ConfigError where a library that is needed is not installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"ONNX files need the library {missing[0]}, which is not installed", "run: pip install 'degsynth[onnx]'"
        )

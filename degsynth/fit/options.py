"""What a fit is asked for, and how it speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from degsynth import methods
from degsynth.config import Strict, build
from degsynth.errors import ConfigError

CACHE_MB = 2048


class FitOptions(Strict):
    """What every fit has, whatever the method; the ``[fit]`` table of ``config.toml``."""

    method: str
    """Name in the table of methods."""
    hr: str | None = None
    """Folder of HR images; methods that learn from LR alone have none."""
    lr: str
    """Folder of LR images; for kmsr also a kernel pool (.h5) that was estimated from one."""
    preset: str = "default"
    """Where the method's options start from."""
    scale: int | None = Field(default=None, ge=1)
    """HR size / LR size; unset: inferred from the pairs. Unpaired methods must be told."""
    seed: int = 0
    """Decides which pairs are held out, where weights begin, and which patches are seen."""
    data_range: tuple[float, float] | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the type's own; unset: found."""
    register_pairs: Literal["none", "shift"] = "none"
    """``shift``: correct each pair's global sub-pixel shift before fitting."""
    bad_pairs: Literal["stop", "skip"] = "stop"
    """What to do about pairs, or images of unpaired folders, that the check faults."""
    lr_denoise: Literal["none", "nlm"] = "none"
    """Unpaired methods: ``nlm`` takes noise off the LR images (non-local means) before anything is learnt from them;
    how much there was is recorded all the same."""
    group_by: Literal["none", "exif", "folder"] = "none"
    """Methods that draw noise: learn blur and noise of each camera and sensitivity (EXIF) by themselves, or of each
    folder that LR images lie in."""
    cache_mb: int = Field(default=CACHE_MB, ge=0)
    """Memory for decoded images."""
    device: str = "cpu"
    """Where methods that learn by steps do so: cpu or cuda[:N]."""


@dataclass(frozen=True)
class Events:
    """How a fit speaks; the command line prints it, tests look at it."""

    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None
    on_note: Callable[[str], None] = lambda text: None
    """Something found or decided that a user should know."""
    on_warning: Callable[[str], None] = lambda text: None
    on_figures: Callable[[str], None] = lambda text: None
    """How training goes: losses and held-out scores, now and then."""
    deferred_stop: Callable[[], AbstractContextManager[Callable[[], bool]]] = lambda: contextlib.nullcontext(
        lambda: False
    )
    """Inside this context a wish to stop can wait for the end of a step; what it yields tells whether there is one."""


def check_folders(options: FitOptions, data: methods.Data) -> None:
    """ConfigError where a folder is missing or too many, or an option is for methods of another kind."""
    if data == "lr" and options.hr is not None:
        raise ConfigError(f"--hr {options.hr}: method {options.method} learns from LR alone; leave --hr out")
    if data != "lr" and options.hr is None:
        raise ConfigError(f"--hr is missing: method {options.method} learns from HR and LR")
    if data != "unpaired" and options.lr_denoise != "none":
        from_what = "pairs" if data == "paired" else "LR alone"
        raise ConfigError(
            f"--lr-denoise {options.lr_denoise} is for unpaired methods; {options.method} learns from {from_what}"
        )
    if data == "lr" and options.data_range not in (None, "dtype"):
        raise ConfigError(f"--data-range: method {options.method} finds black and white of every photograph by itself")
    if data != "paired" and options.register_pairs != "none":
        raise ConfigError(f"--register {options.register_pairs} is for pairs; method {options.method} has none")


def resolve(options: FitOptions, values: Mapping[str, Any]) -> tuple[Any, Strict]:
    """The method's module and its full configuration: preset, then ``values``. ConfigError for unknown names."""
    module = methods.get(options.method)
    if options.preset not in module.PRESETS:
        known = ", ".join(module.PRESETS)
        raise ConfigError(f"method {options.method} has no preset '{options.preset}' (known: {known})")
    return module, build(module.Config, {**module.PRESETS[options.preset], **values}, f"method {options.method}")

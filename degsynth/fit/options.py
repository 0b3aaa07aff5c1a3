"""What a fit is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from degsynth import methods
from degsynth.config import Interval, Strict, build
from degsynth.data.scenes import compile_pattern
from degsynth.data.sources import ALL, Choice
from degsynth.errors import ConfigError, shortened
from degsynth.files import is_pool_name
from degsynth.methods.protocol import Data

CACHE_MB = 2048
"""Default memory for decoded images, MiB."""


LEFT_OUT: dict[Data, float] = {"unpaired": 0.35, "lr": 0.6}
"""What is assumed for `FitOptions.left_out`, by what a method learns from. Kernels that are estimated from LR images
alone leave out more: they cannot sharpen, as phones do."""


class FitOptions(Strict):
    """Options that every fit has, whatever the method: the table ``[fit]`` of ``config.toml``."""

    method: str
    """Name in the table of methods."""
    hr: str | None = None
    """Folder of HR images; methods that learn from LR alone take none."""
    lr: str | None = None
    """Folder of LR images; for kmsr also a kernel pool (.h5) that was estimated from one."""
    pairs: str | None = None
    """Instead of ``hr`` and ``lr``, for paired methods: a CSV file with the columns hr and lr, one pair in a line."""
    include: tuple[str, ...] | None = None
    """Patterns (`degsynth.data.patterns`) for paths relative to ``hr`` and to ``lr``: only images that fit one of them
    are taken. One that fits no image of either folder is an error."""
    exclude: tuple[str, ...] | None = None
    """Patterns of the same kind: images that fit one of them are left out."""
    preset: str = "default"
    """Preset from which the method's options start."""
    scale: int | None = Field(default=None, ge=1, le=16)
    """HR size / LR size; unset: inferred from the pairs. Unpaired methods must be told."""
    seed: int = Field(default=0, ge=-(2**63), le=2**63)
    """Seed of every random number of the fit: held-out images, first weights, patches, and all that is drawn."""
    data_range: Interval | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the range of the type; unset: found from the files."""
    register_pairs: Literal["none", "shift"] = "none"
    """``shift``: correct the global sub-pixel shift of each pair before fitting."""
    bad_pairs: Literal["stop", "skip"] = "stop"
    """What happens to pairs, or images of unpaired folders, that fail the check: stop the fit, or leave them out."""
    lr_denoise: Literal["none", "nlm"] = "none"
    """For unpaired methods: ``nlm`` takes noise off the LR images (non-local means) before anything is learnt from
    them; how much there was is recorded all the same."""
    tone: Literal["learned", "assumed", "none"] | None = None
    """Lenses blur light, from which a curve makes the levels of the files. For pairs, ``learned``: measure the curve,
    and use it where it explains the pairs better. For other methods, ``assumed``: use the usual curve of a camera.
    ``none``: blur the levels themselves. Unset: learned or assumed, but none with preset paper, and for float files
    without pairs."""
    group_by: Literal["none", "exif", "folder"] = "none"
    """For methods that draw noise: learn blur and noise of each camera and sensitivity (EXIF) separately, or of each
    sub-folder of LR images."""
    group_scene: str | None = None
    """For pairs: regular expression whose first group, or all of it, is the scene in the name of a pair. No scene is
    both fitted to and held out. Unset: names without the usual endings of sub-images."""
    left_out: float | None = Field(default=None, ge=0, le=2)
    """For methods without pairs: σ of the noise that stands for what the model leaves out, relative to the local
    contrast of the LR image, since it cannot be measured; 0: none. Unset: as in `LEFT_OUT`."""
    cache_mb: int = Field(default=CACHE_MB, ge=0, le=2**30)
    """Memory for decoded images, MiB."""
    device: str = "cpu"
    """Device on which methods learn by steps: cpu or cuda[:N]."""

    @property
    def choice(self) -> Choice:
        """Which images of the folders are taken."""
        return Choice(self.include or (), self.exclude or ())

    @field_validator("hr", "lr", "pairs")
    @classmethod
    def _is_path(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError("no path has a null character")
        return value


def check_options(options: FitOptions, data: Data) -> None:
    """Raise ConfigError where a folder is missing or too many, or an option is for another kind of methods."""
    method = options.method
    _check_paths(options, data)
    if data != "unpaired" and options.lr_denoise != "none":
        source = "pairs" if data == "paired" else "LR alone"
        raise ConfigError(f"`lr_denoise={options.lr_denoise}` is for unpaired methods; {method} learns from {source}")
    if data == "paired" and options.left_out is not None:
        raise ConfigError(
            f"`left_out={options.left_out:g}` is for methods without pairs; {method} measures it on pairs"
        )
    if data == "lr" and options.data_range not in (None, "dtype"):
        raise ConfigError(f"`data_range`: method {method} finds black and white of every photograph by itself")
    _check_tone(options, data)
    if data != "paired" and options.register_pairs != "none":
        raise ConfigError(f"`register_pairs={options.register_pairs}` is for pairs; method {method} has none")
    if options.group_scene is None:
        return
    if data != "paired":
        raise ConfigError(
            f"`group_scene={shortened(options.group_scene)}` is for pairs; method {method} has none, leave it out"
        )
    compile_pattern(options.group_scene)  # while nothing has been read yet


def _check_paths(options: FitOptions, data: Data) -> None:
    """Raise ConfigError where a folder is missing or too many."""
    method = options.method
    if options.choice != ALL and (options.pairs is not None or (data == "lr" and is_pool_name(str(options.lr)))):
        place = f"`pairs={options.pairs}`" if options.pairs is not None else f"a kernel pool (`lr={options.lr}`)"
        raise ConfigError(f"`include` and `exclude` choose among images of folders, not of {place}", "leave them out")
    if options.pairs is not None:
        if data != "paired":
            raise ConfigError(f"`pairs={options.pairs}`: method {method} does not learn from pairs; give `lr`")
        if options.hr is not None or options.lr is not None:
            raise ConfigError(f"`pairs={options.pairs}` lists both sides of all pairs; leave `hr` and `lr` out")
        return
    if options.lr is None:
        raise ConfigError("`lr` is missing" + (": give `hr` and `lr`, or `pairs`" if data == "paired" else ""))
    if data == "lr" and options.hr is not None:
        raise ConfigError(f"`hr={options.hr}`: method {method} learns from LR alone; leave `hr` out")
    if data != "lr" and options.hr is None:
        raise ConfigError(f"`hr` is missing: method {method} learns from HR and LR")


def _check_tone(options: FitOptions, data: Data) -> None:
    """Raise ConfigError where a curve is wanted that a method of this kind cannot have."""
    tone, method = options.tone, options.method
    if data != "paired" and tone == "learned":
        raise ConfigError(f"`tone=learned` is measured in pairs, and {method} has none; give assumed or none")
    if data == "paired" and tone == "assumed":
        raise ConfigError(f"`tone=assumed` is for methods without pairs; {method} can measure it: give learned or none")


def resolve(options: FitOptions, values: Mapping[str, Any]) -> tuple[methods.MethodModule, Strict]:
    """Return the method's module and its full configuration: the preset, then ``values``.

    Raises ConfigError for unknown names.
    """
    module = methods.get(options.method)
    if options.preset not in module.PRESETS:
        known = ", ".join(module.PRESETS)
        raise ConfigError(f"method {options.method} has no preset '{options.preset}' (known: {known})")
    return module, build(module.Config, {**module.PRESETS[options.preset], **values}, f"method {options.method}")

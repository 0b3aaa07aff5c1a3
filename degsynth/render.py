"""One HR image to one LR image: dice, optics, noise, in that order, whole or in tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth import tiling
from degsynth.checkpoint import Checkpoint
from degsynth.errors import ConfigError, DataError
from degsynth.ops.noise import block_field, uniform
from degsynth.seeds import derive

SIGMA_UNIT = 255.0
"""AWGN σ is given on the 0–255 scale of the data range."""


@dataclass(frozen=True)
class Identity:
    """What an output is, as far as its random numbers are concerned."""

    run_seed: int
    key: str
    """POSIX path relative to the HR root."""
    page: int = 0
    draw: int = 0

    def seed(self, purpose: str) -> int:
        """The seed of one stage. That of ``kernel`` is the checkpoint's own: ``degrade`` repeats the image with it."""
        return derive(self.run_seed, self.key, self.page, self.draw, purpose)


@dataclass(frozen=True)
class Noise:
    """What is added after the blur."""

    learned: bool = True
    """The model's own, where it has one, or the giver's."""
    giver: Checkpoint | None = None
    """Another model whose noise is added in place of the model's own: it lies on the LR grid, whatever the scale."""
    awgn: tuple[float, float] | None = None
    """Range of σ on the 0–255 scale, one σ an image; equal ends for a fixed one."""

    def __post_init__(self) -> None:
        if self.awgn is not None and not 0 <= self.awgn[0] <= self.awgn[1] <= SIGMA_UNIT:
            raise ConfigError(f"awgn {self.awgn[0]:g}:{self.awgn[1]:g}: give σ from 0 to 255, or LO:HI with LO ≤ HI")
        if self.giver is not None and not self.giver.spec.has_noise:
            raise ConfigError(
                f"noise of {self.giver.path}: the model ({self.giver.spec.method}) has none; give one that has, or awgn"
            )

    def check(self, checkpoint: Checkpoint) -> None:
        """ConfigError where there are no images that both the model and the noise are for."""
        if self.giver is None or "any" in (takes := (checkpoint.spec.channels, self.giver.spec.channels)):
            return
        if not set(takes[0]) & set(takes[1]):
            raise ConfigError(
                f"noise of {self.giver.path} is for {kinds(takes[1])} images, the model {checkpoint.path} for "
                f"{kinds(takes[0])} ones; give noise that was learnt on the same kind"
            )

    def warning(self, checkpoint: Checkpoint) -> str:
        """What a user should know of a giver's noise; empty where there is nothing."""
        if self.giver is None or self.giver.spec.scale == checkpoint.spec.scale:
            return ""
        return (
            f"the noise was learnt at scale {self.giver.spec.scale}, the model blurs at scale {checkpoint.spec.scale}: "
            "is it the same camera's?"
        )


DEFAULT_NOISE = Noise()
"""The model's own, nothing added."""


FAR_BELOW = 0.5
"""Below this share of the fit's factor, what encoder and decoder learnt to sharpen is no longer blurred again."""


@dataclass(frozen=True)
class Factor:
    """What an image's hardware factor is drawn from; equal ends for a fixed one."""

    low: float
    high: float

    def check(self, checkpoint: Checkpoint) -> None:
        """ConfigError where the model has no such factor."""
        knob, text = checkpoint.spec.hardware_factor, f"{self.low:g}" + (f":{self.high:g}" * (self.high != self.low))
        if knob is None:
            raise ConfigError(
                f"hardware factor {text}: the model {checkpoint.path} ({checkpoint.spec.method}) has none; "
                "models fitted by abl do"
            )
        if not knob.range[0] <= self.low <= self.high <= knob.range[1]:
            raise ConfigError(
                f"hardware factor {text}: give one from {knob.range[0]:g} to {knob.range[1]:g}, or LO:HI with LO ≤ HI"
            )


def far_below(checkpoint: Checkpoint, factor: Factor | None) -> str:
    """What a user should know of a factor (None: the model's own) far below the fit's; empty where it is not."""
    knob = checkpoint.spec.hardware_factor
    low = knob.default if factor is None and knob is not None else factor.low if factor is not None else 0.0
    if knob is None or low >= FAR_BELOW * knob.trained:
        return ""
    return (
        f"hardware factor {low:g} is far below the {knob.trained:g} of the fit: the model then sharpens what it should "
        "blur, and amplifies noise"
    )


@dataclass(frozen=True)
class Rendered:
    """An LR image and what was drawn for it."""

    lr: Tensor
    """(C, h, w) float32 on the CPU, not clamped."""
    awgn_sigma: float | None
    hardware_factor: float | None
    kernel_id: int | None = None
    """Which kernel of a pool."""


def kinds(channels: Sequence[int] | str) -> str:
    """What images of so many channels are called."""
    names = {1: "gray", 3: "RGB"}
    return " or ".join(names.get(int(count), f"{count}-channel") for count in channels)


def check_channels(checkpoint: Checkpoint, channels: int, noise: Noise = DEFAULT_NOISE) -> None:
    """DataError where the model, or whose noise is added, does not take images of so many channels."""
    for model, what in ((checkpoint, "the model"), (noise.giver, "the noise's model")):
        if model is None or model.spec.channels == "any" or channels in model.spec.channels:
            continue
        raise DataError(
            f"the image is {kinds([channels])}, {what} takes {kinds(model.spec.channels)}; "
            "convert the image, or fit a model to such images"
        )


def render(
    checkpoint: Checkpoint,
    hr: Tensor,
    identity: Identity,
    noise: Noise,
    tile: int | None = None,
    device: str = "cpu",
    factor: Factor | None = None,
) -> Rendered:
    """Degrade hr (C, s·h, s·w) in [0, 1]: learned blur → learned noise → AWGN. Not clamped, not quantised.

    ``tile`` is the side of a tile's core in LR px (None: the whole image at once); it changes memory, not the result.
    ``factor`` None: the model's own, where it has one.
    """
    degrader, spec = checkpoint.degrader, checkpoint.spec
    channels, height, width = hr.shape[0], hr.shape[1] // spec.scale, hr.shape[2] // spec.scale
    check_channels(checkpoint, channels, noise)
    if min(height, width) < 1:
        raise DataError(f"the image is {hr.shape[2]}×{hr.shape[1]}, smaller than one LR pixel at scale {spec.scale}")
    giver = noise.giver or checkpoint
    if tile is None or "whole_only" in (spec.tiling, giver.spec.tiling):
        tile = max(height, width)
    seed = identity.seed("kernel")
    code, knob, drawn = degrader.draw(seed, height, width), spec.hardware_factor, None
    if knob is not None:
        if factor is not None:
            drawn = uniform(identity.seed("factor"), factor.low, factor.high)
            code[:, knob.entry] = drawn
        else:  # said as it was set, where the code's 32 bits are all that is between
            written = float(code[0, knob.entry])
            drawn = knob.default if math.isclose(written, knob.default, rel_tol=1e-6) else written
    code = code.to(device)
    # Another's noise has dice of its own, so that the blur is what it would have been without.
    own = giver is checkpoint
    noise_seed = seed if own else identity.seed("noise")
    noise_code = code if own else giver.degrader.draw(noise_seed, height, width).to(device)
    lr = torch.empty(channels, height, width)
    halo = spec.clean_halo + spec.scale * giver.spec.noise_halo
    for part in tiling.grid(height, width, tile, spec.scale, halo, spec.multiple_of):
        y, y_end = part.rows.window_start, part.rows.window_stop
        x, x_end = part.columns.window_start, part.columns.window_stop
        place = y, x, y_end - y, x_end - x, channels
        window = hr[None, :, y * spec.scale : y_end * spec.scale, x * spec.scale : x_end * spec.scale].to(device)
        field = degrader.field(seed, *place).to(device)
        result = degrader.clean(window, code, field)
        if noise.learned:
            noise_field = field if own else giver.degrader.field(noise_seed, *place).to(device)
            result = result + giver.degrader.noise(result.clamp(0.0, 1.0), noise_code, noise_field)
        core = result[0, :, part.rows.core, part.columns.core].cpu()
        lr[:, part.rows.start : part.rows.stop, part.columns.start : part.columns.stop] = core
    sigma = None
    if noise.awgn is not None:
        seed = identity.seed("awgn")
        sigma = uniform(seed, *noise.awgn)
        lr += sigma / SIGMA_UNIT * block_field(seed, 0, 0, height, width, channels)[0]
    return Rendered(lr, sigma, drawn, int(code[0, 0]) if spec.pool else None)

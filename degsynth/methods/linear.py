"""linear: one blur kernel fitted to pairs by least squares, in closed form. Paired; our own, after Eq. 6 of adl.

``lr = gain · (kernel ⋆ hr)↓s + offset``, the kernel summing to 1. The shared kernel is fitted on luma and applied to
every channel, so colours keep their balance; ``per_channel`` fits each channel by itself. No iteration, no random
numbers.

The presets differ in two things. ``paper`` is Eq. 6 as the authors' code has it: 20×20 taps, no ridge, the sum left
free and divided out afterwards. (There it is fitted to a network's output at scale 2; on 8-bit photographs the
missing ridge costs accuracy.) ``default`` adds a small ridge and holds the sum at 1 while solving.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth.config import Strict
from degsynth.errors import ConfigError, FitError
from degsynth.methods import Data
from degsynth.model.degrader import Degrader
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, gaussian_sigma
from degsynth.ops.least_squares import MID_GRAY, NormalEquations, Solution, solve
from degsynth.ops.resample import luma

CENTROID_WARNING_PX = 0.1
"""From here on a user is told, HR px."""
GAIN_WARNING = 0.03
"""Likewise; registered and colour-matched pairs are within 0.01."""
LEVEL_WARNING = 2.5 / 255
"""Likewise, at mid-gray."""


class Config(Strict):
    """Options of `linear`."""

    kernel_size: int | None = Field(default=None, ge=1, le=63)
    """Taps per side, even at even scales, odd at odd ones; unset: 20 or 21."""
    ridge: float = Field(default=1e-3, ge=0.0, allow_inf_nan=False)
    """Weight of Σ kernel², relative to the variance of HR; keeps 8-bit noise out of the taps."""
    per_channel: bool = False
    """One kernel for each channel instead of one for all, fitted on luma."""
    gain: Literal["one", "apply", "drop"] = "one"
    """Contrast change between the shots: held at 1, fitted and applied, or fitted and dropped."""
    offset: Literal["zero", "apply", "drop"] = "zero"
    """Level change between the shots: held at 0, fitted and applied, or fitted and dropped."""
    border: int = Field(default=4, ge=0)
    """LR px left out at each edge, besides those whose kernel would reach over it."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"ridge": 0.0, "gain": "drop"},
}


class LinearOptics(nn.Module):
    """A fixed kernel, gain and offset: no dice, no noise."""

    def __init__(self, kernels: Tensor, gain: Tensor, offset: Tensor, scale: int) -> None:
        """Take kernels (1 or C, K, K) of sum 1, gain and offset (1 or C)."""
        super().__init__()
        self.scale = scale
        self.level = bool((gain != 1).any() or (offset != 0).any())
        self.kernels = nn.Buffer(kernels.float())
        self.gain = nn.Buffer(gain.float().view(1, -1, 1, 1))
        self.offset = nn.Buffer(offset.float().view(1, -1, 1, 1))

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:  # noqa: D102
        return torch.zeros(1, 0)

    @torch.jit.export
    def dice(self, channels: int) -> int:  # noqa: D102
        return 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        lr = blur_decimate(hr, self.kernels, self.scale)
        return lr * self.gain + self.offset if self.level else lr

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return torch.zeros_like(lr)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:  # noqa: D102
        raise ValueError("linear has no hardware factor")


def level_changed(free: Solution) -> str:
    """What a user should be told of a solution with free gain and offset; empty where the level is kept."""
    change = MID_GRAY * (free.gain - 1.0) + free.offset
    if abs(free.gain - 1.0) <= GAIN_WARNING and abs(change) <= LEVEL_WARNING:
        return ""
    return f"LR has another level than HR: gain {free.gain:.3f}, offset {free.offset:+.3f}"


class Method:
    """`degsynth.methods.Method` for linear."""

    data: Data = "paired"

    def __init__(self, config: Config, scale: int, channels: int) -> None:
        self.config, self.scale, self.channels = config, scale, channels
        self.kernel_size = config.kernel_size or (20 if scale % 2 == 0 else 21)
        try:
            self.half_width = half_width(self.kernel_size, scale)
        except ValueError as error:
            raise ConfigError(f"method linear: kernel_size: {error}") from None
        self.solutions: list[Solution] = []
        self.free: list[Solution] = []
        """As `solutions`, gain and offset fitted whatever the configuration says."""

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Gather the normal equations over all images and solve them, once."""
        planes = self.channels if self.config.per_channel else 1
        equations = [NormalEquations(self.kernel_size, self.scale) for _ in range(planes)]
        for hr, lr in images:
            if not self.config.per_channel:
                hr, lr = luma(hr), luma(lr)
            for channel, sums in enumerate(equations):
                sums.add(hr[channel], lr[channel], self.config.border)
        used = equations[0].count
        if used < self.kernel_size**2:
            raise FitError(
                f"linear: {used} LR pixels lie far enough from the borders for {self.kernel_size**2} unknown taps; "
                "give larger or more images, or a smaller --set kernel_size="
            )
        try:
            self.solutions = [
                solve(sums, self.config.ridge, self.config.gain != "one", self.config.offset != "zero")
                for sums in equations
            ]
            self.free = [solve(sums, self.config.ridge, fit_gain=True, fit_offset=True) for sums in equations]
        except ValueError as error:
            raise FitError(f"linear: {error}; raise --set ridge= or give images with more texture") from None

    def _levels(self) -> tuple[list[float], list[float]]:
        gain = [s.gain if self.config.gain == "apply" else 1.0 for s in self.solutions]
        offset = [s.offset if self.config.offset == "apply" else 0.0 for s in self.solutions]
        return gain, offset

    def degrader(self) -> Degrader:
        """The fitted kernel as a checkpoint module."""
        gain, offset = self._levels()
        kernels = torch.stack([s.kernel for s in self.solutions])
        optics = LinearOptics(kernels, torch.tensor(gain), torch.tensor(offset), self.scale)
        return Degrader(optics, self.scale, channels=[self.channels] if self.config.per_channel else None)

    def spec(self) -> dict[str, Any]:
        """Exact tiles, no dice; levels and phase as fitted."""
        gain, offset = self._levels()
        return {
            "channels": [self.channels] if self.config.per_channel else "any",
            "clean_halo": self.half_width,
            "noise_halo": 0,
            "multiple_of": self.scale,
            "gain": gain,
            "offset": offset,
            "phase": [centroid(s.kernel) for s in self.solutions],
        }

    def report(self) -> dict[str, Any]:
        """Centroid, width, sum and conditioning of every kernel."""
        rows = []
        for solution in self.solutions:
            sigma_y, sigma_x = gaussian_sigma(solution.kernel)
            y, x = centroid(solution.kernel)
            rows.append(
                {
                    "centroid_px": [y, x],
                    "centroid_error_px": list(solution.centroid_error),
                    "sigma_px": [sigma_y, sigma_x],
                    "sum": float(solution.kernel.sum()),
                    "negative_mass": float(-solution.kernel.clamp(max=0).sum()),
                    "gain": solution.gain,
                    "offset": solution.offset,
                    "condition_number": solution.condition,
                    "residual_rms": solution.residual_rms,
                }
            )
        return {"kernel_size": self.kernel_size, "kernels": rows}

    def warnings(self) -> list[str]:
        """A change of level that the configuration does not allow for, or else a lopsided kernel."""
        found = []
        level_held = self.config.gain == "one" and self.config.offset == "zero"
        for solution, free in zip(self.solutions, self.free, strict=True):
            y, x = centroid(solution.kernel)
            if level_held and level_changed(free):
                found.append(
                    f"{level_changed(free)}; "
                    "--set gain=apply --set offset=apply reproduces that, =drop takes it out of the kernel only"
                )
            elif math.hypot(y, x) > CENTROID_WARNING_PX:
                found.append(
                    f"the kernel's centroid lies ({y:+.2f}, {x:+.2f}) HR px (y, x) off the centred phase; where the "
                    "pairs are not shifted, the blur itself is lopsided"
                )
        return found

"""linear: one blur kernel, fitted by least squares in closed form. Paired, our own, after Eq. 6 of the adl paper.

The model is ``lr = gain · (kernel ⋆ hr)↓s + offset``, where the kernel sums to 1. One kernel is fitted on luma and
applied to every channel, so colours keep their balance; with ``per_channel`` each channel has a kernel of its own.
There are no iterations and no random numbers.

Presets. ``default`` adds a small ridge and holds the sum at 1 while solving. ``paper`` is Eq. 6 of adl as in the
authors' code: 20×20 taps, no ridge, and the sum is left free and divided out afterwards. (The authors fit that kernel
to the output of a network at scale 2. On 8-bit photographs the missing ridge costs accuracy.)
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth.config import Strict
from degsynth.errors import ConfigError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data
from degsynth.methods.shared.pairs import KernelFit, KernelOptions, LevelChange, Paired, usual_kernel_size
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import MethodSpec
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, gaussian_sigma

CENTROID_WARNING_PX = 0.1
"""A kernel whose centroid is farther from the centred phase than this (HR px) causes a warning."""


class Config(Strict):
    """Options of `linear`."""

    kernel_size: int | None = Field(default=None, ge=1, le=63)
    """Taps per side: even at even scales, odd at odd ones; unset: 20 or 21."""
    ridge: float = Field(default=1e-3, ge=0.0)
    """Weight of Σ kernel², relative to the variance of HR; it keeps the noise of 8-bit files out of the taps."""
    per_channel: bool = False
    """Fit one kernel for each channel, instead of one on luma for all channels."""
    gain: Literal["one", "apply", "drop"] = "one"
    """Change of contrast from HR to LR: held at 1, or fitted and reproduced (apply), or fitted and left out (drop)."""
    offset: Literal["zero", "apply", "drop"] = "zero"
    """Change of level from HR to LR: held at 0, or fitted and reproduced (apply), or fitted and left out (drop)."""
    border: int = Field(default=4, ge=0, le=2**12)
    """LR px that are not used at each edge; LR pixels whose kernel would reach beyond the image are never used."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"ridge": 0.0, "gain": "drop"},
}
QUICK: dict[str, Any] = {}


class LinearOptics(Optics):
    """A fixed kernel for all channels or one for each, with gain and offset. No random numbers, no noise."""

    def __init__(self, kernels: Tensor, gain: Tensor, offset: Tensor, scale: int) -> None:
        """Take kernels (1 or C, K, K) of sum 1, gain and offset (1 or C)."""
        super().__init__()
        self.scale = scale
        self.level = bool((gain != 1).any() or (offset != 0).any())
        self.kernels = nn.Buffer(kernels.float())
        self.gain = nn.Buffer(gain.float().view(1, -1, 1, 1))
        self.offset = nn.Buffer(offset.float().view(1, -1, 1, 1))

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        lr = blur_decimate(hr, self.kernels, self.scale)
        return lr * self.gain + self.offset if self.level else lr


class Method(protocol.Method):
    """The method `linear`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "paired"

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Check the options; ConfigError for a kernel size that does not suit the scale. Nothing is random."""
        self.config, self.scale, self.channels = config, scale, channels
        self.kernel_size = config.kernel_size or usual_kernel_size(scale)
        try:
            self.half_width = half_width(self.kernel_size, scale)
        except ValueError as error:
            raise ConfigError(f"method linear: kernel_size: {error}") from None
        self.fit = KernelFit([])
        self.level_change = LevelChange()

    def holds_level(self) -> bool:  # noqa: D102
        return self.config.gain == "one" and self.config.offset == "zero"

    def prepare(self, images: Paired) -> None:
        """Sum up the normal equations over all images, and solve them."""
        config = self.config
        self.level_change = images.level_change
        self.fit = images.fit_kernel(
            KernelOptions(
                self.kernel_size,
                config.ridge,
                config.border,
                config.per_channel,
                fit_gain=config.gain != "one",
                fit_offset=config.offset != "zero",
            )
        )

    def _levels(self) -> tuple[list[float], list[float]]:
        """Return the gains and offsets that the model applies."""
        gain = [s.gain if self.config.gain == "apply" else 1.0 for s in self.fit.solutions]
        offset = [s.offset if self.config.offset == "apply" else 0.0 for s in self.fit.solutions]
        return gain, offset

    def degrader(self) -> Degrader:
        """Return the fitted kernel as a checkpoint module."""
        gain, offset = self._levels()
        kernels = torch.stack([s.kernel for s in self.fit.solutions])
        optics = LinearOptics(kernels, torch.tensor(gain), torch.tensor(offset), self.scale)
        return Degrader(optics, self.scale, channels=[self.channels] if self.config.per_channel else None)

    def spec(self) -> MethodSpec:
        """Describe the model: tiles are exact, nothing is random, and gain, offset and phase are as fitted."""
        gain, offset = self._levels()
        return MethodSpec(
            channels=[self.channels] if self.config.per_channel else "any",
            clean_halo=self.half_width,
            multiple_of=self.scale,
            gain=tuple(gain),
            offset=tuple(offset),
            phase=tuple(centroid(s.kernel) for s in self.fit.solutions),
        )

    def report(self) -> dict[str, Any]:
        """Return centroid, width, sum and conditioning of every kernel."""
        kernels = []
        for solution in self.fit.solutions:
            sigma_y, sigma_x = gaussian_sigma(solution.kernel)
            y, x = centroid(solution.kernel)
            kernels.append(
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
        return {"kernel_size": self.kernel_size, "kernels": kernels}

    def warnings(self) -> list[str]:
        """Warn of a change of level that the model does not reproduce, or else of a kernel that is not centred."""
        change, each = self.level_change, "" if self.config.per_channel else "`per_channel=true`, "
        if change.text and self.holds_level():
            return [
                f"{change.text}; {each if change.by_channel else ''}`gain=apply` and `offset=apply` reproduce it, "
                "`gain=drop` and `offset=drop` only keep it out of the kernel"
            ]
        if change.text and change.by_channel and each:
            return [f"{change.text}; `per_channel=true` fits gain and offset of each channel"]
        warnings = []
        for solution in self.fit.solutions:
            y, x = centroid(solution.kernel)
            if math.hypot(y, x) > CENTROID_WARNING_PX:
                warnings.append(
                    f"the kernel's centroid lies ({y:+.2f}, {x:+.2f}) HR px (y, x) off the centred phase; if the pairs "
                    "are not shifted, the blur itself is not symmetric"
                )
        return warnings

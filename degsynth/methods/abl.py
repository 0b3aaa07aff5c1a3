"""abl: an encoder, a layer of fixed Gaussians whose width can be changed later, and a decoder. Paired.

The model is that of the paper (Adaptive Blurring Layer), section 3.2. The encoder turns a gray image into channels
(`nets.residual`). The layer blurs every channel with its own mixture of fixed Gaussians, of which only the weights are
learnt (`nets.adaptive_blur`, `ops.gaussian_cells`). The decoder makes the LR image from the blurred channels. The
common width of the Gaussians, the *hardware factor*, is not learnt: it can be changed in the finished model, which then
stands for another lens or sensor. The model is learnt on luma; the channels of a colour image pass through it one by
one.

For the factor to mean something, encoder and decoder must leave the blur to the layer. In preset ``default`` they are
shallow and begin by copying their input, and the blurring layer does the decimation. So a change of the factor by 1
changes the blur of the whole model as much as that of the layer: by 2.6 HR px² of variance. (With group=2 it is up to
1.2 times that. It is less where the window of 16 px cuts off a wide Gaussian.) `fit` measures this change and writes it
to ``fit.json``. Only *differences* of the factor have a meaning; its absolute value says little. A model fitted at
another factor is about as accurate, because its decoder sharpens or blurs to make up for it. With ``factor=auto`` the
layer gets the whole blur of the single kernel that `linear` fits to the pairs: both attenuate a wave with a period of
8 HR px equally.

The level is held as `nets.residual` explains: the output is divided by the output for a flat image of level 1, in
training as well. Where there are learnt thresholds, they see only differences within the image, and map 0 to 0.

Presets. ``paper`` is what was published: 128 channels, the factor 1 (the paper fits 0.25, 0.5, 1, 2 and 3), L1, Adam at
a constant rate of 1e-4, 8 patches of 256×256 px (255×255 at scale 3), 35 000 steps (50 epochs of 50 patches of 112
images), and flips. The paper does not say

- how many residual blocks there are: here 4, of 3×3 filters;
- what the decoder looks like: here filters with the scale as stride, one more filter, and the last one, with ReLUs
  between them;
- how the weights begin: here so that each layer copies its input;
- whether filters have a bias: here they have none.

At odd scales the window has 17×17 px, because one of 16 would be half a pixel off. The weights that score best on
held-out pairs are exported, not the last ones. ``default`` has 16 channels, one residual block that does not see the
level, and a decoder of one linear filter plus a branch that does not see the level. It is fitted within minutes.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from scipy.optimize import brentq
from torch import Tensor, nn

from degsynth.config import Interval
from degsynth.errors import ConfigError, FitError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data, Training
from degsynth.methods.shared import losses
from degsynth.methods.shared.pairs import KernelOptions, LevelChange, Paired, usual_kernel_size
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import HardwareFactor, MethodSpec
from degsynth.nets.adaptive_blur import AdaptiveBlur
from degsynth.nets.residual import ResidualEncoder, StridedDecoder, SumDecoder
from degsynth.ops.gaussian_cells import MAX_FACTOR, MIN_FACTOR, window_side
from degsynth.ops.kernels import variance_at
from degsynth.ops.resample import crop_border, luma

AUTO_MIN, AUTO_MAX = 0.25, 3.0
"""Smallest and largest factor that factor=auto chooses: those of the paper."""
NUMBERS_AT_ONCE = 3_000_000
"""Largest number of values of one feature map that is kept in memory at a time: 12 MB. Five times as many would not fit
into the caches of a processor."""


class Config(Training):
    """Options of `abl`."""

    factor: float | Literal["auto"] = "auto"
    """Hardware factor while training, 0.01 to 10; auto: the blur of the one kernel that explains the pairs."""
    group: Literal[1, 2] = 1
    """Gaussians of a mixture: in four directions, or (2) these four and four more with 1.2 times the factor."""
    width: int = Field(default=16, ge=1, le=2**12)
    """Number of channels that the layer blurs."""
    blocks: int = Field(default=1, ge=0, le=2**10)
    """Number of residual blocks of the encoder."""
    decoder: Literal["sum", "strided"] = "sum"
    """The decoder: one linear filter plus a branch, with the stride in the blurring layer (sum; ours), or filters with
    stride and ReLUs (strided; paper)."""
    blind: bool = True
    """Let residual blocks see only differences, not the level, with thresholds that are learnt; else ReLUs (paper)."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {"steps": 6000, "batch": 4},
    "paper": {
        "factor": 1.0,
        "width": 128,
        "blocks": 4,
        "decoder": "strided",
        "blind": False,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0,
        "average": 0.0,
        "steps": 35_000,
        "batch": 8,
        "patch": 256,
        "flips": True,
    },
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class AdaptiveOptics(Optics):
    """Encoder, blurring layer, decoder. The code of an image is its hardware factor. No random numbers, no noise."""

    def __init__(self, encoder: ResidualEncoder, blur: AdaptiveBlur, decoder: nn.Module, scale: int, halo: int) -> None:
        """Take the three parts, which together read ``halo`` HR px beyond an LR pixel's own block."""
        super().__init__()
        self.encoder, self.blur, self.decoder = encoder, blur, decoder
        self.scale = scale
        self.factor = nn.Buffer(torch.ones(1, 1, dtype=torch.float64))
        self.min_factor, self.max_factor = MIN_FACTOR, MAX_FACTOR
        self.margin = -(-halo // scale)
        self.numbers_at_once = NUMBERS_AT_ONCE

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        """Return the hardware factor (1, 1), which is the whole code of an image (`model.optics` explains codes)."""
        return self.factor.float().cpu().clone()  # a copy: to write another factor into it must not change the model

    @torch.jit.export
    def network(self, gray: Tensor, factor: Tensor) -> Tensor:
        """Return the output of the three parts for gray images (B, 1, H, W) at factors (B,)."""
        lr: Tensor = self.decoder(self.blur(self.encoder(gray), factor))
        return lr

    @torch.jit.export
    def gain(self) -> Tensor:
        """Return the output for a flat image of level 1, (1, 1, 1, 1). It does not depend on the factor."""
        one = torch.ones(1, 1, self.scale, self.scale, dtype=self.blur.logits.dtype, device=self.blur.logits.device)
        return self.network(one, one[0, 0, 0, :1])

    @torch.jit.export
    def network_by_rows(self, gray: Tensor, factor: Tensor) -> Tensor:
        """Return what `network` returns, but a few rows at a time, so that the features of a large image stay small."""
        height = gray.shape[2] // self.scale
        features_of_a_row = self.blur.logits.shape[0] * self.scale * gray.shape[3] * gray.shape[0]
        rows = max(self.margin, self.numbers_at_once // features_of_a_row)
        parts: list[Tensor] = []
        for first in range(0, height, rows):
            last = min(first + rows, height)
            top, bottom = max(0, first - self.margin), min(height, last + self.margin)
            band = self.network(gray[:, :, top * self.scale : bottom * self.scale], factor)
            parts.append(band[:, :, first - top : last - top])
        return torch.cat(parts, 2)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        gain = self.gain()
        planes: list[Tensor] = []
        for channel in range(hr.shape[1]):
            planes.append(self.network_by_rows(hr[:, channel : channel + 1], code[:, 0]) / gain)
        return torch.cat(planes, 1)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:  # noqa: D102
        if not (self.min_factor <= f <= self.max_factor):
            raise ValueError(f"the hardware factor must be from {self.min_factor} to {self.max_factor}, not {f}")
        self.factor.fill_(f)


class Method(protocol.Learned):
    """The method `abl`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "paired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        self.config, self.scale, self.channels = config, scale, channels
        if config.factor != "auto" and not MIN_FACTOR <= config.factor <= MAX_FACTOR:
            raise ConfigError(
                f"method abl: factor (={config.factor:g}) must be from {MIN_FACTOR} to {MAX_FACTOR}, or auto"
            )
        if scale > 4:
            raise ConfigError(
                f"method abl: scale (={scale}) must be from 1 to 4, because its Gaussians are at most 8 HR px wide"
            )
        size = window_side(scale)
        strided = config.decoder == "strided"
        stride = 1 if strided else scale
        encoder = ResidualEncoder(config.width, config.blocks, config.blind)
        blur = AdaptiveBlur(config.width, config.group, size, stride)
        decoder = StridedDecoder(config.width, scale) if strided else SumDecoder(config.width)
        self.halo = encoder.reach + (size - stride + 1) // 2 + decoder.reach * stride
        self.optics = AdaptiveOptics(encoder, blur, decoder, scale, self.halo)
        self.border = math.ceil(self.halo / scale)
        self.multiple_of = scale
        usual = scale * {1: 64, 2: 48, 3: 36}.get(scale, 32)  # a step takes about as long at every scale
        self.patch = (config.patch or usual) // scale * scale
        self.least_patch = 3 * self.border * scale
        if self.patch < self.least_patch:
            raise ConfigError(f"method abl: patch (={self.patch}) must be at least {self.least_patch} HR px")
        self.level_change = LevelChange()
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(self.optics.parameters(), lr=config.learning_rate)
        }

    def prepare(self, images: Paired) -> None:
        """Fit the one kernel that explains the pairs. With factor=auto, choose the factor by its blur."""
        factor = self.config.factor
        self.level_change = images.level_change
        try:
            fit = images.fit_kernel(KernelOptions(usual_kernel_size(self.scale)))
        except FitError:
            if factor == "auto":
                raise FitError(
                    "abl: factor=auto needs a blur kernel fitted to the pairs, and these pairs do not determine one",
                    "give larger or more images, or `factor=1`",
                ) from None
        else:
            factor = self._factor_of(fit.solutions[0].kernel) if factor == "auto" else factor
        self.optics.set_hardware_factor(factor)

    def _factor_of(self, kernel: Tensor) -> float:
        """Return the factor at which the layer attenuates a wave of period 8 HR px as the kernel does.

        The Gaussians of the layer count alike. The factor lies between `AUTO_MIN` and `AUTO_MAX`.
        """
        target = sum(variance_at(kernel))

        def surplus(factor: float) -> float:
            return sum(variance_at(self.optics.blur.table(torch.tensor([factor]))[0].mean(0))) - target

        if surplus(AUTO_MIN) >= 0:
            return AUTO_MIN
        if surplus(AUTO_MAX) <= 0:
            return AUTO_MAX
        return round(float(brentq(surplus, AUTO_MIN, AUTO_MAX, xtol=1e-3)), 2)

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take a step on one batch of luma patches at the factor of the fit: L1, without borders that saw padding."""
        hr, lr = luma(batch["hr"]), luma(batch["lr"])
        features = self.optics.blur.forward_with_fast_gradient(self.optics.encoder(hr), self.optics.factor[0])
        predicted = self.optics.decoder(features) / self.optics.gain()
        loss = crop_border(predicted - lr, self.border).abs().mean()
        return {"l1": losses.update(self.optimizers["adam"], loss)}

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return encoder, layer and decoder as a checkpoint module."""
        return Degrader(optics or self.optics, self.scale)

    def spec(self) -> MethodSpec:
        """Describe the model: tiles are exact, nothing is random, and there is a hardware factor.

        `fit` measures the phase.
        """
        factor = self.optics.factor.item()
        known = HardwareFactor(default=factor, trained=factor, range=Interval(MIN_FACTOR, MAX_FACTOR))
        return MethodSpec(clean_halo=self.halo, multiple_of=self.scale, hardware_factor=known)

    def report(self) -> dict[str, Any]:
        """Return the size of the model, its factor, and the weight of each Gaussian, averaged over the channels."""
        mixture = torch.softmax(self.optics.blur.logits.detach(), 1).mean(0)
        return {
            "parameters": sum(p.numel() for p in self.optics.parameters()),
            "factor": self.optics.factor.item(),
            "mean_mixture": mixture.tolist(),
        }

    def warnings(self) -> list[str]:
        """Warn of a change of level, which the model cannot follow."""
        return self.level_change.held("abl")

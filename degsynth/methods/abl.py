"""abl: an encoder, a layer of fixed Gaussians whose width can be turned afterwards, a decoder. Paired.

Paper (Adaptive Blurring Layer), 3.2. A gray image becomes channels (`nets.residual`), every channel is blurred with a
mixture of fixed Gaussians of its own, of which the weights are learnt (`nets.adaptive_blur`, `ops.gaussian_cells`), and
a decoder makes the LR image of them. The Gaussians' common width, the *hardware factor*, is not learnt: it can be
changed in the finished model, to stand for another lens or sensor. Colour images pass channel by channel: the model is
learnt on luma.

For the factor to mean something, encoder and decoder must leave the blur to the layer. In the ``default`` preset they
begin as copies and are shallow, and the layer is where samples are dropped: so what a unit of factor adds to the blur
of the whole model is what it adds to the layer's, 2.6 px² of variance (group two up to 1.2 times that; less where the
window of 16 px cuts a wide Gaussian off). `fit` measures that and writes it to ``fit.json``. What is right is this
*difference*: at which factor a fit is made hardly matters to its accuracy, since the decoder sharpens or blurs what is
left, so the factor's absolute value says little. ``factor=auto`` gives the layer the whole blur that one kernel has
(that of `linear`, at a period of 8 px).

Level: see `nets.residual`. What filters make of a flat 1 is divided out, in training as well; bends, where there are
any, pass through the origin and see differences only.

Presets. ``paper`` is what was published: 128 channels, the factor 1 (the paper fits 0.25, 0.5, 1, 2 and 3), L1, Adam at
a constant 1e-4, 8 patches of 256² (255² at scale 3), 35 000 steps (50 epochs of 50 patches of 112 images), flips. The
paper does not say how many residual blocks there are (here 4, of 3×3 filters), how the decoder looks (here filters with
the scale's stride, one more, and the last, ReLUs between), how weights begin (here as copies), nor whether filters have
a bias (here not). At odd scales the window has 17×17 px, where 16 would be half a pixel off. The weights that were best
on held-out pairs are exported, not the last. ``default`` has 16 channels, one residual block blind to the level, and a
decoder of one linear filter and a branch blind to the level, which fits in minutes.
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
from degsynth.methods.shared.pairs import KernelOptions, Paired, level_change, usual_kernel_size
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import HardwareFactor, MethodSpec
from degsynth.nets.adaptive_blur import AdaptiveBlur
from degsynth.nets.residual import ResidualEncoder, StridedDecoder, SumDecoder
from degsynth.ops.gaussian_cells import HIGHEST, LOWEST, cells
from degsynth.ops.kernels import variance_at
from degsynth.ops.resample import crop_border, luma

AUTO_LOWEST, AUTO_HIGHEST = 0.25, 3.0
"""Between these factor=auto chooses: those of the paper."""
NUMBERS_AT_ONCE = 3_000_000
"""Of one feature map, that exist at a time: 12 MB. Of five times as many a processor's caches are full."""


class Config(Training):
    """Options of `abl`."""

    factor: float | Literal["auto"] = "auto"
    """Hardware factor while training, 0.01 to 10; auto: the blur that one kernel has."""
    group: Literal[1, 2] = 1
    """Gaussians of a mixture: four directions, or the same four and four more with 1.2 times the factor."""
    width: int = Field(default=16, ge=1)
    """Channels."""
    blocks: int = Field(default=1, ge=0)
    """Residual blocks of the encoder."""
    decoder: Literal["sum", "strided"] = "sum"
    """One linear filter and a branch, the stride in the blurring layer (ours); or filters with stride and ReLUs
    (paper)."""
    blind: bool = True
    """Whether residual blocks see differences only, not the level, and bend where they learn to; else ReLUs (paper)."""


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
    """Encoder, blurring layer, decoder; the code of an image is its hardware factor. No dice, no noise."""

    def __init__(self, encoder: ResidualEncoder, blur: AdaptiveBlur, decoder: nn.Module, scale: int, halo: int) -> None:
        """``halo``: HR px that the three read beyond an LR pixel's own block."""
        super().__init__()
        self.encoder, self.blur, self.decoder = encoder, blur, decoder
        self.scale = scale
        self.factor = nn.Buffer(torch.ones(1, 1, dtype=torch.float64))
        self.lowest, self.highest = LOWEST, HIGHEST
        self.margin = -(-halo // scale)
        self.numbers_at_once = NUMBERS_AT_ONCE

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        """The factor, as the one entry of the code."""
        return self.factor.float().cpu().clone()  # whoever writes another factor into it does not write into the model

    @torch.jit.export
    def answer(self, gray: Tensor, factor: Tensor) -> Tensor:
        """What the network makes of gray images (B, 1, H, W) at factors (B,)."""
        made: Tensor = self.decoder(self.blur(self.encoder(gray), factor))
        return made

    @torch.jit.export
    def gain(self) -> Tensor:
        """What it makes of a flat 1, whatever the factor: (1, 1, 1, 1)."""
        one = torch.ones(1, 1, self.scale, self.scale, dtype=self.blur.logits.dtype, device=self.blur.logits.device)
        return self.answer(one, one[0, 0, 0, :1])

    @torch.jit.export
    def by_rows(self, gray: Tensor, factor: Tensor) -> Tensor:
        """`answer`, for as many rows at a time as keep the features of a large image small."""
        height = gray.shape[2] // self.scale
        features_of_a_row = self.blur.logits.shape[0] * self.scale * gray.shape[3] * gray.shape[0]
        rows = max(self.margin, self.numbers_at_once // features_of_a_row)
        parts: list[Tensor] = []
        for first in range(0, height, rows):
            last = min(first + rows, height)
            top, bottom = max(0, first - self.margin), min(height, last + self.margin)
            made = self.answer(gray[:, :, top * self.scale : bottom * self.scale], factor)
            parts.append(made[:, :, first - top : last - top])
        return torch.cat(parts, 2)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        gain = self.gain()
        planes: list[Tensor] = []
        for channel in range(hr.shape[1]):
            planes.append(self.by_rows(hr[:, channel : channel + 1], code[:, 0]) / gain)
        return torch.cat(planes, 1)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:  # noqa: D102
        if not (self.lowest <= f <= self.highest):
            raise ValueError(f"the hardware factor must be from {self.lowest} to {self.highest}, not {f}")
        self.factor.fill_(f)


class Method(protocol.Learned):
    """`degsynth.methods.Learned` for abl."""

    data: Data = "paired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        self.config, self.scale, self.channels = config, scale, channels
        if config.factor != "auto" and not LOWEST <= config.factor <= HIGHEST:
            raise ConfigError(f"method abl: factor (={config.factor:g}) must be from {LOWEST} to {HIGHEST}, or auto")
        if scale > 4:
            raise ConfigError(
                f"method abl: scale (={scale}) must be from 1 to 4: its Gaussians are 8 HR px wide at most"
            )
        size = cells(scale)
        strided = config.decoder == "strided"
        stride = 1 if strided else scale
        encoder = ResidualEncoder(config.width, config.blocks, config.blind)
        blur = AdaptiveBlur(config.width, config.group, size, stride)
        decoder = StridedDecoder(config.width, scale) if strided else SumDecoder(config.width)
        self.halo = encoder.reach + (size - stride + 1) // 2 + decoder.reach * stride
        self.optics = AdaptiveOptics(encoder, blur, decoder, scale, self.halo)
        self.border = math.ceil(self.halo / scale)
        self.multiple_of = scale
        usual = scale * {1: 64, 2: 48, 3: 36}.get(scale, 32)  # so that a step takes about as long at every scale
        self.patch = (config.patch or usual) // scale * scale
        self.least_patch = 3 * self.border * scale
        if self.patch < self.least_patch:
            raise ConfigError(f"method abl: patch (={self.patch}) must be at least {self.least_patch} HR px")
        self.level_change = ""
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(self.optics.parameters(), lr=config.learning_rate)
        }

    def prepare(self, images: Paired) -> None:
        """Choose the factor, where it is left to us, by the one kernel that explains the pairs."""
        factor = self.config.factor
        try:
            fit = images.fit_kernel(KernelOptions(usual_kernel_size(self.scale)))
        except FitError:
            if factor == "auto":
                raise FitError(
                    "abl: factor=auto looks at the one kernel that explains the pairs, and these do not determine one",
                    "give larger or more images, or `factor=1`",
                ) from None
        else:
            self.level_change = level_change(fit.free[0])
            factor = self._as_blurred_as(fit.solutions[0].kernel) if factor == "auto" else factor
        self.optics.set_hardware_factor(factor)

    def _as_blurred_as(self, kernel: Tensor) -> float:
        """The factor at which the layer, its Gaussians mixed equally, dims a wave of 8 HR px as a kernel does."""
        wanted = sum(variance_at(kernel))

        def surplus(factor: float) -> float:
            return sum(variance_at(self.optics.blur.table(torch.tensor([factor]))[0].mean(0))) - wanted

        if surplus(AUTO_LOWEST) >= 0 or surplus(AUTO_HIGHEST) <= 0:
            return AUTO_LOWEST if surplus(AUTO_LOWEST) >= 0 else AUTO_HIGHEST
        return round(float(brentq(surplus, AUTO_LOWEST, AUTO_HIGHEST, xtol=1e-3)), 2)

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """L1 of one batch of luma patches at the fit's factor, borders that see padding left out."""
        hr, lr = luma(batch["hr"]), luma(batch["lr"])
        features = self.optics.blur.learning(self.optics.encoder(hr), self.optics.factor[0])
        made = self.optics.decoder(features) / self.optics.gain()
        loss = crop_border(made - lr, self.border).abs().mean()
        return {"l1": losses.update(self.optimizers["adam"], loss)}

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """The network as a checkpoint module."""
        return Degrader(optics or self.optics, self.scale)

    def spec(self) -> MethodSpec:
        """Exact tiles, no dice; the phase is learnt, and measured."""
        factor = self.optics.factor.item()
        known = HardwareFactor(default=factor, trained=factor, range=Interval(LOWEST, HIGHEST))
        return MethodSpec(clean_halo=self.halo, multiple_of=self.scale, hardware_factor=known)

    def report(self) -> dict[str, Any]:
        """Size of the model, its factor, and how much of each Gaussian its channels have on average."""
        mixture = torch.softmax(self.optics.blur.logits.detach(), 1).mean(0)
        return {
            "parameters": sum(p.numel() for p in self.optics.parameters()),
            "factor": self.optics.factor.item(),
            "mean_mixture": mixture.tolist(),
        }

    def warnings(self) -> list[str]:
        """A change of level, which a model that keeps it cannot follow."""
        if not self.level_change:
            return []
        return [f"{self.level_change}; abl holds the level: adapt LR first, or see what linear makes of it"]

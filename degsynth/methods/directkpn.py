"""directkpn: a network that predicts a whole kernel for every pixel, to compare `dml` with. Paired; dml, 4.3.

The kernel of LR pixel (i, j) is what the backbone of `dml` says for it, tap by tap: K² numbers with no basis between.
Level and phase are held as in `dml`, pixel by pixel: with T_ij the network's taps and S_ij their sum::

    k_ij = k̄ + T_ij − S_ij k̄ − moment(T_ij − S_ij k̄) · g

so every kernel sums to 1, and with ``centred`` has the centroid of k̄ (see `methods.dml`). Kernels found on luma are
applied to every channel. The kernels of a 12-megapixel image would fill 3 GB at scale 2, and 10 GB at scale 1: they are
made and used for a few rows at a time. (The ``paper`` network works at HR resolution and needs 1 GB a megapixel for its
features; `apply` makes images in tiles.)

Presets. ``paper`` has the network, patches and schedule of `dml`'s, as the paper says ("the same hyper-parameters"; the
authors' code has 1e-3 for the first 6 000 steps, and a weight decay on the first layer), 15×15 taps bounded by nothing,
the level free in training and held in the exported file. ``default`` starts from `linear`, predicts kernels for the LR
pixels (16×16 at even scales) and holds the level.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.errors import ConfigError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data
from degsynth.methods.shared import losses, paired_backbone
from degsynth.methods.shared.paired_backbone import Backbone, blurred, first_base, movers
from degsynth.methods.shared.pairs import Paired
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import MethodSpec
from degsynth.nets.encoder_decoder import EncoderDecoder
from degsynth.ops.blur import apply_kernels
from degsynth.ops.convolution import convolution
from degsynth.ops.resample import decimate, luma

TAP_UNIT = 0.03
"""What the network's numbers are multiplied by at a linear start: they are taps, which are small, and there are many of
them. So the first kernels are next to the base, and a step changes them as little as one of `dml` changes its own."""
TAPS_AT_ONCE = 16_000_000
"""Taps of per-pixel kernels that exist at a time: 64 MB."""


class Config(paired_backbone.Config):
    """Options of `directkpn`."""

    level: Literal["held", "learned"] = "held"
    """Whether kernels sum to 1 while training; in the exported file they always do. ``learned`` goes with start=random
    and centred=false."""
    centred: bool = True
    """Whether all kernels have the centroid of the base, so that no pixel moves against another; else it is learned
    (paper)."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {**paired_backbone.PAPER, "level": "learned", "centred": False},
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class PixelKernelOptics(Optics):
    """A network that predicts the kernel of every pixel. No dice, no noise."""

    def __init__(
        self,
        network: EncoderDecoder,
        kernel_size: int,
        scale: int,
        stride: int,
        reduction: int,
        centred: bool,
        unit: float,
    ) -> None:
        """Take a network from ``reduction``² luma channels to ``kernel_size``² taps at every ``stride``-th HR pixel.

        ``unit`` is what its numbers are multiplied by.
        """
        super().__init__()
        self.network = network
        self.base = nn.Buffer(first_base(kernel_size))
        self.movers = nn.Buffer(movers(kernel_size))
        self.scale, self.stride, self.reduction, self.centred = scale, stride, reduction, centred
        self.unit = unit
        self.taps_at_once = TAPS_AT_ONCE

    @torch.jit.export
    def held(self, taps: Tensor) -> Tensor:
        """Kernels (…, K²) less what would change level and, where centred, place: sum 0, first moments 0."""
        size = self.base.shape[0]
        change = taps - taps.sum(-1, keepdim=True) * self.base.flatten()
        if self.centred:
            at = torch.arange(size, dtype=taps.dtype, device=taps.device) - (size - 1) / 2
            places = torch.stack([at.repeat_interleave(size), at.repeat(size)], 1)
            change = change - (change @ places) @ self.movers.flatten(1)
        return change

    @torch.jit.export
    def last_layer(self, hold: bool) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that makes the taps, (n²·K², F, 3, 3) and (n²·K²,).

        What holds a kernel's level and place is linear in its taps, and so are they in the features: it is done to the
        layer's own kernels, some hundred or thousand of them, not to those of millions of pixels.
        """
        weight, bias = self.unit * self.network.last.weight, self.unit * self.network.last.bias
        if hold:
            # Channels are sub-pixels × taps: every column of this matrix is a few kernels, one below the other.
            columns = torch.cat([weight.flatten(1), bias.unsqueeze(1)], 1)
            kernels = columns.reshape(-1, self.base.numel(), columns.shape[1]).transpose(1, 2)
            columns = self.held(kernels).transpose(1, 2).reshape(columns.shape)
            weight, bias = columns[:, :-1].reshape(weight.shape), columns[:, -1]
        return weight, bias

    @torch.jit.export
    def change(self, hr: Tensor, hold: bool) -> Tensor:
        """What the predicted kernels add to the base's LR: (B, C, h, w); a few rows of kernels at a time."""
        features = self.network.trunk(F.pixel_unshuffle(luma(hr) - 0.5, self.reduction))
        border = self.network.last.padding
        features = F.pad(features, [border, border, border, border], mode="replicate")
        weight, bias = self.last_layer(hold)
        weight = weight.contiguous(memory_format=torch.channels_last)  # so that a pixel's taps lie side by side
        rows, finer, size = hr.shape[2] // self.reduction, self.reduction // self.stride, self.base.shape[0]
        count = max(1, self.taps_at_once // (weight.shape[0] * (hr.shape[3] // self.reduction) * hr.shape[0]))
        parts: list[Tensor] = []
        for first in range(0, rows, count):
            taps = convolution(features[:, :, first : min(first + count, rows) + 2 * border], weight, bias)
            batch, height, width = taps.shape[0], taps.shape[2], taps.shape[3]
            taps = taps.permute(0, 2, 3, 1).reshape(batch, height, width, finer, finer, size * size)
            kernels = taps.transpose(2, 3).reshape(batch, finer * height, finer * width, size, size)
            parts.append(apply_kernels(hr, kernels, self.stride, first * finer))
        lr = torch.cat(parts, 2)
        return decimate(lr, self.scale) if self.stride < self.scale else lr

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return blurred(hr, self.base, self.scale, self.stride) + self.change(hr, True)


class Method(protocol.Learned):
    """`degsynth.methods.Learned` for directkpn."""

    data: Data = "paired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        self.config, self.channels = config, channels
        if config.level == "learned" and (config.start == "linear" or config.centred):
            raise ConfigError("method directkpn: level=learned goes with start=random and centred=false")
        self.backbone = Backbone("directkpn", config, scale, (16, 15), outputs=None)
        self.patch, self.least_patch = self.backbone.patch, self.backbone.least_patch
        self.multiple_of = self.backbone.multiple_of
        network, size = self.backbone.network, self.backbone.kernel_size
        unit = TAP_UNIT if config.start == "linear" else 1.0
        self.optics = PixelKernelOptics(
            network, size, scale, self.backbone.stride, self.backbone.reduction, config.centred, unit
        )
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        }

    def prepare(self, images: Paired) -> None:
        """Solve for the one kernel that training starts from, if it does."""
        self.backbone.prepare(images, self.optics.base, may_mirror=True)

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Eq. 4 of dml on one batch of luma patches, with a kernel for every pixel."""
        held = self.config.level == "held"
        hr, wanted = self.backbone.task(luma(batch["hr"]), luma(batch["lr"]), self.optics.base if held else None, rng)
        made = self.optics.change(hr, held)
        return {self.config.loss: losses.update(self.optimizers["adam"], self.backbone.error(made, wanted))}

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """The network as a checkpoint module."""
        return Degrader(optics or self.optics, self.optics.scale, self.multiple_of)

    def spec(self) -> MethodSpec:
        """Phase measured, as with `dml`."""
        return self.backbone.spec()

    def report(self) -> dict[str, Any]:
        """Size of the model, and width and centre of its base."""
        return self.backbone.report(self.optics, self.optics.base)

    def warnings(self) -> list[str]:
        """A change of level, which no kernel of sum 1 can follow."""
        return self.backbone.warnings("directkpn")

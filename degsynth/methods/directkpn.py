"""directkpn: a network that predicts a whole kernel for every pixel, for comparison with `dml`. Paired; dml paper, 4.3.

The network of `dml` predicts the kernel of LR pixel (i, j) tap by tap: K² numbers, without basis kernels in between.
The sum and the centroid of each kernel are held as in `dml`. If T_ij are the predicted taps and S_ij is their sum::

    k_ij = k̄ + T_ij − S_ij k̄ − moment(T_ij − S_ij k̄) · g

Here k̄ is the base, a kernel of sum 1, and g are two fixed kernels with the first moments (1, 0) and (0, 1). So every
kernel sums to 1, and with ``centred`` it has the centroid of k̄ (without ``centred`` the last term is left out).
Kernels are predicted from luma and applied to every channel. The kernels of a 12-megapixel image would fill 3 GB at
scale 2 and 10 GB at scale 1, so they are computed and used a few rows at a time. (The network of ``paper`` works at HR
resolution. Its features need 1 GB per megapixel, which stays small in `apply`, because it divides images into tiles.)

Presets. ``default`` starts from `linear`, predicts kernels for the LR pixels (16×16 taps at even scales) and holds the
level. ``paper`` has the network, patches and schedule of preset ``paper`` of `dml`, as the paper says ("the same
hyper-parameters"; in the authors' code the learning rate is 1e-3 for the first 6 000 steps, and the first layer has
weight decay). The kernels have 15×15 taps, whose values are not bounded. The sum of a kernel is free in training and
held at 1 in the exported file.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.methods.shared import losses, paired_backbone
from degsynth.methods.shared.paired_backbone import Backbone, BackboneMethod, blurred, first_base, moment_kernels
from degsynth.model.optics import Optics
from degsynth.nets.encoder_decoder import EncoderDecoder
from degsynth.ops.blur import apply_kernels
from degsynth.ops.convolution import convolution
from degsynth.ops.resample import decimate, luma

TAP_UNIT = 0.03
"""Factor for the outputs of the network at a linear start: they are taps, which are small and many.

So the first kernels are close to the base, and a training step changes a kernel as little as a step of `dml` does.
"""
TAPS_AT_ONCE = 16_000_000
"""Largest number of taps of per-pixel kernels that is kept in memory at a time: 64 MB."""


class Config(paired_backbone.Config):
    """Options of `directkpn`."""

    level: Literal["held", "learned"] = "held"
    """Sum of the kernels while training: held at 1, or learnt (paper), which needs start=random and centred=false. In
    the exported file it is always 1."""
    centred: bool = True
    """Give all kernels the centroid of the base, so that no pixel moves against another; else it is learnt (paper)."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {**paired_backbone.PAPER, "level": "learned", "centred": False},
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class PixelKernelOptics(Optics):
    """A network that predicts the kernel of every pixel. No random numbers, no noise."""

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

        Its outputs are multiplied by ``unit``. With ``centred`` all kernels get the centroid of the base.
        """
        super().__init__()
        self.network = network
        self.base = nn.Buffer(first_base(kernel_size))
        self.movers = nn.Buffer(moment_kernels(kernel_size))
        self.scale, self.stride, self.reduction, self.centred = scale, stride, reduction, centred
        self.unit = unit
        self.taps_at_once = TAPS_AT_ONCE

    @torch.jit.export
    def held(self, taps: Tensor) -> Tensor:
        """Return kernels (…, K²) changed so that their sum is 0 and, if ``centred``, their first moments are 0, too."""
        size = self.base.shape[0]
        change = taps - taps.sum(-1, keepdim=True) * self.base.flatten()
        if self.centred:
            at = torch.arange(size, dtype=taps.dtype, device=taps.device) - (size - 1) / 2
            offsets = torch.stack([at.repeat_interleave(size), at.repeat(size)], 1)  # (y, x) of every tap
            change = change - (change @ offsets) @ self.movers.flatten(1)
        return change

    @torch.jit.export
    def last_layer(self, hold: bool) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution that computes the taps, (n²·K², F, 3, 3) and (n²·K²,).

        With ``hold`` the level and the place of every kernel are held. That is linear in the taps, and the taps are
        linear in the features. So `held` is applied to the weights of this layer, of which there are some hundred or
        thousand kernels, and not to the kernels of millions of pixels.
        """
        weight, bias = self.unit * self.network.last.weight, self.unit * self.network.last.bias
        if hold:
            # Output channels are sub-pixels × taps, so each column of this matrix holds n² kernels, one below another.
            columns = torch.cat([weight.flatten(1), bias.unsqueeze(1)], 1)
            kernels = columns.reshape(-1, self.base.numel(), columns.shape[1]).transpose(1, 2)
            columns = self.held(kernels).transpose(1, 2).reshape(columns.shape)
            weight, bias = columns[:, :-1].reshape(weight.shape), columns[:, -1]
        return weight, bias

    @torch.jit.export
    def change(self, hr: Tensor, hold: bool) -> Tensor:
        """Return what the predicted kernels add to the LR of the base: (B, C, h, w). It takes a few rows at a time."""
        features = self.network.trunk(F.pixel_unshuffle(luma(hr) - 0.5, self.reduction))
        border = self.network.last.padding
        features = F.pad(features, [border, border, border, border], mode="replicate")
        weight, bias = self.last_layer(hold)
        weight = weight.contiguous(memory_format=torch.channels_last)  # the taps of a pixel then lie side by side
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


class Method(BackboneMethod):
    """The method `directkpn`, as `degsynth.methods.protocol` asks for it."""

    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        paired_backbone.check_level("directkpn", config.level, config.start, config.centred)
        backbone = Backbone("directkpn", config, scale, (16, 15), outputs=None)
        unit = TAP_UNIT if config.start == "linear" else 1.0
        optics = PixelKernelOptics(
            backbone.network, backbone.kernel_size, scale, backbone.stride, backbone.reduction, config.centred, unit
        )
        super().__init__(backbone, optics, channels, backbone.network.parameters())

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take a step on one batch of luma patches: Eq. 4 of dml, with a kernel for every pixel."""
        held = self.config.level == "held"
        hr, target = self.backbone.task(luma(batch["hr"]), luma(batch["lr"]), self.optics.base if held else None, rng)
        predicted = self.optics.change(hr, held)
        return {self.config.loss: losses.update(self.optimizers["adam"], self.backbone.error(predicted, target))}

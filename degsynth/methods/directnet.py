"""directnet: a network that predicts the LR image itself, for comparison with `dml`. Paired; dml paper, 4.3.

This is residual regression with the network of `dml`: ``lr = k̄ ⋆ hr + r``, where k̄ is a fixed kernel of sum 1. The
network predicts the residual r of luma, one number for every pixel, which is added to all channels. In `dml` the level
is kept by the sum of each kernel, but here there are no such kernels. So that r cannot change the level, the network
does not see the image itself but its detail: luma minus its mean over 21×21 HR px. Its output for an image without any
detail is then subtracted from its output for the image. With N the network::

    r(hr) = N(luma − box ⋆ luma) − N(0)

On a flat image, of any gray, r is therefore 0.

Presets. ``default`` takes k̄ from `linear` and predicts r for the LR pixels. ``paper`` has the network, patches and
schedule of preset ``paper`` of `dml`, as the paper says ("the same hyper-parameters"; in the authors' code the learning
rate is 1e-3 for the first 6 000 steps, and the first layer has weight decay), and the HR image itself in place of
``k̄ ⋆ hr``. There, too, the network sees only the detail. This is not from the paper, but without it the exported file
could not keep the level.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.methods.shared import losses, paired_backbone
from degsynth.methods.shared.paired_backbone import Backbone, BackboneMethod, blurred, first_base
from degsynth.model.optics import Optics
from degsynth.model.spec import MethodSpec
from degsynth.nets.encoder_decoder import EncoderDecoder
from degsynth.ops.resample import decimate, luma, without_surroundings

SURROUNDINGS = 10
"""The network sees luma minus its local mean, which is taken over this many HR px to each side of a pixel."""


class Config(paired_backbone.Config):
    """Options of `directnet`."""


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": dict(paired_backbone.PAPER)}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class ResidualOptics(Optics):
    """A fixed kernel, and a network that adds a residual to its LR. No random numbers, no noise."""

    def __init__(self, network: EncoderDecoder, kernel_size: int, scale: int, stride: int, reduction: int) -> None:
        """Take a network from ``reduction``² luma channels to one number at every ``stride``-th HR pixel."""
        super().__init__()
        self.network = network
        self.base = nn.Buffer(first_base(kernel_size))
        self.scale, self.stride, self.reduction = scale, stride, reduction
        self.least = network.multiple_of
        self.surroundings = SURROUNDINGS

    @torch.jit.export
    def change(self, hr: Tensor) -> Tensor:
        """Return the residual r (B, 1, h, w), which is added to the LR image that the base kernel k̄ makes."""
        detail = F.pixel_unshuffle(without_surroundings(luma(hr), self.surroundings), self.reduction)
        flat = torch.zeros(1, detail.shape[1], self.least, self.least, dtype=detail.dtype, device=detail.device)
        raw = self.network(detail) - self.network(flat)[:, :, :1, :1]
        residual = F.pixel_shuffle(raw, self.reduction // self.stride)
        return decimate(residual, self.scale) if self.stride < self.scale else residual

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return blurred(hr, self.base, self.scale, self.stride) + self.change(hr)


class Method(BackboneMethod):
    """The method `directnet`, as `degsynth.methods.protocol` asks for it."""

    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        backbone = Backbone("directnet", config, scale, (20, 21), outputs=1)
        optics = ResidualOptics(backbone.network, backbone.kernel_size, scale, backbone.stride, backbone.reduction)
        super().__init__(backbone, optics, channels, backbone.network.parameters())

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take a step of regression on one batch of luma patches."""
        hr, target = self.backbone.task(luma(batch["hr"]), luma(batch["lr"]), self.optics.base, rng)
        predicted = self.optics.change(hr)
        return {self.config.loss: losses.update(self.optimizers["adam"], self.backbone.error(predicted, target))}

    def spec(self) -> MethodSpec:
        """Describe the model as `BackboneMethod` does, with a halo that includes the local mean (`SURROUNDINGS`)."""
        halo = max(self.backbone.half_width, self.backbone.reach + SURROUNDINGS)
        return super().spec().model_copy(update={"clean_halo": halo})

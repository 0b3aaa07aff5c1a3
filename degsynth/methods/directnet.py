"""directnet: a network that predicts the LR image itself, to compare `dml` with. Paired; dml, 4.3.

Residual regression with the backbone of `dml`: ``lr = k̄ ⋆ hr + r``, where r is what the network says for every pixel,
one number of luma that is added to all channels. No kernel exists, so nothing keeps r from changing the level but this:
the network does not see the picture, but what the picture differs from its surroundings by (luma less its mean over
21×21 HR px), and r is the network's answer less its answer to a picture without any difference::

    r(hr) = N(luma − box ⋆ luma) − N(0)

which is 0 on a flat picture, of any gray.

Presets. ``paper`` has the network, patches and schedule of `dml`'s, as the paper says ("the same hyper-parameters"; the
authors' code has 1e-3 for the first 6 000 steps, and a weight decay on the first layer), with the HR image itself in
place of ``k̄ ⋆ hr``. What the network sees is ours there, too: otherwise the file could not keep its level. ``default``
takes k̄ from `linear` and works at the LR pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.methods import protocol
from degsynth.methods.protocol import Data
from degsynth.methods.shared import losses, paired_backbone
from degsynth.methods.shared.paired_backbone import Backbone, blurred, first_base
from degsynth.methods.shared.pairs import Paired
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import MethodSpec
from degsynth.nets.encoder_decoder import EncoderDecoder
from degsynth.ops.resample import decimate, luma, without_surroundings

SURROUNDINGS = 10
"""The network sees what luma differs by from its mean over so many HR px to each side."""


class Config(paired_backbone.Config):
    """Options of `directnet`."""


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": dict(paired_backbone.PAPER)}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class ResidualOptics(Optics):
    """A fixed kernel, and a network that adds to what it makes. No dice, no noise."""

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
        """r, what is added to the base's LR: (B, 1, h, w)."""
        seen = F.pixel_unshuffle(without_surroundings(luma(hr), self.surroundings), self.reduction)
        nothing = torch.zeros(1, seen.shape[1], self.least, self.least, dtype=seen.dtype, device=seen.device)
        raw = self.network(seen) - self.network(nothing)[:, :, :1, :1]
        residual = F.pixel_shuffle(raw, self.reduction // self.stride)
        return decimate(residual, self.scale) if self.stride < self.scale else residual

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return blurred(hr, self.base, self.scale, self.stride) + self.change(hr)


class Method(protocol.Learned):
    """`degsynth.methods.Learned` for directnet."""

    data: Data = "paired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        self.config, self.channels = config, channels
        self.backbone = Backbone("directnet", config, scale, (20, 21), outputs=1)
        self.patch, self.least_patch = self.backbone.patch, self.backbone.least_patch
        self.multiple_of = self.backbone.multiple_of
        network, size = self.backbone.network, self.backbone.kernel_size
        self.optics = ResidualOptics(network, size, scale, self.backbone.stride, self.backbone.reduction)
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        }

    def prepare(self, images: Paired) -> None:
        """Solve for the one kernel that training starts from, if it does."""
        self.backbone.prepare(images, self.optics.base, may_mirror=True)

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Regression of one batch of luma patches."""
        hr, wanted = self.backbone.task(luma(batch["hr"]), luma(batch["lr"]), self.optics.base, rng)
        made = self.optics.change(hr)
        return {self.config.loss: losses.update(self.optimizers["adam"], self.backbone.error(made, wanted))}

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Kernel and network as a checkpoint module."""
        return Degrader(optics or self.optics, self.optics.scale, self.multiple_of)

    def spec(self) -> MethodSpec:
        """Phase measured; the network reads its own reach, and the surroundings of what it reads."""
        halo = max(self.backbone.half_width, self.backbone.reach + SURROUNDINGS)
        return self.backbone.spec().model_copy(update={"clean_halo": halo})

    def report(self) -> dict[str, Any]:
        """Size of the model, and width and centre of its base."""
        return self.backbone.report(self.optics, self.optics.base)

    def warnings(self) -> list[str]:
        """A change of level, which no residual of 0 can follow."""
        return self.backbone.warnings("directnet")

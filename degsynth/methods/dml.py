"""dml: basis kernels, and a network that mixes them anew for every pixel (Degradation Model Learning). Paired.

Paper 3.1 and 3.2, Eqs. 2-4. The kernel of LR pixel (i, j) is a weighted sum of M basis kernels, ``k_ij = Σ_m C_ij(m)
φ_m``; the weights C come from a U-Net that looks at luma; the LR pixel is the inner product of k_ij with the HR pixels
around it. Basis and network are trained together. Since the sum is linear, no kernel is ever assembled: one convolution
gives the M responses ``φ_m ⋆ hr``, which are then weighted. (Weighting first and convolving after is another model.)
Weights found on luma are applied to every channel, so colours keep their balance.

How the level is held. Nothing in the paper keeps ``Σ k_ij`` at 1. Dividing by it works until it comes near 0. Here what
a pixel's kernel lacks is put on one more kernel k̄ of sum 1, the base. With ``S_m = Σ φ_m``::

    k_ij = Σ_m C_ij(m) φ_m + (1 − Σ_m C_ij(m) S_m) · k̄  =  k̄ + Σ_m C_ij(m) (φ_m − S_m k̄)

so the sum is 1 for any basis and any weights, nothing is divided, and a kernel is never further from k̄ than M bounded
weights allow. The phase is held in the same way (``centred``): with two fixed kernels g of sum 0 and first moments
(1, 0) and (0, 1), taking ``moment(φ_m − S_m k̄) · g`` off a basis kernel leaves it with no first moment. So every k_ij
has the centroid of k̄, wherever it is and whatever the picture shows: content changes the blur, never the place.

In the ``default`` preset k̄ is the solution of `linear`, and training begins there: the basis adds up to nothing and all
weights are equal.

Presets. ``paper`` is what was published: M = 8, 15×15 taps at HR resolution, random start, sigmoid, Adam at a constant
1e-4, 100 000 steps of 16 patches of 192², squared error, flips. The paper leaves the network open; it is the authors'
(3×3 convolutions of 32 channels, one pooling, 7×7 at the end: 105 320 parameters). Where paper and code differ: Xavier
initialisation and flips as in the paper (code: He, and rotations besides), basis normalised to sum 1 as in the paper,
then scaled by 2/M, since weights start at sigmoid(0) = 1/2 and the picture would otherwise start M/2 times too bright
(code: 4/M); 100 000 steps as in the paper (code: 60 epochs). Luma is full range (code: 16…235), and the network sees it
less 0.5. The weights that were best on held-out pairs are exported, not the last. The AWGN of σ 5 that the paper adds
to its LR is for `apply --awgn 5`. The paper compares on the HR grid, to which its LR is interpolated; that is scale 1
here. At scale 2 to 4 the blurred HR image is decimated at the centred phase (the mean of the two middle pixels a side
at even scales) and compared with the native LR. The level is free in training, as published, and held in the exported
file, with a single pixel as k̄.

``default`` starts from `linear`, predicts weights on the LR grid, convolves at the native stride and holds the level.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
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
from degsynth.ops.blur import responses
from degsynth.ops.position import pixel_centres, relative_position
from degsynth.ops.resample import area, decimate, luma

FIRST_TAPS = 2e-3
"""Standard deviation of the basis kernels' taps at a linear start: small beside the base's, and large enough for the
network to feel them (a quarter of it, and gradients drown in Adam's epsilon for hundreds of steps)."""


class Config(paired_backbone.Config):
    """Options of `dml`."""

    basis_kernels: int = Field(default=8, ge=1, le=64)
    """Number of basis kernels, M."""
    weights: Literal["sigmoid", "softmax"] = "sigmoid"
    """What bounds a pixel's weights: each by itself in 0 … 1 (paper), or their sum held at 1 (ours)."""
    level: Literal["held", "learned"] = "held"
    """Whether kernels sum to 1 while training; in the exported file they always do. ``learned`` goes with start=random
    and centred=false."""
    centred: bool = True
    """Whether all kernels have the centroid of the base, so that no pixel moves against another; else it is learned
    (paper)."""
    coordinates: bool = False
    """Whether the network knows where in the image it is: for lenses whose blur grows towards the corners."""
    kernel_rate: float = Field(default=0.03, gt=0, le=100)
    """Learning rate of the basis kernels, relative to the network's: a tap is a small number, and there are many."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {**paired_backbone.PAPER, "level": "learned", "centred": False, "kernel_rate": 1.0},
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class BasisOptics(Optics):
    """Basis kernels mixed by a network for every pixel. No dice, no noise."""

    def __init__(
        self, network: nn.Module, basis: Tensor, scale: int, stride: int, reduction: int, config: Config
    ) -> None:
        """Take a network from ``reduction``² luma channels (and 3 of position) to weights, and a basis (M, K, K)."""
        super().__init__()
        self.network = network
        self.basis = nn.Parameter(basis)
        self.base = nn.Buffer(first_base(basis.shape[1]))
        self.movers = nn.Buffer(movers(basis.shape[1]))
        self.scale, self.stride, self.reduction = scale, stride, reduction
        self.softmax, self.placed, self.centred = config.weights == "softmax", config.coordinates, config.centred

    @torch.jit.export
    def kernels(self) -> Tensor:
        """k̄ and what the weights multiply, of sum 0 and, where centred, first moment 0: (1 + M, K, K)."""
        change = self.basis - self.basis.sum([1, 2], keepdim=True) * self.base
        if self.centred:
            at = torch.arange(change.shape[1], dtype=change.dtype, device=change.device) - (change.shape[1] - 1) / 2
            moments = torch.stack([change.sum(2) @ at, change.sum(1) @ at], 1)
            change = change - torch.einsum("mi,iyx->myx", moments, self.movers)
        return torch.cat([self.base.unsqueeze(0), change])

    @torch.jit.export
    def weight_maps(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """C of every pixel: (B, M, h, w), at the LR pixels, or at the HR pixels where kernels are applied there."""
        features = nn.functional.pixel_unshuffle(luma(hr) - 0.5, self.reduction)
        if self.placed:
            place = relative_position(field, code)
            if self.reduction >= self.scale:
                place = area(place, self.reduction // self.scale)
            else:
                place = nn.functional.interpolate(place, size=features.shape[2:], mode="nearest")
            features = torch.cat([features, place], 1)
        raw = nn.functional.pixel_shuffle(self.network(features), self.reduction // self.stride)
        return torch.softmax(raw, 1) if self.softmax else torch.sigmoid(raw)

    @torch.jit.export
    def weighted(self, hr: Tensor, weights: Tensor, kernels: Tensor) -> Tensor:
        """Responses to kernels (M, K, K), weighted and added up: (B, C, h, w), decimated where need be."""
        change = (weights.unsqueeze(1) * responses(hr, kernels, self.stride)).sum(2)
        return decimate(change, self.scale) if self.stride < self.scale else change

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        change = self.weighted(hr, self.weight_maps(hr, code, field), self.kernels()[1:])
        return blurred(hr, self.base, self.scale, self.stride) + change


class Method(protocol.Learned):
    """`degsynth.methods.Learned` for dml."""

    data: Data = "paired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        self.config, self.channels = config, channels
        if config.level == "learned" and (config.start == "linear" or config.centred):
            raise ConfigError("method dml: level=learned goes with start=random and centred=false")
        if config.weights == "softmax" and config.basis_kernels == 1:
            raise ConfigError("method dml: with softmax a single basis kernel has weight 1 everywhere; give at least 2")
        if config.coordinates and config.flips:
            raise ConfigError(
                "method dml: flips move a pixel elsewhere in the image; with coordinates=true they must be off"
            )
        places = 3 if config.coordinates else 0
        self.backbone = Backbone("dml", config, scale, (20, 21), config.basis_kernels, places)
        self.patch, self.least_patch = self.backbone.patch, self.backbone.least_patch
        self.multiple_of = self.backbone.multiple_of
        self.optics = BasisOptics(
            self.backbone.network,
            self._first_basis(),
            scale,
            self.backbone.stride,
            self.backbone.reduction,
            config,
        )
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(
                [
                    {"params": list(self.backbone.network.parameters()), "lr": config.learning_rate},
                    {"params": [self.optics.basis], "lr": config.learning_rate * config.kernel_rate},
                ]
            )
        }

    def _first_basis(self) -> Tensor:
        count, size = self.config.basis_kernels, self.backbone.kernel_size
        if self.config.start == "random":
            basis = torch.rand(count, size, size)
            share = 1.0 if self.config.weights == "softmax" else 2.0 / count  # Σ_m C_m S_m = 1 with the first weights
            return share * basis / basis.sum((1, 2), keepdim=True)
        basis = FIRST_TAPS * torch.randn(count, size, size)
        return basis - basis.mean(0)  # so that with equal weights nothing is added to the base

    def prepare(self, images: Paired) -> None:
        """Solve for the one kernel that training starts from, if it does."""
        self.backbone.prepare(images, self.optics.base, may_mirror=not self.config.coordinates)

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Eq. 4 on one batch of luma patches, borders that see padding left out."""
        held = self.config.level == "held"
        hr, wanted = self.backbone.task(luma(batch["hr"]), luma(batch["lr"]), self.optics.base if held else None, rng)
        code, field = self._place(batch) if self.config.coordinates else (hr.new_zeros(len(hr), 0), hr)
        with torch.autocast(hr.device.type, torch.bfloat16, enabled=hr.is_cuda):
            weights = self.optics.weight_maps(hr, code, field)
        kernels = self.optics.kernels()[1:] if held else self.optics.basis
        made = self.optics.weighted(hr, weights.float(), kernels)  # the blur itself keeps every bit: 8 bits would show
        return {self.config.loss: losses.update(self.optimizers["adam"], self.backbone.error(made, wanted))}

    def _place(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Code and field of patches, as `Degrader` gives them for whole images."""
        size = batch["lr"].shape[-2:]
        fields = [pixel_centres(int(y), int(x), size[0], size[1]) for y, x in batch["origin"].tolist()]
        return batch["frame"].to(batch["lr"]), torch.cat(fields).to(batch["lr"])

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Basis and network as a checkpoint module."""
        return Degrader(optics or self.optics, self.optics.scale, self.multiple_of, placed=self.config.coordinates)

    def spec(self) -> MethodSpec:
        """Phase measured: every kernel is centred, but weights that follow the picture colour what is measured."""
        return self.backbone.spec()

    def report(self) -> dict[str, Any]:
        """Size of the model, and width and centre of its base."""
        return {"basis_kernels": self.config.basis_kernels, **self.backbone.report(self.optics, self.optics.base)}

    def warnings(self) -> list[str]:
        """A change of level, which no kernel of sum 1 can follow."""
        return self.backbone.warnings("dml")

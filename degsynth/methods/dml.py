"""dml: basis kernels, and a network that mixes them anew for every pixel (Degradation Model Learning). Paired.

The model is that of the paper, sections 3.1 and 3.2, Eqs. 2-4. The kernel of LR pixel (i, j) is a weighted sum of M
basis kernels, ``k_ij = Σ_m C_ij(m) φ_m``. The weights C are the output of a U-Net that sees luma. The LR pixel is the
inner product of k_ij with the HR pixels around it. Basis and network are trained together. Because the sum is linear,
the kernels of the pixels are never put together: one convolution computes the M responses ``φ_m ⋆ hr``, which are then
weighted and added up. (To weight first and convolve afterwards would be another model.) Weights found on luma are
applied to every channel, so colours keep their balance.

How the level is held. Nothing in the paper keeps ``Σ k_ij`` at 1. Dividing by that sum works until it comes near 0.
Here, whatever the kernel of a pixel lacks to a sum of 1 is added as a multiple of one more kernel k̄ of sum 1, the
base. With ``S_m = Σ φ_m``::

    k_ij = Σ_m C_ij(m) φ_m + (1 − Σ_m C_ij(m) S_m) · k̄  =  k̄ + Σ_m C_ij(m) (φ_m − S_m k̄)

So the sum is 1 for any basis and any weights, nothing is divided, and since the M weights are bounded, so is the
distance of a kernel from k̄.

Weights of either sign. From a linear start, C_ij(m) is the sigmoid less ½ (with softmax: less 1/M), so a basis kernel
is added in one place and subtracted in another. That is still the model of the paper, with k̄ less half the sum of the
basis for k̄. If the weights lay in 0 … 1, the whole basis would get the same gradient at first, and become one change
that all weights turn on where it helps and off elsewhere; once off, neither weights nor basis learn there any more.

How the place is held (``centred``). There are two fixed kernels g of sum 0, with the first moments (1, 0) and (0, 1).
Subtracting ``moment(φ_m − S_m k̄) · g`` from a basis kernel leaves it without a first moment. So every k_ij has the
centroid of k̄, wherever that is and whatever the image shows: content changes the blur, but does not move a pixel.

Preset ``default`` starts from `linear`, predicts weights on the LR grid, convolves with the scale as its stride, and
holds the level. k̄ is the solution of `linear`, and training begins there, as all weights are nearly 0.

Preset ``paper`` is what was published: M = 8 basis kernels of 15×15 taps at HR resolution, a random start, sigmoid
weights, Adam at a constant rate of 1e-4, 100 000 steps of 16 patches of 192×192 px, squared error, and flips. What the
paper leaves open, and what differs from it or from the authors' code:

- The network is not described in detail in the paper. It is the one of the authors' code: 3×3 convolutions of 32
  channels, one pooling, 7×7 taps at the end, 105 320 parameters.
- Where paper and code differ, the paper is followed: Xavier initialisation (code: He), flips (code: rotations as well),
  basis kernels normalised to sum 1, 100 000 steps (code: 60 epochs).
- The normalised basis is scaled by 2/M (code: 4/M), because the weights start at sigmoid(0) = 1/2 and the image would
  otherwise start M/2 times too bright.
- Luma is full range (code: 16 … 235), and 0.5 is subtracted before the network sees it.
- The weights that score best on held-out pairs are exported, not the last ones.
- The paper adds AWGN of σ 5 to its LR images, which are luma; ``degsynth apply --noise none --awgn-luma 5`` does that.
- The paper compares on the HR grid, to which its LR images are interpolated; that is scale 1 here. At scales 2 to 4 the
  blurred HR image is decimated at the centred phase (at even scales: the mean of the two middle pixels along each axis)
  and compared with the LR image as it is.
- The level is free in training, as published. It is held in the exported file, with a single pixel as k̄.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth.errors import ConfigError
from degsynth.methods.shared import losses, paired_backbone
from degsynth.methods.shared.paired_backbone import Backbone, BackboneMethod, blurred, first_base, moment_kernels
from degsynth.methods.shared.pairs import Paired
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.ops.blur import responses
from degsynth.ops.position import pixel_centres, relative_position
from degsynth.ops.resample import area, decimate, luma

FIRST_TAP_STD = 4e-3
"""Standard deviation of the basis kernels' taps at a linear start.

The gradient of the basis is a multiple of the weights and theirs is one of the basis, so training begins slowly with
small taps. Large ones stay in the kernels where the images do not determine them: of two known kernels, the one of
texture without fine detail came out with a similarity of 0.97 to 0.99 with half of this, 0.97 with this, and 0.92 to
0.94 with twice as much.
"""


class Config(paired_backbone.Config):
    """Options of `dml`."""

    basis_kernels: int = Field(default=8, ge=1, le=64)
    """Number of basis kernels, M."""
    weights: Literal["sigmoid", "softmax"] = "sigmoid"
    """Bounds of a pixel's weights: each lies in 0 … 1 by itself (sigmoid; paper), or they sum to 1 (softmax; ours).
    With start=linear, the middle of these bounds is subtracted."""
    level: Literal["held", "learned"] = "held"
    """Sum of the kernels while training: held at 1, or learnt (paper), which needs start=random and centred=false. In
    the exported file it is always 1."""
    centred: bool = True
    """Give all kernels the centroid of the base, so that no pixel moves against another; else it is learnt (paper)."""
    coordinates: bool = False
    """Tell the network where in the image a pixel lies, for lenses whose blur grows towards the corners."""
    kernel_rate: float = Field(default=0.03, gt=0, le=100)
    """Learning rate of the basis kernels, relative to that of the network: taps are small numbers, and many."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {**paired_backbone.PAPER, "level": "learned", "centred": False, "kernel_rate": 1.0},
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4}


class BasisOptics(Optics):
    """Basis kernels that a network mixes for every pixel. No random numbers, no noise."""

    def __init__(
        self, network: nn.Module, basis: Tensor, scale: int, stride: int, reduction: int, config: Config
    ) -> None:
        """Take a basis (M, K, K), and a network from ``reduction``² luma channels to weights.

        With coordinates the network has 3 more input channels, which hold the position. Weights are computed for every
        ``stride``-th HR pixel.
        """
        super().__init__()
        self.network = network
        self.basis = nn.Parameter(basis)
        self.base = nn.Buffer(first_base(basis.shape[1]))
        self.movers = nn.Buffer(moment_kernels(basis.shape[1]))
        self.scale, self.stride, self.reduction = scale, stride, reduction
        self.softmax, self.placed, self.centred = config.weights == "softmax", config.coordinates, config.centred
        self.middle = 0.0 if config.start == "random" else 1 / len(basis) if self.softmax else 0.5

    @torch.jit.export
    def kernels(self) -> Tensor:
        """Return k̄, then the M kernels that are weighted, of sum 0 and, if centred, first moment 0: (1 + M, K, K)."""
        change = self.basis - self.basis.sum([1, 2], keepdim=True) * self.base
        if self.centred:
            at = torch.arange(change.shape[1], dtype=change.dtype, device=change.device) - (change.shape[1] - 1) / 2
            moments = torch.stack([change.sum(2) @ at, change.sum(1) @ at], 1)
            change = change - torch.einsum("mi,iyx->myx", moments, self.movers)
        return torch.cat([self.base.unsqueeze(0), change])

    @torch.jit.export
    def weight_maps(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Return the weights C of every pixel, (B, M, h, w): LR pixels, or all HR pixels with grid=hr."""
        features = nn.functional.pixel_unshuffle(luma(hr) - 0.5, self.reduction)
        if self.placed:
            place = relative_position(field, code)
            if self.reduction >= self.scale:
                place = area(place, self.reduction // self.scale)
            else:
                place = nn.functional.interpolate(place, size=features.shape[2:], mode="nearest")
            features = torch.cat([features, place], 1)
        raw = nn.functional.pixel_shuffle(self.network(features), self.reduction // self.stride)
        return (torch.softmax(raw, 1) if self.softmax else torch.sigmoid(raw)) - self.middle

    @torch.jit.export
    def weighted(self, hr: Tensor, weights: Tensor, kernels: Tensor) -> Tensor:
        """Return hr blurred by each of the kernels (M, K, K), weighted and added up: (B, C, h, w) on the LR grid."""
        change = (weights.unsqueeze(1) * responses(hr, kernels, self.stride)).sum(2)
        return decimate(change, self.scale) if self.stride < self.scale else change

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        change = self.weighted(hr, self.weight_maps(hr, code, field), self.kernels()[1:])
        return blurred(hr, self.base, self.scale, self.stride) + change


def first_basis(config: Config, size: int) -> Tensor:
    """Return the basis (M, K, K) with which training begins."""
    count = config.basis_kernels
    if config.start == "random":
        basis = torch.rand(count, size, size)
        share = 1.0 if config.weights == "softmax" else 2.0 / count  # then Σ_m C_m S_m = 1 with the first weights
        return share * basis / basis.sum((1, 2), keepdim=True)
    return FIRST_TAP_STD * torch.randn(count, size, size)


class Method(BackboneMethod):
    """The method `dml`, as `degsynth.methods.protocol` asks for it."""

    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the network and its optimiser; ConfigError where options do not go together."""
        paired_backbone.check_level("dml", config.level, config.start, config.centred)
        if config.weights == "softmax" and config.basis_kernels == 1:
            raise ConfigError(
                "method dml: basis_kernels (=1): with weights=softmax a single kernel has weight 1 everywhere",
                "give at least 2",
            )
        if config.coordinates and config.flips:
            raise ConfigError(
                "method dml: flips=true moves pixels to other places of the image",
                "with `coordinates=true` give `flips=false`",
            )
        places = 3 if config.coordinates else 0
        backbone = Backbone("dml", config, scale, (20, 21), config.basis_kernels, places)
        basis = first_basis(config, backbone.kernel_size)
        optics = BasisOptics(backbone.network, basis, scale, backbone.stride, backbone.reduction, config)
        groups = [
            {"params": list(backbone.network.parameters()), "lr": config.learning_rate},
            {"params": [optics.basis], "lr": config.learning_rate * config.kernel_rate},
        ]
        super().__init__(backbone, optics, channels, groups)

    def prepare(self, images: Paired) -> None:
        """With start=linear, fit the one kernel that training starts from."""
        self.backbone.prepare(images, self.optics.base, may_mirror=not self.config.coordinates)

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take a step on one batch of luma patches: Eq. 4, without the borders, which depend on padding."""
        held = self.config.level == "held"
        hr, target = self.backbone.task(luma(batch["hr"]), luma(batch["lr"]), self.optics.base if held else None, rng)
        code, field = self._place(batch) if self.config.coordinates else (hr.new_zeros(len(hr), 0), hr)
        with torch.autocast(hr.device.type, torch.bfloat16, enabled=hr.is_cuda):
            weights = self.optics.weight_maps(hr, code, field)
        kernels = self.optics.kernels()[1:] if held else self.optics.basis
        # The blur itself is computed in float32: the 8 bits of bfloat16 would show in the image.
        predicted = self.optics.weighted(hr, weights.float(), kernels)
        return {self.config.loss: losses.update(self.optimizers["adam"], self.backbone.error(predicted, target))}

    def _place(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the size (B, 2) of each patch's LR image, and the centres (B, 2, h, w) of its LR pixels in that image.

        `Degrader` makes the same for whole images, as code and field.
        """
        size = batch["lr"].shape[-2:]
        fields = [pixel_centres(int(y), int(x), size[0], size[1]) for y, x in batch["origin"].tolist()]
        return batch["frame"].to(batch["lr"]), torch.cat(fields).to(batch["lr"])

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return base, basis and network as a checkpoint module."""
        return Degrader(optics or self.optics, self.backbone.scale, self.multiple_of, placed=self.config.coordinates)

    def report(self) -> dict[str, Any]:
        """Return the size of the model, and the width and centroid of its base."""
        return {"basis_kernels": self.config.basis_kernels, **super().report()}

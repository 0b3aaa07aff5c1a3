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

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth import losses
from degsynth.config import Training
from degsynth.degrader import Degrader
from degsynth.errors import ConfigError
from degsynth.methods import linear
from degsynth.nets.encoder_decoder import Convolution, EncoderDecoder
from degsynth.ops.blur import half_width, responses
from degsynth.ops.kernels import centroid, gaussian_sigma
from degsynth.ops.noise import generator
from degsynth.ops.position import pixel_centres, relative_position
from degsynth.ops.resample import area, decimate, inside, luma, turned

FIRST_TAPS = 2e-3
"""Standard deviation of the basis kernels' taps at a linear start: small beside the base's, and large enough for the
network to feel them (a quarter of it, and gradients drown in Adam's epsilon for hundreds of steps)."""
FIRST_WEIGHTS = 1e-2
"""Standard deviation of the last layer at a linear start: all weights begin nearly equal."""
MOVER_SIGMA_PX = 1.7
"""Width of the kernels that take first moments off the basis."""
MIRROR_SHIFT_PX = 0.3
"""A remainder is turned about the pixel's centre; a base that sits further away than this is not turned with it."""


class Config(Training):
    """Options of `dml`."""

    basis_kernels: int = Field(default=8, ge=1, le=64)
    """Number of basis kernels, M."""
    kernel_size: int | None = Field(default=None, ge=2, le=63)
    """Taps per side: even at even scales, odd at odd ones and with grid=hr; unset: 20 or 21."""
    weights: Literal["sigmoid", "softmax"] = "sigmoid"
    """What bounds a pixel's weights: each by itself in 0 … 1 (paper), or their sum held at 1 (ours)."""
    grid: Literal["lr", "hr"] = "lr"
    """Where kernels are applied: at the LR pixels, with stride; or at all HR pixels, decimated afterwards (paper)."""
    start: Literal["linear", "random"] = "linear"
    """Where training begins: at the one kernel that `linear` finds, or anywhere (paper)."""
    level: Literal["held", "learned"] = "held"
    """Whether kernels sum to 1 while training; in the exported file they always do. ``learned`` goes with start=random
    and centred=false."""
    centred: bool = True
    """Whether all kernels have the centroid of the base, so that no pixel moves against another; else it is learned
    (paper)."""
    coordinates: bool = False
    """Whether the network knows where in the image it is: for lenses whose blur grows towards the corners."""
    mirror: bool = True
    """Whether what the base leaves to be explained is learnt from mirrored and turned patches, too. Unlike `flips` it
    leaves the base, and with it a lopsided lens, as it is. Not done with coordinates, nor where the base is shifted by
    more than 0.3 HR px: its remainder would be turned about another point than the base's."""
    network: Literal["pyramid", "paper"] = "pyramid"
    """The weight network: three levels, narrow at the top (ours), or the authors' U-Net."""
    width: int = Field(default=16, ge=1)
    """Channels of the network's first level; the lower ones of ``pyramid`` have twice as many."""
    loss: Literal["l1", "l2"] = "l1"
    """Mean absolute or mean squared error of luma."""
    kernel_rate: float = Field(default=0.03, gt=0, le=100)
    """Learning rate of the basis kernels, relative to the network's: a tap is a small number, and there are many."""


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "kernel_size": 15,
        "grid": "hr",
        "start": "random",
        "level": "learned",
        "centred": False,
        "mirror": False,
        "network": "paper",
        "width": 32,
        "loss": "l2",
        "kernel_rate": 1.0,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0,
        "average": 0.0,
        "steps": 100_000,
        "batch": 16,
        "patch": 192,
        "flips": True,
    },
}


class BasisOptics(nn.Module):
    """Basis kernels mixed by a network for every pixel. No dice, no noise."""

    def __init__(
        self, network: nn.Module, basis: Tensor, scale: int, stride: int, reduction: int, config: Config
    ) -> None:
        """Take a network from ``reduction``² luma channels (and 3 of position) to weights, and a basis (M, K, K)."""
        super().__init__()
        self.network = network
        self.basis = nn.Parameter(basis)
        middle = torch.zeros(basis.shape[1:])
        half = (basis.shape[1] - 1) // 2, basis.shape[1] // 2  # an even kernel has four middle taps
        middle[half[0] : half[1] + 1, half[0] : half[1] + 1] = 1.0
        self.base = nn.Buffer(middle / middle.sum())
        self.movers = nn.Buffer(_movers(basis.shape[1]))
        self.scale, self.stride, self.reduction = scale, stride, reduction
        self.softmax, self.placed, self.centred = config.weights == "softmax", config.coordinates, config.centred

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:  # noqa: D102
        return torch.zeros(1, 0)

    @torch.jit.export
    def dice(self, channels: int) -> int:  # noqa: D102
        return 0

    @torch.jit.export
    def kernels(self) -> Tensor:
        """k̄ and what the weights multiply, of sum 0 and, where centred, first moment 0: (1 + M, K, K)."""
        change = self.basis - self.basis.sum([1, 2], keepdim=True) * self.base
        if self.centred:
            at = torch.arange(change.shape[1], dtype=change.dtype, device=change.device) - (change.shape[1] - 1) / 2
            moments = torch.stack([change.sum(2) @ at, change.sum(1) @ at], 1)
            change = change - torch.einsum("mi,iyx->myx", moments, self.movers)
        return torch.cat([self.base.unsqueeze(0), change])

    def free_kernels(self) -> Tensor:
        """0 and the basis itself, whatever it sums to: (1 + M, K, K)."""
        return torch.cat([torch.zeros_like(self.base).unsqueeze(0), self.basis])

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
    def mix(self, hr: Tensor, weights: Tensor, kernels: Tensor) -> Tensor:
        """Responses to kernels (1 + M, K, K), all but the first weighted: (B, C, h, w), decimated where need be."""
        seen = responses(hr, kernels, self.stride)
        lr = seen[:, :, 0] + (weights.unsqueeze(1) * seen[:, :, 1:]).sum(2)
        return decimate(lr, self.scale) if self.stride < self.scale else lr

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return self.mix(hr, self.weight_maps(hr, code, field), self.kernels())

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return torch.zeros_like(lr)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:  # noqa: D102
        raise ValueError("dml has no hardware factor")


def _movers(size: int) -> Tensor:
    """The two kernels g (2, K, K): a Gaussian's slopes, ∝ y·exp(−(y² + x²)/2σ²), with first moments (1, 0), (0, 1)."""
    at = torch.arange(size) - (size - 1) / 2
    bell = torch.exp(-(at**2) / (2 * MOVER_SIGMA_PX**2))
    slope = at * bell / (at**2 * bell).sum()
    return torch.stack([slope[:, None] * bell / bell.sum(), bell[:, None] / bell.sum() * slope])


class Method:
    """`degsynth.methods.Learned` for dml."""

    paired = True

    def __init__(self, config: Config, scale: int, channels: int) -> None:
        self.config, self.scale, self.channels = config, scale, channels
        self.stride = scale if config.grid == "lr" else 1
        self.kernel_size = config.kernel_size or (20 if self.stride % 2 == 0 else 21)
        try:
            self.half_width = half_width(self.kernel_size, self.stride)
        except ValueError:
            parity = "even" if self.stride % 2 == 0 else "odd"
            raise ConfigError(
                f"method dml: kernel_size (={self.kernel_size}): with grid={config.grid} at scale {scale} it must be "
                f"{parity} and at least {self.stride}"
            ) from None
        if config.start == "linear" and self.stride != scale:
            raise ConfigError("method dml: start=linear needs grid=lr; give grid=lr, or start=random")
        if config.level == "learned" and (config.start == "linear" or config.centred):
            raise ConfigError("method dml: level=learned goes with start=random and centred=false")
        if config.weights == "softmax" and config.basis_kernels == 1:
            raise ConfigError("method dml: with softmax a single basis kernel has weight 1 everywhere; give at least 2")
        if config.coordinates and config.flips:
            raise ConfigError(
                "method dml: flips move a pixel elsewhere in the image; with coordinates=true they must be off"
            )
        # The network works at the pixels where kernels are applied; ours at every other one at stride 1, for speed.
        self.reduction = self.stride if config.network == "paper" else max(2, self.stride)
        self.network = self._network()
        self.multiple_of = math.lcm(self.network.multiple_of * self.reduction, scale)
        # At stride 1 a patch has more pixels to be convolved; a smaller one keeps a step as fast as elsewhere.
        usual = 64 if self.stride == 1 else 48 * self.reduction
        self.patch = config.patch or -(-usual // self.multiple_of) * self.multiple_of
        if self.patch % self.multiple_of:
            raise ConfigError(f"method dml: patch (={self.patch}) must be a multiple of {self.multiple_of} HR px")
        self.border = math.ceil(self.half_width / scale)
        self.least_patch = 4 * self.border * scale + 1
        if self.patch < self.least_patch:
            raise ConfigError(f"method dml: patch (={self.patch}) must be at least {self.least_patch} HR px")
        self.optics = BasisOptics(
            self.network,
            self._first_basis(),
            scale,
            self.stride,
            self.reduction,
            config,
        )
        self.mirrors = False
        self.level_changed = ""
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(
                [
                    {"params": list(self.network.parameters()), "lr": config.learning_rate},
                    {"params": [self.optics.basis], "lr": config.learning_rate * config.kernel_rate},
                ]
            )
        }

    def _network(self) -> EncoderDecoder:
        inputs = self.reduction**2 + (3 if self.config.coordinates else 0)
        outputs = self.config.basis_kernels * (self.reduction // self.stride) ** 2
        width = self.config.width
        if self.config.network == "paper":
            made = EncoderDecoder(inputs, outputs, (width, width), (4, 3), 3, concatenate=True, last=7)
            for layer in made.modules():
                if isinstance(layer, Convolution):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)
        else:
            made = EncoderDecoder(inputs, outputs, (width, 2 * width, 2 * width), (2, 2, 2), 1)
        if self.config.start == "linear":
            nn.init.normal_(made.last.weight, std=FIRST_WEIGHTS)
            nn.init.zeros_(made.last.bias)
        return made

    def _first_basis(self) -> Tensor:
        count, size = self.config.basis_kernels, self.kernel_size
        if self.config.start == "random":
            basis = torch.rand(count, size, size)
            share = 1.0 if self.config.weights == "softmax" else 2.0 / count  # Σ_m C_m S_m = 1 with the first weights
            return share * basis / basis.sum((1, 2), keepdim=True)
        basis = FIRST_TAPS * torch.randn(count, size, size)
        return basis - basis.mean(0)  # so that with equal weights nothing is added to the base

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Solve for the one kernel that training starts from, if it does."""
        if self.config.start == "linear":
            first = linear.Method(linear.Config(kernel_size=self.kernel_size), self.scale, self.channels)
            first.prepare(images)
            self.optics.base.copy_(first.solutions[0].kernel)
            self.level_changed = linear.level_changed(first.free[0])
        shift = math.hypot(*centroid(self.optics.base))
        self.mirrors = self.config.mirror and not self.config.coordinates and shift <= MIRROR_SHIFT_PX

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Eq. 4 on one batch of luma patches, borders that see padding left out."""
        hr, lr = luma(batch["hr"]), luma(batch["lr"])
        code, field = self._place(batch) if self.config.coordinates else (lr.new_zeros(len(lr), 0), lr)
        kernels = self.optics.kernels() if self.config.level == "held" else self.optics.free_kernels()
        if self.mirrors:
            # lr − k̄ ⋆ hr is what the basis must explain. A mirrored scene has a mirrored remainder (what a camera makes
            # of an edge it makes of its mirror image), though no mirrored k̄: so the remainder is taken first.
            lr = lr - self.optics.mix(hr, lr.new_zeros(len(lr), 0, 1, 1), kernels[:1])
            kernels = torch.cat([torch.zeros_like(kernels[:1]), kernels[1:]])
            turns = torch.randint(8, (len(hr),), generator=generator(step)).tolist()
            hr, lr = (
                torch.stack([turned(image, turn) for image, turn in zip(x, turns, strict=True)]) for x in (hr, lr)
            )
        with torch.autocast(hr.device.type, torch.bfloat16, enabled=hr.is_cuda):
            weights = self.optics.weight_maps(hr, code, field)
        made = self.optics.mix(hr, weights.float(), kernels)  # the blur itself keeps every bit: 8 bits would show
        error = inside(made - lr, self.border)
        loss = error.abs().mean() if self.config.loss == "l1" else error.square().mean()
        return {self.config.loss: losses.update(self.optimizers["adam"], loss)}

    def _place(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Code and field of patches, as `Degrader` gives them for whole images."""
        size = batch["lr"].shape[-2:]
        fields = [pixel_centres(int(y), int(x), size[0], size[1]) for y, x in batch["origin"].tolist()]
        return batch["frame"].to(batch["lr"]), torch.cat(fields).to(batch["lr"])

    def degrader(self) -> Degrader:
        """Basis and network as a checkpoint module."""
        return Degrader(self.optics, self.scale, self.multiple_of, placed=self.config.coordinates)

    def spec(self) -> dict[str, Any]:
        """Exact tiles, no dice; the phase is what pairs and content make of it, and is measured."""
        reach = self.network.reach * self.reduction + max(0, self.reduction - self.scale)
        return {
            "clean_halo": max(self.half_width, reach),
            "noise_halo": 0,
            "multiple_of": self.multiple_of,
            "phase": None,  # every kernel is centred, but weights that follow the picture colour what is measured
        }

    def report(self) -> dict[str, Any]:
        """Size of the model, and width and centre of its base."""
        sigma = gaussian_sigma(self.optics.base)
        return {
            "kernel_size": self.kernel_size,
            "basis_kernels": self.config.basis_kernels,
            "parameters": sum(p.numel() for p in self.optics.parameters()),
            "base_kernel": {"centroid_px": list(centroid(self.optics.base)), "sigma_px": list(sigma)},
        }

    def warnings(self) -> list[str]:
        """A change of level, which no kernel of sum 1 can follow."""
        if not self.level_changed:
            return []
        return [f"{self.level_changed}; dml holds the level: adapt LR first, or see what linear makes of it"]

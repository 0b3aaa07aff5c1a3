"""What dml, directnet and directkpn share (dml, 4.3): a network that looks at luma, and the task it is given.

All three make ``lr = k̄ ⋆ hr + change``: a fixed kernel k̄, the base, and what a network makes of the picture. In the
``default`` presets k̄ is the solution of `linear`, and the network learns what that leaves to be explained. So they
differ in how a network's numbers become a change: as weights of basis kernels (`dml`), as a kernel for every pixel
(`directkpn`, with 15 or 16 taps a side as published where the others have 20 or 21, and smaller patches at stride 1),
or as the change itself (`directnet`, whose network sees differences only). Data, schedule and network are the same.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth.errors import ConfigError
from degsynth.methods.protocol import Training
from degsynth.methods.shared.pairs import KernelOptions, Paired, level_change
from degsynth.model.spec import MethodSpec
from degsynth.nets.encoder_decoder import Convolution, EncoderDecoder
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, gaussian_sigma
from degsynth.ops.resample import crop_border, decimate, dihedral

FIRST_WEIGHTS = 1e-2
"""Standard deviation of the last layer at a linear start: the network begins by changing next to nothing."""
MOVER_SIGMA_PX = 1.7
"""Width of the kernels that take first moments off others."""
MIRROR_SHIFT_PX = 0.3
"""A remainder is turned about the pixel's centre; a base that sits further away than this is not turned with it."""


class Config(Training):
    """Options that the three have in common."""

    kernel_size: int | None = Field(default=None, ge=2, le=63)
    """Taps per side: even at even scales, odd at odd ones and with grid=hr; unset: what suits the method."""
    grid: Literal["lr", "hr"] = "lr"
    """Where the network's numbers are used: at the LR pixels, or at all HR pixels, decimated afterwards (paper)."""
    start: Literal["linear", "random"] = "linear"
    """Where training begins: at the one kernel that `linear` finds, or anywhere (paper)."""
    mirror: bool = True
    """Whether what the base leaves to be explained is learnt from mirrored and turned patches, too. Unlike `flips` it
    leaves the base, and with it a lopsided lens, as it is. Not done where the base is shifted by more than 0.3 HR px,
    nor with coordinates, where there are any."""
    network: Literal["pyramid", "paper"] = "pyramid"
    """The network: three levels, narrow at the top (ours), or the authors' U-Net."""
    width: int = Field(default=16, ge=1)
    """Channels of the network's first level; the lower ones of ``pyramid`` have twice as many."""
    loss: Literal["l1", "l2"] = "l1"
    """Mean absolute or mean squared error of luma."""


PAPER: dict[str, Any] = {
    "kernel_size": 15,
    "grid": "hr",
    "start": "random",
    "mirror": False,
    "network": "paper",
    "width": 32,
    "loss": "l2",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "warmup": 0,
    "average": 0.0,
    "steps": 100_000,
    "batch": 16,
    "patch": 192,
    "flips": True,
}
"""What the paper says of all three."""


def first_base(size: int) -> Tensor:
    """The pixel itself as a kernel (size, size): one tap, or the four in the middle of an even size."""
    middle = torch.zeros(size, size)
    half = (size - 1) // 2, size // 2
    middle[half[0] : half[1] + 1, half[0] : half[1] + 1] = 1.0
    return middle / middle.sum()


def movers(size: int) -> Tensor:
    """The two kernels g (2, K, K): a Gaussian's slopes, ∝ y·exp(−(y² + x²)/2σ²), with first moments (1, 0), (0, 1)."""
    at = torch.arange(size) - (size - 1) / 2
    bell = torch.exp(-(at**2) / (2 * MOVER_SIGMA_PX**2))
    slope = at * bell / (at**2 * bell).sum()
    return torch.stack([slope[:, None] * bell / bell.sum(), bell[:, None] / bell.sum() * slope])


def blurred(hr: Tensor, kernel: Tensor, scale: int, stride: int) -> Tensor:
    """``kernel ⋆ hr`` with one kernel (K, K): applied with stride, or at all HR pixels and decimated afterwards."""
    seen = blur_decimate(hr, kernel[None], stride)
    return decimate(seen, scale) if stride < scale else seen


class Backbone:
    """A network, its geometry, and the task: not a module of its own, since only optics are exported."""

    def __init__(
        self, name: str, config: Config, scale: int, sizes: tuple[int, int], outputs: int | None, places: int = 0
    ) -> None:
        """Make the network that gives ``outputs`` numbers for every pixel where they are used (None: a kernel's taps).

        ``sizes`` are the method's usual kernel sizes at even and odd strides; ``places`` inputs tell the position.
        Raises ConfigError, with the method's ``name``, where options do not go together.
        """
        self.config, self.scale = config, scale
        self.stride = scale if config.grid == "lr" else 1
        self.kernel_size = config.kernel_size or sizes[self.stride % 2]
        try:
            self.half_width = half_width(self.kernel_size, self.stride)
        except ValueError:
            parity = "even" if self.stride % 2 == 0 else "odd"
            raise ConfigError(
                f"method {name}: kernel_size (={self.kernel_size}): with grid={config.grid} at scale {scale} it must "
                f"be {parity} and at least {self.stride}"
            ) from None
        if config.start == "linear" and self.stride != scale:
            raise ConfigError(f"method {name}: start=linear needs grid=lr; give grid=lr, or start=random")
        # The network works at the pixels where its numbers are used; ours at every other one at stride 1, for speed.
        self.reduction = self.stride if config.network == "paper" else max(2, self.stride)
        # At stride 1 a patch has more pixels where numbers are needed; a smaller one keeps a step as fast as elsewhere.
        usual = 48 * self.reduction if self.stride > 1 else 64 if outputs else 48
        outputs = outputs or self.kernel_size**2
        self.network = self._made(self.reduction**2 + places, outputs * (self.reduction // self.stride) ** 2)
        self.multiple_of = math.lcm(self.network.multiple_of * self.reduction, scale)
        self.patch = config.patch or -(-usual // self.multiple_of) * self.multiple_of
        if self.patch % self.multiple_of:
            raise ConfigError(f"method {name}: patch (={self.patch}) must be a multiple of {self.multiple_of} HR px")
        self.border = math.ceil(self.half_width / scale)
        self.least_patch = 4 * self.border * scale + 1
        if self.patch < self.least_patch:
            raise ConfigError(f"method {name}: patch (={self.patch}) must be at least {self.least_patch} HR px")
        self.reach = self.network.reach * self.reduction + max(0, self.reduction - scale)
        self.mirrors = False
        self.level_change = ""

    def _made(self, inputs: int, outputs: int) -> EncoderDecoder:
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

    def prepare(self, images: Paired, base: Tensor, may_mirror: bool) -> None:
        """Solve for the one kernel that training starts from, if it does, and put it into ``base`` (K, K)."""
        if self.config.start == "linear":
            fit = images.fit_kernel(KernelOptions(self.kernel_size))
            base.copy_(fit.solutions[0].kernel)
            self.level_change = level_change(fit.free[0])
        self.mirrors = self.config.mirror and may_mirror and math.hypot(*centroid(base)) <= MIRROR_SHIFT_PX

    def task(self, hr: Tensor, lr: Tensor, base: Tensor | None, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """What the network sees and what change it should make of it: luma patches hr, and ``lr − k̄ ⋆ hr``.

        ``base`` None: there is no k̄, and the task is lr itself. A mirrored scene has a mirrored remainder (what a
        camera makes of an edge it makes of its mirror image), though no mirrored k̄: the remainder is taken first.
        """
        if base is not None:
            lr = lr - blurred(hr, base, self.scale, self.stride)
        if self.mirrors:
            turns = torch.randint(8, (len(hr),), generator=rng).tolist()
            hr, lr = (
                torch.stack([dihedral(image, turn) for image, turn in zip(x, turns, strict=True)]) for x in (hr, lr)
            )
        return hr, lr

    def error(self, made: Tensor, wanted: Tensor) -> Tensor:
        """The loss, borders that see padding left out."""
        apart = crop_border(made - wanted, self.border)
        return apart.abs().mean() if self.config.loss == "l1" else apart.square().mean()

    def spec(self) -> MethodSpec:
        """Exact tiles, no dice; the phase is what pairs and content make of it, and is measured."""
        return MethodSpec(clean_halo=max(self.half_width, self.reach), multiple_of=self.multiple_of)

    def report(self, optics: nn.Module, base: Tensor) -> dict[str, Any]:
        """Size of the model, and width and centre of its base."""
        return {
            "kernel_size": self.kernel_size,
            "parameters": sum(p.numel() for p in optics.parameters()),
            "base_kernel": {"centroid_px": list(centroid(base)), "sigma_px": list(gaussian_sigma(base))},
        }

    def warnings(self, name: str) -> list[str]:
        """A change of level, which no kernel of sum 1 can follow."""
        if not self.level_change:
            return []
        return [f"{self.level_change}; {name} holds the level: adapt LR first, or see what linear makes of it"]

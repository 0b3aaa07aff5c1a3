"""What dml, directkpn and directnet share (dml, 4.3): a network that sees luma, and what it is to learn.

The model of all three is ``lr = k̄ ⋆ hr + change``: a fixed kernel k̄, the base, plus what a network computes from the
image. In the ``default`` presets k̄ is the solution of `linear`, and the network learns what k̄ leaves unexplained. The
methods differ in how the network's outputs become the change:

- `dml`: as the weights of basis kernels;
- `directkpn`: as a kernel for every pixel, with 15 or 16 taps per side as published (the others have 20 or 21), and
  with smaller patches at stride 1;
- `directnet`: as the change itself; its network sees only differences within the image.

Data, schedule and network are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth.errors import ConfigError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data, Training
from degsynth.methods.shared.pairs import KernelOptions, LevelChange, Paired
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.nets.encoder_decoder import Convolution, EncoderDecoder
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, gaussian_sigma
from degsynth.ops.resample import crop_border, decimate, dihedral

FIRST_WEIGHT_STD = 2e-4
"""Standard deviation of the last layer's weights at a linear start. The network then begins with hardly any change."""
SLOPE = 0.1
"""Slope of the activations of ``pyramid`` below zero. With 0, and torch's first weights, most features of the coarse
levels ended as 0 for every image: all of them in some fits, depending on how numbers were rounded."""
MOMENT_SIGMA_PX = 1.7
"""Width of the Gaussian from which `moment_kernels` are made."""
MIRROR_SHIFT_PX = 0.3
"""Patches are not mirrored where the centroid of the base kernel is farther than this (HR px) from its centre.

``lr − k̄ ⋆ hr`` is mirrored about the centre of a pixel. That is wrong if the kernel k̄ is shifted away from it.
"""


class Config(Training):
    """Options that the three methods have in common."""

    kernel_size: int | None = Field(default=None, ge=2, le=63)
    """Taps per side: even at even scales, odd at odd ones and with grid=hr; unset: a size that suits the method."""
    grid: Literal["lr", "hr"] = "lr"
    """Pixels for which the network has outputs: ``lr``, the LR pixels; ``hr``, all HR pixels, with the result decimated
    afterwards (paper)."""
    start: Literal["linear", "random"] = "linear"
    """Where training begins: at the one kernel that `linear` finds, or at random weights (paper)."""
    mirror: bool = True
    """Mirror and rotate at random what the base leaves unexplained, together with its patch. Unlike flips, this leaves
    the base as it is, and with it the blur of an asymmetric lens. It is not done if the base is shifted by more than
    0.3 HR px, nor with coordinates=true."""
    network: Literal["pyramid", "paper"] = "pyramid"
    """The network: ``pyramid`` (ours) has three levels, the finest one narrow; ``paper`` is the authors' U-Net."""
    width: int = Field(default=16, ge=1, le=2**12)
    """Number of channels at the network's first level; the coarser levels of ``pyramid`` have twice as many."""
    loss: Literal["l1", "l2"] = "l1"
    """The loss on luma: mean absolute error (l1) or mean squared error (l2)."""


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
"""The options of preset ``paper`` that all three methods have in common."""


def check_level(name: str, level: str, start: str, centred: bool) -> None:
    """Raise ConfigError where level=learned meets an option that holds the level: start=linear or centred=true."""
    if level == "learned" and (start == "linear" or centred):
        raise ConfigError(f"method {name}: level=learned goes with start=random and centred=false")


def first_base(size: int) -> Tensor:
    """Return the kernel (size, size) of no blur: only the middle tap is not 0, or the middle four for an even size."""
    middle = torch.zeros(size, size)
    half = (size - 1) // 2, size // 2
    middle[half[0] : half[1] + 1, half[0] : half[1] + 1] = 1.0
    return middle / middle.sum()


def moment_kernels(size: int) -> Tensor:
    """Return two kernels g (2, K, K) of sum 0 with the first moments (1, 0) and (0, 1).

    They are the slopes of a Gaussian, ∝ y·exp(−(y² + x²)/2σ²) and ∝ x·exp(−(y² + x²)/2σ²). Multiples of them that are
    subtracted from a kernel change its first moment and leave its sum.
    """
    at = torch.arange(size) - (size - 1) / 2
    bell = torch.exp(-(at**2) / (2 * MOMENT_SIGMA_PX**2))
    slope = at * bell / (at**2 * bell).sum()
    return torch.stack([slope[:, None] * bell / bell.sum(), bell[:, None] / bell.sum() * slope])


def blurred(hr: Tensor, kernel: Tensor, scale: int, stride: int) -> Tensor:
    """Return ``kernel ⋆ hr``, decimated, with one kernel (K, K).

    The stride is that of the convolution: the scale, or 1, in which case the blurred image is decimated afterwards.
    """
    blurred_hr = blur_decimate(hr, kernel[None], stride)
    return decimate(blurred_hr, scale) if stride < scale else blurred_hr


class Backbone:
    """A network with its geometry, and what it is to learn. It is no module, because only optics are exported."""

    def __init__(
        self, name: str, config: Config, scale: int, sizes: tuple[int, int], outputs: int | None, places: int = 0
    ) -> None:
        """Make the network, with ``outputs`` numbers for every pixel of the grid (None: the taps of a kernel).

        ``sizes`` are the method's usual kernel sizes at even and at odd strides, ``places`` the number of inputs that
        hold the position. ConfigError, with the method's ``name``, where options do not go together.
        """
        self.name, self.config, self.scale = name, config, scale
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
            raise ConfigError(f"method {name}: start=linear needs grid=lr", "give `grid=lr`, or `start=random`")
        # The paper's network works at the resolution of the grid. Ours works at half of it at stride 1, for speed.
        self.reduction = self.stride if config.network == "paper" else max(2, self.stride)
        # At stride 1 a patch has more pixels for which outputs are needed; with a smaller patch a step is as fast as
        # at other strides.
        usual = 48 * self.reduction if self.stride > 1 else 64 if outputs else 48
        outputs = outputs or self.kernel_size**2
        self.network = self._new_network(self.reduction**2 + places, outputs * (self.reduction // self.stride) ** 2)
        self.multiple_of = math.lcm(self.network.multiple_of * self.reduction, scale)
        self.border = math.ceil(self.half_width / scale)
        self.least_patch = 4 * self.border * scale + 1
        self.patch = config.patch or -(-usual // self.multiple_of) * self.multiple_of
        if self.patch % self.multiple_of:
            raise ConfigError(f"method {name}: patch (={self.patch}) must be a multiple of {self.multiple_of} HR px")
        if self.patch < self.least_patch:
            raise ConfigError(f"method {name}: patch (={self.patch}) must be at least {self.least_patch} HR px")
        self.reach = self.network.reach * self.reduction + max(0, self.reduction - scale)
        self.mirrors = False
        self.level_change = LevelChange()

    def _new_network(self, inputs: int, outputs: int) -> EncoderDecoder:
        """Return the network with its first weights."""
        width = self.config.width
        is_paper = self.config.network == "paper"
        if is_paper:
            network = EncoderDecoder(inputs, outputs, (width, width), (4, 3), 3, concatenate=True, last=7)
        else:
            network = EncoderDecoder(inputs, outputs, (width, 2 * width, 2 * width), (2, 2, 2), 1, slope=SLOPE)
        for layer in (module for module in network.modules() if isinstance(module, Convolution)):
            nn.init.xavier_uniform_(layer.weight) if is_paper else nn.init.kaiming_normal_(layer.weight, SLOPE)
            nn.init.zeros_(layer.bias)
        if self.config.start == "linear":
            nn.init.normal_(network.last.weight, std=FIRST_WEIGHT_STD)
            nn.init.zeros_(network.last.bias)
        return network

    def prepare(self, images: Paired, base: Tensor, may_mirror: bool) -> None:
        """With start=linear, fit the one kernel that training starts from, and write it into ``base`` (K, K)."""
        self.level_change = images.level_change
        if self.config.start == "linear":
            fit = images.fit_kernel(KernelOptions(self.kernel_size))
            base.copy_(fit.solutions[0].kernel)
        self.mirrors = self.config.mirror and may_mirror and math.hypot(*centroid(base)) <= MIRROR_SHIFT_PX

    def task(self, hr: Tensor, lr: Tensor, base: Tensor | None, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the network is to see and what change it is to predict: luma patches hr, and ``lr − k̄ ⋆ hr``.

        With ``base`` None there is no k̄, and lr itself is to be predicted. Patches are mirrored only after k̄ ⋆ hr has
        been subtracted: what remains of a mirrored scene is the mirrored remainder (a camera treats an edge like its
        mirror image), but k̄ need not be its own mirror image.
        """
        if base is not None:
            lr = lr - blurred(hr, base, self.scale, self.stride)
        if self.mirrors:
            turns = torch.randint(8, (len(hr),), generator=rng).tolist()
            hr, lr = (
                torch.stack([dihedral(image, turn) for image, turn in zip(x, turns, strict=True)]) for x in (hr, lr)
            )
        return hr, lr

    def error(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the loss, without the borders, which depend on padding."""
        difference = crop_border(predicted - target, self.border)
        return difference.abs().mean() if self.config.loss == "l1" else difference.square().mean()


class BackboneMethod(protocol.Learned):
    """The part of a method that is the same for all three. Optics have the base kernel k̄ in a buffer ``base``."""

    data: Data = "paired"
    config: Config
    weights_version = 2  # since activations are leaky, and weights of `dml` have either sign

    def __init__(self, backbone: Backbone, optics: Any, channels: int, groups: Iterable[Any]) -> None:
        """Take the network, the optics that hold it, and the parameters or groups of them that Adam is to learn."""
        self.config, self.backbone, self.optics, self.channels = backbone.config, backbone, optics, channels
        self.patch, self.least_patch = backbone.patch, backbone.least_patch
        self.multiple_of = backbone.multiple_of
        self.modules: dict[str, nn.Module] = {"optics": optics}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(groups, lr=self.config.learning_rate)
        }

    def prepare(self, images: Paired) -> None:
        """With start=linear, fit the one kernel that training starts from."""
        self.backbone.prepare(images, self.optics.base, may_mirror=True)

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return the base and the network as a checkpoint module."""
        return Degrader(optics or self.optics, self.backbone.scale, self.multiple_of)

    def spec(self) -> MethodSpec:
        """Describe the model: tiles are exact and nothing is random.

        `fit` measures the phase, because it depends on the pairs and on the content.
        """
        halo = max(self.backbone.half_width, self.backbone.reach)
        return MethodSpec(clean_halo=halo, multiple_of=self.multiple_of)

    def report(self) -> dict[str, Any]:
        """Return the size of the model, and the width and centroid of its base."""
        base = self.optics.base
        return {
            "kernel_size": self.backbone.kernel_size,
            "parameters": sum(p.numel() for p in self.optics.parameters()),
            "base_kernel": {"centroid_px": list(centroid(base)), "sigma_px": list(gaussian_sigma(base))},
        }

    def warnings(self) -> list[str]:
        """Warn of a change of level, which the model cannot follow."""
        return self.backbone.level_change.held(self.backbone.name)

"""The optics of pdm: kernels that a network makes for each image or for each pixel, and noise.

The noise has a closed form that follows the level, or comes from a network, or there is none.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.methods.shared.measured_noise import Parts, no_correlation
from degsynth.model.optics import Optics
from degsynth.nets.kernel_generator import KernelGenerator
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.blur import apply_kernels, blur_decimate
from degsynth.ops.grain import KNOTS, REACH, Grain, compact, grain, separable
from degsynth.ops.noise import normals

TAPS_AT_ONCE = 4_000_000
"""Largest number of taps of per-pixel kernels that is computed at a time: 16 MB, of which there are some copies."""
MAX_GROUPS = 16
"""Largest number of groups whose noise a model can hold."""


# --- noise ------------------------------------------------------------------------------------------------------


class Silence(nn.Module):
    """No noise."""

    def __init__(self) -> None:
        super().__init__()
        self.planes, self.reach = 0, 0

    def forward(self, lr: Tensor, code: Tensor, white: Tensor) -> Tensor:
        """Return zeros like lr."""
        return torch.zeros_like(lr)


class GrainNoise(nn.Module):
    """Noise in closed form (`ops.grain`) of up to `MAX_GROUPS` groups; the last number of an image's code chooses."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.planes, self.reach = channels, REACH
        self.sigma = nn.Buffer(torch.zeros(MAX_GROUPS, channels, KNOTS))
        self.factors = nn.Buffer(no_correlation().repeat(MAX_GROUPS, 1, 1, 1))
        self.mixing = nn.Buffer(torch.zeros(MAX_GROUPS, channels, channels))
        self.share = nn.Buffer(torch.zeros(MAX_GROUPS))
        self.register_load_state_dict_pre_hook(_with_factors)  # type: ignore[no-untyped-call]

    def store(self, grains: list[Grain], share: Tensor, follow_level: bool) -> None:
        """Store the noise of each group, and the share (G,) of images that get it.

        Without ``follow_level`` it is equally strong at all levels.
        """
        for number, noise in enumerate(grains):
            parts = Parts.of(noise if follow_level else noise.at_one_level())
            self.sigma[number], self.factors[number], self.mixing[number] = parts
        if grains:
            self.share[: len(grains)] = share.float()

    def group(self, code: Tensor) -> int:
        """Return the number of the group that a code (G,) belongs to."""
        if code.shape[0] == 0:
            return 0
        # Rounding must not let the last share end below 1.
        return int((self.share.cumsum(0)[:-1] <= torch.special.ndtr(code[-1]) - 1e-6).sum())

    def forward(self, lr: Tensor, code: Tensor, white: Tensor) -> Tensor:
        """Return the noise for lr (B, C, h, w), from codes (B, G) and standard normal numbers of lr's shape."""
        noises: list[Tensor] = []
        for item in range(lr.shape[0]):
            group = self.group(code[item])
            image, numbers = item_of(lr, item), item_of(white, item)
            factors = self.factors[group]
            if not lr.is_cuda:  # a GPU would have to wait for the numbers that `compact` looks at
                factors = compact(factors)
            noises.append(grain(image, numbers, self.sigma[group], factors, self.mixing[group]))
        return torch.cat(noises)


def _with_factors(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Put the factors of the taps into the state of a `GrainNoise` of an earlier version, which held the taps."""
    taps = state.pop(f"{prefix}taps", None)
    if taps is not None:
        state[f"{prefix}factors"] = torch.stack([separable(group.double()).float() for group in taps.cpu()])


class NetworkNoise(nn.Module):
    """Noise from a network, netN of the paper."""

    def __init__(self, network: NoiseGenerator, numbers: int) -> None:
        super().__init__()
        self.network, self.planes, self.reach = network, numbers if network.draws else 0, network.reach

    def forward(self, lr: Tensor, code: Tensor, white: Tensor) -> Tensor:
        """Return the noise for lr (B, C, h, w), from standard normal numbers (B, planes, h, w)."""
        noise: Tensor = self.network(lr, white)
        return noise


def item_of(batch: Tensor, item: int) -> Tensor:
    """Return one item of a batch as a batch of size 1."""
    return batch[item : item + 1]


# --- kernels and noise ------------------------------------------------------------------------------------------


class PDMOptics(Optics):
    """The part that both kinds of optics share: a network for kernels, and one of the noise modules above."""

    def __init__(
        self, kernels: KernelGenerator, noises: nn.Module, scale: int, code_size: int, kernel_planes: int
    ) -> None:
        """``code_size`` is the length of the code; the first ``kernel_planes`` of the field are for kernels."""
        super().__init__()
        self.kernels = kernels
        self.noises: Any = noises
        self.scale, self.code_size, self.kernel_planes = scale, code_size, kernel_planes

    @torch.jit.export
    def field_planes(self, channels: int) -> int:  # noqa: D102
        planes: int = self.noises.planes
        return self.kernel_planes + planes

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        noise: Tensor = self.noises(lr, code, field[:, self.kernel_planes :])
        return noise


class ImageKernelOptics(PDMOptics):
    """One kernel for each image: drawn from numbers, which are the image's code, or the same for all images."""

    def __init__(self, kernels: KernelGenerator, noises: nn.Module, scale: int, numbers: int, draws: bool) -> None:
        """``numbers`` is the length of the network's input. Without ``draws`` they are all 0, and the code is empty."""
        super().__init__(kernels, noises, scale, code_size=numbers if draws else 0, kernel_planes=0)
        self.numbers, self.draws = numbers, draws

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:  # noqa: D102
        return normals(seed, self.code_size).view(1, -1)

    @torch.jit.export
    def inputs(self, code: Tensor) -> Tensor:
        """Return the network's inputs (B, Z, 1, 1) for images with codes (B, G)."""
        z = code[:, : self.numbers] if self.draws else code.new_zeros(code.shape[0], self.numbers)
        return z[:, :, None, None]

    @torch.jit.export
    def image_kernels(self, code: Tensor) -> Tensor:
        """Return the kernels (B, K, K) of images with codes (B, G).

        They are computed one at a time, because the last digits of a batch depend on its size.
        """
        kernels: list[Tensor] = []
        for item in range(code.shape[0]):
            kernels.append(self.kernels(self.inputs(item_of(code, item))))
        size = self.kernels.size
        return torch.cat(kernels).view(-1, size, size)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        kernels = self.image_kernels(code)
        images: list[Tensor] = []
        for item in range(hr.shape[0]):
            images.append(blur_decimate(item_of(hr, item), item_of(kernels, item), self.scale))
        return torch.cat(images)


class PixelKernelOptics(PDMOptics):
    """A kernel for each LR pixel: it follows from numbers for the pixel, from the picture, or from both."""

    def __init__(self, kernels: KernelGenerator, noises: nn.Module, scale: int, numbers: int, sees: bool) -> None:
        """``numbers`` is the number of random numbers for each pixel, or 0; ``sees``: the network sees the picture."""
        super().__init__(kernels, noises, scale, code_size=0, kernel_planes=numbers)
        self.sees = sees
        self.taps_at_once = TAPS_AT_ONCE

    @torch.jit.export
    def inputs(self, hr: Tensor, field: Tensor) -> Tensor:
        """Return the network's inputs (B, Z, h, w): random numbers, and the picture reduced to the LR's size."""
        parts: list[Tensor] = []
        if self.kernel_planes > 0:
            parts.append(field[:, : self.kernel_planes])
        if self.sees:
            parts.append(F.avg_pool2d(hr, self.scale) - 0.5)
        return torch.cat(parts, 1)

    @torch.jit.export
    def blur_image(self, hr: Tensor, field: Tensor) -> Tensor:
        """Blur and decimate one image (1, C, s·h, s·w); the kernels are computed a few rows of pixels at a time."""
        features = self.kernels.features(self.inputs(hr, field))
        height, width, size = features.shape[2], features.shape[3], self.kernels.size
        count = max(1, self.taps_at_once // (width * size * size))
        rows: list[Tensor] = []
        for first in range(0, height, count):
            taps = self.kernels.taps(features[:, :, first : first + count])
            rows.append(apply_kernels(hr, taps.view(1, -1, width, size, size), self.scale, first))
        return torch.cat(rows, 2)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        images: list[Tensor] = []
        for item in range(hr.shape[0]):
            images.append(self.blur_image(item_of(hr, item), item_of(field, item)))
        return torch.cat(images)

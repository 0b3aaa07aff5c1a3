"""Toy optics that stretch the contract in every direction that a method will: stochastic, varying over the image,
pooled, drawn from a pool, composed; and sabotaged ones, which the self-test must catch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.methods.linear import LinearOptics
from degsynth.model import checkpoint
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import Spec
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, gaussian
from degsynth.ops.noise import generator


def save_double(path: Path, optics: nn.Module, scale: int, **facts: Any) -> checkpoint.Checkpoint:
    """Wrap and save; the result is as loaded."""
    facts = {"clean_halo": 0, "noise_halo": 0, "multiple_of": scale, **facts}
    spec = Spec(
        degsynth_version="test",
        method="double",
        scale=scale,
        halo=facts["clean_halo"] + scale * facts["noise_halo"],
        **facts,
    )
    channels = facts.get("channels")
    degrader = Degrader(optics, scale, facts["multiple_of"], None if channels in (None, "any") else channels)
    return checkpoint.save(degrader, spec, path)


def blur_each(hr: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Item b of hr blurred by kernels[b] (B, K, K): one grouped convolution."""
    batch, channels, height, width = hr.shape
    pad = half_width(kernels.shape[-1], scale)
    padded = F.pad(hr, [pad, pad, pad, pad], mode="replicate").transpose(0, 1)  # channels as batch, items as groups
    out = F.conv2d(padded, kernels.unsqueeze(1), stride=scale, groups=batch)
    return out.transpose(0, 1).reshape(batch, channels, height // scale, width // scale)


class StochasticOptics(Optics):
    """A Gaussian of random width and angle per image; noise correlated over 3×3 LR px, stronger in brights."""

    def __init__(self, scale: int, size: int, noisy: bool = True) -> None:
        super().__init__()
        self.scale, self.size, self.noisy = scale, size, noisy
        smooth = torch.tensor([1.0, 2.0, 1.0])
        self.smooth = nn.Buffer((smooth[:, None] * smooth[None, :] / 6.0)[None, None])

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        return torch.rand(1, 2, generator=generator(seed))

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        return channels if self.noisy else 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        at = torch.arange(self.size, dtype=hr.dtype, device=hr.device) - (self.size - 1) / 2
        sigma = (0.7 + 0.8 * code[:, 0]).view(-1, 1, 1)
        angle = (3.14159 * code[:, 1]).view(-1, 1, 1)
        along = torch.cos(angle) * at.view(1, 1, -1) + torch.sin(angle) * at.view(1, -1, 1)
        across = torch.cos(angle) * at.view(1, -1, 1) - torch.sin(angle) * at.view(1, 1, -1)
        kernels = torch.exp(-0.5 * ((along / sigma) ** 2 + (across / (0.7 * sigma)) ** 2))
        return blur_each(hr, kernels / kernels.sum([1, 2], keepdim=True), self.scale)

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        if not self.noisy:
            return torch.zeros_like(lr)
        batch, channels, height, width = field.shape
        padded = F.pad(field, [1, 1, 1, 1], mode="replicate").reshape(batch * channels, 1, height + 2, width + 2)
        grain = F.conv2d(padded, self.smooth).view(batch, channels, height, width)
        return 0.03 * torch.sqrt(lr + 0.1) * grain


class VariantOptics(Optics):
    """A kernel that changes from LR pixel to LR pixel: two Gaussians mixed by the random field. No noise."""

    def __init__(self, scale: int, size: int) -> None:
        super().__init__()
        self.scale = scale
        self.kernels = nn.Buffer(torch.stack([gaussian(size, 0.6, 0.6), gaussian(size, 1.6, 1.6)]).float())

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        return 1

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        share = torch.sigmoid(field)
        sharp, soft = blur_decimate(hr, self.kernels[:1], self.scale), blur_decimate(hr, self.kernels[1:], self.scale)
        return share * sharp + (1 - share) * soft


class PooledOptics(Optics):
    """Two Gaussians mixed by content, as a U-Net would: brightness max-pooled over cells of LR px, brought back
    bilinearly.

    ``whole``: mixed by the mean of the whole image instead, as instance norm would.
    """

    def __init__(self, scale: int, size: int, cell: int = 4, whole: bool = False) -> None:
        super().__init__()
        self.scale, self.cell, self.whole = scale, cell, whole
        self.kernels = nn.Buffer(torch.stack([gaussian(size, 0.8, 0.8), gaussian(size, 1.4, 1.4)]).float())

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        level = F.avg_pool2d(hr.mean(1, keepdim=True), self.scale)
        if self.whole:
            share = level.mean([2, 3], keepdim=True)
        else:
            cells = F.max_pool2d(level, self.cell)
            share = F.interpolate(cells, scale_factor=float(self.cell), mode="bilinear", align_corners=False)
        sharp, soft = blur_decimate(hr, self.kernels[:1], self.scale), blur_decimate(hr, self.kernels[1:], self.scale)
        return share * sharp + (1 - share) * soft


class PoolOptics(Optics):
    """One of several fixed kernels per image: the code is its index."""

    def __init__(self, scale: int, size: int) -> None:
        super().__init__()
        self.scale = scale
        widths = (0.6, 0.9, 1.2, 1.5, 1.8)
        self.kernels = nn.Buffer(torch.stack([gaussian(size, w, 0.8 * w, angle=w) for w in widths]).float())

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        return torch.randint(self.kernels.shape[0], [1, 1], generator=generator(seed)).float()

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return blur_each(hr, self.kernels[code[:, 0].long()], self.scale)


class ComposedOptics(Optics):
    """One after the other. Each has its part of the code; the first one's, on the finer plane, are folded into
    channels of the LR plane (pixel shuffle). The noise is the last one's."""

    def __init__(self, first: nn.Module, second: nn.Module, second_scale: int, first_code: int) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.second_scale, self.first_code = second_scale, first_code

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        return torch.cat([self.first.draw(seed), self.second.draw(seed + 1)], 1)

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        return self.first.field_planes(channels) * self.second_scale * self.second_scale + self.second.field_planes(
            channels
        )

    @torch.jit.export
    def split(self, field: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        folded = self.first.field_planes(channels) * self.second_scale * self.second_scale
        return F.pixel_shuffle(field[:, :folded], self.second_scale), field[:, folded:]

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        fine, coarse = self.split(field, hr.shape[1])
        middle = self.first.clean(hr, code[:, : self.first_code], fine)
        return self.second.clean(middle, code[:, self.first_code :], coarse)

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return self.second.noise(lr, code[:, self.first_code :], self.split(field, lr.shape[1])[1])


SABOTAGES = {
    "half-pixel shift": "kernel at the declared phase",
    "wrong decimation phase": "kernel at the declared phase",
    "gain 0.99": "mean level kept",
    "truncating": "mean level kept",
    "tile-dependent noise": "tiles equal the whole",
    "unseeded noise": "same seed, same output",
    "generator shared by threads": "same seed in every thread",
}
"""What is broken → the check that has to notice."""


class SabotagedOptics(Optics):
    """A sound optics module with one thing broken."""

    def __init__(self, inner: nn.Module, kind: str) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind
        self.halves = nn.Buffer(torch.tensor([[[[0.5, 0.5]]]]))

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        return torch.full((1, 1), float(seed % 1000))

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        return self.inner.field_planes(channels)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        if self.kind == "half-pixel shift":  # the mean of each pixel and its right neighbour: half an HR pixel further
            batch, channels, height, width = hr.shape
            padded = F.pad(hr, [0, 1, 0, 0], mode="replicate").reshape(batch * channels, 1, height, width + 1)
            hr = F.conv2d(padded, self.halves).view(batch, channels, height, width)
        if self.kind == "wrong decimation phase":  # the grid of LR starts one HR pixel late
            hr = F.pad(hr[:, :, 1:, 1:], [0, 1, 0, 1], mode="replicate")
        lr = self.inner.clean(hr, code[:, :0], field)
        if self.kind == "gain 0.99":
            lr = 0.99 * lr
        if self.kind == "truncating":
            lr = torch.floor(lr * 255.0) / 255.0
        return lr

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        if self.kind == "tile-dependent noise":
            return 0.02 * torch.randn(lr.shape, generator=generator(int(code[0, 0])))
        if self.kind == "unseeded noise":
            return 0.02 * torch.randn_like(lr)
        if self.kind == "generator shared by threads":
            shared = torch.Generator()  # TorchScript makes it a constant (see `ops.noise.generator`)
            shared.manual_seed(int(code[0, 0]))
            total = torch.zeros([1, 1, 1, 1])
            for _ in range(16):  # between any two draws another thread may draw
                total = total + torch.randn([1, 1, 64, 64], generator=shared).mean([2, 3], keepdim=True)
            return 0.02 * total.expand_as(lr)
        return torch.zeros_like(lr)


class FactorOptics(Optics):
    """An isotropic Gaussian of variance 2.6 × the hardware factor, which is the second entry of the code."""

    def __init__(self, scale: int, size: int, sabotage: str = "") -> None:
        """``sabotage``: inert, level (the mean depends on the factor), forgets (draw does), shares (in a batch)."""
        super().__init__()
        self.scale, self.size, self.sabotage = scale, size, sabotage
        self.factor = 0.8

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        return torch.tensor([[7.0, 1.0 if self.sabotage == "forgets" else self.factor]])

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        factor = code[:, 1]
        if self.sabotage == "inert":
            factor = torch.ones_like(factor)
        elif self.sabotage == "shares":
            factor = factor.mean().expand(factor.shape[0])
        at = torch.arange(self.size, dtype=hr.dtype, device=hr.device) - (self.size - 1) / 2
        profile = torch.exp(-0.5 * at * at / (2.6 * factor.view(-1, 1)))
        kernels = profile.unsqueeze(1) * profile.unsqueeze(2)
        lr = blur_each(hr, kernels / kernels.sum([1, 2], keepdim=True), self.scale)
        return lr * (1.0 + 0.01 * factor.view(-1, 1, 1, 1)) if self.sabotage == "level" else lr

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:
        if not 0.1 <= f <= 4.0:
            raise ValueError(f"the hardware factor must be from 0.1 to 4, not {f}")
        self.factor = f


def factor_double(path: Path, sabotage: str = "") -> checkpoint.Checkpoint:
    """Scale 2, fitted and by default at 0.8."""
    knob = {"default": 0.8, "trained": 0.8, "entry": 1, "range": (0.1, 4.0)}
    return save_double(path, FactorOptics(2, 16, sabotage), 2, clean_halo=7, hardware_factor=knob)


SIZES = {1: 13, 2: 12, 3: 13, 4: 16}


def linear_double(
    path: Path, scale: int, shift: tuple[float, float] = (0.0, 0.0), gain: float = 1.0
) -> checkpoint.Checkpoint:
    kernel = gaussian(SIZES[scale], 1.1, 1.7, 0.5, shift)
    optics = LinearOptics(kernel[None], torch.tensor([gain]), torch.tensor([0.01]), scale)
    facts = {
        "clean_halo": half_width(SIZES[scale], scale),
        "gain": [gain],
        "offset": [0.01],
        "phase": [centroid(kernel)],
    }
    return save_double(path, optics, scale, **facts)


def stochastic(path: Path, scale: int) -> checkpoint.Checkpoint:
    halo = half_width(SIZES[scale], scale)
    optics = StochasticOptics(scale, SIZES[scale])
    return save_double(path, optics, scale, clean_halo=halo, noise_halo=1, stochastic=True, has_noise=True)


def variant(path: Path, scale: int) -> checkpoint.Checkpoint:
    halo = half_width(SIZES[scale], scale)
    return save_double(path, VariantOptics(scale, SIZES[scale]), scale, clean_halo=halo, stochastic=True)


def pooled(path: Path, scale: int) -> checkpoint.Checkpoint:
    # An LR pixel sees its own pooling cell and, through the bilinear step, the next one. Cells are small so that the
    # effective kernel, which is measured over the whole halo, has few taps; at scale 4 it is measured in a window.
    cell = 4 if scale in (1, 4) else 2
    halo = max(half_width(SIZES[scale], scale), 2 * cell * scale)
    optics = PooledOptics(scale, SIZES[scale], cell)
    return save_double(path, optics, scale, clean_halo=halo, multiple_of=cell * scale)


def pool(path: Path, scale: int) -> checkpoint.Checkpoint:
    halo = half_width(SIZES[scale], scale)
    return save_double(path, PoolOptics(scale, SIZES[scale]), scale, clean_halo=halo, stochastic=True, channels=[1, 3])


def composed(path: Path, scale: int) -> checkpoint.Checkpoint:
    sizes = 7 if scale == 1 else 8, 8  # small: the effective kernel is measured over the whole halo
    first, second = VariantOptics(scale, sizes[0]), StochasticOptics(2, sizes[1])
    halo = half_width(sizes[0], scale) + scale * half_width(sizes[1], 2)
    optics = ComposedOptics(first, second, second_scale=2, first_code=0)
    return save_double(path, optics, 2 * scale, clean_halo=halo, noise_halo=1, stochastic=True, has_noise=True)

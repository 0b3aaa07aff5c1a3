"""The generator and the critic of kmsr: convolutional networks after DCGAN, for kernels of 25×25 (kmsr, 3.2.2).

Kernels sum to 1, so that a tap is .1 or .001: the critic sees them times a fixed gain, and the generator ends in a
softmax over taps that leaves the centroid in the middle (`CentredSoftmax`), in place of the authors' tanh, clipping and
division. What comes out is never negative, and always a kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from degsynth.nets.centred_softmax import STEEPEST, CentredSoftmax

WIDE = 32
"""What the transposed convolutions end at, px; the last convolution, without a border, cuts it to the kernel's size."""
FAINTEST = 1e-6
"""Taps of the mean kernel are taken for at least so much where logarithms are."""


class KernelGAN(nn.Module):
    """z (B, Z) → kernels (B, K, K) of sum 1 and centroid 0: four transposed convolutions 4×4, 1 → 4 → 8 → 16 → 32 px.

    Their channels are 4w, 2w, w, 1; the last convolution has (33 − K)² taps: 8×8 for the paper's 25. It also keeps the
    kernels that it learns from, which go into the pool besides.
    """

    def __init__(self, numbers: int, width: int, size: int, batch_norm: bool) -> None:
        super().__init__()
        self.numbers, self.size = numbers, size
        layers: list[nn.Module] = []
        for inputs, outputs in ((numbers, 4 * width), (4 * width, 2 * width), (2 * width, width), (width, 1)):
            first = not layers
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, 1 if first else 2, 0 if first else 1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(outputs))
            if outputs > 1 or batch_norm:
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Conv2d(1, 1, WIDE + 1 - size))
        self.softmax = CentredSoftmax(size)
        self.first_logits = nn.Buffer(torch.zeros(size * size))
        self.estimated = nn.Buffer(torch.zeros(0, size, size, dtype=torch.float64))

    def learn_from(self, kernels: Tensor, begin_there: bool) -> None:
        """Keep these kernels (N, K, K); ``begin_there``: logits are counted from those of their mean, not from 0."""
        self.estimated = nn.Buffer(kernels.double().to(self.first_logits.device))
        if begin_there:
            logits = (kernels.mean(0).clamp(min=0.0) + FAINTEST).log().flatten()
            logits = logits - (logits.max() + logits.min()) / 2
            self.first_logits.copy_(STEEPEST * torch.atanh(logits / STEEPEST))  # the softmax bounds them again

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        logits = self.layers(z[:, :, None, None]).flatten(1) + self.first_logits
        kernels: Tensor = self.softmax(logits)
        return kernels.view(-1, self.size, self.size)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        self.estimated = nn.Buffer(torch.empty_like(state[f"{prefix}estimated"]))  # as many as there are
        super()._load_from_state_dict(state, prefix, *rest)


class KernelCritic(nn.Module):
    """Kernels (B, K, K) → how real they look (B,): three strided convolutions of w, 2w, 4w channels, and a sum."""

    def __init__(self, width: int, size: int, instance_norm: bool) -> None:
        super().__init__()
        self.gain = nn.Buffer(torch.ones(()))
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, width), (width, 2 * width), (2 * width, 4 * width)):
            layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1))
            if instance_norm:
                layers.append(nn.InstanceNorm2d(outputs, affine=True))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, size // 8))

    def forward(self, scaled: Tensor) -> Tensor:
        """Of kernels times the gain."""
        found: Tensor = self.layers(scaled[:, None])
        return found.flatten(1).sum(1)

"""The generator and the critic of kmsr: convolutional networks after DCGAN, for kernels of 25×25 (kmsr, 3.2.2).

Kernels sum to 1, so taps are as small as .1 or .001. Therefore the critic sees kernels times a fixed gain. The
generator ends in a softmax over the taps that puts the centroid in the middle (`CentredSoftmax`), instead of the
authors' tanh, clipping and division. So its output is never negative, and always a kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from degsynth.nets.centred_softmax import LOGIT_BOUND, CentredSoftmax

WIDE_SIDE = 32
"""Side of the transposed convolutions' output, px. The last convolution, without padding, reduces it to K."""
MIN_TAP = 1e-6
"""This is added to the taps of the mean kernel before their logarithm is taken."""


class KernelGAN(nn.Module):
    """The generator: random numbers z (B, Z) → kernels (B, K, K) with sum 1 and centroid 0.

    Four transposed convolutions 4×4 take 1 px to 4, 8, 16 and 32 px; at width w they have 4w, 2w, w and 1 channels. The
    last convolution has (33 − K)² taps: 8×8 for the paper's K = 25. The network also stores the kernels that it learns
    from, since the pool contains them as well.
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
        self.layers = nn.Sequential(*layers, nn.Conv2d(1, 1, WIDE_SIDE + 1 - size))
        self.softmax = CentredSoftmax(size)
        self.first_logits = nn.Buffer(torch.zeros(size * size))
        self.estimated = nn.Buffer(torch.zeros(0, size, size, dtype=torch.float64))

    def store_kernels(self, kernels: Tensor, begin_at_mean: bool) -> None:
        """Store the kernels (N, K, K) to learn from.

        If ``begin_at_mean``, the logits of their mean are added to the network's, so that it begins near that mean.
        """
        self.estimated = nn.Buffer(kernels.double().to(self.first_logits.device))
        if begin_at_mean:
            logits = (kernels.mean(0).clamp(min=0.0) + MIN_TAP).log().flatten()
            logits = logits - (logits.max() + logits.min()) / 2
            self.first_logits.copy_(LOGIT_BOUND * torch.atanh(logits / LOGIT_BOUND))  # CentredSoftmax applies the tanh

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        logits = self.layers(z[:, :, None, None]).flatten(1) + self.first_logits
        kernels: Tensor = self.softmax(logits)
        return kernels.view(-1, self.size, self.size)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        self.estimated = nn.Buffer(torch.empty_like(state[f"{prefix}estimated"]))  # the number of kernels varies
        super()._load_from_state_dict(state, prefix, *rest)


class KernelCritic(nn.Module):
    """The critic: kernels (B, K, K) → how real they look (B,).

    Three strided convolutions have w, 2w and 4w channels, a last one has 1, and its output is summed.
    """

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
        """Return how real kernels look; ``scaled`` (B, K, K) are the kernels times `gain`."""
        scores: Tensor = self.layers(scaled[:, None])
        return scores.flatten(1).sum(1)

"""How the networks of pdm are taught to draw what was estimated, before any adversarial refinement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from degsynth.methods.pdm.estimate import BlurDistribution
from degsynth.methods.shared import losses
from degsynth.methods.shared.measured_noise import draw_noise
from degsynth.nets.kernel_generator import KernelGenerator, binomial
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.grain import Grain
from degsynth.ops.noise import generator
from degsynth.ops.resample import area
from degsynth.ops.spread import evenly_spaced

LEARNING_RATE = 2e-3
"""Learning rate of Adam in the first step; it falls to 0 along a cosine."""
KERNELS = 128
"""Number of kernels in a batch."""
MIN_TAP = 1e-12
"""Taps below this are replaced by it before their logarithm is taken."""
PATCH_PX, PATCHES, MAX_IMAGES = 32, 8, 16
"""Side of the patches from which noise is learnt (LR px), number of patches in a batch, and largest number of images
from which patches are taken."""


class KernelExamples:
    """Random inputs of netK, and the kernels that it should make of them."""

    def __init__(
        self, blurs: BlurDistribution, numbers: int, draws: bool, side: int, pictures: Sequence[Tensor]
    ) -> None:
        """Take the distribution of kernels.

        An input has side × side positions, of which the middle one is to get a kernel. If ``draws``, it has as many
        planes of random numbers as ``numbers`` says, from which the kernel follows. If there are ``pictures``
        (C, h, w), a patch of one is appended. Without either the input is zero.
        """
        self.blurs, self.numbers, self.draws, self.side = blurs, numbers, draws, side
        self.pictures = list(pictures)
        self.weights = binomial() if side == 3 else torch.ones(1, 1)

    def draw(self, rng: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs (N, Z, side, side), and the kernels (N, K²) of their middles."""
        z = torch.randn(count, self.numbers, self.side, self.side, generator=rng)
        kernels = self.blurs.kernels((z * self.weights).sum((2, 3))).flatten(1).float()
        parts = [z] if self.draws else []
        if self.pictures:
            parts.append(torch.stack([_random_patch(self.pictures, self.side, rng) for _ in range(count)]))
        return torch.cat(parts or [torch.zeros_like(z)], 1), kernels


def reduced_images(hr: Sequence[Tensor], scale: int) -> list[Tensor]:
    """Return some HR images (C, h, w) reduced to the LR's size, minus mid-gray."""
    reduced = []
    for index in evenly_spaced(len(hr), MAX_IMAGES):
        height, width = (length // scale * scale for length in hr[index].shape[1:])
        reduced.append(area(hr[index][None, :, :height, :width], scale)[0] - 0.5)
    return reduced


def teach_kernels(network: KernelGenerator, examples: KernelExamples, steps: int, seed: int) -> float:
    """Let a network imitate the kernels of examples, which follow from the seed; return the last `kernel_error`.

    Where the kernel does not follow from the inputs, the network learns the mean kernel.
    """
    error = torch.tensor(0.0)
    for optimizer, rng in _steps(network, steps, seed):
        z, target = examples.draw(rng, KERNELS)
        error = losses.update(optimizer, kernel_error(network.middle(z), target, network.signed))
    return float(error)


def kernel_error(kernels: Tensor, target: Tensor, signed: bool) -> Tensor:
    """Return the error of kernels (N, K²) against ``target`` (N, K²).

    Kernels without negative taps are distributions over the taps, so the error is the Kullback-Leibler divergence
    Σ target · log (target / kernel), in nats, averaged over the kernels. (A squared error would be nearly blind to wide
    kernels, whose taps are small.) For ``signed`` kernels it is the `relative_error`. Where one input has several
    targets, either error is least for their mean.
    """
    if signed:
        return relative_error(kernels, target)
    logs = torch.log(target.clamp(min=MIN_TAP)) - torch.log(kernels.clamp(min=MIN_TAP))
    return (target * logs).sum(1).mean()


def relative_error(values: Tensor, target: Tensor) -> Tensor:
    """Return Σ (values − target)² / Σ target², summed over the whole batch."""
    return (values - target).square().sum() / target.square().sum()


def teach_noise(
    network: NoiseGenerator, numbers: int, images: Sequence[Tensor], noise: Grain, steps: int, seed: int
) -> float:
    """Let a network imitate measured noise on patches of LR images (C, h, w), and return the last error.

    ``numbers`` is the number of planes of random numbers. Patches and noise follow from the seed. The error is relative
    to the variance of the noise: 1 where nothing was learnt.
    """
    error = torch.tensor(0.0)
    chosen = [images[index] for index in evenly_spaced(len(images), MAX_IMAGES)]
    side = min(PATCH_PX, *(length for image in chosen for length in image.shape[1:]))
    for optimizer, rng in _steps(network, steps, seed):
        lr = torch.stack([_random_patch(chosen, side, rng) for _ in range(PATCHES)])
        z = torch.randn(len(lr), numbers, *lr.shape[2:], generator=rng)
        white = z[:, : lr.shape[1]] if network.draws else torch.randn(lr.shape, generator=rng)
        error = losses.update(optimizer, relative_error(network(lr, z), draw_noise(noise, lr, white)))
    return float(error)


def _steps(network: nn.Module, steps: int, seed: int) -> Iterator[tuple[torch.optim.Optimizer, torch.Generator]]:
    """Iterate over steps: an optimiser whose learning rate falls to 0, and a source of random numbers."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rng = generator(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        yield optimizer, rng


def _random_patch(images: Sequence[Tensor], side: int, rng: torch.Generator) -> Tensor:
    """Return a random part (C, side, side) of a random image (C, h, w)."""
    image = images[int(torch.randint(len(images), (1,), generator=rng))]
    y, x = (int(torch.randint(length - side + 1, (1,), generator=rng)) for length in image.shape[1:])
    return image[:, y : y + side, x : x + side]

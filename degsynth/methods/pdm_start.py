"""Where pdm starts: noise and a distribution of blurs, estimated from two folders, and networks taught to draw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from degsynth import losses
from degsynth.methods import Unpaired
from degsynth.nets.kernel_generator import KernelGenerator
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.blind_kernel import estimate
from degsynth.ops.blur_widths import Blurs, Reader, deconvolved, gaussians, square_roots
from degsynth.ops.grain import Grain, grain, measure
from degsynth.ops.kernels import stretched
from degsynth.ops.noise import generator
from degsynth.ops.spectra import Spectra

LEAST_SIGMA = 1 / 255
"""Less noise than that cannot be told from rounding and faint texture, and is called none."""
UNSURE = 0.2
"""Standard deviation of the log of the noise's strength, in images that blur is learnt to be read from. Measured noise
is some per cent off, and a reader that trusts it takes the difference for blur: at 7 % too much, 2.2 px are read as
2.45. One that has seen all strengths goes by what noise does not hide; it reads no worse."""
FEW_IMAGES = 10
"""With fewer the distribution of blurs is not told: a group then has that of all images."""
TAUGHT = 128
"""Kernels in a batch."""
TEACHING_RATE = 1e-3
TAUGHT_PX, TAUGHT_PATCHES, MOST_TEACHERS = 32, 8, 16
"""Side of the patches that a network learns noise from, LR px, patches in a batch, and images that they are of."""


@dataclass(frozen=True)
class Noises:
    """Noise of each group of LR images."""

    grains: list[Grain]
    """Empty where there is none."""
    share: Tensor
    """Of the images, (G,) float64."""
    unsure: list[int]
    """Groups without flat places, which have the noise of all."""

    def added(self, lr: Tensor, dice: torch.Generator) -> Tensor:
        """The lr (C, h, w) as the camera may have left it, with noise of any group, in 8 bits."""
        if self.grains:
            strength = math.exp(UNSURE * float(torch.randn(1, generator=dice)))
            one = self.grains[int(torch.multinomial(self.share, 1, generator=dice))]
            white = torch.randn(1, *lr.shape, generator=dice)
            lr = lr + strength * grain(lr[None], white, one.sigma.float(), one.taps.float(), one.mixing.float())[0]
        return (255 * lr.clamp(0, 1)).round() / 255


def noises(images: Unpaired) -> Noises:
    """The noise of the LR images, group by group."""
    groups = range(len(images.group_names))
    share = torch.tensor(images.counts(), dtype=torch.float64) / len(images.lr)
    overall = measure(images.lr)
    if overall is None:
        return Noises([], share, [])
    found = [measure(of_group(images, group)) if len(groups) > 1 else overall for group in groups]
    unsure = [group for group, one in zip(groups, found, strict=True) if one is None]
    return _told(Noises([overall if one is None else one for one in found], share, unsure))


def _told(found: Noises) -> Noises:
    """The same, or none where it is too little."""
    variance = sum(one.usual() ** 2 * float(part) for one, part in zip(found.grains, found.share, strict=True))
    return found if math.sqrt(variance) >= LEAST_SIGMA else replace(found, grains=[], unsure=[])


def beyond(found: Noises, hr: Sequence[Tensor], left: float) -> Noises:
    """What noise there is besides that of the HR images, of whose variance blur leaves a share."""
    of_hr = measure(hr) if found.grains else None
    return found if of_hr is None else _told(replace(found, grains=[one.without(of_hr, left) for one in found.grains]))


def of_group(images: Unpaired, group: int) -> Sequence[Tensor]:
    """The LR images of a group, decoded one at a time."""
    return _Some(images.lr, [index for index, of in enumerate(images.groups) if of == group])


class _Some(Sequence[Tensor]):
    def __init__(self, images: Sequence[Tensor], indices: list[int]) -> None:
        self._images, self._indices = images, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self._images[self._indices[index]]


class Pool:
    """The distribution of blurs, as standard normal numbers choose them."""

    def __init__(self, blurs: list[Blurs], share: Tensor, size: int, base: Tensor | None) -> None:
        """Take the blurs of each group and its share (G,); ``base``: a kernel that is stretched, else Gaussians."""
        self.blurs, self.size, self.base = blurs, size, base
        self.upto = share.cumsum(0)[:-1]

    def shapes(self, z: Tensor) -> Tensor:
        """Shapes (N, 3) of numbers z (N, Z): the last decides for the group, the first for the width."""
        group = torch.searchsorted(self.upto, torch.special.ndtr(z[:, -1].double()), right=True)
        every = torch.stack([blurs.shapes(z) for blurs in self.blurs])
        return every[group, torch.arange(len(z))]

    def kernels(self, z: Tensor) -> Tensor:
        """(N, K, K) float64 of numbers z (N, Z).

        A base kernel has the transfer function of the average blur; at twice its width it is that of half the
        frequency.
        """
        shapes = self.shapes(z)
        if self.base is None:
            return gaussians(shapes, self.size)
        average = sum(
            (float(part) * blurs.mean() for part, blurs in zip(self._share(), self.blurs, strict=True)),
            torch.zeros(3, dtype=torch.float64),
        )
        return stretched(self.base, torch.linalg.inv(square_roots(average[None])) @ square_roots(shapes))

    def _share(self) -> Tensor:
        edge = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return torch.cat([edge[:1], self.upto, edge[1:]]).diff()


def pool(images: Unpaired, spectra: Spectra, found: Noises, scale: int, size: int, signed: bool) -> Pool:
    """Read the blur of every LR image, and the distribution behind. ValueError where images are too small."""
    reader = Reader(images.hr, scale, size, found.added)
    overall = deconvolved(reader.read(images.lr))
    blurs = []
    for group in range(len(images.group_names)):
        own = of_group(images, group)
        blurs.append(deconvolved(reader.read(own)) if FEW_IMAGES <= len(own) < len(images.lr) else overall)
    base = estimate(spectra, "auto", size).kernel if signed else None
    return Pool(blurs, found.share, size, base)


# --- teaching ---------------------------------------------------------------------------------------------------


def teach_kernels(
    network: KernelGenerator, draw: Callable[[torch.Generator], tuple[Tensor, Tensor]], steps: int
) -> float:
    """Let a network imitate kernels (N, K²) that follow from its inputs (N, Z, p, p); returns the last error.

    ``draw`` gives both. The error is Σ (k − wanted)² / Σ wanted², so that wide kernels count as much as narrow ones.
    Where the wanted kernel does not follow from the inputs, what is learnt is its mean.
    """
    error = torch.tensor(0.0)
    for optimizer, dice in _lesson(network, steps):
        z, wanted = draw(dice)
        error = losses.update(optimizer, relative_error(network.middle(z), wanted))
    return float(error)


def relative_error(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean over kernels (N, K²) of Σ (k − wanted)² / Σ wanted²."""
    return ((made - wanted).square().sum(1) / wanted.square().sum(1)).mean()


def teach_noise(network: NoiseGenerator, numbers: int, images: Sequence[Tensor], one: Grain, steps: int) -> float:
    """Let a network imitate noise that follows the level, on patches of LR images; returns the last error.

    Relative to the noise's variance: 1 where nothing was learnt.
    """
    error = torch.tensor(0.0)
    some = [images[index] for index in range(0, len(images), math.ceil(len(images) / MOST_TEACHERS))]
    side = min(TAUGHT_PX, *(length for image in some for length in image.shape[1:]))
    for optimizer, dice in _lesson(network, steps):
        lr = torch.stack([_patch(some, side, dice) for _ in range(TAUGHT_PATCHES)])
        z = torch.randn(len(lr), numbers, *lr.shape[2:], generator=dice)
        white = z[:, : lr.shape[1]] if network.draws else torch.randn(lr.shape, generator=dice)
        wanted = grain(lr, white, one.sigma.float(), one.taps.float(), one.mixing.float())
        made = network(lr, z)
        error = losses.update(optimizer, (made - wanted).square().mean() / wanted.square().mean())
    return float(error)


def _lesson(network: nn.Module, steps: int) -> Iterator[tuple[torch.optim.Optimizer, torch.Generator]]:
    """An optimiser whose rate falls to 0, and dice, for every step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=TEACHING_RATE)
    dice = generator(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = TEACHING_RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        yield optimizer, dice


def _patch(images: list[Tensor], side: int, dice: torch.Generator) -> Tensor:
    image = images[int(torch.randint(len(images), (1,), generator=dice))]
    y, x = (int(torch.randint(length - side + 1, (1,), generator=dice)) for length in image.shape[1:])
    return image[:, y : y + side, x : x + side]

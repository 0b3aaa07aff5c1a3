"""Where pdm starts: noise and a distribution of blurs, estimated from two folders, and networks taught to draw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from degsynth.methods.protocol import Unpaired
from degsynth.methods.shared import losses
from degsynth.nets.kernel_generator import KernelGenerator, binomial
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.blind_kernel import estimate
from degsynth.ops.blur_widths import Blurs, Reader, deconvolved, gaussians, matrix_sqrts, widths
from degsynth.ops.grain import Grain, grain, measure
from degsynth.ops.kernels import stretched
from degsynth.ops.noise import generator
from degsynth.ops.resample import area
from degsynth.ops.spectra import Spectra
from degsynth.ops.spread import evenly_spaced

LEAST_SIGMA = 1 / 255
"""Less noise than that cannot be told from rounding and faint texture, and is called none."""
AGREED, BEYOND_TEXTURE = 0.35, 2 / 255
"""What flat places say of noise is believed where they agree (`Grain.disagreement`), or where they say more than the
texture of clean photographs does."""
UNSURE = 0.2
"""Standard deviation of the log of the noise's strength, in images that blur is learnt to be read from. Measured noise
is some per cent off, and a reader that trusts it takes the difference for blur: at 7 % too much, 2.2 px are read as
2.45. One that has seen all strengths goes by what noise does not hide; it reads no worse."""
FEW_IMAGES = 10
"""With fewer the distribution of blurs is not told: a group then has that of all images."""
PILED_UP = 0.1
"""Share of images at the end of what can be told, from which a user is told."""
TAUGHT = 128
"""Kernels in a batch."""
TEACHING_RATE = 2e-3
NO_TAP = 1e-12
"""Taps below are as good as none."""
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
    """Groups whose flat places are too few, which have the noise of all."""
    mixed: list[int]
    """Groups whose flat places disagree, strong as the noise is."""
    level_step: float
    """Between two levels of the LR files."""

    def added(self, lr: Tensor, rng: torch.Generator) -> Tensor:
        """The lr (C, h, w) as the camera may have left it, with noise of any group, in the levels of its files."""
        if self.grains:
            strength = math.exp(UNSURE * float(torch.randn(1, generator=rng)))
            one = self.grains[int(torch.multinomial(self.share, 1, generator=rng))]
            white = torch.randn(1, *lr.shape, generator=rng)
            lr = lr + strength * noise_of(one, lr[None], white)[0]
        lr = lr.clamp(0, 1)
        return (lr / self.level_step).round() * self.level_step if self.level_step > 0 else lr


def noises(images: Unpaired) -> Noises:
    """The noise of the LR images, group by group."""
    share = torch.tensor(list(images.group_sizes.values()), dtype=torch.float64)
    groups, silence = range(len(share)), Noises([], share / share.sum(), [], [], images.level_step)
    overall = measure(images.lr, images.level_step)
    if overall is None:
        return silence
    found = [measure(of_group(images, group), images.level_step) if len(groups) > 1 else overall for group in groups]
    unsure = [group for group, one in zip(groups, found, strict=True) if one is None]
    grains = [overall if one is None else one for one in found]
    if not any(told(one) for one in grains):
        return silence
    unsure = [group for group in unsure if told(grains[group])]
    mixed = [group for group, one in enumerate(grains) if told(one) and one.disagreement() > AGREED]
    return replace(silence, grains=[one if told(one) else one.none() for one in grains], unsure=unsure, mixed=mixed)


def told(one: Grain) -> bool:
    """Whether what was measured is noise."""
    return one.usual() >= LEAST_SIGMA and (one.disagreement() <= AGREED or one.usual() >= BEYOND_TEXTURE)


def beyond(found: Noises, hr: Sequence[Tensor], left: float) -> Noises:
    """What noise there is besides that of the HR images, of whose variance blur leaves a share."""
    of_hr = measure(hr, found.level_step) if found.grains else None
    if of_hr is None or not told(of_hr):
        return found
    left_over = [one.without(of_hr, left) if one.usual() > 0 else one for one in found.grains]
    grains = [one if one.usual() >= LEAST_SIGMA else one.none() for one in left_over]
    loud = [group for group, one in enumerate(grains) if one.usual() > 0]
    unsure, mixed = ([group for group in some if group in loud] for some in (found.unsure, found.mixed))
    return replace(found, grains=grains if loud else [], unsure=unsure, mixed=mixed)


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
        self.blurs, self.share, self.size, self.base = blurs, share, size, base

    def shapes(self, z: Tensor) -> Tensor:
        """Shapes (N, 3) of numbers z (N, Z): the last decides for the group, the first for the width."""
        group = torch.searchsorted(self.share.cumsum(0)[:-1], torch.special.ndtr(z[:, -1].double()), right=True)
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
        average = self.share @ torch.stack([blurs.mean() for blurs in self.blurs])
        return stretched(self.base, torch.linalg.inv(matrix_sqrts(average[None])) @ matrix_sqrts(shapes))

    def at_limit(self) -> float:
        """Share of images whose blur is as wide as can be told."""
        return float(self.share @ torch.tensor([blurs.at_limit() for blurs in self.blurs], dtype=torch.float64))


def pool(images: Unpaired, spectra: Spectra, found: Noises, scale: int, size: int, signed: bool) -> Pool:
    """Read the blur of every LR image, and the distribution behind. ValueError where images are too small."""
    reader = Reader(images.hr, scale, size, found.added)
    readings = reader.read(images.lr)
    overall, blurs = deconvolved(readings), []
    for group in range(len(images.group_sizes)):
        own = torch.tensor([of == group for of in images.groups])
        several = FEW_IMAGES <= int(own.sum()) < len(images.lr)
        blurs.append(deconvolved(replace(readings, shapes=readings.shapes[own])) if several else overall)
    base = estimate(spectra, "auto", size).kernel if signed else None
    return Pool(blurs, found.share, size, base)


def doubts(images: Unpaired, pool: Pool, found: Noises, scale: int) -> list[str]:
    """Where what was estimated cannot be trusted, each a line that tells why."""
    told, names = [], list(images.group_sizes)
    if len(images.lr) < FEW_IMAGES:
        told.append(
            f"{len(images.lr)} LR images to fit are too few to tell how blur is distributed among them: at least "
            f"{FEW_IMAGES}, better 20, are needed"
        )
    if pool.at_limit() > PILED_UP:
        told.append(
            f"{100 * pool.at_limit():.0f} % of the LR images are blurred by {widths(scale)[1]:g} HR px or more, as "
            "much as can be told at this scale: their kernels are too narrow"
        )
    for name, count in images.group_sizes.items():
        if len(names) > 1 and count < FEW_IMAGES:
            told.append(f"group '{name}' has {count} LR images, fewer than {FEW_IMAGES}: its blur is that of all")
    for group in found.unsure:
        told.append(f"the LR images of group '{names[group]}' have too few flat places: it has the noise of all")
    for group in found.mixed:
        where = "" if len(names) == 1 else f" of group '{names[group]}'"
        told.append(
            f"flat places of the LR images{where} do not agree on their noise: several cameras or sensitivities "
            "perhaps, which --group-by exif or folder keeps apart, or hardly a flat place"
        )
    return told


# --- teaching ---------------------------------------------------------------------------------------------------


class KernelLesson:
    """Inputs of netK and the kernels that follow from them."""

    def __init__(self, pool: Pool, numbers: int, draws: bool, side: int, pictures: list[Tensor]) -> None:
        """``draws``: kernels follow from numbers z, of places side × side; ``pictures``: and are shown with these."""
        self.pool, self.numbers, self.draws, self.side, self.pictures = pool, numbers, draws, side, pictures
        self.weights = binomial() if side == 3 else torch.ones(1, 1)

    def __call__(self, rng: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """(N, Z, side, side) and, of their middles, (N, K²)."""
        z = torch.randn(count, self.numbers, self.side, self.side, generator=rng)
        wanted = self.pool.kernels((z * self.weights).sum((2, 3))).flatten(1).float()
        parts = [z] if self.draws else []
        if self.pictures:
            parts.append(torch.stack([_patch(self.pictures, self.side, rng) for _ in range(count)]))
        return torch.cat(parts or [torch.zeros_like(z)], 1), wanted


def contents(hr: Sequence[Tensor], scale: int) -> list[Tensor]:
    """Some HR images (C, h, w) at the LR's size, about gray."""
    found = []
    for index in evenly_spaced(len(hr), MOST_TEACHERS):
        height, width = (length // scale * scale for length in hr[index].shape[1:])
        found.append(area(hr[index][None, :, :height, :width], scale)[0] - 0.5)
    return found


def teach_kernels(network: KernelGenerator, lesson: KernelLesson, steps: int) -> float:
    """Let a network imitate kernels that follow from its inputs; returns the last error.

    Where the wanted kernel does not follow from the inputs, what is learnt is its mean.
    """
    error = torch.tensor(0.0)
    for optimizer, rng in _steps(network, steps):
        z, wanted = lesson(rng, TAUGHT)
        error = losses.update(optimizer, difference(network.middle(z), wanted, network.signed))
    return float(error)


def difference(made: Tensor, wanted: Tensor, signed: bool) -> Tensor:
    """Of kernels (N, K²): mean of Σ wanted · log (wanted / made), in nats; of signed ones the relative error.

    Kernels are distributions over taps. Squares would see little of wide ones, whose taps are small. Of several kernels
    the best in either sense is the mean.
    """
    if signed:
        return relative_error(made, wanted)
    logs = torch.log(wanted.clamp(min=NO_TAP)) - torch.log(made.clamp(min=NO_TAP))
    return (wanted * logs).sum(1).mean()


def relative_error(made: Tensor, wanted: Tensor) -> Tensor:
    """Σ (made − wanted)² / Σ wanted², over all of a batch."""
    return (made - wanted).square().sum() / wanted.square().sum()


def noise_of(one: Grain, lr: Tensor, rng: Tensor) -> Tensor:
    """The measured noise for lr (B, C, h, w) in [0, 1]."""
    sigma, taps, mixing = (part.float().to(lr.device) for part in (one.sigma, one.taps, one.mixing))
    return grain(lr, rng, sigma, taps, mixing)


def teach_noise(network: NoiseGenerator, numbers: int, images: Sequence[Tensor], one: Grain, steps: int) -> float:
    """Let a network imitate noise that follows the level, on patches of LR images; returns the last error.

    Relative to the noise's variance: 1 where nothing was learnt.
    """
    error = torch.tensor(0.0)
    some = [images[index] for index in evenly_spaced(len(images), MOST_TEACHERS)]
    side = min(TAUGHT_PX, *(length for image in some for length in image.shape[1:]))
    for optimizer, rng in _steps(network, steps):
        lr = torch.stack([_patch(some, side, rng) for _ in range(TAUGHT_PATCHES)])
        z = torch.randn(len(lr), numbers, *lr.shape[2:], generator=rng)
        white = z[:, : lr.shape[1]] if network.draws else torch.randn(lr.shape, generator=rng)
        error = losses.update(optimizer, relative_error(network(lr, z), noise_of(one, lr, white)))
    return float(error)


def _steps(network: nn.Module, steps: int) -> Iterator[tuple[torch.optim.Optimizer, torch.Generator]]:
    """An optimiser whose rate falls to 0, and dice, for every step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=TEACHING_RATE)
    rng = generator(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = TEACHING_RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        yield optimizer, rng


def _patch(images: list[Tensor], side: int, rng: torch.Generator) -> Tensor:
    image = images[int(torch.randint(len(images), (1,), generator=rng))]
    y, x = (int(torch.randint(length - side + 1, (1,), generator=rng)) for length in image.shape[1:])
    return image[:, y : y + side, x : x + side]

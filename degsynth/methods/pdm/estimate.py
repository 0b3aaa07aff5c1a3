"""The start of pdm, estimated from two folders: the noise of each group of LR images, and a distribution of blurs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from degsynth.methods.protocol import Jpeg, Unpaired
from degsynth.methods.shared.measured_noise import AGREEMENT, beyond_hr, draw_noise, is_noise, measure
from degsynth.model.tone import Tone
from degsynth.ops.blind_kernel import BEYOND_DOUBT, estimate, explains, family_hypothesis, likeliest
from degsynth.ops.blur_widths import Blurs, Reader, deconvolved, gaussians, matrix_sqrts, widened, widths
from degsynth.ops.grain import Grain
from degsynth.ops.kernels import stretched
from degsynth.ops.noise import generator
from degsynth.ops.spectra import Spectra

STRENGTH_LOG_SIGMA = 0.2
"""Standard deviation of the log of the noise's strength in the images from which blur is learnt to be read.

Measured noise is some per cent off, and a reader that relies on it takes the difference for blur: with 7 % too much
noise, 2.2 px are read as 2.45. A reader that has seen all strengths relies on what noise does not hide; it is no less
accurate.
"""
FORM_SAMPLES = 64
"""Number of Gaussians that are drawn to see whether they explain the spectra."""
FORM_STRETCHES = (0.85, 0.92, 1.0, 1.08, 1.15)
"""Factors by which all their widths may be wrong alike, because readings have an error in common."""
FORM_LOG_SIGMA = 0.1
"""Where the log of the width has a larger standard deviation than this, Gaussians are kept if they are plausible."""
FEW_IMAGES = 10
"""From fewer LR images than this no distribution of blurs can be estimated; a group then has that of all images."""
AT_LIMIT_WARNING = 0.1
"""If a larger share of the images than this has the widest blur that can be measured, there is a warning."""


# --- noise ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupNoise:
    """The noise of each group of LR images."""

    grains: list[Grain]
    """Noise of each group; an empty list where no group has any."""
    share: Tensor
    """Share of each group among the images, (G,) float64."""
    borrowed: list[int]
    """Groups with too few flat places, which are given the noise of all images."""
    disagreeing: list[int]
    """Groups whose flat places disagree about their noise, though it is strong."""
    level_step: float
    """Distance between two neighbouring levels of the LR files, in [0, 1]; 0 for float files."""
    tone: Tone
    """The curve between levels and light."""
    jpeg: Jpeg | None = None
    """How the LR images were compressed, where most of them are JPEG files."""

    def add_to(self, light: Tensor, rng: torch.Generator) -> Tensor:
        """Return an LR image (C, h, w), given in light, as a camera might have saved it.

        It is in levels, with the noise of a random group, and rounded, or compressed as a random LR image was.
        """
        lr = self.tone.to_levels(light)
        if self.grains:
            strength = math.exp(STRENGTH_LOG_SIGMA * float(torch.randn(1, generator=rng)))
            noise = self.grains[int(torch.multinomial(self.share, 1, generator=rng))]
            white = torch.randn(1, *lr.shape, generator=rng)
            lr = lr + strength * draw_noise(noise, lr[None], white)[0]
        lr = lr.clamp(0, 1)
        if self.jpeg is not None:
            known = [stored.compression for stored in self.jpeg.of_images if stored is not None]
            return self.jpeg.save(lr, known[int(torch.randint(len(known), (1,), generator=rng))])
        return (lr / self.level_step).round() * self.level_step if self.level_step > 0 else lr


def estimate_noise(images: Unpaired) -> GroupNoise:
    """Measure the noise of the LR images, group by group."""
    share = torch.tensor(list(images.group_sizes.values()), dtype=torch.float64)
    groups = range(len(share))
    silence = GroupNoise([], share / share.sum(), [], [], images.level_step, images.tone, images.jpeg)
    overall = measure(images.lr, images.level_step, images.jpeg)
    if overall is None:
        return silence
    measured = [_of_group(images, group) if len(groups) > 1 else overall for group in groups]
    grains = [overall if noise is None else noise for noise in measured]
    noisy = [is_noise(noise) for noise in grains]
    if not any(noisy):
        return silence
    return replace(
        silence,
        grains=[noise if noisy[group] else noise.silenced() for group, noise in enumerate(grains)],
        borrowed=[group for group in groups if measured[group] is None and noisy[group]],
        disagreeing=[group for group in groups if noisy[group] and grains[group].disagreement() > AGREEMENT],
    )


def noise_beyond_hr(noise: GroupNoise, hr: Sequence[Tensor], kept: float) -> GroupNoise:
    """Return the part of the LR noise that does not come from the HR images, of whose variance blur leaves ``kept``."""
    hr_noise = measure(hr, noise.level_step) if noise.grains else None
    grains = [beyond_hr(measured, hr_noise, kept) for measured in noise.grains]
    noisy = [group for group, measured in enumerate(grains) if measured.median_sigma() > 0]
    return replace(
        noise,
        grains=grains if noisy else [],
        borrowed=[group for group in noise.borrowed if group in noisy],
        disagreeing=[group for group in noise.disagreeing if group in noisy],
    )


def _of_group(images: Unpaired, group: int) -> Grain | None:
    """Measure the noise of the LR images of a group, which are decoded one at a time."""
    members = [index for index, number in enumerate(images.groups) if number == group]
    jpeg = None if images.jpeg is None else images.jpeg.subset(members)
    return measure(_Subset(images.lr, members), images.level_step, jpeg)


class _Subset(Sequence[Tensor]):
    """Some of the images of a sequence."""

    def __init__(self, images: Sequence[Tensor], indices: list[int]) -> None:
        self._images, self._indices = images, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self._images[self._indices[index]]


# --- blur -------------------------------------------------------------------------------------------------------


class BlurDistribution:
    """A distribution of blur kernels, as a function of standard normal numbers."""

    def __init__(self, blurs: list[Blurs], share: Tensor, size: int, base: Tensor | None) -> None:
        """Take the blurs of each of G groups, and the share (G,) of the LR images that each group has.

        Kernels have ``size`` taps per side. They are Gaussians; with a kernel ``base`` (K, K) they are that kernel,
        stretched to the shape that is drawn.
        """
        self.blurs, self.share, self.size, self.base = blurs, share, size, base

    def shapes(self, z: Tensor) -> Tensor:
        """Return shapes (a, b, c) of `ops.blur_widths`, (N, 3), for standard normal numbers z (N, Z).

        The last number chooses the group, the first the width.
        """
        group = torch.searchsorted(self.share.cumsum(0)[:-1], torch.special.ndtr(z[:, -1].double()), right=True)
        of_groups = torch.stack([blurs.shapes(z) for blurs in self.blurs])
        return of_groups[group, torch.arange(len(z))]

    def kernels(self, z: Tensor) -> Tensor:
        """Return kernels (N, K, K) float64 for numbers z (N, Z).

        A base kernel has the transfer function of the average blur. A kernel of twice that width has, at every
        frequency, the value that the base has at twice the frequency.
        """
        shapes = self.shapes(z)
        if self.base is None:
            return gaussians(shapes, self.size)
        average = self.share @ torch.stack([blurs.mean() for blurs in self.blurs])
        return stretched(self.base, torch.linalg.inv(matrix_sqrts(average[None])) @ matrix_sqrts(shapes))

    def at_limit(self) -> float:
        """Return the share of images whose blur is as wide as can be measured, or wider."""
        return float(self.share @ torch.tensor([blurs.at_limit() for blurs in self.blurs], dtype=torch.float64))


def estimate_blurs(
    images: Unpaired, spectra: Spectra, noise: GroupNoise, size: int, signed: bool | Literal["auto"], seed: int
) -> BlurDistribution:
    """Read the blur of every LR image, and estimate the distribution behind the readings.

    ``size`` is the number of taps per side. If ``signed``, kernels are those of `spectral` stretched, else Gaussians;
    auto: whichever the spectra ask for (`_form`). The images from which blur is learnt to be read follow from the seed.
    Raises ValueError where images are too small.
    """
    reader = Reader(images.in_light()[0], spectra.scale, size, noise.add_to, seed)
    readings = reader.read(images.lr)
    overall, blurs = deconvolved(readings), []
    for group in range(len(images.group_sizes)):
        members = torch.tensor([number == group for number in images.groups])
        enough = FEW_IMAGES <= int(members.sum()) < len(images.lr)
        blurs.append(deconvolved(replace(readings, shapes=readings.shapes[members])) if enough else overall)
    gaussian = BlurDistribution(blurs, noise.share, size, None)
    if signed is False:
        return gaussian
    base = _form(gaussian, spectra) if signed == "auto" else estimate(spectra, "auto", size).kernel
    return gaussian if base is None else BlurDistribution(blurs, noise.share, size, base)


def _form(gaussian: BlurDistribution, spectra: Spectra) -> Tensor | None:
    """Return the kernel (K, K) whose form all blurs have, or None where they are Gaussians.

    They are Gaussians where the power that the Gaussians leave, or one Gaussian, leaves no larger misfit than content
    does on average, and also where the kernel of `spectral` (family auto) is no better beyond doubt. A camera is rarely
    Gaussian: its lens and its processing keep more of the middle frequencies, and less of the high ones, than any
    Gaussian does, and a phone amplifies some. LR of Gaussians teaches a network to amplify the wrong ones.
    """
    shapes = gaussian.shapes(torch.randn(FORM_SAMPLES, 4, generator=generator(0)))
    single = likeliest(spectra, family_hypothesis("gaussian", spectra.scale, gaussian.size))
    misfit = single.misfit
    for stretch in FORM_STRETCHES:
        kernels = gaussians(widened(shapes, stretch), gaussian.size)
        power = torch.stack([spectra.of_kernel(kernel) for kernel in kernels]).mean(0)
        misfit = min(misfit, 0.5 * spectra.count * spectra.least_distance(power) ** 2)
    # Where widths differ, their mean power has the form of no single kernel, and the evidence for one says nothing.
    differ = float(shapes[:, 0].std()) / 2 > FORM_LOG_SIGMA
    if explains(misfit, spectra.count) if differ else 2 * misfit <= spectra.count:
        return None
    other = estimate(spectra, "auto", gaussian.size)
    beaten = other.evidence > single.evidence + BEYOND_DOUBT and other.misfit < misfit - BEYOND_DOUBT
    return other.kernel if beaten else None


# --- warnings ---------------------------------------------------------------------------------------------------


def warnings(images: Unpaired, blurs: BlurDistribution, noise: GroupNoise, scale: int) -> list[str]:
    """Warn where what was estimated cannot be relied on, each in one line with the reason."""
    warnings, names = [], list(images.group_sizes)
    if len(images.lr) < FEW_IMAGES:
        warnings.append(
            f"{len(images.lr)} LR images to fit are too few to estimate how blur is distributed among them: at least "
            f"{FEW_IMAGES}, better 20, are needed"
        )
    if blurs.at_limit() > AT_LIMIT_WARNING:
        warnings.append(
            f"{100 * blurs.at_limit():.0f} % of the LR images have a blur of σ = {widths(scale)[1]:g} HR px or more, "
            "the widest that can be measured at this scale: the model's kernels for them are too narrow"
        )
    for name, count in images.group_sizes.items():
        if len(names) > 1 and count < FEW_IMAGES:
            warnings.append(
                f"group '{name}' has {count} LR images, fewer than {FEW_IMAGES}: it is given the blur of all images"
            )
    for group in noise.borrowed:
        warnings.append(
            f"the LR images of group '{names[group]}' have too few flat places: it is given the noise of all images"
        )
    for group in noise.disagreeing:
        where = "" if len(names) == 1 else f" of group '{names[group]}'"
        warnings.append(
            f"flat places of the LR images{where} disagree about the noise: the images may come from several cameras "
            "or sensitivities, which `group_by=exif` or `group_by=folder` keeps apart, or have hardly any flat place"
        )
    return warnings

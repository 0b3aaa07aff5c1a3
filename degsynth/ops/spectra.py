"""Average power spectra of two sets of photographs, and the blur that takes one spectrum to the other.

Photographs of scenes of the same kind have, on average, nearly the same power spectrum. So the spectra of two sets
without a common scene determine the blur between the sets. With a kernel of transfer function M, decimation by s (which
folds s² frequencies onto each) and white noise of variance ``floor`` in the LR::

    S_lr(ν)  =  content(ν) · [ Σ_fold  S_hr · |M|²  +  floor ]

``content`` is the ratio by which the scenes themselves differ, and the images show how large it is. From one photograph
to the next, log-spectra vary in contrast, slope and direction, and in little else. The variances of these are measured.
Divided by the number of photographs they are the variances of the means, to which the difference of the two sets is
compared. The difference d of the log-spectra, in n bins of frequency, has the covariance C = B V Bᵀ + D, where B holds
contrast, slope, …, V their variances and D the variances of what is left::

    misfit = ½ dᵀ C⁻¹ d

With the right kernel it is ½ χ² with n degrees of freedom. The mean square of d, weighted in this way, is 1 or a little
less where the sets differ in content only, because D is estimated too large rather than too small. `Spectra.distance`
is the root of that mean square.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.ops.kernels import transfer_function

SIDE = 32
"""Side of the windows of which spectra are computed, LR px."""
SECTORS = 6
"""Number of directions, over half a turn, into which a ring of equal frequency is divided."""
DIRECTIONS = ("cos_2", "sin_2", "cos_4", "sin_4", "cos_6")
"""Names of the waves that describe how a spectrum depends on direction; the number multiplies the angle."""
CONTENT = ("contrast", "slope", "bend", *DIRECTIONS, *(f"slope_of_{name}" for name in DIRECTIONS))
"""Names of the properties in which the log-spectra of photographs differ, in the order of `Bins.content`."""
LOWEST_BIN = 1.5
"""Lowest frequency that is used, in cycles per SIDE px; slower waves come from the window rather than the scene."""
GAIN_SCATTER = 0.1
"""Standard deviation of log-power added to that of contrast: shots are exposed and developed differently."""
LEAST_SCATTER = 1e-2
"""Standard deviation of log-power added in each bin: spectra are not known more precisely than this."""
SMEARED = 0.02
"""Standard deviation of log-power added for each unit of log-power that blur removes (measured: .01 to .03)."""
FEW = 2
"""With so many images of a side, or fewer, parts of them count as images.

Parts of one image vary less than several images do, but they do vary.
"""
PART = 256
"""Largest side of such a part, LR px."""


def power(image: Tensor, side: int) -> Tensor:
    """Return the mean power (side, side) of all Hann windows of an image (h, w), in levels² per frequency.

    Adjacent windows overlap by half.
    """
    window = torch.hann_window(side, periodic=True, dtype=image.dtype, device=image.device)
    window = window[:, None] * window[None, :]
    patches = image.unfold(0, side, side // 2).unfold(1, side, side // 2).reshape(-1, side, side)
    patches = patches - (patches * window).sum((1, 2), keepdim=True) / window.sum()
    mean: Tensor = torch.fft.fft2(patches * window).abs().square().mean(0).double() / window.double().square().sum()
    return mean


def fold(spectrum: Tensor, scale: int) -> Tensor:
    """Return the power spectrum (p, p) after decimation of one (s·p, s·p): frequencies that become the same add up."""
    side = spectrum.shape[-1] // scale
    return spectrum.view(scale, side, scale, side).sum((0, 2)) / scale**2


class Bins:
    """Rings of equal frequency, up to the Nyquist frequency, divided into sectors; n bins in all."""

    def __init__(self, side: int) -> None:
        """Make the bins of spectra (side, side)."""
        frequency = torch.fft.fftfreq(side, dtype=torch.float64) * side
        radius = torch.hypot(frequency[:, None], frequency[None, :])
        angle = torch.atan2(frequency[:, None].expand_as(radius), frequency[None, :].expand_as(radius))
        sector = torch.floor(torch.remainder(angle / math.pi * SECTORS + 0.5, SECTORS)).long()
        key = radius.round().long() * SECTORS + sector
        used = (radius >= LOWEST_BIN) & (radius <= side / 2 + 0.5)
        keys = torch.unique(key[used])
        self.count = len(keys)
        self.index = torch.where(used, torch.searchsorted(keys, key.clamp(max=int(keys[-1]))), self.count)
        """Bin of every frequency, (side, side); n for frequencies that are not used."""
        self.sizes = torch.bincount(self.index.flatten(), minlength=self.count + 1)[: self.count].double()
        """Number of frequencies in every bin, (n,)."""
        self.ring = torch.unique(keys // SECTORS, return_inverse=True)[1]
        """Ring of every bin, (n,)."""
        self.in_ring = torch.bincount(self.ring)[self.ring].double()
        """Number of bins in the ring of every bin, (n,)."""
        self.content = self._content(radius / side, angle)
        """Log-spectra (n, 13) of the properties in which photographs differ, one column for each name in `CONTENT`.

        The directions are as many waves as `SECTORS` sectors can distinguish. Each has a slope as well, because
        façades fill one sector at all frequencies.
        """

    def _content(self, frequency: Tensor, angle: Tensor) -> Tensor:
        log = torch.log(self(frequency))
        log = log - log.mean()
        bend = log.square() - log.square().mean()
        waves = [wave(2 * turn * angle) for turn in range(1, SECTORS // 2) for wave in (torch.cos, torch.sin)]
        directions = [self(wave) for wave in (*waves, torch.cos(SECTORS * angle))]
        return torch.stack([torch.ones_like(log), log, bend, *directions, *(wave * log for wave in directions)], 1)

    def __call__(self, spectrum: Tensor) -> Tensor:
        """Return the mean (n,) of a spectrum (side, side) in each bin."""
        total = torch.zeros(self.count + 1, dtype=spectrum.dtype, device=spectrum.device)
        index = self.index.flatten().to(spectrum.device)
        return total.index_add(0, index, spectrum.flatten())[: self.count] / self.sizes.to(spectrum.device)


def parts(image: Tensor, largest: int) -> list[Tensor]:
    """Return an image (h, w) in parts of nearly equal size whose sides are at most ``largest`` px."""
    rows, columns = (math.ceil(length / largest) for length in image.shape)
    return [part for strip in image.tensor_split(rows, 0) for part in strip.tensor_split(columns, 1)]


@dataclass(frozen=True)
class ImageVariances:
    """Variances of the relative spectra of photographs from one to the next."""

    content: Tensor
    """Variance of the coefficient of each column of `Bins.content`, (13,)."""
    rest: Tensor
    """Variance in every bin of what these columns do not describe, of HR and of LR, (2, n)."""


class Spectra:
    """The average spectra of HR and LR images, with which kernels are compared."""

    def __init__(self, hr: Iterable[Tensor], lr: Iterable[Tensor], scale: int, like: Spectra | None = None) -> None:
        """Measure the spectra of gray images (h, w) of at least `SIDE` LR px a side.

        How much scenes vary is measured from these images, which must be three at least. With ``like`` it is taken from
        larger sets of the same kind instead. Raises ValueError where there are too few images, or where a side is flat.
        """
        self.scale, self.side = scale, SIDE
        self.bins = Bins(SIDE)
        hr_powers, lr_powers = _powers(hr, scale * SIDE, scale * PART, "HR"), _powers(lr, SIDE, PART, "LR")
        self.hr_power = hr_powers.mean(0)
        """Mean power of the HR images, (s·p, s·p) with p = `SIDE`."""
        self.lr = self.bins(lr_powers.mean(0))
        """Mean power of the LR images in every bin, (n,)."""
        folded = self.bins(fold(self.hr_power, scale))
        if not bool((self.lr > 0).all()) or not bool((folded > 0).all()):
            flat = "LR" if bool((folded > 0).all()) else "HR"
            raise ValueError(f"the {flat} images are flat: they have no spectrum; give images with texture")
        self.counts = len(hr_powers), len(lr_powers)
        """Number of HR and of LR images, or of their parts."""
        self.per_image: ImageVariances = (
            like.per_image if like is not None else self._image_variances(hr_powers, lr_powers)
        )
        self.sets = self._rows(hr_powers), self._rows(lr_powers)
        """Powers of every HR image (N, n), unblurred, and of every LR image (M, n), or of their parts."""
        share = torch.tensor([1 / count for count in self.counts], dtype=torch.float64)
        self.scatter = (self.per_image.content * share.sum()).sqrt()
        """Standard deviation of each column of `Bins.content` in the difference of the sets, (13,)."""
        self.scatter[0] = torch.hypot(self.scatter[0], torch.tensor(GAIN_SCATTER, dtype=torch.float64))
        # A window smears strong frequencies into weak ones, and does so differently before a blur and after it.
        attenuation = torch.log(self.lr / folded)
        smeared = (SMEARED * (attenuation - attenuation.max())).square()
        rest = share @ self.per_image.rest + LEAST_SCATTER**2 + smeared
        basis = self.bins.content
        covariance = torch.diag(rest) + basis @ torch.diag(self.scatter.square()) @ basis.T
        self.precision = torch.linalg.inv(covariance)
        """C⁻¹ (n, n)."""

    def _rows(self, powers: Tensor) -> Tensor:
        """Return the powers (N, n) in bins; of HR spectra only the frequencies that LR images have, too."""
        low = (torch.fft.fftfreq(SIDE) * SIDE).round().long()
        return torch.stack([self.bins(power) for power in powers[:, low[:, None], low[None, :]]])

    def _image_variances(self, hr_powers: Tensor, lr_powers: Tensor) -> ImageVariances:
        """Measure how each image's spectrum differs from the mean of its set, HR or LR.

        Of the HR spectra only the frequencies that LR images have, too, are used. They are not folded.
        """
        if sum(self.counts) < 3:
            raise ValueError("two images are too few to separate blur from content; give more")
        basis = self.bins.content
        weighted = basis * self.bins.sizes[:, None]
        # Normal equations are well conditioned here, and LAPACK's least squares differ in last digits between calls.
        projection = torch.linalg.solve(weighted.T @ basis, weighted.T)
        squares, rests = torch.zeros(basis.shape[1], dtype=torch.float64), []
        for powers in (hr_powers, lr_powers):
            rows = self._rows(powers)
            deviation = rows / rows.mean(0) - 1
            coefficients = deviation @ projection.T
            squares += coefficients.square().sum(0)
            rests.append((deviation - coefficients @ basis.T).square().sum(0))
        freedom = sum(self.counts) - 2
        # All directions of a ring, and both sides, are assumed to vary alike, since few images determine one variance
        # better than many. But one image may stand out, such as a façade in the bin of its windows. What it does to the
        # mean of its side must not be taken for more than chance. So where a side's own variance is larger, it is used.
        both = (rests[0] + rests[1]) / freedom
        ring = torch.zeros_like(both).index_add(0, self.bins.ring, both)[self.bins.ring] / self.bins.in_ring
        sides = [rest / max(1, count - 1) for rest, count in zip(rests, self.counts, strict=True)]
        return ImageVariances(squares / freedom, torch.stack([torch.maximum(side, ring) for side in sides]))

    @property
    def count(self) -> int:
        """Number of bins, n."""
        return self.bins.count

    def to(self, device: str | torch.device) -> Spectra:
        """Move the tensors that `of_kernel` and `misfit` use to a device; return the same object."""
        for name in ("hr_power", "lr", "precision"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def transfer(self, kernel: Tensor) -> Tensor:
        """Return the transfer function (s·p, s·p) of a kernel (K, K), up to a phase that depends on K only."""
        return transfer_function(
            kernel, torch.fft.fftfreq(self.scale * self.side, dtype=torch.float64, device=kernel.device)
        )

    def of_kernel(self, kernel: Tensor) -> Tensor:
        """Return the spectrum in bins (n,) of the HR images blurred with a kernel (K, K) and decimated."""
        transfer = self.transfer(kernel)
        return self.bins(fold(self.hr_power * (transfer.real.square() + transfer.imag.square()), self.scale))

    def of_images(self, images: Sequence[Tensor]) -> Tensor:
        """Return the mean spectrum in bins (n,) of LR images (h, w)."""
        return self.bins(_powers(images, self.side, PART, "LR").mean(0))

    def misfit(self, spectrum: Tensor, floor: Tensor | float) -> Tensor:
        """Return ½ χ² of a spectrum in bins (n,), plus white noise of variance ``floor``, against the LR images."""
        difference = self._log_difference(spectrum, floor)
        return 0.5 * torch.dot(difference, self.precision @ difference)

    def distance(self, misfit: float) -> float:
        """Return the RMS difference of the log-spectra that belongs to a misfit.

        Its unit is the standard deviation that the content causes: it is about 1 where only the content differs.
        """
        return math.sqrt(2 * misfit / self.count)

    def least_distance(self, spectrum: Tensor) -> float:
        """Return the `distance` of a spectrum in bins (n,) with the variance of white noise that fits best."""
        floors = torch.logspace(-5, 0, 51, dtype=torch.float64) * float(self.lr.min())
        return self.distance(min(float(self.misfit(spectrum, floor)) for floor in floors.tolist()))

    def content(self, spectrum: Tensor, floor: float) -> Tensor:
        """Return the likeliest differences in content (13,) of the LR images from a spectrum in bins (n,).

        They are in the order of `CONTENT`, each in its standard deviations.
        """
        difference = self._log_difference(spectrum, floor)
        return self.scatter * torch.mv(self.bins.content.T, self.precision @ difference)

    def _log_difference(self, spectrum: Tensor, floor: Tensor | float) -> Tensor:
        return torch.log(self.lr) - torch.log(spectrum + floor)


def _powers(images: Iterable[Tensor], side: int, part: int, which: str) -> Tensor:
    """Return the power (N, side, side) of every image, or of parts of side ``part`` where there are few images.

    ``which`` is HR or LR, for the message.
    """
    few: list[Tensor] = []
    powers: list[Tensor] = []
    for image in images:
        if min(image.shape) >= side:
            powers.append(power(image, side))
            few = [*few, image][: FEW + 1]
    if not powers:
        raise ValueError(
            f"no {which} image is at least {side}×{side} px, the size of the windows of which spectra are computed"
        )
    if len(powers) <= FEW:
        powers = [power(piece, side) for image in few for piece in parts(image, max(part, side))]
    return torch.stack(powers)

"""Average power spectra of two sets of photographs, and which blur takes one to the other.

Photographs of the same kind of scenes have, on average, nearly the same power spectrum. So of two sets without a common
scene, the spectra tell the blur between them: with a kernel of transfer function M, decimation by s (which folds s²
frequencies onto each) and white noise of variance ``floor`` in the LR::

    S_lr(ν)  =  content(ν) · [ Σ_fold  S_hr · |M|²  +  floor ]

"Nearly": ``content`` is what the scenes themselves differ by. How much that is, the images tell: from one photograph
to the next, log-spectra vary in contrast, slope and direction, and in little else. These variations are measured, and
their share in the means of so many photographs is what a difference of the two sets is held against. With d the
difference of the log-spectra, in n bins of frequency, it scatters by C = B V Bᵀ + D (B: contrast, slope, …; V, D their
variances)::

    misfit = ½ dᵀ C⁻¹ d          which is ½ χ² with n degrees of freedom where the kernel is the right one

The mean square d weighted so is 1, or a little less, where there is nothing left but content: D is estimated rather too
large than too small. `Spectra.distance` is its root.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from degsynth.ops.kernels import transfer

SIDE = 32
"""Of the windows that spectra are taken of, LR px."""
SECTORS = 6
"""Directions into which a ring of equal frequency is cut, over half a turn."""
DIRECTIONS = ("cos_2", "sin_2", "cos_4", "sin_4", "cos_6")
CONTENT = ("contrast", "slope", "bend", *DIRECTIONS, *(f"slope_of_{name}" for name in DIRECTIONS))
"""Names of what contents differ in; directions are waves of so many times the angle."""
LOWEST_BIN = 1.5
"""Waves slower than SIDE / 1.5 px are what a window cuts off more than what was photographed."""
GAIN_SCATTER = 0.1
"""Of log-power, added to what the contrast of scenes differs by: shots are exposed and developed differently."""
LEAST_SCATTER = 1e-2
"""Of log-power in one bin: spectra are not known better than that."""
SMEARED = 0.02
"""And of each unit of log-power that blur takes away (measured: .01 to .03)."""
FEW = 2
"""With so many images, or fewer, on a side their parts stand in for others: they scatter less, but not by nothing."""
PART = 256
"""Side of such parts, LR px."""


def power(image: Tensor, side: int) -> Tensor:
    """Mean power of all Hann windows of an image (h, w), half overlapping: (side, side), in levels² per frequency."""
    window = torch.hann_window(side, periodic=True, dtype=image.dtype, device=image.device)
    window = window[:, None] * window[None, :]
    patches = image.unfold(0, side, side // 2).unfold(1, side, side // 2).reshape(-1, side, side)
    patches = patches - (patches * window).sum((1, 2), keepdim=True) / window.sum()
    found: Tensor = torch.fft.fft2(patches * window).abs().square().mean(0).double() / window.double().square().sum()
    return found


def fold(spectrum: Tensor, scale: int) -> Tensor:
    """What decimation makes of a power spectrum (s·p, s·p): frequencies that look alike afterwards add up, (p, p)."""
    side = spectrum.shape[-1] // scale
    return spectrum.view(scale, side, scale, side).sum((0, 2)) / scale**2


class Bins:
    """Rings of equal frequency up to the Nyquist frequency, cut into sectors."""

    def __init__(self, side: int) -> None:
        at = torch.fft.fftfreq(side, dtype=torch.float64) * side
        radius = torch.hypot(at[:, None], at[None, :])
        angle = torch.atan2(at[:, None].expand_as(radius), at[None, :].expand_as(radius))
        sector = torch.floor(torch.remainder(angle / math.pi * SECTORS + 0.5, SECTORS)).long()
        key = radius.round().long() * SECTORS + sector
        used = (radius >= LOWEST_BIN) & (radius <= side / 2 + 0.5)
        numbers = torch.unique(key[used])
        self.count = len(numbers)
        self.index = torch.where(used, torch.searchsorted(numbers, key.clamp(max=int(numbers[-1]))), self.count)
        self.sizes = torch.bincount(self.index.flatten(), minlength=self.count + 1)[: self.count].double()
        rings = torch.unique(numbers // SECTORS, return_inverse=True)[1]
        self.ring, self.in_ring = rings, torch.bincount(rings)[rings].double()
        """Which ring a bin belongs to, and how many do, (n,)."""
        log = torch.log(self(radius / side))
        log = log - log.mean()
        bent = log.square() - log.square().mean()
        turns = [wave(2 * turn * angle) for turn in range(1, SECTORS // 2) for wave in (torch.cos, torch.sin)]
        directions = [self(wave) for wave in (*turns, torch.cos(SECTORS * angle))]
        self.content = torch.stack(
            [torch.ones_like(log), log, bent, *directions, *(wave * log for wave in directions)], 1
        )
        """In what log-spectra of photographs differ (`CONTENT`), (n, 13): directions are as many waves as so many
        sectors tell apart. Façades fill one sector at all frequencies."""

    def __call__(self, spectrum: Tensor) -> Tensor:
        """Mean of a spectrum (side, side) in each bin: (n,)."""
        total = torch.zeros(self.count + 1, dtype=spectrum.dtype, device=spectrum.device)
        index = self.index.flatten().to(spectrum.device)
        return total.index_add(0, index, spectrum.flatten())[: self.count] / self.sizes.to(spectrum.device)


def parts(image: Tensor, largest: int) -> list[Tensor]:
    """An image (h, w), or where it is larger than that its parts of nearly equal size."""
    rows, columns = (math.ceil(length / largest) for length in image.shape)
    return [part for strip in image.tensor_split(rows, 0) for part in strip.tensor_split(columns, 1)]


class Spectra:
    """What the average spectra of HR and LR images say of the blur between them."""

    def __init__(self, hr: Iterable[Tensor], lr: Iterable[Tensor], scale: int, like: Spectra | None = None) -> None:
        """Take gray images (h, w) of at least `SIDE` LR px a side.

        How much scenes scatter is seen from these images, three at least, or taken from larger sets of the same kind,
        ``like``. Raises ValueError where there are not as many, or one side has no texture.
        """
        self.scale, self.side = scale, SIDE
        self.bins = Bins(SIDE)
        sharp, real = _powers(hr, scale * SIDE, scale * PART, "HR"), _powers(lr, SIDE, PART, "LR")
        self.hr_power = sharp.mean(0)
        self.lr = self.bins(real.mean(0))
        """Mean power of the LR images in every bin, (n,)."""
        if not bool((self.lr > 0).all()) or not bool((self.bins(fold(self.hr_power, scale)) > 0).all()):
            raise ValueError("one of the two sides is flat: it has no spectrum; give images with texture")
        self.counts = len(sharp), len(real)
        self.per_image: tuple[Tensor, Tensor] = like.per_image if like is not None else self._per_image(sharp, real)
        """Variances from one image to the next: of each column of `Bins.content`, (13,), and of the rest, of HR and of
        LR, (2, n)."""
        share = torch.tensor([1 / count for count in self.counts], dtype=torch.float64)
        self.scatter = (self.per_image[0] * share.sum()).sqrt()
        """Standard deviation of each column of `Bins.content` in the difference of the sets, (13,)."""
        self.scatter[0] = torch.hypot(self.scatter[0], torch.tensor(GAIN_SCATTER, dtype=torch.float64))
        # A window smears strong frequencies into weak ones, before a blur otherwise than after it.
        weakened = torch.log(self.lr / self.bins(fold(self.hr_power, scale)))
        alone = share @ self.per_image[1] + LEAST_SCATTER**2 + (SMEARED * (weakened - weakened.max())).square()
        basis = self.bins.content
        covariance = torch.diag(alone) + basis @ torch.diag(self.scatter.square()) @ basis.T
        self.precision = torch.linalg.inv(covariance)

    def _per_image(self, sharp: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """One image against the others of its side, at frequencies that both sides have, before any folding."""
        if sum(self.counts) < 3:
            raise ValueError("two images are too few to tell blur from content; give more")
        low = (torch.fft.fftfreq(SIDE) * SIDE).round().long()
        basis = self.bins.content
        weighted = basis * self.bins.sizes[:, None]
        # Normal equations, being well conditioned: LAPACK's least squares differ in last digits from call to call.
        fitted = torch.linalg.solve(weighted.T @ basis, weighted.T)
        squares, lefts = torch.zeros(basis.shape[1], dtype=torch.float64), []
        for spectra in (sharp[:, low[:, None], low[None, :]], real):
            rows = torch.stack([self.bins(spectrum) for spectrum in spectra])
            strange = rows / rows.mean(0) - 1
            found = strange @ fitted.T
            squares += found.square().sum(0)
            lefts.append((strange - found @ basis.T).square().sum(0))
        freedom = sum(self.counts) - 2
        # All directions of a ring, and both sides, scatter alike: so few images tell more of it. But where one image
        # stands out, a façade in the bin of its windows, what it does to its side's mean must not count for more than
        # chance.
        both = (lefts[0] + lefts[1]) / freedom
        ring = torch.zeros_like(both).index_add(0, self.bins.ring, both)[self.bins.ring] / self.bins.in_ring
        own = [left / max(1, count - 1) for left, count in zip(lefts, self.counts, strict=True)]
        return squares / freedom, torch.stack([torch.maximum(side, ring) for side in own])

    @property
    def count(self) -> int:
        """Bins, n."""
        return self.bins.count

    def to(self, device: str | torch.device) -> Spectra:
        """Move what `of_kernel` and `misfit` compute with."""
        for name in ("hr_power", "lr", "precision"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def transfer(self, kernel: Tensor) -> Tensor:
        """Transfer function (s·p, s·p) of a kernel (K, K), but for a phase that all kernels of that size share."""
        return transfer(kernel, torch.fft.fftfreq(self.scale * self.side, dtype=torch.float64, device=kernel.device))

    def of_kernel(self, kernel: Tensor) -> Tensor:
        """Spectrum in bins (n,) that the HR images have after blur with a kernel (K, K) and decimation."""
        transfer = self.transfer(kernel)
        return self.bins(fold(self.hr_power * (transfer.real.square() + transfer.imag.square()), self.scale))

    def of_images(self, images: Sequence[Tensor]) -> Tensor:
        """Spectrum in bins (n,) of LR images (h, w)."""
        return self.bins(_powers(images, self.side, PART, "LR").mean(0))

    def misfit(self, made: Tensor, floor: Tensor | float) -> Tensor:
        """½ χ² of a spectrum in bins (n,) plus white noise of variance ``floor`` against that of the LR images."""
        apart = torch.log(self.lr) - torch.log(made + floor)
        return 0.5 * torch.dot(apart, self.precision @ apart)

    def distance(self, misfit: float) -> float:
        """Root mean square difference, in units of what scenes scatter by: about 1 where only these differ."""
        return math.sqrt(2 * misfit / self.count)

    def least_distance(self, made: Tensor) -> float:
        """`distance` of a spectrum in bins at the white noise that suits it best."""
        floors = torch.logspace(-5, 0, 51, dtype=torch.float64) * float(self.lr.min())
        return self.distance(min(float(self.misfit(made, floor)) for floor in floors.tolist()))

    def content(self, made: Tensor, floor: float) -> Tensor:
        """How far the sets' contents differ in contrast, slope, …, each in its standard deviations, (13,)."""
        apart = torch.log(self.lr) - torch.log(made + floor)
        return self.scatter * torch.mv(self.bins.content.T, self.precision @ apart)


def _powers(images: Iterable[Tensor], side: int, part: int, which: str) -> Tensor:
    """Power of every image, or of the parts of few, (N, side, side)."""
    few: list[Tensor] = []
    found: list[Tensor] = []
    for image in images:
        if min(image.shape) >= side:
            found.append(power(image, side))
            few = [*few, image][: FEW + 1]
    if not found:
        raise ValueError(f"no {which} image is at least {side}×{side} px, which spectra are taken of")
    if len(found) <= FEW:
        found = [power(piece, side) for image in few for piece in parts(image, max(part, side))]
    return torch.stack(found)

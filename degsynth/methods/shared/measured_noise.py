"""The noise of LR photographs as the unpaired methods measure and draw it: as `degsynth.ops.grain` describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from degsynth.methods.protocol import Jpeg, Unpaired
from degsynth.methods.shared.unpaired_sets import Sets
from degsynth.ops import grain_measurement, jpeg_noise
from degsynth.ops.grain import KNOTS, RANK, REACH, Grain, combined, compact, grain, separable, tap_reach

MIN_SIGMA = 1 / 255
"""Noise below this cannot be distinguished from rounding and faint texture; the result is no noise."""
AGREEMENT, BEYOND_TEXTURE = 0.35, 2 / 255
"""What flat places show is taken for noise where they agree (`Grain.disagreement` is at most the first number), or
where σ is at least the second, more than the texture of clean photographs has."""
REPORTED = (0, 8, 16, 24, 32)
"""Knots, of the `KNOTS` of a curve, whose σ a report has."""


class Parts(NamedTuple):
    """What noise is drawn from with `ops.grain.grain`, float32."""

    sigma: Tensor
    """(C, KNOTS): the curves of `Grain`."""
    factors: Tensor
    """(2, R, K): the factors of its taps, see `ops.grain.separable`. Of white noise only the first middle ones are not
    0; `compact` leaves nothing but these."""
    mixing: Tensor
    """(C, C): its matrix that mixes the channels."""

    @staticmethod
    def of(noise: Grain) -> Parts:
        """Return the parts of measured noise, with factors (2, RANK, 2·REACH + 1)."""
        factors = no_correlation().double() if tap_reach(noise.taps) == 0 else separable(noise.taps)
        return Parts(noise.sigma.float(), factors.float(), noise.mixing.float())

    def reach(self) -> int:
        """Return the largest distance, in rows and in columns, at which pixels have correlated noise: 0 if white."""
        return tap_reach(self.factors.abs().sum((0, 1))[None])

    def compact(self) -> Parts:
        """Return the same noise with as few factors as draw it: (2, 1, 1) if it is white."""
        return self._replace(factors=compact(self.factors))

    def cpu(self) -> Parts:
        """Return the same on the CPU."""
        return Parts(*(part.cpu() for part in self))

    def lag_1(self) -> float:
        """Return the correlation of adjacent pixels, the mean of that within rows and that within columns."""
        taps = combined(self.factors)
        beside, below = (taps[:, 1:] * taps[:, :-1]).sum(), (taps[1:] * taps[:-1]).sum()
        return float((beside + below) / (2 * taps.square().sum()))


def noise_report(noise: Parts | None) -> dict[str, Any]:
    """Return for a report which kind of noise a model draws, grain, white or none, and its figures.

    The figures are σ in each channel at some levels, in levels of 255, and the correlation of adjacent pixels.
    """
    if noise is None:
        return {"noise": "none"}
    return {
        "noise": "grain" if noise.reach() else "white",
        "noise_levels_255": [255 * knot / (KNOTS - 1) for knot in REPORTED],
        "noise_sigma_by_level_255": (255 * noise.sigma[:, list(REPORTED)]).tolist(),
        "noise_lag_1": noise.lag_1(),
    }


def noise_warnings(noise: Parts | None) -> list[str]:
    """Warn where a model draws white noise, because nothing more was learnt of the noise than its strength."""
    if noise is None or noise.reach():
        return []
    return [
        "the noise that the model draws is white and equally strong at all levels: flat places of the LR images "
        "disagree about it, or `lr_denoise` took it off; LR images of one camera at one sensitivity would tell more"
    ]


def no_correlation() -> Tensor:
    """Return the factors (2, RANK, 2·REACH + 1) of taps that are 1 in the middle and otherwise 0."""
    factors = torch.zeros(2, RANK, 2 * REACH + 1)
    factors[:, 0, REACH] = 1.0
    return factors


def silence(channels: int) -> Parts:
    """Return the parts of no noise."""
    return Parts(torch.zeros(channels, KNOTS), no_correlation(), torch.eye(channels))


def draw_noise(noise: Grain, lr: Tensor, white: Tensor) -> Tensor:
    """Return measured noise for lr (B, C, h, w) in [0, 1], from standard normal numbers of the same shape."""
    return grain(lr, white, *(part.to(lr.device) for part in Parts.of(noise)))


def is_noise(measured: Grain) -> bool:
    """Return whether what was measured in flat places is noise, and not texture or rounding."""
    return agreed(measured) or measured.median_sigma() >= BEYOND_TEXTURE


def agreed(measured: Grain) -> bool:
    """Return whether flat places agree about noise. Strong noise about which they disagree may also be texture."""
    return measured.median_sigma() >= MIN_SIGMA and measured.disagreement() <= AGREEMENT


def beyond_hr(measured: Grain, hr: Grain | None, kept: float) -> Grain:
    """Return the part of the LR noise that does not come from the HR images, with strength 0 where hardly any is left.

    ``hr`` is what was measured in the HR images (None: nothing could be); blur leaves ``kept`` of its variance.
    """
    if hr is None or not is_noise(hr) or measured.median_sigma() == 0:
        return measured
    rest = measured.minus(hr, kept)
    return rest if rest.median_sigma() >= MIN_SIGMA else rest.silenced()


def measured_noise(images: Unpaired, sets: Sets, kernel: Tensor) -> Grain | None:
    """Return the noise that a model with one kernel (K, K) adds; None where the LR photographs have none of their own.

    It follows the level, and is correlated, where flat places of the LR images agree about it. Where they do not, and
    where the LR images have been denoised, it is white noise of the covariance that ``sets`` has, if that is not 0.
    Where `ops.noise_level` finds no noise in the LR photographs, as the log of the fit then says, there is none; smooth
    noise, whose σ it measures too small, must be the stronger to be found.
    """
    if not bool(images.noise.any()):
        return None
    denoised = not torch.equal(images.noise, images.noise_left)
    told = None if denoised else _agreed(measure(images.lr, images.level_step, images.jpeg))
    if told is None:
        return _white_noise(sets.noise(kernel))
    hr = _agreed(measure(images.hr, images.level_step)) or _white_noise(sets.hr_noise)
    rest = beyond_hr(told, hr, float(kernel.square().sum()))
    return rest if rest.median_sigma() > 0 else None


def measure(images: Sequence[Tensor], level_step: float, jpeg: Jpeg | None = None) -> Grain | None:
    """Measure the noise of images (C, H, W) in [0, 1], of JPEG files as it was before they were compressed.

    None where there are too few flat places.
    """
    if jpeg is None:
        return grain_measurement.measure(images, level_step)
    known = [(image, stored) for image, stored in zip(images, jpeg.of_images, strict=True) if stored is not None]
    samples = [stored.samples_of(image) for image, stored in known]
    return jpeg_noise.measure(samples, [stored.compression for _, stored in known], level_step)


def _agreed(measured: Grain | None) -> Grain | None:
    """Return what was measured if flat places agree about it, else None."""
    return measured if measured is not None and agreed(measured) else None


def _white_noise(covariance: Tensor) -> Grain | None:
    return Grain.white(covariance) if bool(covariance.any()) else None

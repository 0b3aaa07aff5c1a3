"""How the levels of LR differ from those of HR: a gain and an offset of each channel, and what varies between pairs.

Levels are those of the files, and all of this is said of them before a fit, so it holds for every method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degsynth.data.images import Image

BLOCK_LR_PX = 16
"""Levels are compared as means of blocks of this size, which blur and noise hardly change."""
LEAST_CHANGE = 3 / 255
"""A smaller change of level from HR to LR, RMS over the pictures in [0, 1], is not told of."""
LEAST_VARIATION = 4 / 255
"""Levels that vary less from pair to pair, RMS over the pairs in [0, 1], are not told of."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Means and standard deviations of the blocks of a pair, for each channel, in the levels of the files."""

    hr_mean: Values
    lr_mean: Values
    hr_spread: Values
    lr_spread: Values


def moments(hr: Image, lr: Image, scale: int) -> Moments:
    """Return the moments of a pair; HR is ``scale`` times as large as LR, or a little larger."""
    block = min(BLOCK_LR_PX, lr.height, lr.width)
    of_hr = _block_means(hr.cropped(lr.height * scale, lr.width * scale), block * scale)
    of_lr = _block_means(lr, block)
    return Moments(of_hr.mean(0), of_lr.mean(0), of_hr.std(0), of_lr.std(0))


def _block_means(image: Image, side: int) -> Values:
    """Return the means (N, C) of the blocks that lie in an image as a whole."""
    height, width = (length // side for length in (image.height, image.width))
    blocks = image.pixels[: height * side, : width * side].reshape(height, side, width, side, -1)
    return np.asarray(blocks.mean((1, 3), dtype=np.float64).reshape(height * width, -1))


@dataclass(frozen=True)
class Levels:
    """The change of levels from HR to LR of all pairs, in [0, 1]: ``lr ≈ gain · hr + offset`` in each channel."""

    gain: Values
    offset: Values
    change: float
    """RMS change of the levels by gain and offset, of the channel that changes most."""
    cast: float
    """RMS difference between the change of a channel and that of all, of the channel where it is largest."""
    variation: float
    """RMS of what gain and offset leave of the changes of single pairs."""
    ratios: Values
    """Mean level of LR / mean level of HR, of each pair."""

    @property
    def has_cast(self) -> bool:
        """Whether the channels change by different amounts."""
        return self.cast > LEAST_CHANGE

    def describe_change(self) -> str:
        """Describe gain and offset, of which blur changes less than 0.01; empty where they change little."""
        if self.change <= LEAST_CHANGE:
            return ""
        if not self.has_cast:
            return f"LR has another level than HR: gain {self.gain.mean():.2f}, offset {self.offset.mean():+.3f}"
        gains = ", ".join(f"{gain:.2f}" for gain in self.gain)
        offsets = ", ".join(f"{offset:+.3f}" for offset in self.offset)
        return f"LR has a colour cast against HR: the channels have gains {gains} and offsets {offsets}"

    def describe_variation(self, names: Sequence[str]) -> str:
        """Describe how levels vary between the pairs of these names; the text is empty where they vary little."""
        if self.variation <= LEAST_VARIATION:
            return ""
        least, most = int(self.ratios.argmin()), int(self.ratios.argmax())
        return (
            f"levels vary from pair to pair, as where exposure differs: by {255 * self.variation:.1f}/255 beside one "
            f"gain and offset for all; LR is {self.ratios[least]:.2f} ({names[least]}) to {self.ratios[most]:.2f} "
            f"({names[most]}) times as bright as HR"
        )


def compare(pairs: Sequence[Moments], black: float, white: float) -> Levels:
    """Compare the levels of pairs, given black and white of the files.

    The gain is a ratio of standard deviations: unlike a slope, it does not fall where the sides are not quite aligned.
    """
    unit = white - black
    hr = (np.array([pair.hr_mean for pair in pairs]) - black) / unit  # (pairs, channels)
    lr = (np.array([pair.lr_mean for pair in pairs]) - black) / unit
    hr_spread = np.array([pair.hr_spread for pair in pairs]) / unit
    lr_spread = np.array([pair.lr_spread for pair in pairs]) / unit
    power, product = (hr_spread**2).sum(0), (hr_spread * lr_spread).sum(0)
    gain = np.divide(product, power, out=np.ones_like(power), where=power > 0)
    offset = lr.mean(0) - gain * hr.mean(0)

    def rms(gain: Values, offset: Values) -> Values:
        """Return by how much a gain and an offset of each channel change the pictures."""
        return np.asarray(np.sqrt((((gain - 1) * hr + offset) ** 2 + ((gain - 1) * hr_spread) ** 2).mean(0)))

    left = (lr - gain * hr - offset) ** 2 + (lr_spread - gain * hr_spread) ** 2
    return Levels(
        gain,
        offset,
        change=float(rms(gain, offset).max()),
        cast=float(rms(1 + gain - gain.mean(), offset - offset.mean()).max()),
        variation=float(np.sqrt(left.mean())),
        ratios=lr.mean(1) / np.maximum(hr.mean(1), 1 / 255),
    )

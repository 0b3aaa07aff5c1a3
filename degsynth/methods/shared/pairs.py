"""Pairs as paired methods get them, and the one blur kernel that explains them best: least squares in closed form.

The model is ``lr = gain · (kernel ⋆ hr)↓s + offset``, where the kernel sums to 1 (after Eq. 6 of adl). `linear` is this
kernel, other paired methods start from it, and every fit is compared with it. So it is solved for only once with each
set of options.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from degsynth.errors import FitError
from degsynth.ops.least_squares import MID_GRAY, NormalEquations, Solution, solve
from degsynth.ops.resample import luma

GAIN_WARNING = 0.03
"""A gain that differs from 1 by more than this causes a warning. Pairs that are registered and matched in colour are
within 0.01."""
LEVEL_WARNING = 2.5 / 255
"""A change of mid-gray by more than this, in [0, 1] levels, causes a warning."""


@dataclass(frozen=True)
class KernelOptions:
    """How one kernel is fitted to pairs."""

    kernel_size: int
    """Taps per side."""
    ridge: float = 1e-3
    """Weight of Σ kernel², relative to the variance of HR."""
    border: int = 4
    """LR px that are not used at each edge; LR pixels whose kernel would reach beyond the image are never used."""
    per_channel: bool = False
    """Fit one kernel for each channel instead of one kernel on luma."""
    fit_gain: bool = False
    """Fit the change of contrast; else the gain is held at 1."""
    fit_offset: bool = False
    """Fit the change of level; else the offset is held at 0."""


@dataclass(frozen=True)
class KernelFit:
    """The kernel of luma, or one kernel for each channel."""

    solutions: list[Solution]
    """The kernels, fitted as the options say."""
    free: list[Solution]
    """The same kernels with gain and offset fitted, whatever the options say."""


def usual_kernel_size(scale: int) -> int:
    """Return the taps per side that suit a scale: 20 at even scales, 21 at odd ones."""
    return 20 if scale % 2 == 0 else 21


def level_change(free: Solution) -> str:
    """Describe the change of level from HR to LR, given a solution with fitted gain and offset.

    The text is empty if the change is within `GAIN_WARNING` and `LEVEL_WARNING`.
    """
    change = MID_GRAY * (free.gain - 1.0) + free.offset
    if abs(free.gain - 1.0) <= GAIN_WARNING and abs(change) <= LEVEL_WARNING:
        return ""
    return f"LR has another level than HR: gain {free.gain:.3f}, offset {free.offset:+.3f}"


def held_level_warnings(change: str, name: str) -> list[str]:
    """Warn of a `level_change`, which the method of this name cannot follow, because it keeps the level of HR."""
    if not change:
        return []
    return [f"{change}; {name} holds the level: match the levels of the pairs first, or see what linear makes of them"]


class Paired:
    """Aligned pairs, each hr (C, s·h, s·w) and lr (C, h, w) in [0, 1], read one after the other."""

    def __init__(self, images: Iterable[tuple[Tensor, Tensor]], scale: int, channels: int) -> None:
        self._images, self._scale, self._channels = images, scale, channels
        self._fits: dict[KernelOptions, KernelFit] = {}

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._images)

    def fit_kernel(self, options: KernelOptions) -> KernelFit:
        """Return the kernel that explains the pairs best. FitError where they do not determine one."""
        if options not in self._fits:
            self._fits[options] = self._solve(options)
        return self._fits[options]

    def _solve(self, options: KernelOptions) -> KernelFit:
        planes = self._channels if options.per_channel else 1
        equations = [NormalEquations(options.kernel_size, self._scale) for _ in range(planes)]
        for hr, lr in self:
            if not options.per_channel:
                hr, lr = luma(hr), luma(lr)
            for channel, sums in enumerate(equations):
                sums.add(hr[channel], lr[channel], options.border)
        used = equations[0].count
        if used < options.kernel_size**2:
            raise FitError(
                f"linear: only {used} LR pixels lie far enough from the borders to be used, too few for "
                f"{options.kernel_size**2} unknown taps",
                "give larger or more images, or a smaller `kernel_size=`",
            )
        try:
            return KernelFit(
                [solve(sums, options.ridge, options.fit_gain, options.fit_offset) for sums in equations],
                [solve(sums, options.ridge, fit_gain=True, fit_offset=True) for sums in equations],
            )
        except ValueError as error:
            raise FitError(f"linear: {error}", "raise `ridge=` or give images with more texture") from None

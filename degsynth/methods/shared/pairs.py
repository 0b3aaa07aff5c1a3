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
from degsynth.ops.least_squares import NormalEquations, Solution, solve
from degsynth.ops.resample import luma


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


def usual_kernel_size(scale: int) -> int:
    """Return the taps per side that suit a scale: 20 at even scales, 21 at odd ones."""
    return 20 if scale % 2 == 0 else 21


@dataclass(frozen=True)
class LevelChange:
    """How the levels of LR differ from those of HR, which the check of the pairs finds (`degsynth.data.levels`)."""

    text: str = ""
    """The change in words; empty where there is none worth a warning."""
    by_channel: bool = False
    """Whether it differs between channels."""

    def held(self, name: str) -> list[str]:
        """Warn of the change, which the method of this name cannot follow, because it keeps the level of HR."""
        if not self.text:
            return []
        advice = "match the levels of the pairs first, or see what linear makes of them"
        return [f"{self.text}; {name} holds the level: {advice}"]


class Paired:
    """Aligned pairs, each hr (C, s·h, s·w) and lr (C, h, w) in [0, 1], read one after the other."""

    def __init__(
        self,
        images: Iterable[tuple[Tensor, Tensor]],
        scale: int,
        channels: int,
        level_change: LevelChange = LevelChange(),
    ) -> None:
        self._images, self._scale, self._channels = images, scale, channels
        self.level_change = level_change
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
            return KernelFit([solve(sums, options.ridge, options.fit_gain, options.fit_offset) for sums in equations])
        except ValueError as error:
            raise FitError(f"linear: {error}", "raise `ridge=` or give images with more texture") from None

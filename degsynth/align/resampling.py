"""The telephoto on a grid that is a whole number of times finer than the pixels of the wide photograph.

Only the telephoto is interpolated. The spectrum of the wide photograph ends where that of its pixels does, so any
interpolation of it would add a blur of its own to the one that is to be learnt; the telephoto has finer detail, and a
quintic spline leaves no trace at the frequencies of the wide one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray

from degsynth.align.lens_map import Box, LensMap
from degsynth.ops.resample import luma

Picture = NDArray[np.float32]
"""(H, W, C), in [0, 1]."""

ORDER = 5
"""Degree of the spline."""
FINER = 1.05
"""A telephoto with so many times more pixels than the grid is blurred before it is sampled, against aliasing."""
BLUR = 0.45
"""Two Gaussians of widths a and b make one of √(a² + b²). A pixel is about as soft as a Gaussian of this width, so that
one of BLUR · √(r² − 1) px makes pixels of the telephoto, which are r times finer, as soft as those of the grid."""
SPLINE_EDGE = 3
"""Pixels at the edges of the telephoto of which the spline uses values beyond them."""


def luma_of(picture: Picture) -> torch.Tensor:
    """Return the luma (H, W) of a picture (H, W, C)."""
    return luma(torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))))[0]


def block_means(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the mean of each whole block of ``side`` × ``side`` pixels of a plane (H, W) or a picture (H, W, C)."""
    height, width = (length // side for length in picture.shape[:2])
    blocks = picture[: height * side, : width * side].reshape(height, side, width, side, *picture.shape[2:])
    return np.asarray(blocks.mean((1, 3)))


class Telephoto:
    """A telephoto from which parts are sampled."""

    def __init__(self, pixels: Picture, scale: int, ratio: float) -> None:
        """``pixels`` are (H, W, C) in [0, 1]; ``ratio`` is how many of them are one pixel of the wide photograph."""
        finer = ratio / scale
        sigma = BLUR * math.sqrt(finer**2 - 1) if finer > FINER else 0.0
        self.scale, self.shape = scale, pixels.shape[:2]
        self._splines = [
            ndi.spline_filter(ndi.gaussian_filter(plane, sigma) if sigma else plane, ORDER, np.float32, "mirror")
            for plane in np.moveaxis(pixels, 2, 0)
        ]

    def sampled(self, mapping: LensMap, box: Box) -> Picture:
        """Return the telephoto (s·h, s·w, C) on a box of the wide photograph, not limited to [0, 1]."""
        x, y = mapping(box.points(self.scale)).T
        planes = [
            ndi.map_coordinates(spline, [y, x], np.float32, ORDER, "mirror", prefilter=False)
            for spline in self._splines
        ]
        return np.stack(planes, 1).reshape(self.scale * box.height, self.scale * box.width, -1)

    def covers(self, mapping: LensMap, box: Box) -> NDArray[np.bool_]:
        """Return which pixels (h, w) of a box of the wide photograph the telephoto has all samples of."""
        x, y = mapping(box.points()).T
        margin = self.scale / 2 + SPLINE_EDGE
        height, width = self.shape
        inside = (x >= margin) & (x <= width - 1 - margin) & (y >= margin) & (y <= height - 1 - margin)
        covered: NDArray[np.bool_] = inside.reshape(box.height, box.width)
        return covered

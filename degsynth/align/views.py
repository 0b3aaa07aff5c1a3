"""A telephoto seen through a map on the pixels of the wide photograph, and both in bands of frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from degsynth.align.lens_map import Box, LensMap
from degsynth.errors import DataError

Plane = NDArray[np.float64]

SOFTNESS = 0.6
"""Width, px of the wide photograph, by which the telephoto, which has finer detail, is blurred before it is sampled."""
WIDER = 3.0
"""A band is the difference of two Gaussians, the second of which is so many times as wide."""
LOCAL = 6.0
"""Contrast is measured in a Gaussian window so many times as wide as the band."""
LEAST_CONTRAST = 0.004
"""Contrast of levels in [0, 1], below which places are taken for flat: about one level of 255."""
FEWEST_PIXELS = 200
"""Pixels of the wide photograph that must be covered."""


@dataclass(frozen=True)
class Bands:
    """Both photographs in a band of frequencies, on the pixels of a box of the wide one, with equal local contrast."""

    tele: Plane
    wide: Plane
    inside: NDArray[np.bool_]
    """Where nothing of what lies beyond the edges of either has an influence."""


class Views:
    """A wide photograph and a telephoto, luma in [0, 1], in a box of the wide one."""

    def __init__(self, wide: Plane, tele: Plane, box: Box, ratio: float) -> None:
        """``ratio``: how many px of the telephoto are one of the wide photograph."""
        self.box, self.ratio, self.tele_shape = box, ratio, tele.shape
        self.wide = wide[box.slices]
        self._points = box.points()
        soft = ndi.gaussian_filter(tele, SOFTNESS * ratio, mode="mirror")
        self._spline = ndi.spline_filter(soft, order=3, mode="mirror").astype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the box."""
        return self.box.height, self.box.width

    def part(self, box: Box) -> Views:
        """Return the views of a smaller box; it uses the same telephoto."""
        other = object.__new__(Views)
        other.box, other.ratio, other.tele_shape, other._spline = box, self.ratio, self.tele_shape, self._spline
        rows, columns = box.top - self.box.top, box.left - self.box.left
        other.wide = self.wide[rows : rows + box.height, columns : columns + box.width]
        other._points = box.points()
        return other

    def sampled(self, mapping: LensMap) -> tuple[Plane, NDArray[np.bool_]]:
        """Return the telephoto on the pixels of the box, and which of these it covers."""
        x, y = mapping(self._points).T
        height, width = self.tele_shape
        covered = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).reshape(self.shape)
        seen = ndi.map_coordinates(self._spline, [y, x], np.float64, order=3, mode="mirror", prefilter=False)
        return seen.reshape(self.shape), covered

    def bands(self, mapping: LensMap, sigma: float) -> Bands:
        """Return both photographs in the band of a width, px of the wide one; DataError where they hardly overlap.

        Exposure and tone differ between the two, so the local contrast of both is made 1. What the telephoto does not
        cover is filled with the wide photograph, so that there is no edge.
        """
        seen, covered = self.sampled(mapping)
        if covered.sum() < FEWEST_PIXELS:
            raise DataError("TELE and WIDE hardly overlap")
        gain, offset = np.polyfit(seen[covered], self.wide[covered], 1)
        filled = np.where(covered, gain * seen + offset, self.wide)
        inside = ndi.binary_erosion(covered, iterations=math.ceil(4 * sigma) + 1, border_value=0)
        return Bands(_normalised(filled, sigma), _normalised(self.wide, sigma), inside)


def _normalised(plane: Plane, sigma: float) -> Plane:
    """Return a plane in a band, divided by its local contrast there."""
    band = ndi.gaussian_filter(plane, sigma) - ndi.gaussian_filter(plane, WIDER * sigma)
    contrast = np.sqrt(ndi.gaussian_filter(band * band, LOCAL * sigma) + LEAST_CONTRAST**2)
    normalised: Plane = band / contrast
    return normalised

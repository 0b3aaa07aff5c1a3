"""Where the points of the wide photograph lie in the telephoto: a homography behind a polynomial of the lenses.

Points are arrays (N, 2) of x and y in px; pixel centres have whole coordinates, beginning at 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]

DEGREE = 3
"""Degree of the polynomial: the distortion of a lens is cubic about its centre; off-centre crops add lower terms."""

POWERS = tuple((i, n - i) for n in range(DEGREE + 1) for i in range(n + 1))
"""Exponents of x and y of the terms of the polynomial, by their degree."""


def transformed(homography: Matrix, points: Points) -> Points:
    """Apply a homography (3, 3) to points (N, 2)."""
    lifted = points @ homography[:, :2].T + homography[:, 2]
    moved: Points = lifted[:, :2] / lifted[:, 2:]
    return moved


def inverse(homography: Matrix) -> Matrix:
    """Return the homography (3, 3) in the other direction."""
    back: Matrix = np.linalg.inv(homography).astype(np.float64)
    return back


def jacobian(homography: Matrix, point: Points) -> Matrix:
    """Return the derivatives (2, 2) of a homography at one point (2,): row i has those of the i-th coordinate."""
    x, y, w = homography @ np.array([*point, 1.0])
    by: Matrix = (homography[:2, :2] * w - np.outer((x, y), homography[2, :2])) / w**2
    return by


def between_full(homography: Matrix, first: float, second: float) -> Matrix:
    """Return the homography between two images, given that between copies that are smaller by these factors."""

    def enlarged(by: float) -> Matrix:
        return np.array([[by, 0.0, (by - 1) / 2], [0.0, by, (by - 1) / 2], [0.0, 0.0, 1.0]])

    whole: Matrix = enlarged(second) @ homography @ np.linalg.inv(enlarged(first))
    return np.asarray(whole / whole[2, 2])


class Box(NamedTuple):
    """A rectangle of pixels: rows ``top`` … ``bottom`` − 1, columns ``left`` … ``right`` − 1."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """The slices of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def points(self, scale: int = 1) -> Points:
        """Return the centres (N, 2), row by row, of a grid with ``scale`` × ``scale`` points a pixel, in px."""
        rows, columns = (
            (np.arange(scale * length, dtype=np.float64) + 0.5) / scale - 0.5 + first
            for length, first in ((self.height, self.top), (self.width, self.left))
        )
        y, x = np.meshgrid(rows, columns, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], 1)


@dataclass(frozen=True)
class LocalShift:
    """A smooth displacement of the points of the wide photograph, known on a lattice, and linear between its places."""

    values: NDArray[np.float64]
    """(2, rows, columns): x and y, px of the wide photograph."""
    box: Box
    """The box whose first pixel the lattice begins at. Beyond it the displacement is that of its edge."""
    step: int
    """Distance of neighbouring places, px."""

    def at(self, points: Points) -> Points:
        """Return the displacement (N, 2) of points."""
        places = [(points[:, 1] - self.box.top) / self.step, (points[:, 0] - self.box.left) / self.step]
        planes = [ndi.map_coordinates(plane, places, order=1, mode="nearest") for plane in self.values]
        return np.stack(planes, 1)


@dataclass(frozen=True)
class LensMap:
    """Maps points of the wide photograph to the telephoto: ``homography(u + polynomial(u) + local(u))``."""

    homography: Matrix
    """From the wide photograph to the telephoto, (3, 3)."""
    centre: tuple[float, float]
    """The point (x, y) at which the arguments of the polynomial are 0."""
    reach: float
    """Distance from there, px, at which they are 1."""
    coefficients: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, len(POWERS))))
    """Those of the polynomial, for x and for y, in px of the wide photograph: (2, terms), in the order of `POWERS`."""
    local: tuple[LocalShift, ...] = ()
    """Displacements that are added to it."""

    @classmethod
    def of(cls, homography: Matrix, box: Box) -> LensMap:
        """Return a homography alone; its polynomial is normalised to a box of the wide photograph."""
        centre = (box.left + box.right - 1) / 2, (box.top + box.bottom - 1) / 2
        return cls(homography, centre, max(box.height, box.width) / 2)

    def __call__(self, points: Points) -> Points:
        """Return where points (N, 2) lie in the telephoto."""
        return transformed(self.homography, self.moved(points))

    def moved(self, points: Points) -> Points:
        """Return points (N, 2) moved by the polynomial and the local displacements."""
        moved = points + self.basis(points) @ self.coefficients.T
        for local in self.local:
            moved = moved + local.at(points)
        return moved

    def basis(self, points: Points) -> NDArray[np.float64]:
        """Return the terms (N, terms) of the polynomial at points."""
        x, y = ((points - self.centre) / self.reach).T
        return np.stack([x**i * y**j for i, j in POWERS], 1)

    def with_step(self, step: NDArray[np.float64]) -> LensMap:
        """Return the map with other coefficients: these plus a step (2, terms)."""
        return replace(self, coefficients=self.coefficients + step)

    def around(self, box: Box) -> LensMap:
        """Return the same map with its polynomial normalised to another box, so that a part can be refined.

        A polynomial stays one of the same degree, so its values at enough points determine it.
        """
        other = LensMap.of(self.homography, box)
        points = Box(0, 7, 0, 7).points() / 3.0 - 1.0
        points = points * other.reach + other.centre
        values = self.basis(points) @ self.coefficients.T
        coefficients = np.linalg.lstsq(other.basis(points), values, rcond=None)[0]
        return replace(other, coefficients=coefficients.T.astype(np.float64), local=self.local)

    def enlarged(self, by: float) -> LensMap:
        """Return the map between photographs that are ``by`` times larger, of a map without local displacements."""
        centre = (by * self.centre[0] + (by - 1) / 2, by * self.centre[1] + (by - 1) / 2)
        homography = between_full(self.homography, by, by)
        return LensMap(homography, centre, by * self.reach, by * self.coefficients)

    def distortion(self, box: Box) -> float:
        """Return how far polynomial and local displacements move points of a box at most, px."""
        points = box.points()[:: max(1, box.height * box.width // 10_000)]
        return float(np.hypot(*(self.moved(points) - points).T).max())

    def inverse(self, points: Points, iterations: int = 12) -> Points:
        """Return the points of the wide photograph that lie at points (N, 2) of the telephoto, by fixed point."""
        target = transformed(inverse(self.homography), points)
        found = target
        for _ in range(iterations):
            found = target - (self.moved(found) - found)
        return found

    def ratio(self, point: Points | None = None) -> float:
        """Return how many px of the telephoto are one px of the wide photograph, at a point, or in the centre."""
        at = np.array(self.centre) if point is None else point
        return float(np.sqrt(abs(np.linalg.det(jacobian(self.homography, at)))))


def overlap(mapping: LensMap | Matrix, wide: tuple[int, int], tele: tuple[int, int]) -> Box | None:
    """Return the box of the wide photograph (height, width) that the telephoto lies in; None where there is none.

    ``mapping`` is the map or its homography.
    """
    height, width = tele
    corners = np.array([[0.0, 0.0], [width - 1, 0.0], [width - 1, height - 1], [0.0, height - 1]])
    found = mapping if isinstance(mapping, LensMap) else LensMap(mapping, (0.0, 0.0), 1.0)
    places = found.inverse(corners)
    left, top = (math.floor(low) for low in places.min(0))
    right, bottom = (math.ceil(high) + 1 for high in places.max(0))
    box = Box(max(0, top), min(wide[0], bottom), max(0, left), min(wide[1], right))
    return box if box.height > 0 and box.width > 0 else None

"""The homography between two photographs of a scene, from features that both have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from degsynth.align.lens_map import Matrix, Points, between_full, inverse, jacobian, transformed
from degsynth.errors import DataError

Plane = NDArray[np.float64]
Shape = tuple[int, ...]

LONGEST = 1600
"""Photographs with longer sides are reduced to this for the search, px."""
MOST_FEATURES = 8000
RATIO_TEST = 0.85
"""A match counts where the second best is farther by this factor (Lowe 2004)."""
TOLERANCE_PX = 2.0
"""Distance from the homography up to which a match agrees with it, px of the reduced wide photograph."""
FEWEST_INLIERS = 15
MOST_ANISOTROPY = 1.3
"""Largest ratio of the two magnifications of a homography in the middle of the telephoto."""
RIVAL_SHARE = 0.5
"""A second homography, among the matches that do not agree with the first, is a rival from this share of inliers."""
RIVAL_DISTANCE = 0.03
"""It must differ from the first by this share of the width of the wide photograph, in the middle of the telephoto."""
SWAPPED = 0.8
"""Below this magnification the telephoto shows more of the scene than the wide photograph."""
SOFTENED = (1.0, 2.0, 4.0)
"""Widths by which the telephoto is blurred in further attempts, px of the reduced photograph: against strong blur of
the wide one."""


@dataclass(frozen=True)
class Coarse:
    """A homography and how it was found."""

    homography: Matrix
    """From the wide photograph to the telephoto, px of both, (3, 3)."""
    matches: int
    inliers: int
    ratio: float
    """How many px of the telephoto are one px of the wide photograph, in the middle of the telephoto."""
    rotation: float
    """Angle by which the telephoto is turned against the wide photograph, degrees."""


@dataclass(frozen=True)
class _Features:
    points: Points
    descriptors: NDArray[np.float32]


class _RefusedError(Exception):
    """An attempt that found no plausible homography."""


def find(wide: Plane, tele: Plane) -> Coarse:
    """Find the homography between two photographs, luma in [0, 1].

    SIFT features (Lowe 2004) with Hellinger distances (RootSIFT, Arandjelović & Zisserman 2012), mutual nearest
    neighbours that pass the ratio test, and MAGSAC (Barath et al. 2020). Where too few matches agree, the telephoto is
    blurred and tried again, as features of a much sharper image differ. DataError says why two photographs are
    refused: too few common features, a mirror image, other proportions, two homographies that fit equally well, or
    sides that are swapped.
    """
    small_wide, by_wide = _reduced(wide)
    small_tele, by_tele = _reduced(tele)
    of_wide = _features(small_wide)
    reasons: list[str] = []
    for sigma in (0.0, *SOFTENED):
        soft = np.asarray(cv2.GaussianBlur(small_tele, (0, 0), sigma), np.float32) if sigma else small_tele
        try:
            return _attempt(of_wide, _features(soft), (by_wide, by_tele), wide.shape, tele.shape)
        except _RefusedError as reason:
            reasons.append(str(reason))
    raise DataError(reasons[0])


def _reduced(plane: Plane) -> tuple[NDArray[np.float32], float]:
    """Return a plane of at most `LONGEST` px a side, and by how much it is smaller."""
    by = max(1.0, max(plane.shape) / LONGEST)
    small = plane.astype(np.float32)
    if by == 1.0:
        return small, 1.0
    height, width = (round(length / by) for length in plane.shape)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA), np.float32), by


def _features(plane: NDArray[np.float32]) -> _Features:
    """Return the features of a plane: contrast is equalised first, and places are precise to parts of a pixel."""
    levels = np.clip(255 * plane, 0, 255).astype(np.uint8)
    equalised = cv2.createCLAHE(2.0, (8, 8)).apply(levels)
    detector = cv2.SIFT.create(MOST_FEATURES, contrastThreshold=0.015, enable_precise_upscale=True)
    found, descriptors = detector.detectAndCompute(equalised, None)
    if not found:
        return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    roots = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
    return _Features(np.array([point.pt for point in found], np.float64), roots.astype(np.float32))


def _attempt(
    wide: _Features,
    tele: _Features,
    reduced: tuple[float, float],
    wide_shape: Shape,
    tele_shape: Shape,
) -> Coarse:
    """Match features and return the homography between the whole photographs; _RefusedError where there is none."""
    of_wide, of_tele = _matched(wide, tele)
    if len(of_wide) < FEWEST_INLIERS:
        raise _RefusedError(f"TELE and WIDE have {len(of_wide)} features in common, too few to align them")
    first, agrees = _homography(of_wide, of_tele)
    inliers = int(agrees.sum())
    if inliers < FEWEST_INLIERS:
        raise _RefusedError(
            f"only {inliers} of {len(of_wide)} features that TELE and WIDE have in common agree on where TELE lies: "
            "they show different scenes, or the camera moved too far between them"
        )
    whole = between_full(first, *reduced)
    middle = _middle(whole, tele_shape)
    _check_plausible(whole, middle)
    _check_no_rival(whole, middle, of_wide[~agrees], of_tele[~agrees], inliers, reduced, (wide_shape, tele_shape))
    by = jacobian(whole, middle)
    turn = math.degrees(math.atan2(by[1, 0] - by[0, 1], by[0, 0] + by[1, 1]))
    return Coarse(whole, len(of_wide), inliers, math.sqrt(np.linalg.det(by)), turn)


def _matched(wide: _Features, tele: _Features) -> tuple[Points, Points]:
    """Return the points of both sides whose features are nearest to each other, and clearly nearer than the second."""
    if min(len(wide.points), len(tele.points)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    likeness = wide.descriptors @ tele.descriptors.T  # descriptors have length 1: distance² = 2 − 2 · likeness
    best = likeness.argmax(1)
    two = np.partition(likeness, -2, axis=1)[:, :-3:-1]
    distances = np.sqrt(np.maximum(2.0 - 2.0 * two, 0.0))
    mutual = likeness.argmax(0)[best] == np.arange(len(best))
    good = np.flatnonzero(mutual & (distances[:, 0] < RATIO_TEST * distances[:, 1]))
    return wide.points[good], tele.points[best[good]]


def _homography(of_wide: Points, of_tele: Points) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return the homography from wide to tele that most matches agree with, and which those are.

    It is sought from tele to wide, so that the tolerance is in px of the wide photograph.
    """
    if len(of_wide) < 4:
        return np.eye(3), np.zeros(len(of_wide), bool)
    cv2.setRNGSeed(0)
    back, agrees = cv2.findHomography(
        of_tele, of_wide, cv2.USAC_MAGSAC, TOLERANCE_PX, maxIters=10_000, confidence=0.9999
    )
    if back is None or abs(np.linalg.det(back)) < 1e-12:
        return np.eye(3), np.zeros(len(of_wide), bool)
    found = np.linalg.inv(back)
    return found / found[2, 2], agrees.ravel().astype(bool)


def _middle(homography: Matrix, tele: Shape) -> Points:
    """Return the point (2,) of the wide photograph that lies in the middle of the telephoto."""
    centre = np.array([[(tele[1] - 1) / 2, (tele[0] - 1) / 2]])
    middle: Points = transformed(inverse(homography), centre)[0]
    return middle


def _check_plausible(homography: Matrix, middle: Points) -> None:
    """Raise _RefusedError where it is none of two photographs of a scene, DataError where these are swapped."""
    by = jacobian(homography, middle)
    if np.linalg.det(by) <= 0:
        raise _RefusedError("TELE is a mirror image of WIDE")
    large, small = np.linalg.svd(by)[1]
    if large > MOST_ANISOTROPY * small:
        raise _RefusedError(
            f"TELE would be stretched by {large / small:.2f} in one direction: the two are too different to be aligned"
        )
    ratio = math.sqrt(large * small)
    if ratio < SWAPPED:
        raise DataError(
            f"TELE is not zoomed in: it shows {1 / ratio:.2f} times as much of the scene as WIDE",
            "give the zoomed photograph as TELE, and the other as WIDE",
        )


def _check_no_rival(
    found: Matrix,
    middle: Points,
    of_wide: Points,
    of_tele: Points,
    inliers: int,
    reduced: tuple[float, float],
    shapes: tuple[Shape, Shape],
) -> None:
    """Raise _RefusedError where matches that do not agree with a homography agree on another one, as with façades."""
    other, agrees = _homography(of_wide, of_tele)
    if agrees.sum() < max(FEWEST_INLIERS, RIVAL_SHARE * inliers):
        return
    elsewhere = between_full(other, *reduced)
    place = transformed(inverse(elsewhere), transformed(found, middle[None]))[0]
    apart = float(np.hypot(*(place - middle)))
    if apart > RIVAL_DISTANCE * shapes[0][1]:
        raise _RefusedError(
            f"TELE fits in two places of WIDE, {apart:.0f} px apart ({inliers} and {int(agrees.sum())} features): a "
            "repeated texture"
        )

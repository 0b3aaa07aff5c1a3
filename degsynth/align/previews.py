"""A picture of an aligned pair, to be looked at before a fit."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from degsynth.align.crops import Crop
from degsynth.align.pair import Aligned

LONGEST = 1000
"""Longest side of the wide photograph in the picture, px."""
LENGTHENED = 100.0
"""Arrows are so many times as long as the shifts that they stand for."""
KEPT, REJECTED, SHIFT = (60, 170, 60), (200, 60, 50), (250, 210, 60)
"""Colours (RGB) of crops that are kept and left out, and of arrows."""
SQUARES = 8
"""Squares of the chequerboard along each side."""

Pixels = NDArray[np.uint8]


def preview(wide: NDArray[np.generic], aligned: Aligned) -> bytes:
    """Return a PNG file: the wide photograph (H, W, C) with crops and shifts, and a crop as a chequerboard.

    The chequerboard has LR and HR in turn, both on the pixels of HR: edges that do not meet are misaligned.
    """
    left = _overview(_shown(wide), aligned)
    crop = max(aligned.crops, key=lambda one: float(np.std(one.lr)))
    right = _chequerboard(crop, aligned.scale)
    height = left.shape[0]
    by = height / right.shape[0]
    how = cv2.INTER_AREA if by < 1 else cv2.INTER_NEAREST
    right = np.asarray(cv2.resize(right, (round(by * right.shape[1]), height), interpolation=how), np.uint8)
    sheet = np.concatenate([left, np.full((height, 8, 3), 255, np.uint8), right], 1)
    done, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    return encoded.tobytes()


def _shown(pixels: NDArray[np.generic]) -> Pixels:
    """Return pixels (H, W, C) of any type as RGB of 8 bits."""
    levels = pixels.astype(np.float32)
    levels *= 255.0 / (255.0 if pixels.dtype == np.uint8 else max(1.0, float(levels.max())))
    shown = np.rint(levels).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(shown, 3, 2) if shown.shape[2] == 1 else shown)


def _overview(wide: Pixels, aligned: Aligned) -> Pixels:
    """Draw crops and shifts into the wide photograph, which is reduced."""
    by = min(1.0, LONGEST / max(wide.shape[:2]))
    if by < 1:
        wide = np.asarray(cv2.resize(wide, None, fx=by, fy=by, interpolation=cv2.INTER_AREA), np.uint8)
    for boxes, colour in ((aligned.rejected, REJECTED), ([crop.box for crop in aligned.crops], KEPT)):
        for box in boxes:
            corners = [(round(by * x), round(by * y)) for x, y in ((box.left, box.top), (box.right, box.bottom))]
            cv2.rectangle(wide, corners[0], corners[1], colour, 2)
    if aligned.shifts is not None:
        for (x, y), (across, down) in zip(aligned.shifts.centres, aligned.shifts.shifts, strict=True):
            begin = (round(by * x), round(by * y))
            end = (round(by * (x + LENGTHENED * across)), round(by * (y + LENGTHENED * down)))
            cv2.arrowedLine(wide, begin, end, SHIFT, 1, cv2.LINE_AA, tipLength=0.3)
    return wide


def _chequerboard(crop: Crop, scale: int) -> Pixels:
    """Return LR and HR of a crop in turn, in squares, on the pixels of HR."""
    hr, lr = _shown(crop.hr), _shown(crop.lr)
    large = cv2.resize(lr, (hr.shape[1], hr.shape[0]), interpolation=cv2.INTER_NEAREST)
    side = max(scale, hr.shape[0] // SQUARES // scale * scale)
    y, x = np.indices(hr.shape[:2]) // side
    return np.where(((x + y) % 2 == 0)[..., None], hr, large)

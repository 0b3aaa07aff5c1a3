"""Checking pairs before a fit: sizes, colour, type, and how far each LR image is shifted against its HR image."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.config import OnProgress, ignore_progress
from degsynth.data import images
from degsynth.data.colours import colour_name
from degsynth.data.matching import Pair
from degsynth.errors import DataError
from degsynth.ops.resample import bicubic, luma

MISALIGNED_LR_PX = 1.0
"""A pair whose global shift is larger than this is misaligned; shifts of real pairs are within 0.25 LR px."""
UNRELATED = 0.5
"""A pair whose sides correlate less than this after alignment shows two different scenes; real pairs reach 0.95."""
SURELY_ALIGNED = 0.9
"""A shift that leaves a correlation above this is taken, and no other is tried."""
MEASURED_LR_PX = 400
"""Sides of the middle part of a pair in which its shift is measured."""


def scale_of(hr: images.Image, lr: images.Image) -> int | None:
    """Return the integer scale s with lr = ⌊hr / s⌋ in both directions; None where there is none."""
    scale = max(1, round(hr.height / lr.height))
    return scale if (hr.height // scale, hr.width // scale) == (lr.height, lr.width) else None


def measure_shift(hr: Tensor, lr: Tensor, scale: int) -> tuple[tuple[float, float], float]:
    """Measure the global shift (y, x) of lr (1, h, w) against hr (1, s·h, s·w), both luma, in LR px.

    Return the shift, and the correlation of the two sides once it is corrected.

    Gauss-Newton solves ``lr ≈ g · base(· + t)`` for the gain g and the shift t, where base is the bicubic LR. With the
    gradients of the shifted base the equation is linear in (g, g·δt), so each iteration is one small least-squares
    problem. The gain is free, and blur has no direction, so neither contrast nor sharpness biases t. Both sides are
    band-passed: first in a coarse band, which catches large shifts; and always without the low frequencies, where a
    shift looks like a change of level. The iteration starts from no shift. Where that leaves a low correlation, it
    starts once more from the peak of the phase correlation, and the better of the two shifts is returned.
    """
    base, view = (_middle(image[0].numpy()) for image in (bicubic(hr[None], scale)[0], lr))
    height, width = view.shape
    if min(height, width) < 16:
        return (0.0, 0.0), _correlation(base, view)
    from_zero = _refine(base, view, (0, 0))
    if from_zero[1] > SURELY_ALIGNED:
        return from_zero
    window = cv2.createHanningWindow((width, height), cv2.CV_64F)
    (x, y), _ = cv2.phaseCorrelate(view.copy(), base.copy(), window)  # OpenCV windows them in place
    return max(from_zero, _refine(base, view, (round(y), round(x))), key=lambda result: result[1])


def _middle(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the middle of a plane, which is enough to measure one shift."""
    top, left = (max(0, (n - MEASURED_LR_PX) // 2) for n in image.shape)
    return image[top : top + MEASURED_LR_PX, left : left + MEASURED_LR_PX].astype(np.float64)


def _refine(
    base: NDArray[np.float64], view: NDArray[np.float64], start: tuple[int, int]
) -> tuple[tuple[float, float], float]:
    """Return the shift (y, x) that Gauss-Newton reaches from ``start``, and the correlation; −1 where it diverges."""
    shift = np.array(start, np.float64)
    limit = min(view.shape) / 4
    correlation = -1.0
    for sigma, close_enough in ((3.0, 0.05), (1.0, 1e-3)):
        smooth_base, smooth_view = (_band(image, sigma) for image in (base, view))
        spline = scipy.ndimage.spline_filter(smooth_base, order=3, mode="nearest")
        for _ in range(12):
            # Along the border, the shift and the filter bring in values that the other side does not have.
            border = int(np.ceil(np.abs(shift).max() + 3 * sigma)) + 1
            inner = (slice(border, view.shape[0] - border), slice(border, view.shape[1] - border))
            if np.abs(shift).max() > limit or min(view.shape) <= 2 * border + 4:
                return (float(shift[0]), float(shift[1])), -1.0
            shifted = scipy.ndimage.shift(spline, -shift, order=3, mode="nearest", prefilter=False)
            slope_y, slope_x = np.gradient(shifted)
            columns = np.stack([shifted[inner].ravel(), slope_y[inner].ravel(), slope_x[inner].ravel()])
            normal = columns @ columns.T + 1e-12 * np.eye(3)  # the small diagonal keeps it regular for flat pictures
            gain, *slopes = np.linalg.solve(normal, columns @ smooth_view[inner].ravel())
            step = np.array(slopes) / gain if abs(gain) > 1e-3 else np.zeros(2)
            shift = shift + np.clip(step, -2.0, 2.0)
            if np.abs(step).max() < close_enough:
                break
        correlation = _correlation(shifted[inner], smooth_view[inner])
    return (float(shift[0]), float(shift[1])), correlation


def _band(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return the image band-passed by a difference of Gaussians of widths ``sigma`` and 3 · ``sigma``."""
    fine, coarse = (scipy.ndimage.gaussian_filter(image, width) for width in (sigma, 3 * sigma))
    return np.asarray(fine - coarse)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation coefficient of two arrays; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


@dataclass(frozen=True)
class Fault:
    """Why a pair cannot be used as it is."""

    name: str
    """Name of the pair."""
    kind: str
    """One of: unreadable, mis-sized, identical, constant, mixed colour, mixed type, unrelated, or misaligned, which
    registration corrects."""
    detail: str
    """The reason in words, with the values that were measured."""


@dataclass(frozen=True)
class _Inspection:
    """What is known of one pair after both its files were decoded."""

    pair: Pair
    """The pair, with its measured shift."""
    scale: int | None = None
    channels: int = 0
    dtype: str = ""
    fault: Fault | None = None
    """What is wrong with the pair, whatever the other pairs are like."""

    def faulty(self, kind: str, detail: str) -> _Inspection:
        """Return the same inspection with a fault."""
        return replace(self, fault=Fault(self.pair.name, kind, detail))


def _inspect(pair: Pair) -> _Inspection:
    """Decode both files of a pair, compare them and measure their shift."""
    try:
        hr, lr = images.read(pair.hr), images.read(pair.lr)
    except DataError as error:
        return _Inspection(pair).faulty("unreadable", str(error))
    scale = scale_of(hr, lr)
    inspection = _Inspection(pair, scale, hr.channels, str(hr.pixels.dtype))
    if scale is None:
        sizes = f"HR is {hr.width}×{hr.height}, no whole multiple of LR, {lr.width}×{lr.height}"
        if hr.width < lr.width and hr.height < lr.height:
            sizes += " (are the folders swapped?)"
        return inspection.faulty("mis-sized", sizes)
    if hr.pixels.dtype != lr.pixels.dtype:
        return inspection.faulty("mixed type", f"HR is {hr.pixels.dtype}, LR {lr.pixels.dtype}")
    if hr.channels != lr.channels:
        return inspection.faulty("mixed colour", f"HR has {hr.channels} channels, LR {lr.channels}")
    if scale == 1 and np.array_equal(hr.pixels, lr.pixels):
        return inspection.faulty("identical", "both sides have the same pixels: one of them is a copy")
    for side, image in (("HR", hr), ("LR", lr)):
        if image.pixels.min() == image.pixels.max():
            return inspection.faulty("constant", f"{side} is {image.pixels.flat[0]} all over")
    shift, correlation = measure_shift(_plane(hr.cropped(lr.height * scale, lr.width * scale)), _plane(lr), scale)
    inspection = replace(inspection, pair=replace(pair, shift=shift))
    if correlation < UNRELATED:
        return inspection.faulty("unrelated", f"the two sides hardly correlate ({max(correlation, 0.0):.2f})")
    if max(abs(shift[0]), abs(shift[1])) > MISALIGNED_LR_PX:
        return inspection.faulty("misaligned", f"LR is shifted by ({shift[0]:+.2f}, {shift[1]:+.2f}) LR px (y, x)")
    return inspection


def _plane(image: images.Image) -> Tensor:
    """Return the luma (1, H, W) of an image, scaled so that the largest value of the image is 1, whatever its type."""
    pixels = torch.from_numpy(image.pixels.astype(np.float32)).permute(2, 0, 1)
    return luma(pixels / pixels.abs().max())


@dataclass(frozen=True)
class PairCheck:
    """The result of `check`."""

    pairs: list[Pair]
    """The usable pairs, with their measured shifts."""
    faults: list[Fault]
    """The pairs that cannot be used."""
    scale: int
    """HR size / LR size of the usable pairs."""
    channels: int
    """Number of channels of the usable pairs."""
    dtype: str
    """Type of the usable pairs' pixels."""

    def median_shift(self) -> float:
        """Return the median length of the shifts, LR px."""
        return float(np.median([np.hypot(*p.shift) for p in self.pairs if p.shift is not None] or [0.0]))


def check(
    pairs: Sequence[Pair],
    scale: int | None = None,
    register: bool = False,
    on_progress: OnProgress = ignore_progress,
    workers: int = 2,
) -> PairCheck:
    """Decode every pair, measure its shift, and list the pairs that do not fit together with most of the others.

    ``scale`` None is the scale that most pairs have. With ``register`` a large shift is no fault, as it will be
    corrected. DataError where no two files have a whole scale.
    """
    inspections: list[_Inspection] = []
    with ThreadPoolExecutor(workers) as pool:
        for inspection in pool.map(_inspect, pairs):
            inspections.append(inspection)
            on_progress("checking pairs", len(inspections), len(pairs))
    scales = collections.Counter(entry.scale for entry in inspections if entry.scale is not None)
    agreed = scale if scale is not None else (scales.most_common(1)[0][0] if scales else None)
    sound = [e for e in inspections if e.scale == agreed and (e.fault is None or e.fault.kind == "misaligned")]
    kinds = collections.Counter((entry.channels, entry.dtype) for entry in sound)
    channels, dtype = kinds.most_common(1)[0][0] if kinds else (0, "")
    usable: list[Pair] = []
    faults: list[Fault] = []
    for inspection in inspections:
        fault = _fault_among_others(inspection, agreed, channels, dtype, scale is not None)
        if fault is None or (register and fault.kind == "misaligned"):
            usable.append(inspection.pair)
        else:
            faults.append(fault)
    if agreed is None:
        raise DataError(f"no usable pair among {len(pairs)}; {faults[0].name}: {faults[0].detail}")
    return PairCheck(usable, faults, agreed, channels, dtype)


def _fault_among_others(
    inspection: _Inspection, scale: int | None, channels: int, dtype: str, scale_given: bool
) -> Fault | None:
    """Return the fault of a pair, compared with the scale, colour and type that most pairs have.

    A wrong scale is reported before any other fault, because other faults follow from it.
    """
    name = inspection.pair.name
    if inspection.scale is not None and inspection.scale != scale:
        rule = f"not {scale}" if scale_given else f"while most pairs have {scale}"
        return Fault(name, "mis-sized", f"scale {inspection.scale}, {rule}")
    if inspection.fault is not None and inspection.fault.kind != "misaligned":
        return inspection.fault
    if inspection.channels != channels:
        detail = f"{colour_name(inspection.channels)} among {colour_name(channels)} pairs"
        return Fault(name, "mixed colour", detail)
    if inspection.dtype != dtype:
        return Fault(name, "mixed type", f"{inspection.dtype} among {dtype} pairs")
    return inspection.fault

"""Pairs looked at before anything is fitted: sizes, colour, and how far each LR is shifted against its HR."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.data import images
from degsynth.data.pairs import Pair
from degsynth.errors import DataError
from degsynth.ops.resample import bicubic, luma

MISALIGNED_LR_PX = 1.0
"""A pair whose global shift is larger is not used as it is; real pairs are within 0.25 LR px."""
UNRELATED = 0.5
"""A pair whose sides correlate less after alignment shows two different scenes; real pairs reach 0.95."""
SURELY_ALIGNED = 0.9
"""Above this correlation no other shift is tried."""
MEASURED_LR_PX = 400
"""Side of the part of a pair on which its shift is measured."""
COLOURS = {1: "gray", 3: "RGB"}


def scale_of(hr: images.Image, lr: images.Image) -> int | None:
    """The whole scale s with lr = ⌊hr / s⌋ in both directions, or None."""
    scale = max(1, round(hr.height / lr.height))
    return scale if (hr.height // scale, hr.width // scale) == (lr.height, lr.width) else None


def measure_shift(hr: Tensor, lr: Tensor, scale: int) -> tuple[tuple[float, float], float]:
    """Global shift (y, x) of lr (1, h, w) against hr (1, s·h, s·w), both luma, in LR px, and the correlation left.

    By Gauss-Newton on ``lr ≈ g · base(· + t)``, base being the bicubic LR; it is linear in (g, g·δt) with the gradients
    of the moved base, so each round is one small least-squares problem. The gain is free, and blur has no direction,
    so neither contrast nor sharpness biases t. Both sides are band-passed: coarse bands first, to catch large shifts;
    and without the low frequencies, on which a shift looks like a change of level. It starts from no shift, and where
    that ends badly once more from the peak of the phase correlation.
    """
    base, view = (_middle(image[0].numpy()) for image in (bicubic(hr[None], scale)[0], lr))
    height, width = view.shape
    if min(height, width) < 16:
        return (0.0, 0.0), _correlation(base, view)
    near = _refine(base, view, (0, 0))
    if near[1] > SURELY_ALIGNED:  # as good pairs are
        return near
    window = cv2.createHanningWindow((width, height), cv2.CV_64F)
    (x, y), _ = cv2.phaseCorrelate(view.copy(), base.copy(), window)  # it windows its arguments in place
    return max(near, _refine(base, view, (round(y), round(x))), key=lambda found: found[1])


def _middle(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """The middle of a plane: enough to measure one shift."""
    top, left = (max(0, (n - MEASURED_LR_PX) // 2) for n in image.shape)
    return image[top : top + MEASURED_LR_PX, left : left + MEASURED_LR_PX].astype(np.float64)


def _refine(
    base: NDArray[np.float64], view: NDArray[np.float64], start: tuple[int, int]
) -> tuple[tuple[float, float], float]:
    shift = np.array(start, np.float64)
    limit = min(view.shape) / 4
    correlation = -1.0
    for sigma, close_enough in ((3.0, 0.05), (1.0, 1e-3)):
        smooth_base, smooth_view = (_band(image, sigma) for image in (base, view))
        spline = scipy.ndimage.spline_filter(smooth_base, order=3, mode="nearest")
        for _ in range(12):
            # What the shift and the filter bring into the frame at its rim has no counterpart.
            rim = int(np.ceil(np.abs(shift).max() + 3 * sigma)) + 1
            inner = (slice(rim, view.shape[0] - rim), slice(rim, view.shape[1] - rim))
            if np.abs(shift).max() > limit or min(view.shape) <= 2 * rim + 4:
                return (float(shift[0]), float(shift[1])), -1.0
            moved = scipy.ndimage.shift(spline, -shift, order=3, mode="nearest", prefilter=False)
            slope_y, slope_x = np.gradient(moved)
            columns = np.stack([moved[inner].ravel(), slope_y[inner].ravel(), slope_x[inner].ravel()])
            normal = columns @ columns.T + 1e-12 * np.eye(3)  # flat pictures must not make it singular
            gain, *slopes = np.linalg.solve(normal, columns @ smooth_view[inner].ravel())
            step = np.array(slopes) / gain if abs(gain) > 1e-3 else np.zeros(2)
            shift = shift + np.clip(step, -2.0, 2.0)
            if np.abs(step).max() < close_enough:
                break
        correlation = _correlation(moved[inner], smooth_view[inner])
    return (float(shift[0]), float(shift[1])), correlation


def _band(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    fine, coarse = (scipy.ndimage.gaussian_filter(image, width) for width in (sigma, 3 * sigma))
    return np.asarray(fine - coarse)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


@dataclass(frozen=True)
class Fault:
    """A pair that cannot be used as it is."""

    name: str
    kind: str
    """unreadable, mis-sized, constant, mixed colour, mixed type, unrelated, or misaligned (registration mends it)."""
    detail: str


@dataclass(frozen=True)
class _Finding:
    """What looking at one pair alone tells."""

    pair: Pair
    scale: int | None = None
    channels: int = 0
    dtype: str = ""
    fault: Fault | None = None


def _inspect(pair: Pair) -> _Finding:
    try:
        hr, lr = images.read(pair.hr), images.read(pair.lr)
    except DataError as error:
        return _Finding(pair, fault=Fault(pair.name, "unreadable", str(error)))
    scale = scale_of(hr, lr)
    finding = _Finding(pair, scale, hr.channels, str(hr.pixels.dtype))

    def faulty(kind: str, detail: str) -> _Finding:
        return replace(finding, fault=Fault(pair.name, kind, detail))

    if scale is None:
        return faulty("mis-sized", f"HR is {hr.width}×{hr.height}, no whole multiple of LR, {lr.width}×{lr.height}")
    if hr.pixels.dtype != lr.pixels.dtype:
        return faulty("mixed type", f"HR is {hr.pixels.dtype}, LR {lr.pixels.dtype}")
    if hr.channels != lr.channels:
        return faulty("mixed colour", f"HR has {hr.channels} channels, LR {lr.channels}")
    for side, image in (("HR", hr), ("LR", lr)):
        if image.pixels.min() == image.pixels.max():
            return faulty("constant", f"{side} is {image.pixels.flat[0]} all over")
    shift, correlation = measure_shift(_plane(hr.cropped(lr.height * scale, lr.width * scale)), _plane(lr), scale)
    finding = replace(finding, pair=replace(pair, shift=shift))
    if correlation < UNRELATED:
        return faulty("unrelated", f"the two sides hardly correlate ({max(correlation, 0.0):.2f})")
    if max(abs(shift[0]), abs(shift[1])) > MISALIGNED_LR_PX:
        return faulty("misaligned", f"LR is shifted by ({shift[0]:+.2f}, {shift[1]:+.2f}) LR px (y, x)")
    return finding


def _plane(image: images.Image) -> Tensor:
    """Luma (1, H, W), its maximum 1, so that the range of the type does not matter."""
    pixels = torch.from_numpy(image.pixels.astype(np.float32)).permute(2, 0, 1)
    return luma(pixels / pixels.abs().max())


@dataclass(frozen=True)
class PairCheck:
    """What `check` found."""

    pairs: list[Pair]
    """The usable ones, with their measured shift."""
    faults: list[Fault]
    scale: int
    channels: int
    dtype: str

    def median_shift(self) -> float:
        """Median length of the shifts, LR px."""
        return float(np.median([np.hypot(*p.shift) for p in self.pairs if p.shift is not None] or [0.0]))


def check(
    pairs: Sequence[Pair],
    scale: int | None = None,
    register: bool = False,
    on_pair: Callable[[int], None] = lambda count: None,
    workers: int = 2,
) -> PairCheck:
    """Decode every pair, agree on scale and colour, measure shifts; list the pairs that do not fit, by name.

    The scale is that of most pairs unless given. With ``register`` a shift is no fault: it will be corrected.
    """
    found: list[_Finding] = []
    with ThreadPoolExecutor(workers) as pool:
        for finding in pool.map(_inspect, pairs):
            found.append(finding)
            on_pair(len(found))
    scales = collections.Counter(finding.scale for finding in found if finding.scale is not None)
    agreed = scale if scale is not None else (scales.most_common(1)[0][0] if scales else None)
    sound = [f for f in found if f.scale == agreed and (f.fault is None or f.fault.kind == "misaligned")]
    kinds = collections.Counter((f.channels, f.dtype) for f in sound)
    channels, dtype = kinds.most_common(1)[0][0] if kinds else (0, "")
    good: list[Pair] = []
    faults: list[Fault] = []
    for finding in found:
        fault = _among_others(finding, agreed, channels, dtype, scale is not None)
        if fault is None or (register and fault.kind == "misaligned"):
            good.append(finding.pair)
        else:
            faults.append(fault)
    if agreed is None:
        raise DataError(f"no usable pair among {len(pairs)}; {faults[0].name}: {faults[0].detail}")
    return PairCheck(good, faults, agreed, channels, dtype)


def _among_others(finding: _Finding, scale: int | None, channels: int, dtype: str, scale_given: bool) -> Fault | None:
    """The pair's fault, seen beside what most pairs have; a wrong scale comes first, others follow from it."""
    name = finding.pair.name
    if finding.scale is not None and finding.scale != scale:
        rule = f"not {scale}" if scale_given else f"while most pairs have {scale}"
        return Fault(name, "mis-sized", f"scale {finding.scale}, {rule}")
    if finding.fault is not None and finding.fault.kind != "misaligned":
        return finding.fault
    if finding.channels != channels:
        own, most = (COLOURS.get(count, f"{count}-channel") for count in (finding.channels, channels))
        return Fault(name, "mixed colour", f"{own} among {most} pairs")
    if finding.dtype != dtype:
        return Fault(name, "mixed type", f"{finding.dtype} among {dtype} pairs")
    return finding.fault

"""Checking pairs before a fit: sizes, colour, type, and how each LR image lies on its HR image."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from degsynth.config import Interval, OnProgress, ignore_progress
from degsynth.data import images
from degsynth.data.alignment import NOT_MOVED, Alignment, measure_alignment
from degsynth.data.colours import colour_name
from degsynth.data.decoding import Declared
from degsynth.data.levels import Levels, Moments, compare, moments
from degsynth.data.matching import Pair
from degsynth.data.ranges import resolve_range
from degsynth.errors import DataError
from degsynth.ops.resample import luma

MISALIGNED_LR_PX = 1.0
"""A pair whose global shift is larger than this is misaligned; shifts of real pairs are within 0.25 LR px."""
WARPED_LR_PX, USUALLY_WARPED_LR_PX = 0.5, 0.15
"""Pairs whose zoom or rotation moves pixels by more than the first (RMS over the image) are named in a warning, and
all are where more than half exceed the second. Of City100, none reaches 0.36 and more than 90 % have no warp at all."""
MOVED = ("misaligned", "zoomed or turned")
"""Faults of where LR lies on HR."""
UNRELATED = 0.5
"""A pair whose sides correlate less than this after alignment shows two different scenes; real pairs reach 0.95."""


def scale_of(hr: images.Image | Declared, lr: images.Image | Declared) -> int | None:
    """Return the integer scale s with lr = ⌊hr / s⌋ in both directions; None where there is none."""
    scale = max(1, round(hr.height / lr.height))
    return scale if (hr.height // scale, hr.width // scale) == (lr.height, lr.width) else None


@dataclass(frozen=True)
class Fault:
    """Why a pair cannot be used as it is."""

    name: str
    """Name of the pair."""
    kind: str
    """One of: unreadable, mis-sized, identical, constant, mixed colour, mixed type, unrelated, zoomed or turned, or
    misaligned, which registration corrects."""
    detail: str
    """The reason in words, with the values that were measured."""


@dataclass(frozen=True)
class Inspection:
    """What is known of one pair after both its files were decoded."""

    pair: Pair
    """The pair, with its measured shift."""
    scale: int | None = None
    channels: int = 0
    dtype: str = ""
    size: tuple[int, int] = (0, 0)
    """Height and width of LR."""
    alignment: Alignment = NOT_MOVED
    levels: Moments | None = None
    fault: Fault | None = None
    """What is wrong with the pair, whatever the other pairs are like."""

    @property
    def warp(self) -> float:
        """RMS displacement by zoom and rotation, LR px."""
        return self.alignment.displacement(*self.size)

    def faulty(self, kind: str, detail: str) -> Inspection:
        """Return the same inspection with a fault."""
        return replace(self, fault=Fault(self.pair.name, kind, detail))


def size_faults(pairs: Sequence[Pair], scale: int | None) -> list[Fault]:
    """Return the faults of pairs whose files declare sizes of no whole scale, or of another one than ``scale``.

    No pixels are decoded. Files that do not say their size are left for `check`, which names what is wrong with them.
    """
    faults = []
    for pair in pairs:
        try:
            hr, lr = images.declared_size(pair.hr), images.declared_size(pair.lr)
        except DataError:
            continue
        found = scale_of(hr, lr)
        if found is None:
            faults.append(Fault(pair.name, "mis-sized", _no_multiple(hr, lr)))
        elif scale is not None and found != scale:
            faults.append(Fault(pair.name, "mis-sized", f"scale {found}, not {scale}"))
    return faults


def _no_multiple(hr: images.Image | Declared, lr: images.Image | Declared) -> str:
    sizes = f"HR is {hr.width}×{hr.height}, no whole multiple of LR, {lr.width}×{lr.height}"
    swapped = hr.width < lr.width and hr.height < lr.height
    return sizes + " (are the folders swapped?)" * swapped


def _inspect(pair: Pair, known: Fault | None) -> Inspection:
    """Decode both files of a pair, compare them and measure their shift, unless a fault is known already."""
    if known is not None:
        return Inspection(pair, fault=known)
    try:
        hr, lr = images.read(pair.hr), images.read(pair.lr)
    except DataError as error:
        return Inspection(pair).faulty("unreadable", str(error))
    scale = scale_of(hr, lr)
    inspection = Inspection(pair, scale, hr.channels, str(hr.pixels.dtype))
    if scale is None:
        return inspection.faulty("mis-sized", _no_multiple(hr, lr))
    if hr.pixels.dtype != lr.pixels.dtype:
        return inspection.faulty("mixed type", f"HR is {hr.pixels.dtype}, LR {lr.pixels.dtype}")
    if hr.channels != lr.channels:
        return inspection.faulty("mixed colour", f"HR has {hr.channels} channels, LR {lr.channels}")
    if scale == 1 and np.array_equal(hr.pixels, lr.pixels):
        return inspection.faulty("identical", "both sides have the same pixels: one of them is a copy")
    for side, image in (("HR", hr), ("LR", lr)):
        if image.pixels.min() == image.pixels.max():
            return inspection.faulty("constant", f"{side} is {image.pixels.flat[0]} all over")
    found = measure_alignment(_plane(hr.cropped(lr.height * scale, lr.width * scale)), _plane(lr), scale)
    inspection = replace(
        inspection,
        pair=replace(pair, shift=found.shift),
        size=(lr.height, lr.width),
        alignment=found,
        levels=moments(hr, lr, scale),
    )
    if found.correlation < UNRELATED:
        return inspection.faulty("unrelated", f"the two sides hardly correlate ({max(found.correlation, 0.0):.2f})")
    if inspection.warp > MISALIGNED_LR_PX:
        return inspection.faulty("zoomed or turned", f"{_describe(found)}, {inspection.warp:.1f} LR px off (RMS)")
    if max(map(abs, found.shift)) > MISALIGNED_LR_PX:
        y, x = found.shift
        return inspection.faulty("misaligned", f"LR is shifted by ({y:+.2f}, {x:+.2f}) LR px (y, x)")
    return inspection


def _describe(alignment: Alignment) -> str:
    """Describe the zoom and the rotation of an LR image."""
    high, wide = (100 * zoom for zoom in alignment.zoom)
    zoom = f"{(high + wide) / 2:+.1f} %"
    if abs(high - wide) > max(0.5, abs(high + wide) / 4):
        zoom = f"{high:+.1f} % in height and {wide:+.1f} % in width"
    return f"LR is zoomed by {zoom} and turned by {alignment.turn:+.1f}°"


def _plane(image: images.Image) -> Tensor:
    """Return the luma (1, H, W) of an image, scaled so that the largest value of the image is 1, whatever its type."""
    pixels = torch.from_numpy(image.pixels.astype(np.float32)).permute(2, 0, 1)
    return luma(pixels / pixels.abs().max())


@dataclass(frozen=True)
class PairCheck:
    """The result of `check`."""

    usable: list[Inspection]
    """What is known of the usable pairs."""
    faults: list[Fault]
    """The pairs that cannot be used."""
    scale: int
    """HR size / LR size of the usable pairs."""
    channels: int
    """Number of channels of the usable pairs."""
    dtype: str
    """Type of the usable pairs' pixels."""

    @property
    def pairs(self) -> list[Pair]:
        """The usable pairs, with their measured shifts."""
        return [inspection.pair for inspection in self.usable]

    def levels(self, data_range: Interval | None) -> Levels:
        """Return how the levels of the usable pairs change; ``data_range`` None is the whole range of their type."""
        black, white = resolve_range(np.dtype(self.dtype), data_range)
        return compare([entry.levels for entry in self.usable if entry.levels is not None], black, white)

    def warp_warning(self) -> str:
        """Warn of zoom and rotation that are left in the usable pairs; empty where there is little of them."""
        usual = float(np.median([entry.warp for entry in self.usable] or [0.0]))
        if usual > USUALLY_WARPED_LR_PX:
            shown = min(self.usable, key=lambda entry: abs(entry.warp - usual))
            which = "the pairs are"
        elif warped := [entry for entry in self.usable if entry.warp > WARPED_LR_PX]:
            shown = max(warped, key=lambda entry: entry.warp)
            which = f"{len(warped)} of {len(self.usable)} pairs are"
        else:
            return ""
        return (
            f"{which} zoomed or turned against each other, and that will be taken for blur: in {shown.pair.name} "
            f"{_describe(shown.alignment)}, {shown.warp:.2f} LR px off (RMS); align the pairs first, registration "
            "corrects shifts only"
        )

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
    """Decode pairs, measure their shift, and list the pairs that do not fit together with most of the others.

    Pairs whose declared sizes do not fit are not decoded. ``scale`` None is the scale that most pairs have. With
    ``register`` a large shift is no fault, as it will be corrected. DataError where no two files have a whole scale.
    """
    inspections: list[Inspection] = []
    mis_sized = {fault.name: fault for fault in size_faults(pairs, scale)}
    with ThreadPoolExecutor(workers) as pool:
        for inspection in pool.map(lambda pair: _inspect(pair, mis_sized.get(pair.name)), pairs):
            inspections.append(inspection)
            on_progress("checking pairs", len(inspections), len(pairs))
    scales = collections.Counter(entry.scale for entry in inspections if entry.scale is not None)
    agreed = scale if scale is not None else (scales.most_common(1)[0][0] if scales else None)
    sound = [e for e in inspections if e.scale == agreed and (e.fault is None or e.fault.kind in MOVED)]
    kinds = collections.Counter((entry.channels, entry.dtype) for entry in sound)
    channels, dtype = kinds.most_common(1)[0][0] if kinds else (0, "")
    usable: list[Inspection] = []
    faults: list[Fault] = []
    for inspection in inspections:
        fault = _fault_among_others(inspection, agreed, channels, dtype, scale is not None)
        if fault is None or (register and fault.kind == "misaligned"):
            usable.append(inspection)
        else:
            faults.append(fault)
    if agreed is None:
        raise DataError(f"no usable pair among {len(pairs)}; {faults[0].name}: {faults[0].detail}")
    return PairCheck(usable, faults, agreed, channels, dtype)


def _fault_among_others(
    inspection: Inspection, scale: int | None, channels: int, dtype: str, scale_given: bool
) -> Fault | None:
    """Return the fault of a pair, compared with the scale, colour and type that most pairs have.

    A wrong scale is reported before any other fault, because other faults follow from it.
    """
    name = inspection.pair.name
    if inspection.scale is not None and inspection.scale != scale:
        rule = f"not {scale}" if scale_given else f"while most pairs have {scale}"
        return Fault(name, "mis-sized", f"scale {inspection.scale}, {rule}")
    if inspection.fault is not None and inspection.fault.kind not in MOVED:
        return inspection.fault
    if inspection.channels != channels:
        detail = f"{colour_name(inspection.channels)} among {colour_name(channels)} pairs"
        return Fault(name, "mixed colour", detail)
    if inspection.dtype != dtype:
        return Fault(name, "mixed type", f"{inspection.dtype} among {dtype} pairs")
    return inspection.fault

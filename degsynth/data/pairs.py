"""HR-LR pairs: found by name, checked one by one before anything is fitted, kept decoded in memory."""

from __future__ import annotations

import collections
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.data import images
from degsynth.errors import DataError
from degsynth.ops.resample import bicubic, luma
from degsynth.seeds import derive

SUFFIX = re.compile(r"(?i)(?:[._-]?(?:HR|GT|LR)(?:[._-]?x?\d)?|x\d)$")
"""What data sets hang on a stem to tell the two sides apart: 0001x4, Canon_001_HR, Canon_001_LR4, img_LR_x2."""
MISALIGNED_LR_PX = 1.0
"""A pair whose global shift is larger is not used as it is; real pairs are within 0.25 LR px."""
UNRELATED = 0.5
"""A pair whose sides correlate less after alignment shows two different scenes; real pairs reach 0.95."""


MEASURED_LR_PX = 400
"""Side of the part of a pair on which its shift is measured."""


@dataclass(frozen=True)
class Pair:
    """Two files of one scene."""

    name: str
    hr: Path
    lr: Path
    shift: tuple[float, float] | None = None
    """Measured (y, x): LR pixel i shows what lies at HR block i + shift, in LR px. None: not measured."""


def _by_stem(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in images.find(folder)[0]:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{folder} has both {found[stem]} and {name}; pairs are matched by stem, remove one")
        found[stem] = name
    return found


def match(hr_folder: Path, lr_folder: Path) -> tuple[list[Pair], list[str]]:
    """Pairs with equal stems (sub-folders included) in order of name, and the files of either side without a partner.

    Where no stem is in both folders, or they are one folder, endings like ``x4``, ``_HR`` and ``_LR4`` are left out
    of the comparison.
    """
    hr, lr = _by_stem(hr_folder), _by_stem(lr_folder)
    if hr_folder.resolve() == lr_folder.resolve() or not hr.keys() & lr.keys():
        hr = {SUFFIX.sub("", stem): name for stem, name in hr.items() if not re.search(r"(?i)LR[._-]?x?\d?$", stem)}
        lr = {SUFFIX.sub("", stem): name for stem, name in lr.items() if not re.search(r"(?i)(HR|GT)$", stem)}
    common = sorted(hr.keys() & lr.keys())
    if not common:
        some_hr, some_lr = next(iter(hr.values()), "nothing"), next(iter(lr.values()), "nothing")
        raise DataError(
            f"no file of {hr_folder} ({some_hr}, …) has the stem of one in {lr_folder} ({some_lr}, …); "
            "give both sides of a pair the same name"
        )
    alone = [f"{hr_folder}/{hr[s]}" for s in sorted(hr.keys() - lr.keys())]
    alone += [f"{lr_folder}/{lr[s]}" for s in sorted(lr.keys() - hr.keys())]
    return [Pair(stem, hr_folder / hr[stem], lr_folder / lr[stem]) for stem in common], alone


def scale_of(hr: images.Image, lr: images.Image) -> int | None:
    """The whole scale s with lr = ⌊hr / s⌋ in both directions, or None."""
    scale = max(1, round(hr.height / lr.height))
    return scale if (hr.height // scale, hr.width // scale) == (lr.height, lr.width) else None


def measure_shift(hr: Tensor, lr: Tensor, scale: int) -> tuple[tuple[float, float], float]:
    """Global shift (y, x) of lr (1, h, w) against hr (1, s·h, s·w), both luma, in LR px, and the correlation left.

    Coarse by phase correlation, fine by Gauss-Newton on ``lr ≈ g · base(· + t)``, base being the bicubic LR; it is
    linear in (g, g·δt) with the gradients of the moved base, so each round is one small least-squares problem. The
    gain is free, and blur has no direction, so neither contrast nor sharpness biases t. Both sides are band-passed:
    coarse bands first, to catch large shifts; and without the low frequencies, on which a shift looks like a change
    of level.
    """
    base, view = (_middle(image[0].numpy()) for image in (bicubic(hr[None], scale)[0], lr))
    height, width = view.shape
    if min(height, width) < 16:
        return (0.0, 0.0), _correlation(base, view)
    window = cv2.createHanningWindow((width, height), cv2.CV_64F)
    (x, y), _ = cv2.phaseCorrelate(view, base, window)
    candidates = [_refine(base, view, start) for start in {(round(y), round(x)), (0, 0)}]
    return max(candidates, key=lambda found: found[1])


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
    for sigma in (3.0, 1.0):
        smooth_base, smooth_view = (_band(image, sigma) for image in (base, view))
        spline = scipy.ndimage.spline_filter(smooth_base, order=3, mode="nearest")
        for _ in range(12):
            rim = (
                int(np.ceil(np.abs(shift).max() + 3 * sigma)) + 1
            )  # what comes into the frame there has no counterpart
            inner = (slice(rim, view.shape[0] - rim), slice(rim, view.shape[1] - rim))
            if np.abs(shift).max() > limit or min(view.shape) <= 2 * rim + 4:
                return (float(shift[0]), float(shift[1])), -1.0
            moved = scipy.ndimage.shift(spline, -shift, order=3, mode="nearest", prefilter=False)
            slope_y, slope_x = np.gradient(moved)
            columns = np.stack([moved[inner], slope_y[inner], slope_x[inner]], -1).reshape(-1, 3)
            gain, *slopes = np.linalg.lstsq(columns, smooth_view[inner].ravel(), rcond=None)[0]
            step = np.array(slopes) / gain if abs(gain) > 1e-3 else np.zeros(2)
            shift = shift + np.clip(step, -2.0, 2.0)
            if np.abs(step).max() < 1e-3:
                break
        correlation = _correlation(moved[inner], smooth_view[inner])
    return (float(shift[0]), float(shift[1])), correlation


def _band(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    filtered: NDArray[np.float64] = scipy.ndimage.gaussian_filter(image, sigma) - scipy.ndimage.gaussian_filter(
        image, 3 * sigma
    )
    return filtered


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


class PairSet:
    """Pairs of one scale and colour, decoded on demand and kept within a memory budget."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        channels: int,
        data_range: tuple[float, float] | None = None,
        register: bool = False,
        cache_bytes: int = 2**31,
    ) -> None:
        self.pairs, self.scale, self.channels = list(pairs), scale, channels
        self.data_range, self.register = data_range, register
        self._budget = cache_bytes
        self._cache: collections.OrderedDict[str, tuple[images.Image, images.Image]] = collections.OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.pairs)

    def subset(self, indices: Sequence[int]) -> PairSet:
        """Some of the pairs; the decoded images are shared."""
        other = PairSet([self.pairs[i] for i in indices], self.scale, self.channels, self.data_range, self.register)
        other._budget, other._cache, other._lock = self._budget, self._cache, self._lock
        return other

    def decoded(self, pair: Pair) -> tuple[images.Image, images.Image]:
        """Both files of a pair as stored, HR cropped bottom and right to scale × LR; cached."""
        with self._lock:
            if pair.name in self._cache:
                self._cache.move_to_end(pair.name)
                return self._cache[pair.name]
        hr, lr = images.read(pair.hr), images.read(pair.lr)
        hr = hr.crop(lr.height * self.scale, lr.width * self.scale)
        size = hr.pixels.nbytes + lr.pixels.nbytes
        with self._lock:
            if size <= self._budget:
                self._cache[pair.name] = (hr, lr)
                held = sum(a.pixels.nbytes + b.pixels.nbytes for a, b in self._cache.values())
                while held > self._budget:
                    _, (old_hr, old_lr) = self._cache.popitem(last=False)
                    held -= old_hr.pixels.nbytes + old_lr.pixels.nbytes
        return hr, lr

    def tensors(self, index: int) -> tuple[Tensor, Tensor]:
        """A pair as hr (C, s·h, s·w) and lr (C, h, w) in [0, 1], registered where asked for.

        Registration moves the HR side: its spectrum reaches s times further than what LR can hold, so interpolating it
        (quintic spline) leaves no trace in LR, while interpolating LR would add its own blur to the one to be learnt.
        """
        pair = self.pairs[index]
        hr_image, lr_image = self.decoded(pair)
        hr = images.to_tensor(hr_image.pixels, self.data_range)
        lr = images.to_tensor(lr_image.pixels, self.data_range)
        if self.register and pair.shift is not None and pair.shift != (0.0, 0.0):
            move = [-self.scale * pair.shift[0], -self.scale * pair.shift[1]]
            moved = [scipy.ndimage.shift(plane.numpy(), move, order=5, mode="nearest") for plane in hr]
            hr = torch.from_numpy(np.stack(moved)).clamp(0.0, 1.0)
        return hr, lr

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs, the next one being decoded while one is in use."""
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.tensors, 0) if self.pairs else None
            for index in range(len(self.pairs)):
                assert upcoming is not None
                current = upcoming.result()
                upcoming = pool.submit(self.tensors, index + 1) if index + 1 < len(self.pairs) else None
                yield current

    def fingerprint(self) -> str:
        """SHA-256 over names and bytes of all files, in order of name."""
        whole = hashlib.sha256()
        for pair in self.pairs:
            for path in (pair.hr, pair.lr):
                whole.update(f"{pair.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return whole.hexdigest()

    def held_out_split(self, seed: int, fraction: float = 0.1) -> tuple[PairSet, PairSet]:
        """Training and held-out pairs: 10 % of them, at least one, chosen by a hash of their names and the seed."""
        count = max(1, round(fraction * len(self.pairs)))
        if count >= len(self.pairs):
            raise DataError(
                f"{len(self.pairs)} pair is too few: one is held out to score the fit; give at least 2 "
                "(one large pair can be cut into parts)"
            )
        ranked = sorted(range(len(self.pairs)), key=lambda i: derive(seed, self.pairs[i].name, 0, 0, "held-out"))
        held = sorted(ranked[:count])
        return self.subset(sorted(ranked[count:])), self.subset(held)


@dataclass(frozen=True)
class Fault:
    """A pair that cannot be used as it is."""

    name: str
    kind: str
    """unreadable, mis-sized, constant, misaligned, mixed colour."""
    detail: str


def _inspect(pair: Pair) -> tuple[Pair, int | None, int, str, Fault | None]:
    """Decode and measure one pair: (pair with its shift, scale, channels, pixel type, fault)."""
    try:
        hr, lr = images.read(pair.hr), images.read(pair.lr)
    except DataError as error:
        return pair, None, 0, "", Fault(pair.name, "unreadable", str(error))
    own = scale_of(hr, lr)
    kind = str(hr.pixels.dtype)
    if own is None:
        sizes = f"HR {hr.width}×{hr.height}, LR {lr.width}×{lr.height}"
        return pair, None, hr.channels, kind, Fault(pair.name, "mis-sized", f"{sizes}: HR is no whole multiple of LR")
    if hr.channels != lr.channels:
        detail = f"HR has {hr.channels} channels, LR {lr.channels}"
        return pair, own, hr.channels, kind, Fault(pair.name, "mixed colour", detail)
    for side, image in (("HR", hr), ("LR", lr)):
        if image.pixels.min() == image.pixels.max():
            return (
                pair,
                own,
                hr.channels,
                kind,
                Fault(pair.name, "constant", f"{side} is {image.pixels.flat[0]} all over"),
            )
    hr_luma = luma(images.to_tensor(hr.crop(lr.height * own, lr.width * own).pixels))
    shift, correlation = measure_shift(hr_luma, luma(images.to_tensor(lr.pixels)), own)
    fault = None
    if correlation < UNRELATED:
        fault = Fault(pair.name, "misaligned", f"the two sides hardly correlate ({max(correlation, 0):.2f})")
    elif max(abs(shift[0]), abs(shift[1])) > MISALIGNED_LR_PX:
        fault = Fault(pair.name, "misaligned", f"LR is shifted by ({shift[0]:+.2f}, {shift[1]:+.2f}) LR px (y, x)")
    return replace(pair, shift=shift), own, hr.channels, kind, fault


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
    with ThreadPoolExecutor(workers) as pool:
        found = []
        for count, result in enumerate(pool.map(_inspect, pairs), 1):
            found.append(result)
            on_pair(count)
    scales = collections.Counter(own for _, own, _, _, _ in found if own is not None)
    if not scales:
        first = found[0][4]
        assert first is not None
        raise DataError(f"no usable pair among {len(pairs)}; {first.name}: {first.detail}")
    agreed = scale if scale is not None else scales.most_common(1)[0][0]
    colours = collections.Counter((channels, kind) for _, _, channels, kind, fault in found if fault is None)
    channels, dtype = colours.most_common(1)[0][0] if colours else (0, "")
    good, faults = [], []
    for pair, own, own_channels, own_dtype, fault in found:
        if own is not None and own != agreed:  # whatever else was found follows from it
            rule = f"not {scale}" if scale is not None else f"while most pairs have {agreed}"
            fault = Fault(pair.name, "mis-sized", f"scale {own}, {rule}")
        if fault is None and own_channels != channels:
            kinds = {1: "gray", 3: "RGB"}
            fault = Fault(
                pair.name,
                "mixed colour",
                f"{kinds.get(own_channels, own_channels)} among {kinds.get(channels, channels)} pairs",
            )
        if fault is None and own_dtype != dtype:
            fault = Fault(pair.name, "mixed type", f"{own_dtype} among {dtype} pairs")
        if fault is not None and fault.detail.startswith("LR is shifted") and register:
            fault = None
        if fault is None:
            good.append(pair)
        else:
            faults.append(fault)
    return PairCheck(good, faults, agreed, channels, dtype)


def open_for_model(
    hr: Path,
    lr: Path,
    scale: int,
    channels: Sequence[int] | Literal["any"],
    data_range: tuple[float, float] | None,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> PairSet:
    """All pairs of two folders, for scoring a model of that scale and colour; DataError names those that do not fit."""
    found, alone = match(hr, lr)
    if alone:
        on_warning(f"{len(alone)} files have no partner and are left out, e.g. {alone[0]}")
    checked = check(found, scale, on_pair=lambda count: on_progress("checking pairs", count, len(found)))
    if checked.faults:
        first = checked.faults[0]
        raise DataError(
            f"{len(checked.faults)} of {len(found)} pairs cannot be scored: {first.name} "
            f"({first.kind}: {first.detail}); remove them (the model's scale is {scale})"
        )
    if channels != "any" and checked.channels not in channels:
        raise DataError(f"the pairs in {hr} have {checked.channels} channels, the model takes {list(channels)}")
    return PairSet(checked.pairs, scale, checked.channels, data_range)

"""Folders of pairs, looked at one by one and opened: for a fit, or for scoring a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from degsynth.data import images
from degsynth.data.folders import ImageSet, look_at
from degsynth.data.images import Image
from degsynth.data.pair_check import PairCheck, check
from degsynth.data.pairs import Cache, PairSet, match
from degsynth.errors import ConfigError, DataError
from degsynth.ops.spectra import SIDE
from degsynth.ops.spread import evenly


def open_for_fit(
    hr: Path,
    lr: Path,
    scale: int | None,
    data_range: tuple[float, float] | Literal["dtype"] | None,
    register: bool,
    skip_bad: bool,
    cache_bytes: int,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> tuple[PairSet, PairCheck]:
    """All usable pairs of two folders, and what was found when they were checked.

    ``scale`` None: inferred; ``register`` corrects shifts; ``skip_bad`` leaves faulty pairs out. DataError names them
    where that is not asked for.
    """
    found, alone = match(hr, lr)
    if alone:
        on_warning(f"{len(alone)} files have no partner and are left out: {_some(alone)}")
    checked = check(found, scale, register, lambda count: on_progress("checking pairs", count, len(found)))
    if checked.faults:
        details = _some([f"{fault.name} ({fault.kind}: {fault.detail})" for fault in checked.faults])
        if not skip_bad or not checked.pairs:
            shifted = any(fault.kind == "misaligned" for fault in checked.faults)
            way = "--register shift corrects shifts, " if shifted else ""
            raise DataError(
                f"{len(checked.faults)} of {len(found)} pairs cannot be used: {details}; "
                f"{way}--bad-pairs skip leaves them out"
            )
        on_warning(f"{len(checked.faults)} of {len(found)} pairs are left out: {details}")
    pairs = PairSet(checked.pairs, checked.scale, checked.channels, None, register, cache_bytes)
    decoded = (image for pair in pairs.pairs for image in pairs.decoded(pair))
    pairs.data_range = find_data_range(checked.dtype, decoded, data_range)
    return pairs, checked


def _some(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def find_data_range(dtype: str, decoded: Iterable[Image], asked: Any) -> tuple[float, float] | None:
    """Black and white: as asked; for 16-bit files the least of 10, 12, 14, 16 bits that holds every value."""
    if asked == "dtype" or dtype == "uint8":
        return None
    if asked is not None:
        black, white = asked
        if not black < white:
            raise ConfigError(f"data range {black:g}:{white:g}: black must be below white")
        return float(black), float(white)
    largest = max(float(image.pixels.max()) for image in decoded)
    if dtype == "uint16":
        return 0.0, float(next(2**bits - 1 for bits in (10, 12, 14, 16) if largest <= 2**bits - 1))
    if largest > 1.0:
        raise DataError(f"float images reach {largest:g}; say what is black and white with --data-range BLACK:WHITE")
    return None


def open_for_model(
    hr: Path,
    lr: Path,
    scale: int,
    channels: Sequence[int] | Literal["any"],
    data_range: tuple[float, float] | None,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
    most: int | None = None,
) -> PairSet:
    """Pairs of two folders, for scoring a model of that scale and colour; DataError names those that do not fit.

    All of them, or ``most``, evenly spread.
    """
    found, alone = match(hr, lr)
    if most is not None:
        found = [found[index] for index in evenly(len(found), most)]
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
    opened = PairSet(checked.pairs, scale, checked.channels, data_range)
    if checked.dtype != "uint8":
        for pair in checked.pairs:
            for path, image in zip((pair.hr, pair.lr), opened.decoded(pair), strict=True):
                try:
                    images.check_range(image.pixels, data_range)
                except DataError as error:
                    raise DataError(f"{path}: {error}") from None
    return opened


def open_folders(
    hr: Path,
    lr: Path,
    scale: int,
    skip_bad: bool,
    cache_bytes: int,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> tuple[ImageSet, ImageSet, list[tuple[str, str]], list[str]]:
    """All usable images of two folders without common scenes; those that are not, with the reason; and notes.

    DataError names the unusable ones where leaving them out is not asked for, and where the sides differ in colour
    or type.
    """
    for inner, outer in ((hr, lr), (lr, hr)):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise ConfigError(f"{inner} is in {outer}, or the same; give HR images and LR images in separate folders")
    cache = Cache(cache_bytes)
    sides, faults = [], []
    asked: tuple[tuple[Path, Literal["HR", "LR"], int], ...] = ((hr, "HR", scale * SIDE), (lr, "LR", SIDE))
    for folder, side, least in asked:
        found, bad = look_at(folder, side, least, cache, functools.partial(on_progress, f"checking {side} images"))
        sides.append(found)
        faults += [(str(folder) if folder.is_file() else f"{folder}/{name}", reason) for name, reason in bad]
    if faults:
        details = _some([f"{name} ({reason})" for name, reason in faults])
        if not skip_bad:
            raise DataError(f"{len(faults)} images cannot be used: {details}; --bad-pairs skip leaves them out")
        on_warning(f"{len(faults)} images are left out: {details}")
    first, second = sides
    for what, a, b in (
        ("colour", first.colour, second.colour),
        ("type", first.dtype, second.dtype),
    ):
        if a != b:
            raise DataError(f"the images in {hr} and {lr} differ in {what}: {a} and {b}; convert one side")
    notes = []
    stems = [{Path(name).stem for name in side.names} for side in sides]
    if len(stems[0] & stems[1]) > len(stems[1]) / 2:
        notes.append(
            "most LR images have the name of an HR image: if they show the same scenes, a paired method (linear, dml, "
            "…) learns much more from them"
        )
    return first, second, faults, notes

"""Opening the two folders of a gap, and saying in one line why they cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from degsynth.config import Interval, OnText
from degsynth.data.cache import Cache
from degsynth.data.folders import ImageSet, inspect_folder
from degsynth.data.ranges import check_range, choose_range
from degsynth.errors import DataError

LEAST_SIDE = 64
"""Smallest side of an image, px: it then has a few patches and windows of spectra."""
FEWEST = 8
"""Smallest number of images of a folder: the floor of the two-sample test divides one folder into four parts."""
CACHE_BYTES = 2**30
"""Memory for decoded images."""
OTHER_RANGE = 3.0
"""Where the largest value of one folder is so many times that of the other, the files have different ranges."""


def open_folders(
    synthetic: Path, real: Path, most: int, asked: Interval | Literal["dtype"] | None, on_warning: OnText
) -> tuple[ImageSet, ImageSet]:
    """Return at most ``most`` images of each folder, evenly spread; DataError where they cannot be compared."""
    cache = Cache(CACHE_BYTES)
    sets = []
    for folder in (synthetic, real):
        images, faults = inspect_folder(folder, "LR", LEAST_SIDE, cache)
        for name, fault in faults:
            on_warning(f"{folder / name}: {fault}; it is left out")
        if len(images) < FEWEST:
            raise DataError(
                f"{folder} has {len(images)} images that can be used, too few to compare",
                f"give at least {FEWEST}, each of at least {LEAST_SIDE}×{LEAST_SIDE} px",
            )
        if len(images) > most:
            on_warning(f"{folder} has {len(images)} images, of which {most} are used; `limit=N` takes more")
        sets.append(images.subset(images.spread(most)))
    first, second = sets
    if (first.channels, first.dtype) != (second.channels, second.dtype):
        kinds = [f"{images.colour} {images.dtype}" for images in sets]
        raise DataError(
            f"{synthetic} has {kinds[0]} images, {real} has {kinds[1]} images",
            "give both in one colour and type, since rounding and colour would make all the difference",
        )
    _set_range(sets, asked)
    return first, second


def _set_range(sets: list[ImageSet], asked: Interval | Literal["dtype"] | None) -> None:
    """Set the data range of both sets; DataError where one exceeds it, or where the two seem to differ in range."""
    if sets[0].dtype == "uint8":
        return
    data_range = choose_range(asked, None)
    largest = []
    for images in sets:
        images.data_range = data_range
        largest.append(0.0)
        for index in range(len(images)):
            pixels = images.decoded(index).pixels
            try:
                check_range(pixels, data_range)
            except DataError as error:
                raise DataError(f"{images.path(index)}: {error}") from None
            largest[-1] = max(largest[-1], float(pixels.max()))
    if asked is None and max(largest) > OTHER_RANGE * min(largest):
        raise DataError(
            f"{sets[0].folder} reaches {largest[0]:g}, {sets[1].folder} reaches {largest[1]:g}: their ranges differ",
            "give both in one range, as `data_range=BLACK:WHITE`; `data_range=dtype` says that they are in one",
        )

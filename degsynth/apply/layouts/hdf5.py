"""One HDF5 file with the datasets ``hr`` and ``lr``, as the loaders of SRCNN and its kin read them.

Arrays have the type of the image files (uint8, uint16 or float32) and the axes N, H, W, C; alpha is left out. Images
whose sizes, channels or types differ cannot be one array: ``hr`` and ``lr`` are then groups with one array (H, W, C)
for every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py

from degsynth.apply.layouts.place import SIDES, Pair, Place
from degsynth.data import images

HOLDS_PNG = False
FILE_NAME = "train.h5"


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write the file; ``names`` are the stems in the order of the arrays."""
    kinds = {(pair.row.hr_size, pair.row.channels, pair.row.dtype) for pair in pairs}
    with place.open(FILE_NAME) as file, h5py.File(file, "w") as store:
        store.attrs["scale"] = place.scale
        store["names"] = [pair.stem for pair in pairs]
        if len(kinds) == 1:
            _write_arrays(store, pairs, place)
        else:
            for pair, arrays in place.each(pairs, lambda pair: _arrays(pair, place)):
                for side, pixels in zip(SIDES, arrays, strict=True):
                    store[f"{side}/{pair.stem}"] = pixels
                place.note(pair, f"hr/{pair.stem}", f"lr/{pair.stem}", file=FILE_NAME)


def _write_arrays(store: Any, pairs: Sequence[Pair], place: Place) -> None:
    """Write images of one kind as two arrays, of which one image is a chunk."""
    row = pairs[0].row
    for side in SIDES:
        shape = (*pairs[0].size(side), row.channels)
        store.create_dataset(side, (len(pairs), *shape), row.dtype, chunks=(1, *shape))
    for index, (pair, arrays) in enumerate(place.each(pairs, lambda pair: _arrays(pair, place))):
        for side, pixels in zip(SIDES, arrays, strict=True):
            store[side][index] = pixels
        place.note(pair, f"hr[{index}]", f"lr[{index}]", file=FILE_NAME)


def _arrays(pair: Pair, place: Place) -> tuple[images.Array, images.Array]:
    return place.pixels(pair, "hr"), place.pixels(pair, "lr")

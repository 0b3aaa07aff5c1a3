"""One HDF5 file with ``x_train`` (HR) and ``y_train`` (LR), as `deepinv.datasets.HDF5Dataset` reads them.

Arrays are float32 with values in [0, 1] and the axes N, C, H, W, because that loader changes neither levels nor axes;
alpha is left out. All images must have the same size and the same channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from degsynth.apply.layouts import hdf5
from degsynth.apply.layouts.place import SIDES, Pair, Place
from degsynth.data import images
from degsynth.errors import DataError

HOLDS_PNG = False
FILE_NAME = "train.h5"
ARRAYS = {"hr": "x_train", "lr": "y_train"}


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write the file; DataError where images differ in size, channels or type."""
    if hdf5.kinds(pairs) > 1:
        raise DataError("its arrays hold images of one size and type, and these differ; `crop=` makes them alike")
    with hdf5.new_store(FILE_NAME, pairs, place) as (store, check):
        for side in SIDES:
            shape = (pairs[0].row.channels, *pairs[0].size(side))
            store.create_dataset(ARRAYS[side], (len(pairs), *shape), np.float32, chunks=(1, *shape))
        for index, (pair, both) in enumerate(place.each(pairs, lambda pair: _tensors(pair, place))):
            check()
            for side, image in zip(SIDES, both, strict=True):
                store[ARRAYS[side]][index] = image
            place.note(pair, *(f"{ARRAYS[side]}[{index}]" for side in SIDES), file=FILE_NAME)


def _tensors(pair: Pair, place: Place) -> tuple[images.Array, images.Array]:
    hr, lr = (images.to_tensor(place.pixels(pair, side)).numpy() for side in SIDES)
    return hr, lr

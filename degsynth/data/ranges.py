"""Black and white: which values of a file stand for 0 and 1."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from degsynth.config import Interval
from degsynth.errors import DataError

Array = NDArray[Any]
WHOLE_16_BITS = Interval(0.0, 65535.0)


def choose_range(asked: Interval | Literal["dtype"] | None, fitted: Interval | None) -> Interval | None:
    """Choose the data range: the one asked for, otherwise that of the fit. None is the whole range of the type."""
    if asked == "dtype":
        return None
    return asked if asked is not None else fitted


def of_bits(data_range: Interval | None, bits: int) -> Interval | None:
    """Return the data range of an image whose samples were packed into ``bits`` bits; 0: they fill their type.

    A range that was chosen is kept. The whole range of the type, however it was given, is that of the bits: 0 … 4095 of
    a file of 12 bits, whose samples are read as uint16 without a change of their values.
    """
    if bits and data_range in (None, WHOLE_16_BITS):
        return Interval(0.0, float(2**bits - 1))
    return data_range


def check_range(pixels: Array, data_range: Interval | None) -> None:
    """Raise DataError where an image has values outside of black and white.

    Integers below black are no fault: they are the noise of a sensor around it, and are kept.
    """
    if pixels.dtype == np.uint8:
        return
    black, white = resolve_range(pixels.dtype, data_range)
    hint = "give black and white as `data_range=BLACK:WHITE`, or `data_range=dtype` for the whole range of the type"
    if float(pixels.max()) > white:
        raise DataError(f"the image reaches {pixels.max():g}, beyond white at {white:g} ({black:g} is black)", hint)
    if pixels.dtype == np.float32 and float(pixels.min()) < black:
        raise DataError(
            f"the image reaches down to {pixels.min():g}, below black at {black:g} ({white:g} is white)", hint
        )


def resolve_range(dtype: np.dtype[Any], data_range: Interval | None) -> Interval:
    """Return black and white in a file's own units.

    For 8-bit files they are 0 and 255; for 16-bit and float files ``data_range``, or the whole range of the type where
    that is None (0 and 1 for float).
    """
    if dtype == np.uint8:
        return Interval(0.0, 255.0)
    if data_range is not None:
        return data_range
    return WHOLE_16_BITS if dtype == np.uint16 else Interval(0.0, 1.0)

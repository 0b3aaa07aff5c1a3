"""Pixels with an ICC profile, converted to sRGB by Little CMS: 8 and 16 bits, and floats, without fewer levels.

The conversion is colorimetric, relative to white. What sRGB has no colour for becomes the nearest that it has in each
channel. Gray stays gray. A profile that moves no colour by more than a level of 8 bits is one of sRGB.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from degsynth.config import Interval
from degsynth.data.carried import Carried
from degsynth.data.images import Image, Picture
from degsynth.data.ranges import WHOLE_16_BITS, check_range, resolve_range
from degsynth.errors import DataError, shortened

Array = NDArray[Any]
RELATIVE_COLORIMETRIC = 1
"""Number of this rendering intent in profiles."""
FINE_GRID, EXACT = 0x0400, 0x0100
"""Flags of Little CMS: whatever is no matrix becomes a table on a fine grid, or nothing becomes a table.

By default it makes a table for 16 bits, which is wrong by up to 19 levels of 8 bits in dark, saturated colours. For 8
bits a matrix stays one.
"""
SAME = 1 / 255
"""A profile that moves colours by at most so much is one of sRGB."""
GRID = 9
"""Number of levels of each colour at which a profile is tried."""
SRGB_CICP = bytes((1, 13, 0, 1))
"""Body of the PNG chunk ``cICP`` that stands for sRGB."""
WAY_OUT = "leave `to_srgb` out, or save it in sRGB by another program"


def converted(picture: Picture, data_range: Interval | None, path: Path) -> tuple[Picture, str]:
    """Return a picture in sRGB, which has no profile, and the name of the profile that it had.

    Where it has no profile, or one of sRGB, it is returned as it is, with an empty name. ``data_range``: black and
    white of its samples. DataError, which names ``path``, where the profile is damaged or is for other colours, and
    where alpha or black stand in the way.
    """
    if not changes(picture.meaning.carried, path):
        return picture, ""
    black, _ = resolve_range(picture.dtype, data_range)
    if black and picture.dtype != np.float32:
        raise DataError(f"{path}: has an ICC profile and black at {black:g}; only black at 0 is converted", WAY_OUT)
    if picture.meaning.premultiplied:
        raise DataError(f"{path}: has an ICC profile, and colours that are multiplied by alpha", WAY_OUT)
    icc = picture.meaning.carried.icc
    return _InSrgb(picture, lambda pixels: _in_srgb(pixels, icc, data_range, path)), name_of(icc)


def changes(carried: Carried, path: Path) -> bool:
    """Tell whether an image with what is carried is not in sRGB already.

    DataError, which names ``path``, where the file says what its colours are in a way that is not understood.
    """
    unusable = next((name for name in carried.left_out if name.startswith("ICC profile")), "")
    if unusable:
        raise DataError(f"{path}: has an unusable {unusable}, and cannot be converted to sRGB", WAY_OUT)
    if any(kind == b"cICP" and body != SRGB_CICP for kind, body in carried.chunks):
        raise DataError(f"{path}: says by cICP what its colours are; only ICC profiles are converted", WAY_OUT)
    try:
        return bool(carried.icc) and not _is_srgb(carried.icc)
    except imagecodecs.CmsError:
        raise DataError(f"{path}: has a damaged ICC profile, and cannot be converted to sRGB", WAY_OUT) from None


def name_of(icc: bytes) -> str:
    """Return the description of a profile; where it has none, that it has none."""
    from PIL import ImageCms  # takes a while

    try:
        text = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
    except (OSError, ImageCms.PyCMSError):
        text = ""
    return shortened(text) if text else "a profile without a name"


class _InSrgb:
    """A picture whose windows are converted as they are read."""

    remade = True

    def __init__(self, picture: Picture, convert: Callable[[Array], Array]) -> None:
        self._picture, self._convert = picture, convert
        self.height, self.width, self.channels = picture.height, picture.width, picture.channels
        self.dtype, self.has_alpha = picture.dtype, picture.has_alpha
        carried = replace(picture.meaning.carried, icc=b"", chunks=())
        self.meaning = replace(picture.meaning, carried=carried)

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:
        image = self._picture.window(top, bottom, left, right)
        colours = image.channels - image.meaning.others
        pixels = image.pixels.copy()
        pixels[..., :colours] = self._convert(image.pixels[..., :colours])
        return replace(image, pixels=pixels, remade=True, meaning=self.meaning)


def _in_srgb(pixels: Array, icc: bytes, data_range: Interval | None, path: Path) -> Array:
    """Convert gray or RGB pixels (H, W, C); DataError as `check_range` for those that are not from black to white."""
    check_range(pixels, data_range)
    try:
        if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and data_range in (None, WHOLE_16_BITS)):
            return _transformed(pixels, icc)
        black, white = resolve_range(pixels.dtype, data_range)
        levels = ((pixels - np.float32(black)) / np.float32(white - black)).astype(np.float32)
        values = _transformed(levels, icc).clip(0.0, 1.0) * np.float32(white - black) + np.float32(black)
        return (values if pixels.dtype == np.float32 else values.round()).astype(pixels.dtype)
    except imagecodecs.CmsError as error:
        raise DataError(f"{path}: its ICC profile cannot be used: {shortened(str(error))}", WAY_OUT) from None


def _transformed(pixels: Array, icc: bytes) -> Array:
    """Convert pixels (H, W, C) from the space of a profile, of whole integers or of floats in [0, 1]."""
    gray = pixels.shape[2] == 1
    values = np.ascontiguousarray(pixels[..., 0] if gray else pixels)
    result: Array = imagecodecs.cms_transform(
        values,
        icc,
        _target(),
        colorspace="gray" if gray else "rgb",
        outcolorspace="rgb",
        intent=RELATIVE_COLORIMETRIC,
        flags=FINE_GRID if pixels.dtype == np.uint8 else EXACT,
    )
    return result[..., 1:2] if gray else result


@lru_cache(1)
def _target() -> bytes:
    profile: bytes = imagecodecs.cms_profile("srgb")
    return profile


@lru_cache(16)
def _is_srgb(icc: bytes) -> bool:
    """Tell whether a profile leaves colours as they are in sRGB; CmsError where it is damaged."""
    steps = np.linspace(0, 65535, GRID).round().astype(np.uint16)
    colours = [steps] if icc[16:20] == b"GRAY" else np.meshgrid(steps, steps, steps)
    grid = np.stack(colours, axis=-1).reshape(1, -1, len(colours))
    moved = np.abs(_transformed(grid, icc).astype(np.float64) - grid).max() / 65535
    return bool(moved <= SAME)

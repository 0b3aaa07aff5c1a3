"""Writing image files: PNG, WebP, BMP, or TIFF strip by strip, without loss, or JPEG; with what is carried along."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from degsynth.data import compression, tiff
from degsynth.data.carried import png_chunks
from degsynth.data.images import TIFF_SUFFIXES, Image, Meaning, Picture
from degsynth.errors import DataError
from degsynth.ops.compression import Compression

Array = NDArray[Any]
PNG_HEADER = 33
"""Bytes of a PNG file before further chunks: its signature and the header chunk."""


@dataclass(frozen=True)
class Size:
    """Size, type and meaning of an image file that is about to be written; its pixels come in bands."""

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    has_alpha: bool = False
    meaning: Meaning = field(default_factory=Meaning)
    compression: Compression | None = None
    """How a JPEG file is compressed."""


def straight(image: Image) -> Image:
    """Return an image of integers whose colours are not multiplied by alpha, as PNG has them."""
    if not image.meaning.premultiplied or image.alpha is None:
        return image
    opaque = np.iinfo(image.dtype).max
    alpha = np.maximum(image.alpha[..., None], 1).astype(np.float64)
    pixels = (image.pixels * (opaque / alpha)).round().clip(0, opaque).astype(image.dtype)
    return replace(image, pixels=pixels, meaning=replace(image.meaning, premultiplied=False))


def encode(image: Image, suffix: str) -> bytes:
    """Return the bytes of a lossless file, ``.png`` or ``.tif``."""
    buffer = io.BytesIO()
    size = Size(image.height, image.width, image.channels, image.dtype, image.has_alpha, image.meaning)
    write(buffer, suffix, size, [image])
    return buffer.getvalue()


def write(file: BinaryIO, suffix: str, size: Size, bands: Iterable[Image]) -> None:
    """Write a file from bands of rows that come from top to bottom: lossless, or a JPEG file by its ``compression``.

    ``suffix`` is ``.png``, ``.tif``, ``.webp`` (RGB of 8 bits, with or without alpha) or ``.bmp`` (RGB of 8 bits), or
    that of a JPEG file (gray or RGB of 8 bits), in any case of letters.
    """
    suffix = suffix.lower()
    if suffix in TIFF_SUFFIXES:
        meaning = size.meaning
        layout = tiff.Layout(
            size.height,
            size.width,
            size.channels - meaning.others,
            meaning.others,
            size.has_alpha,
            meaning.premultiplied,
            size.dtype,
        )
        tiff.write(file, layout, meaning.carried, map(_samples, bands))
        return
    parts = [_samples(band) for band in bands]
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if size.compression is not None:
        file.write(compression.encode(samples, size.compression, size.meaning.carried))
        return
    if suffix == ".webp":
        icc = size.meaning.carried.icc
        # `exact` keeps the colours that alpha hides.
        PillowImage.fromarray(samples).save(file, "WEBP", lossless=True, exact=True, icc_profile=icc or None)
    elif suffix == ".bmp":
        file.write(_by_opencv(suffix, samples))
    else:
        content = _png(samples)
        file.write(content[:PNG_HEADER])
        file.write(png_chunks(size.meaning.carried))
        file.write(content[PNG_HEADER:])


def _png(samples: Array) -> memoryview:
    """Return the bytes of a PNG file of samples (H, W, 1 to 4) of 8 or 16 bits."""
    if samples.shape[2] == 2:  # OpenCV does not write gray with alpha
        return memoryview(imagecodecs.png_encode(np.ascontiguousarray(samples)))
    return _by_opencv(".png", samples)


def _by_opencv(suffix: str, samples: Array) -> memoryview:
    """Return the bytes of a file of samples (H, W, C): gray, RGB, or RGB and alpha."""
    if samples.shape[2] > 1:
        samples = cv2.cvtColor(samples, cv2.COLOR_RGB2BGR if samples.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, encoded = cv2.imencode(suffix, samples)
    if not done:
        raise DataError(f"cannot encode {samples.shape} {samples.dtype} as {suffix[1:].upper()}")
    return encoded.data


def _samples(image: Image) -> Array:
    """Join pixels and alpha in one array."""
    return image.pixels if image.alpha is None else np.concatenate([image.pixels, image.alpha[..., None]], axis=2)


def bands(picture: Picture, height: int, width: int, most_bytes: int = 2**24) -> Iterator[Image]:
    """Yield the top left part of a picture in bands of rows, each of about ``most_bytes`` bytes at most."""
    row = width * (picture.channels + picture.has_alpha) * picture.dtype.itemsize
    rows = max(1, most_bytes // row)
    for top in range(0, height, rows):
        yield picture.window(top, min(top + rows, height), 0, width)

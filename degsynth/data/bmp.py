"""BMP files: palettes and run lengths by Pillow; 16, 24 and 32 bits, with any masks, by NumPy."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin

from degsynth.data.headers import Header
from degsynth.errors import DataError

Array = NDArray[Any]
RGB, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS = 0, 1, 2, 3, 6
RLE_PIXELS_PER_BYTE = 256
"""Two bytes of run lengths stand for 255 px at most."""
HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
MASKS = {16: (0x7C00, 0x3E0, 0x1F), 32: (0xFF0000, 0xFF00, 0xFF)}
"""Bits of red, green and blue where a file does not give them."""


@dataclass(frozen=True)
class Bitmap:
    """The headers of a BMP file."""

    header: Header
    offset: int
    """Where the pixels begin."""
    bits: int
    compression: int
    top_down: bool
    masks: tuple[int, ...]
    """Bits of red, green, blue, and of alpha where there is alpha; empty for up to 24 bits."""


def read_bitmap(content: bytes, path: Path) -> Bitmap:
    """Read the headers; DataError names a variant that cannot be read."""

    def number(at: int, count: int = 4, signed: bool = False) -> int:
        return int.from_bytes(content[at : at + count], "little", signed=signed)

    size = number(14)
    if len(content) < 14 + max(12, min(size, 124)):
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged")
    if size not in HEADER_SIZES:
        raise DataError(f"{path}: a BMP with a header of {size} bytes", "save it as PNG")
    if size == 12:  # OS/2 1.x
        width, height, bits, compression = number(18, 2), number(20, 2), number(24, 2), RGB
    else:
        width, height, bits, compression = number(18, signed=True), number(22, signed=True), number(28, 2), number(30)
    usable = {RGB: (1, 4, 8, 16, 24, 32), RLE8: (8,), RLE4: (4,), BITFIELDS: (16, 32), ALPHA_BITFIELDS: (16, 32)}
    if size == 64 and compression > RLE4:  # in OS/2 2.x these numbers are Huffman coding and 24-bit run lengths
        usable = {}
    if bits not in usable.get(compression, ()):
        raise DataError(f"{path}: a BMP of {bits} bits with compression {compression}", "save it as PNG")
    top_down, height = height < 0, abs(height)
    run_lengths = compression in (RLE8, RLE4)
    row = -(-width * bits // 32) * 4
    least = height * max(0, width) // RLE_PIXELS_PER_BYTE if run_lengths else number(10) + row * height
    masks = _masks(content, size, bits, compression, path)
    channels = (3 + (len(masks) == 4),) if bits > 8 else (3, 1)
    header = Header("BMP", height, max(0, width), channels, 8, least)
    return Bitmap(header, number(10), bits, compression, top_down, masks)


def _masks(content: bytes, size: int, bits: int, compression: int, path: Path) -> tuple[int, ...]:
    """Return the bits of each channel of 16- and 32-bit pixels."""
    if bits not in MASKS:
        return ()
    if compression == RGB:
        return MASKS[bits]
    values = [int.from_bytes(content[at : at + 4], "little") for at in range(54, 70, 4)]
    has_alpha = (size >= 56 or compression == ALPHA_BITFIELDS) and values[3] > 0
    masks = tuple(values[: 3 + has_alpha])
    for mask in masks:
        lowest = mask & -mask
        run = mask // lowest if lowest else 0
        if not 0 < run < 256 or run & (run + 1) or mask >> bits:
            raise DataError(f"{path}: a BMP with the channel mask {mask:#x}", "save it as PNG")
    return masks


def decode(content: bytes, bitmap: Bitmap, path: Path) -> Array:
    """Return the pixels (H, W, C)."""
    if bitmap.masks:
        return _decode_masks(content, bitmap)
    if bitmap.bits == 24:
        height, width = bitmap.header.height, bitmap.header.width
        row = -(-width * 24 // 32) * 4
        rows = np.frombuffer(content, np.uint8, height * row, bitmap.offset).reshape(height, row)[:, : 3 * width]
        rows = rows if bitmap.top_down else rows[::-1]
        return cv2.cvtColor(np.ascontiguousarray(rows).reshape(height, width, 3), cv2.COLOR_BGR2RGB)
    picture = BmpImagePlugin.BmpImageFile(io.BytesIO(content))  # Image.open has a limit on pixels of its own
    if bitmap.compression != RGB and bitmap.top_down:
        raise DataError(f"{path}: a BMP of run lengths from top to bottom", "save it as PNG")
    picture.load()
    if picture.mode == "P":
        colours = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        pixels = np.asarray(picture.convert("RGB"))
        return pixels[..., :1] if (colours == colours[:, :1]).all() else pixels
    pixels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _decode_masks(content: bytes, bitmap: Bitmap) -> Array:
    """Return RGB or RGBA of pixels of 16 or 32 bits, each channel spread over 0–255."""
    height, width = bitmap.header.height, bitmap.header.width
    row = -(-width * bitmap.bits // 32) * 4
    stored = np.frombuffer(
        content, "<u2" if bitmap.bits == 16 else "<u4", height * row * 8 // bitmap.bits, bitmap.offset
    )
    stored = stored.reshape(height, -1)[:, :width]
    pixels = np.empty((height, width, len(bitmap.masks)), np.uint8)
    for channel, mask in enumerate(bitmap.masks):
        shift, most = (mask & -mask).bit_length() - 1, mask // (mask & -mask)
        table = (np.arange(most + 1) * 255 + most // 2) // most
        pixels[..., channel] = table.astype(np.uint8)[(stored & mask) >> shift]
    return pixels if bitmap.top_down else np.ascontiguousarray(pixels[::-1])

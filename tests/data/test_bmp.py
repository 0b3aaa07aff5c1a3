"""Every variant of BMP, made by hand: equal to Pillow, or refused by its name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.data.formats import COLOURS, PHOTO, by_pillow, read, refused, saved

RNG = np.random.default_rng(17)
NOISE = RNG.integers(0, 256, (13, 19, 3), np.uint8)


def bmp(
    bits: int,
    rows: bytes,
    *,
    size: int = 40,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
    height: int = 13,
    width: int = 19,
) -> bytes:
    if size == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(rows), 2835, 2835, 0, 0)
        head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(size, b"\0")
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + head + palette + rows


def padded(rows: np.ndarray[Any, Any]) -> bytes:
    return b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows[::-1])


INDEX = RNG.integers(0, 16, (13, 19), np.uint8)
WORDS = RNG.integers(0, 2**16, (13, 19), np.uint16)
LONGS = RNG.integers(0, 2**32, (13, 19), np.uint32)


def colours(count: int, entry: int = 4) -> bytes:
    return b"".join(bytes(colour[::-1]) + bytes(entry - 3) for colour in COLOURS[:count])


def run_lengths() -> bytes:
    """RLE8 with runs, literals and ends of lines."""
    rows = b""
    for row in INDEX[::-1]:
        rows += b"".join(bytes([1, value]) for value in row[:4]) + bytes([0, 15, *row[4:], 0]) + b"\0\0"
    return rows[:-2] + b"\0\1"


def spread(words: np.ndarray[Any, Any], *masks: int) -> np.ndarray[Any, Any]:
    planes = [((words & mask) // (mask & -mask)) * 255.0 / (mask // (mask & -mask)) for mask in masks]
    return np.floor(np.stack(planes, 2) + 0.5).astype(np.uint8)


BGR = padded(NOISE[..., ::-1].reshape(13, -1))
NIBBLES = np.pad(INDEX, ((0, 0), (0, 1)))
FOUR = padded(NIBBLES[:, ::2] << 4 | NIBBLES[:, 1::2])
BITS = padded(np.packbits(INDEX > 7, axis=1))
BMPS: dict[str, tuple[bytes, np.ndarray[Any, Any]]] = {
    "24 bits": (bmp(24, BGR), NOISE),
    "24 bits, top down": (bmp(24, BGR, height=-13), NOISE[::-1]),
    "24 bits, OS/2 1": (bmp(24, BGR, size=12), NOISE),
    "24 bits, OS/2 2": (bmp(24, BGR, size=64), NOISE),
    "24 bits, V5": (bmp(24, BGR, size=124), NOISE),
    "8 bits": (bmp(8, padded(INDEX), palette=colours(256)), COLOURS[INDEX]),
    "8 bits, OS/2 1": (bmp(8, padded(INDEX), size=12, palette=colours(256, 3)), COLOURS[INDEX]),
    "8 bits, RLE": (bmp(8, run_lengths(), compression=1, palette=colours(256)), COLOURS[INDEX]),
    "4 bits": (bmp(4, FOUR, palette=colours(16)), COLOURS[INDEX]),
    "1 bit": (bmp(1, BITS, palette=colours(2)), COLOURS[(INDEX > 7).astype(int)]),
    "16 bits": (bmp(16, padded(WORDS)), spread(WORDS, 0x7C00, 0x3E0, 0x1F)),
    "16 bits, 565": (
        bmp(16, padded(WORDS), size=56, compression=3, masks=(0xF800, 0x7E0, 0x1F, 0)),
        spread(WORDS, 0xF800, 0x7E0, 0x1F),
    ),
    "16 bits, 444": (
        bmp(16, padded(WORDS), size=52, compression=3, masks=(0xF00, 0xF0, 0xF)),
        spread(WORDS, 0xF00, 0xF0, 0xF),
    ),
    "32 bits": (bmp(32, padded(LONGS)), spread(LONGS, 0xFF0000, 0xFF00, 0xFF)),
    "32 bits, masks": (
        bmp(32, padded(LONGS), size=52, compression=3, masks=(0xFF, 0xFF00, 0xFF0000)),
        spread(LONGS, 0xFF, 0xFF00, 0xFF0000),
    ),
    "32 bits, alpha": (
        bmp(32, padded(LONGS), size=124, compression=3, masks=(0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
        spread(LONGS, 0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    ),
}


@pytest.mark.parametrize("variant", BMPS)
def test_bmp(variant: str, tmp_path: Path) -> None:
    content, expected = BMPS[variant]
    found = read(content, "a.bmp", tmp_path)
    assert np.array_equal(found, expected)
    if variant not in ("16 bits, 444", "32 bits, masks"):  # which Pillow does not read
        assert np.abs(by_pillow(content).astype(int) - found).max() <= 1  # Pillow truncates 5 and 6 bits


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_of_pillow(mode: str, tmp_path: Path) -> None:
    content = saved(Pillow.fromarray(PHOTO).convert(mode), "BMP")
    assert np.array_equal(read(content, "a.bmp", tmp_path), by_pillow(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bmp(16, padded(WORDS), size=52, compression=3, masks=(0x5, 0x7E0, 0x1F)), "channel mask 0x5"),
        (bmp(32, padded(LONGS), size=52, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF)), "channel mask"),
        (bmp(2, padded(INDEX), palette=colours(4)), "BMP of 2 bits"),
        (bmp(24, saved(PHOTO, "JPEG"), compression=4), "compression 4"),
        (bmp(24, BGR, size=64, compression=4), "compression 4"),
        (bmp(24, BGR, size=16), "header of 16 bytes"),
        (bmp(24, BGR)[:-30], "needs at least"),
        (bmp(8, run_lengths()[:-30], compression=1, palette=colours(256)), "not enough image data"),
        (bmp(24, BGR, width=-19), "is damaged"),
        (bmp(8, b"\0\1", compression=1, palette=colours(256), height=30000, width=30000), "needs at least"),
        (b"BM" + bytes(20), "truncated"),
    ],
)
def test_bmp_that_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.bmp", words, tmp_path)

"""What the tests of image formats share: pictures, encoding and decoding by Pillow, and how a refusal is checked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from degsynth.data import images
from degsynth.errors import DataError

PHOTO = cv2.GaussianBlur(np.random.default_rng(17).integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 2)
COLOURS = np.random.default_rng(18).integers(0, 256, (256, 3), np.uint8)


def saved(array: np.ndarray[Any, Any] | Pillow.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)).save(buffer, kind, **how)
    return buffer.getvalue()


def by_pillow(content: bytes) -> np.ndarray[Any, Any]:
    picture = Pillow.open(io.BytesIO(content))
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("L", "RGB") and "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.mode == "RGB" else "LA")
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array


def read(content: bytes, name: str, folder: Path, **how: Any) -> np.ndarray[Any, Any]:
    (folder / name).write_bytes(content)
    image = images.read(folder / name, **how)
    return image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])


def refused(content: bytes, name: str, words: str, folder: Path, **how: Any) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(content, name, folder, **how)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def spoilt(content: bytes, count: int, seed: int) -> list[bytes]:
    """Return so many copies, each cut off, overwritten, shortened or with flipped bits somewhere."""
    rng = np.random.default_rng(seed)
    copies = []
    for index in range(count):
        at, more = int(rng.integers(len(content))), int(rng.integers(1, 60))
        copy = bytearray(content)
        if index % 4 == 0:
            del copy[at:]
        elif index % 4 == 1:
            copy[at : at + more] = rng.integers(0, 256, more, np.uint8).tobytes()
        elif index % 4 == 2:
            del copy[at : at + more]
        else:
            for place in rng.integers(0, len(copy), 4):
                copy[place] ^= 1 << rng.integers(0, 8)
        copies.append(bytes(copy))
    return copies

"""What EXIF blocks of image files tell: which way up a photograph is, and which camera took it."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import tifffile

from degsynth.data.tiff import ORIENTATION_TAG, Array

MODEL_TAG, EXIF_TAG = 272, 34665


def orientation(exif: bytes) -> int:
    """The orientation (1–8) in an EXIF block, which is itself a small TIFF; 1 where there is none or it is damaged."""
    try:
        with tifffile.TiffFile(io.BytesIO(exif.removeprefix(b"Exif\x00\x00"))) as block:
            tag = block.pages[0].tags.get(ORIENTATION_TAG)  # type: ignore[union-attr]
            return int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1
    except Exception:  # the block is a side matter: whatever is wrong with it must not lose the image
        return 1


def camera(path: Path) -> tuple[str, int]:
    """Model and ISO sensitivity that EXIF tells; empty and 0 where it does not."""
    try:
        content = path.read_bytes()
        if content[:2] in (b"II", b"MM"):
            return _camera(content)
        _, kinds, blobs = cv2.imdecodeWithMetadata(
            np.frombuffer(content, np.uint8), flags=cv2.IMREAD_REDUCED_GRAYSCALE_8
        )
        for kind, blob in zip(kinds, blobs, strict=True):
            if kind == cv2.IMAGE_METADATA_EXIF:
                return _camera(np.asarray(blob).tobytes().removeprefix(b"Exif\x00\x00"))
    except Exception:  # as above
        return "", 0
    return "", 0


def _camera(exif: bytes) -> tuple[str, int]:
    with tifffile.TiffFile(io.BytesIO(exif)) as block:
        tags = block.pages[0].tags  # type: ignore[union-attr]
        model, more = tags.get(MODEL_TAG), tags.get(EXIF_TAG)
        found = {} if more is None else more.value
        iso = found.get("ISOSpeedRatings", found.get("PhotographicSensitivity", 0))
        return "" if model is None else str(model.value).strip(), int(iso[0] if isinstance(iso, tuple) else iso)


def upright(array: Array, orientation: int) -> Array:
    """Undo an EXIF orientation: 5–8 are transposed, then rows and columns are flipped where they were stored so."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])

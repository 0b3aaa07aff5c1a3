"""EXIF blocks of image files, read by Pillow, and XMP: which way up a photograph is, and which camera took it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from degsynth.data.regular import open_regular

_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([0-9])\b")

# What Pillow warns of in a damaged block is nothing that a user can change: what can be read of it is used.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def orientation(block: bytes, xmp: bytes = b"") -> int:
    """Return the orientation (1–8) of an EXIF block, or that of XMP where EXIF says nothing of it.

    1 where both say nothing, or no number from 1 to 8. Pillow's `ImageOps.exif_transpose` has the same order.
    """
    value: object = None
    if block:
        try:
            exif = Image.Exif()
            exif.load(block)
            value = exif.get(ExifTags.Base.Orientation)
        except Exception:  # EXIF is a side matter: nothing that is wrong with it may lose the image
            value = None
    return valid_orientation(value, xmp)


def valid_orientation(value: object, xmp: bytes = b"") -> int:
    """Return an orientation that was found as 1–8; where ``value`` is None, that of XMP, or 1."""
    if value is None and (match := _XMP_ORIENTATION.search(xmp)):
        value = int(match[1])
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def camera(path: Path) -> tuple[str, int]:
    """Return the camera model and the ISO sensitivity from a file's EXIF; ``""`` and 0 where it does not have them."""
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow takes large images for an attack, but only headers are read here
            exif = _read(file)
            model = exif.get(ExifTags.Base.Model, "")
            iso = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ISOSpeedRatings, 0)
        # Cameras fill the field up with null bytes.
        return str(model).split("\0")[0].strip(), int(iso[0] if isinstance(iso, tuple) else iso)
    except Exception:  # as above
        return "", 0


def _read(file: BinaryIO) -> Image.Exif:
    """Read the EXIF of an image file, mostly from its header alone."""
    head = file.read(4)
    file.seek(0)
    if head in (b"II*\0", b"MM\0*"):  # Pillow opens a TIFF only if it knows the type of its pixels, e.g. no float RGB
        exif = Image.Exif()
        exif.load_from_fp(file)
        return exif
    return Image.open(file).getexif()


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array (H, W, …) upright: orientations 5–8 are transposed, then rows and columns are flipped as needed."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])

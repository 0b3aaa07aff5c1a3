"""EXIF blocks of image files, read by Pillow: which way up a photograph is, and which camera took it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from degsynth.data.regular import open_regular

# What Pillow warns of in a damaged block is nothing that a user can change: what can be read of it is used.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def orientation(block: bytes) -> int:
    """Return the orientation (1–8) in an EXIF block; 1 where it has none or is damaged."""
    try:
        exif = Image.Exif()
        exif.load(block)
        value = int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF is a side matter: nothing that is wrong with it may lose the image
        return 1
    return value if 1 <= value <= 8 else 1


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

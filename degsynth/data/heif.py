"""HEIC and HEIF files, by the optional library pillow-heif (libheif).

Of several pictures the one that the file calls its main picture is decoded; libheif turns it upright, so the
orientation in EXIF, which the format says is no more than a remark, is not applied again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degsynth.data.carried import Carried, profile
from degsynth.data.headers import Header
from degsynth.errors import DataError

Array = NDArray[Any]
SUFFIXES = {".heic", ".heif"}
BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
"""What a file begins with, after its first 8 bytes; AVIF has others."""
MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@dataclass(frozen=True)
class Opened:
    """A file whose header was read."""

    header: Header
    picture: Any
    carried: Carried


def is_heif(head: bytes) -> bool:
    """Tell whether a file begins as HEIC and HEIF files do."""
    return head[4:8] == b"ftyp" and head[8:12] in BRANDS


def check_installed(path: Path) -> None:
    """Raise DataError, which names ``path`` and the way out, where the library is missing."""
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path}: HEIC and HEIF files are read by pillow-heif, which is not installed",
            'install it: pip install "degsynth[heic]", or save the photograph as PNG',
        ) from None


def opened(content: bytes, path: Path) -> Opened:
    """Read the header of a file; DataError where it is damaged or has more than 8 bits a sample."""
    check_installed(path)
    import pillow_heif

    try:
        file = pillow_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=False)
        picture = file[file.primary_index]
        (width, height), mode = picture.size, picture.mode
        info: dict[str, Any] = dict(picture.info)
    except (ValueError, RuntimeError, EOFError, SyntaxError, OSError, KeyError, IndexError) as error:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged ({str(error)[:80]})") from None
    bits = info.get("bit_depth", 8)
    if mode not in MODES or bits != 8:
        raise DataError(f"{path}: a HEIC of {bits} bits a sample ({mode})", "save it as TIFF or PNG")
    kept, left_out = profile(info.get("icc_profile") or b"", 3 if MODES[mode] > 2 else 1)
    left_out += ("EXIF",) * bool(info.get("exif")) + ("XMP",) * bool(info.get("xmp"))
    return Opened(Header("HEIC", height, width, (MODES[mode],), 8), picture, Carried(icc=kept, left_out=left_out))


def decode(file: Opened) -> Array:
    """Return the samples (H, W, C), or (H, W) of gray."""
    return np.ascontiguousarray(np.asarray(file.picture))

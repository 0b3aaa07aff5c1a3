"""Image files as arrays and tensors, with their type, gray, colour and alpha kept.

PNG, JPEG, WebP and BMP go through OpenCV, TIFF through tifffile. In memory an image is RGB, height × width ×
channels, of the file's own type (8 bit, 16 bit, float32). The path never reaches OpenCV, so any Unicode name works.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import imagecodecs
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.errors import DataError

TIFF_SUFFIXES = {".tif", ".tiff"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"} | TIFF_SUFFIXES
"""File names that end so are taken for images (any case)."""

# What OpenCV and tifffile have to say of a bad file is in our error.
if hasattr(cv2, "setLogLevel"):  # OpenCV 4
    cv2.setLogLevel(0)
else:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

logging.getLogger("tifffile").setLevel(logging.CRITICAL)

Array = NDArray[Any]
Range = tuple[float, float]
"""Black and white, in a file's own units."""
ORIENTATION_TAG, MODEL_TAG, EXIF_TAG = 0x0112, 272, 34665


@dataclass(frozen=True)
class Image:
    """A decoded file."""

    pixels: Array
    """(H, W, C) uint8, uint16 or float32; C is 1 for gray, 3 for RGB."""
    alpha: Array | None = None
    """(H, W), same type."""
    rotated: bool = False
    """Whether an EXIF orientation was applied: the file's own pixels lie otherwise."""

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 gray, 3 RGB; alpha does not count."""
        return int(self.pixels.shape[2])

    def crop(self, height: int, width: int) -> Image:
        """The top left part."""
        alpha = None if self.alpha is None else self.alpha[:height, :width]
        return Image(self.pixels[:height, :width], alpha, self.rotated)


def find(folder: Path) -> tuple[list[str], list[str]]:
    """Image files below ``folder``, and what else is there: sorted POSIX paths relative to it, hidden ones passed over.

    What else is there are files with other endings, names that cannot be printed, and linked folders, which are not
    followed.

    ``folder`` may be one image file. Raises DataError where it is missing or holds no image.
    """
    if folder.is_file():
        return [folder.name], []
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder or image")
    images: list[str] = []
    others: list[str] = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        name = relative.as_posix()
        usable = path.suffix.lower() in SUFFIXES and not path.is_dir() and name.isprintable()
        (images if usable else others).append(name if name.isprintable() else ascii(name))
    if not images:
        kinds = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise DataError(f"{folder} holds no image ({len(others)} other files; images are {kinds})")
    return sorted(images), sorted(others)


def read(path: Path) -> Image:
    """Decode an image file; DataError names the file and what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return decode(content, path)


def decode(content: bytes, path: Path) -> Image:
    """Decode the bytes of an image file; ``path`` tells the format and serves in errors."""
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes)")
    image = _decode_tiff(content, path) if path.suffix.lower() in TIFF_SUFFIXES else _decode_codec(content, path)
    if image.pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(f"{path}: pixels of type {image.pixels.dtype}; 8 and 16 bit and float32 can be used")
    if image.pixels.dtype == np.float32 and not np.isfinite(image.pixels).all():
        raise DataError(f"{path}: holds values that are not finite numbers")
    return image


def _decode_codec(content: bytes, path: Path) -> Image:
    try:
        pixels, kinds, blobs = cv2.imdecodeWithMetadata(np.frombuffer(content, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels, kinds, blobs = None, (), ()
    if pixels is None:
        raise DataError(f"{path}: cannot be decoded; it is truncated, damaged or no image")
    gray = pixels.ndim == 2 or (content[:4] == b"\x89PNG" and content[25] == 4)  # OpenCV turns gray + alpha into BGRA
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    pixels = pixels[..., :1] if gray else pixels[..., 2::-1]
    orientation = 1
    for kind, blob in zip(kinds, blobs, strict=True):
        if kind == cv2.IMAGE_METADATA_EXIF:
            orientation = _exif_orientation(np.asarray(blob).tobytes())
    if orientation == 1:
        return Image(np.ascontiguousarray(pixels), alpha)
    return Image(
        np.ascontiguousarray(_upright(pixels, orientation)),
        None if alpha is None else np.ascontiguousarray(_upright(alpha, orientation)),
        rotated=True,
    )


def _exif_orientation(exif: bytes) -> int:
    """The orientation (1–8) in an EXIF block, which is itself a small TIFF; 1 where there is none or it is damaged."""
    try:
        with tifffile.TiffFile(io.BytesIO(exif.removeprefix(b"Exif\x00\x00"))) as tiff:
            tag = tiff.pages[0].tags.get(ORIENTATION_TAG)  # type: ignore[union-attr]
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
    with tifffile.TiffFile(io.BytesIO(exif)) as tiff:
        tags = tiff.pages[0].tags  # type: ignore[union-attr]
        model, more = tags.get(MODEL_TAG), tags.get(EXIF_TAG)
        found = {} if more is None else more.value
        iso = found.get("ISOSpeedRatings", found.get("PhotographicSensitivity", 0))
        return "" if model is None else str(model.value).strip(), int(iso[0] if isinstance(iso, tuple) else iso)


def _upright(array: Array, orientation: int) -> Array:
    """Undo an EXIF orientation: 5–8 are transposed, then rows and columns are flipped where they were stored so."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return array[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _decode_tiff(content: bytes, path: Path) -> Image:
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            count = len(tiff.pages)
            if count != 1:
                raise DataError(f"{path}: a TIFF of {count} pages; split it into one file a page")
            page = cast(tifffile.TiffPage, tiff.pages[0])
            pixels = page.asarray()
            photometric, planar, extra = page.photometric, page.planarconfig, page.extrasamples
            samples = page.samplesperpixel
            tag = page.tags.get(ORIENTATION_TAG)
            orientation = int(tag.value) if tag is not None else 1
    except DataError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be decoded; it is truncated, damaged or no TIFF ({reason[:80]})") from None
    if photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR):
        raise DataError(
            f"{path}: a TIFF of photometric {getattr(photometric, 'name', photometric)}; save it as gray or RGB"
        )
    if pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    if samples == 1:
        pixels = pixels.reshape((*pixels.shape[-2:], 1))
    elif planar == tifffile.PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    alpha = None
    if extra and extra[-1] in (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA):
        pixels, alpha = pixels[..., :-1], np.ascontiguousarray(pixels[..., -1])
    if orientation != 1:
        pixels, alpha = _upright(pixels, orientation), None if alpha is None else _upright(alpha, orientation)
    return Image(np.ascontiguousarray(pixels), alpha, rotated=orientation != 1)


def choose_range(asked: Range | Literal["dtype"] | None, fitted: Range | None) -> Range | None:
    """The range to use: as asked for, else that of the fit; None is the type's own."""
    if asked == "dtype":
        return None
    return asked if asked is not None else fitted


def check_range(pixels: Array, data_range: Range | None) -> None:
    """DataError where an image reaches beyond the white of the range that its model was fitted to."""
    black, white = resolve_range(pixels.dtype, data_range)
    if float(pixels.max()) > white:
        raise DataError(
            f"the image reaches {pixels.max():g}, beyond white at {white:g} ({black:g} is black); "
            "say what is black and white with --data-range, or dtype for all of the type's range"
        )


def resolve_range(dtype: np.dtype[Any], data_range: Range | None) -> Range:
    """Black and white in a file's own units: as given for 16-bit and float files, else the type's (float: 0, 1)."""
    if dtype == np.uint8:
        return 0.0, 255.0
    if data_range is not None:
        return data_range
    return (0.0, 65535.0) if dtype == np.uint16 else (0.0, 1.0)


def to_tensor(pixels: Array, data_range: Range | None = None) -> Tensor:
    """Pixels (H, W, C) → float32 (C, H, W) in [0, 1]; what lies outside the range is clipped."""
    black, white = resolve_range(pixels.dtype, data_range)
    tensor = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1)).contiguous()
    if (black, white) != (0.0, 1.0):
        tensor = (tensor - black) / (white - black) if black else tensor / white
    return tensor if pixels.dtype == np.uint8 else tensor.clamp(0.0, 1.0)


def quantise(image: Tensor, dtype: np.dtype[Any], data_range: Range | None = None) -> Array:
    """Float (C, H, W) → pixels (H, W, C) of ``dtype``: clamped, then rounded to nearest, once."""
    black, white = resolve_range(dtype, data_range)
    values = image.clamp(0.0, 1.0) * (white - black) + black
    if dtype != np.float32:
        values = values.round()
    return np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy().astype(dtype))


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of a lossless file, ``.png`` or ``.tif``."""
    pixels = image.pixels
    if image.alpha is not None:
        pixels = np.concatenate([pixels, image.alpha[..., None]], axis=2)
    if suffix in TIFF_SUFFIXES:
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            pixels[..., 0] if pixels.shape[2] == 1 else pixels,
            photometric="rgb" if image.channels == 3 else "minisblack",
            planarconfig=None if pixels.shape[2] == 1 else "contig",
            extrasamples=None if image.alpha is None else ["unassalpha"],
            compression="adobe_deflate",
            metadata=None,
            software="",
        )
        return buffer.getvalue()
    if pixels.shape[2] == 2:
        return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))  # gray + alpha, which OpenCV does not write
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    done, content = cv2.imencode(".png", pixels[..., order])
    if not done:
        raise DataError(f"cannot encode {pixels.shape} {pixels.dtype} as PNG")
    return content.tobytes()

"""Image files as arrays and tensors, with their type, gray, colour and alpha kept.

Most PNG go through libpng, other formats through OpenCV, TIFF through tifffile (`data.tiff`), which alone can read and
write a part of a file at a time. In memory an image is RGB, height × width × channels, of the file's own type (8 bit,
16 bit, float32). The path never reaches a codec, so any Unicode name works.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import cv2
import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.data import exif, tiff
from degsynth.errors import DataError

TIFF_SUFFIXES = {".tif", ".tiff"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"} | TIFF_SUFFIXES
"""File names that end so are taken for images (any case)."""

# What OpenCV has to say of a bad file is in our error.
if hasattr(cv2, "setLogLevel"):  # OpenCV 4
    cv2.setLogLevel(0)
else:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Array = NDArray[Any]
Range = tuple[float, float]
"""Black and white, in a file's own units."""


class Picture(Protocol):
    """An image of which parts can be had: all of it in memory (`Image`), or decoded on demand (`data.tiff`)."""

    @property
    def rotated(self) -> bool:
        """Whether an EXIF orientation was applied: the file's own pixels lie otherwise."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def channels(self) -> int:
        """1 gray, 3 RGB; alpha does not count."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of pixels and alpha: uint8, uint16 or float32."""

    @property
    def has_alpha(self) -> bool:
        """Whether windows have alpha."""

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:
        """Rows ``top`` … ``bottom`` − 1, columns ``left`` … ``right`` − 1."""


@dataclass(frozen=True)
class Image:
    """A decoded file, or a part of it."""

    pixels: Array
    """(H, W, C) uint8, uint16 or float32; C is 1 for gray, 3 for RGB."""
    alpha: Array | None = None
    """(H, W), same type."""
    rotated: bool = False
    """Whether an EXIF orientation was applied: the file's own pixels lie otherwise."""

    @property
    def height(self) -> int:  # noqa: D102
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:  # noqa: D102
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:  # noqa: D102
        return int(self.pixels.shape[2])

    @property
    def dtype(self) -> np.dtype[Any]:  # noqa: D102
        return self.pixels.dtype

    @property
    def has_alpha(self) -> bool:  # noqa: D102
        return self.alpha is not None

    def cropped(self, height: int, width: int) -> Image:
        """The top left part."""
        return self.window(0, height, 0, width)

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:  # noqa: D102
        part = slice(top, bottom), slice(left, right)
        return Image(self.pixels[part], None if self.alpha is None else self.alpha[part], self.rotated)


@dataclass(frozen=True)
class Size:
    """What an image file is like whose pixels come later."""

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    has_alpha: bool = False


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


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Picture]:
    """An image file to be read part by part where its format allows that; DataError says what is wrong with it."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        yield read(path)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    with file:
        yield _tiff(file, path)


def read(path: Path) -> Image:
    """Decode an image file; DataError names the file and what is wrong with it."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        with opened(path) as picture:
            return picture.window(0, picture.height, 0, picture.width)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes)")
    return _decode(content, path)


def _tiff(file: BinaryIO, path: Path) -> Picture:
    """A TIFF: as it lies, or where it has to be turned, all of it at once."""
    page = tiff.Page(file, path)
    picture = _TiffPicture(page)
    if page.orientation == 1:
        return picture
    return _turned(picture.window(0, picture.height, 0, picture.width), page.orientation)


class _TiffPicture:
    """A TIFF as a `Picture`."""

    rotated = False

    def __init__(self, page: tiff.Page) -> None:
        self._page = page
        self.height, self.width, self.has_alpha = page.height, page.width, page.alpha
        self.channels = page.samples - page.alpha
        self.dtype = np.dtype(np.float32) if page.stored == np.float64 else page.stored.newbyteorder("=")
        _check_type(self.dtype, page.path)

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:
        samples = self._page.window(top, bottom, left, right).astype(self.dtype, copy=False)
        if self.dtype == np.float32 and not np.isfinite(samples).all():
            raise DataError(f"{self._page.path}: holds values that are not finite numbers")
        if not self.has_alpha:
            return Image(samples)
        return Image(np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1]))


def _check_type(dtype: np.dtype[Any], path: Path) -> None:
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(f"{path}: pixels of type {dtype}; 8 and 16 bit and float32 can be used")


def _decode(content: bytes, path: Path) -> Image:
    pixels: Array | None
    block = _exif_of_plain_png(content)
    try:
        if block is not None:
            pixels = imagecodecs.png_decode(content)
        else:
            pixels, block = _decode_by_opencv(content)
    except Exception:  # codecs raise many kinds for damaged files, some of them for want of memory
        pixels = None
    if pixels is None:
        raise DataError(f"{path}: cannot be decoded; it is truncated, damaged or no image")
    _check_type(pixels.dtype, path)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    alpha = None
    if pixels.shape[2] in (2, 4):
        pixels, alpha = np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1])
    return _turned(Image(pixels, alpha), exif.orientation(block) if block else 1)


def _exif_of_plain_png(content: bytes) -> bytes | None:
    """The EXIF block of a PNG of 8 or 16 bits without palette or keyed colours, empty if it has none; else None.

    Such files libpng itself decodes in three quarters of the time that OpenCV takes; the others are left to it.
    """
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR" or content[24:25] not in (b"\x08", b"\x10"):
        return None
    block, at = b"", 8
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in (b"PLTE", b"tRNS"):
            return None
        if kind == b"eXIf":
            block = content[at + 8 : at + 8 + length]
        if kind == b"IEND":
            break
        at += length + 12
    return block


def _decode_by_opencv(content: bytes) -> tuple[Array | None, bytes]:
    """Pixels, gray or RGB with or without alpha, and the EXIF block."""
    pixels, kinds, blobs = cv2.imdecodeWithMetadata(np.frombuffer(content, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    if pixels is not None and pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    blocks = [np.asarray(blob) for kind, blob in zip(kinds, blobs, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
    return pixels, blocks[-1].tobytes() if blocks else b""


def _turned(image: Image, orientation: int) -> Image:
    """As EXIF says that it should lie."""
    if orientation == 1:
        return image
    alpha = None if image.alpha is None else exif.upright(image.alpha, orientation)
    return Image(exif.upright(image.pixels, orientation), alpha, rotated=True)


def choose_range(asked: Range | Literal["dtype"] | None, fitted: Range | None) -> Range | None:
    """The range to use: as asked for, else that of the fit; None is the type's own."""
    if asked == "dtype":
        return None
    return asked if asked is not None else fitted


def check_range(pixels: Array, data_range: Range | None) -> None:
    """DataError where an image reaches beyond the white of the range that its model was fitted to."""
    if pixels.dtype == np.uint8:
        return
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


def to_tensor(pixels: Array, data_range: Range | None = None, device: str = "cpu") -> Tensor:
    """Pixels (H, W, C) → float32 (C, H, W) in [0, 1] on a device; what lies outside the range is clipped."""
    black, white = resolve_range(pixels.dtype, data_range)
    if device == "cpu":
        height, width, channels = pixels.shape
        tensor = torch.empty(channels, height, width)
        planes = cv2.split(pixels) if channels == 3 else np.moveaxis(pixels, 2, 0)  # OpenCV is fast at it
        for plane, values in zip(tensor.numpy(), planes, strict=True):
            np.copyto(plane, values)
    else:  # bytes are fewer than floats, and the copy is waited for by nobody
        held = torch.from_numpy(np.ascontiguousarray(pixels)).pin_memory()
        tensor = held.to(device, non_blocking=True).permute(2, 0, 1).float().contiguous()
    if black:
        tensor.sub_(black)
    if white - black != 1.0:
        tensor.div_(white - black)
    return tensor if pixels.dtype == np.uint8 else tensor.clamp_(0.0, 1.0)


def quantise(image: Tensor, dtype: np.dtype[Any], data_range: Range | None = None) -> Array:
    """Float (C, H, W) → pixels (H, W, C) of ``dtype``: clamped, then rounded to nearest, once."""
    black, white = resolve_range(dtype, data_range)
    values = image.clamp(0.0, 1.0) * (white - black) + black
    if dtype != np.float32:
        values = values.round()
    return np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy().astype(dtype))


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of a lossless file, ``.png`` or ``.tif``."""
    buffer = io.BytesIO()
    size = Size(image.height, image.width, image.channels, image.dtype, image.has_alpha)
    write(buffer, suffix, size, [image])
    return buffer.getvalue()


def write(file: BinaryIO, suffix: str, size: Size, bands: Iterable[Image]) -> None:
    """Write a lossless file, ``.png`` or ``.tif``, from bands of rows, top to bottom."""
    if suffix in TIFF_SUFFIXES:
        tiff.write(file, size.height, size.width, size.channels, size.has_alpha, size.dtype, map(_samples, bands))
        return
    parts = [_samples(band) for band in bands]
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if samples.shape[2] == 2:  # gray + alpha, which OpenCV does not write
        file.write(imagecodecs.png_encode(np.ascontiguousarray(samples)))
        return
    if samples.shape[2] > 1:
        samples = cv2.cvtColor(samples, cv2.COLOR_RGB2BGR if samples.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, content = cv2.imencode(".png", samples)
    if not done:
        raise DataError(f"cannot encode {samples.shape} {samples.dtype} as PNG")
    file.write(content.data)


def _samples(image: Image) -> Array:
    """Pixels and alpha in one array."""
    return image.pixels if image.alpha is None else np.concatenate([image.pixels, image.alpha[..., None]], axis=2)


def bands(picture: Picture, height: int, width: int, most_bytes: int = 2**24) -> Iterator[Image]:
    """The top left part of a picture in bands of rows."""
    row = width * (picture.channels + picture.has_alpha) * picture.dtype.itemsize
    rows = max(1, most_bytes // row)
    for top in range(0, height, rows):
        yield picture.window(top, min(top + rows, height), 0, width)

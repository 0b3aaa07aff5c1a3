"""Reading and writing image files as arrays and tensors; type, gray or colour, and alpha are kept.

TIFF is decoded by tifffile (`data.tiff`), and all other formats by `data.decoding`. Only TIFF can be read and written a
part at a time. In memory an image is height × width × channels, gray or RGB, of the file's own type
(8 bit, 16 bit, float32). Codecs are given bytes or an open file, never a path, so any Unicode name works.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.config import Interval
from degsynth.data import decoding, exif, hdf5_names, heif, members, tiff
from degsynth.data.carried import Carried
from degsynth.data.decoding import Declared
from degsynth.data.headers import Header, check_size, pixel_limit
from degsynth.data.ranges import resolve_range
from degsynth.data.regular import open_regular
from degsynth.data.tiff_pages import Place
from degsynth.errors import DataError

TIFF_SUFFIXES = {".tif", ".tiff"}

# OpenCV would print its own line about a damaged file; the DataError raised here says it already.
if hasattr(cv2, "setLogLevel"):  # OpenCV 4
    cv2.setLogLevel(0)
else:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Array = NDArray[Any]


class Picture(Protocol):
    """An image that can be read by parts: it is in memory (`Image`), or parts are decoded on demand (`data.tiff`)."""

    @property
    def remade(self) -> bool:
        """Whether the file itself has another form than the image: see `decoding.Decoded.remade`."""

    @property
    def height(self) -> int:
        """Number of rows."""

    @property
    def width(self) -> int:
        """Number of columns."""

    @property
    def channels(self) -> int:
        """Number of channels without alpha: 1 for gray, 3 for RGB."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of pixels and alpha: uint8, uint16 or float32."""

    @property
    def has_alpha(self) -> bool:
        """Whether the image, and so every window, has alpha."""

    @property
    def meaning(self) -> Meaning:
        """What the samples mean, and what else the file says."""

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:
        """Return rows ``top`` … ``bottom`` − 1, columns ``left`` … ``right`` − 1."""


@dataclass(frozen=True)
class Meaning:
    """What the samples of an image mean, and what its file says beside them."""

    others: int = 0
    """Number of channels behind those of gray or RGB, such as near infrared."""
    premultiplied: bool = False
    """Whether the colours are multiplied by alpha."""
    carried: Carried = field(default_factory=Carried)
    """What goes along into files that are made of the image."""
    bits: int = 0
    """Bits of a sample, 9 to 15, where the file has fewer than 16, and values from 0 to 2^bits − 1; otherwise 0."""


@dataclass(frozen=True)
class Image:
    """A decoded image file, or a part of one."""

    pixels: Array
    """Array (H, W, C) of uint8, uint16 or float32; C is 1 for gray, 3 for RGB."""
    alpha: Array | None = None
    """Array (H, W) of the same type, where the file has alpha."""
    remade: bool = False
    """Whether the file itself has another form than the image: see `decoding.Decoded.remade`."""
    meaning: Meaning = field(default_factory=Meaning)

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
        """Return the top left part."""
        return self.window(0, height, 0, width)

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:  # noqa: D102
        part = slice(top, bottom), slice(left, right)
        return replace(self, pixels=self.pixels[part], alpha=None if self.alpha is None else self.alpha[part])


def is_tiff(path: Path) -> bool:
    """Tell whether a path is that of a TIFF file by its ending."""
    return path.suffix.lower() in TIFF_SUFFIXES and hdf5_names.split(path) is None


class Stack(Protocol):
    """The images of a file, one after the other: pages of a TIFF, or the only image of another file."""

    def __len__(self) -> int:
        """Return the number of images."""

    def picture(self, page: int) -> Picture:
        """Open an image; DataError where it is damaged."""


@contextlib.contextmanager
def opened_stack(path: Path, max_pixels: int | None = None) -> Iterator[Stack]:
    """Open an image file that may hold several images. DataError where it is damaged.

    An image that declares more than ``max_pixels`` pixels is an error, as is a TIFF with a strip or tile of more, or
    with `tiff.PARTS` times as many in all. None stands for the limit of the environment, or 2³⁰.
    """
    max_pixels = pixel_limit(max_pixels)
    if not is_tiff(path):
        yield _Single(path, max_pixels)
        return
    with open_regular(path) as file:
        yield _TiffStack(tiff.find_places(file, path), path, max_pixels)


def count(path: Path, max_pixels: int | None = None) -> int:
    """Return the number of images in a file; 1 also for a file that cannot be opened, as opening it says why."""
    if not is_tiff(path):
        return 1
    try:
        with opened_stack(path, max_pixels) as stack:
            return len(stack)
    except DataError:
        return 1


def declared(path: Path, max_pixels: int | None = None) -> list[Declared]:
    """Return what a file says of its images (height, width, …), without decoding pixels; DataError where it is damaged.

    ``max_pixels`` is as in `opened_stack`.
    """
    whole = hdf5_names.split(path) is not None or path.suffix.lower() in heif.SUFFIXES  # no header of theirs says it
    if not whole and path.suffix.lower() not in TIFF_SUFFIXES:
        return [decoding.declared(path, pixel_limit(max_pixels))]
    with opened_stack(path, max_pixels) as stack:
        return [_declared(stack.picture(page), whole or len(stack) > 1) for page in range(len(stack))]


def _declared(one: Picture, anew: bool) -> Declared:
    kind = one.channels + one.has_alpha, 8 * one.dtype.itemsize
    return Declared(one.height, one.width, anew or one.remade, *kind, one.meaning.carried)


@contextlib.contextmanager
def opened(path: Path, max_pixels: int | None = None) -> Iterator[Picture]:
    """Open an image; one of a TIFF can then be read by parts, others are decoded now.

    DataError where it is damaged, where it is in a file of several images and not named by its number
    (`degsynth.data.members`); ``max_pixels`` is as in `opened_stack`.
    """
    page = members.page_of(path)
    with opened_stack(members.file_of(path) if page else path, max_pixels) as stack:
        yield stack.picture(_number(path, page, len(stack)))


def _number(path: Path, page: members.Page | None, count: int) -> int:
    """Return the number of an image in a TIFF of ``count`` pages; DataError where it is missing."""
    if page is None and count > 1:
        raise DataError(f"{path}: a TIFF of {count} pages", "save the page that is meant as a file of its own")
    number = 0 if page is None else page.number
    if number >= count:
        raise DataError(f"{path}: there are {count} images, numbered from 0")
    return number


def declared_size(path: Path) -> Declared:
    """Return what the header of an image says of its size; DataError as `declared`, and of several pages."""
    page = members.page_of(path)
    found = declared(path if page is None else page.file)
    return found[_number(path, page, len(found))]


class _Single:
    """A file of one image as a `Stack`."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path, self._max_pixels = path, max_pixels

    def __len__(self) -> int:
        return 1

    def picture(self, page: int) -> Picture:
        return read(self._path, self._max_pixels)


class _TiffStack:
    """A TIFF as a `Stack`."""

    def __init__(self, places: list[Place], path: Path, max_pixels: int) -> None:
        self._places, self._path, self._max_pixels = places, path, max_pixels

    def __len__(self) -> int:
        return len(self._places)

    def picture(self, page: int) -> Picture:
        """Open a page to be read by parts; one that its orientation turns is decoded as a whole."""
        opened_page = tiff.Page(self._places[page], self._path, self._max_pixels)
        picture = _TiffPicture(opened_page)
        if opened_page.orientation == 1:
            return picture
        _check_whole(picture, self._path, self._max_pixels)
        return _upright(picture.window(0, picture.height, 0, picture.width), opened_page.orientation)


def read(path: Path, max_pixels: int | None = None) -> Image:
    """Decode an image file; DataError names the file and says what is wrong with it, or that it is too large.

    ``max_pixels`` is as in `opened`.
    """
    max_pixels = pixel_limit(max_pixels)
    if is_tiff(path) or members.page_of(path) is not None:
        with opened(path, max_pixels) as picture:
            _check_whole(picture, path, max_pixels)
            return picture.window(0, picture.height, 0, picture.width)
    if hdf5_names.split(path) is not None:
        from degsynth.data import hdf5_images  # reads HDF5, which other images need not wait for

        pixels = hdf5_images.read(path, max_pixels)
        return Image(
            pixels, None, remade=True, meaning=Meaning(others=pixels.shape[2] - (3 if pixels.shape[2] > 2 else 1))
        )
    pixels, orientation, carried, remade = decoding.decode_file(path, max_pixels)
    alpha = None
    if pixels.shape[2] in (2, 4):
        pixels, alpha = np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1])
    return _upright(Image(pixels, alpha, remade, Meaning(carried=carried)), orientation)


def _check_whole(picture: Picture, path: Path, max_pixels: int) -> None:
    """Raise DataError where a TIFF has too many pixels to be decoded as a whole."""
    check_size(Header("TIFF", picture.height, picture.width, (), 0), 0, max_pixels, path)


class _TiffPicture:
    """A TIFF as a `Picture`."""

    def __init__(self, page: tiff.Page) -> None:
        self._page, self.remade = page, page.remade
        self.height, self.width, self.has_alpha = page.height, page.width, page.alpha
        self.channels = page.samples - page.alpha
        self.meaning = Meaning(self.channels - page.colours, page.premultiplied, page.carried, page.bits)
        self.dtype = np.dtype(np.float32) if page.stored == np.float64 else page.stored.newbyteorder("=")
        _check_type(self.dtype, page.path)

    def window(self, top: int, bottom: int, left: int, right: int) -> Image:
        samples = self._page.window(top, bottom, left, right).astype(self.dtype, copy=False)
        if self.dtype == np.float32 and not np.isfinite(samples).all():
            raise DataError(f"{self._page.path}: holds values that are not finite numbers")
        if self._page.nodata is not None and (samples == self._page.nodata).any():
            raise DataError(
                f"{self._page.path}: holds pixels without data (nodata is {self._page.nodata:g})",
                "crop it to where there is data, or take the nodata tag out if these values are meant",
            )
        if not self.has_alpha:
            return Image(samples, None, self.remade, self.meaning)
        colours, alpha = np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
        return Image(colours, alpha, self.remade, self.meaning)


def _check_type(dtype: np.dtype[Any], path: Path) -> None:
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(f"{path}: pixels of type {dtype}; 8 and 16 bit and float32 can be used")


def _upright(image: Image, orientation: int) -> Image:
    """Turn an image as its orientation asks for."""
    if orientation == 1:
        return image
    alpha = None if image.alpha is None else exif.upright(image.alpha, orientation)
    meaning = replace(image.meaning, carried=image.meaning.carried.turned(orientation))
    return Image(exif.upright(image.pixels, orientation), alpha, remade=True, meaning=meaning)


def to_tensor(pixels: Array, data_range: Interval | None = None, device: str = "cpu") -> Tensor:
    """Convert pixels (H, W, C) to float32 (C, H, W) in [0, 1] on a device; values outside the range are clipped.

    Only integers below black become negative numbers: noise around black would not be noise without them.
    """
    black, white = resolve_range(pixels.dtype, data_range)
    if device == "cpu":
        height, width, channels = pixels.shape
        tensor = torch.empty(channels, height, width)
        planes = cv2.split(pixels) if channels == 3 else np.moveaxis(pixels, 2, 0)  # OpenCV is faster
        for plane, values in zip(tensor.numpy(), planes, strict=True):
            np.copyto(plane, values)
    else:  # the pixels are copied as they are, fewer bytes than floats, and nothing waits for the copy
        pinned = torch.from_numpy(np.ascontiguousarray(pixels)).pin_memory()
        tensor = pinned.to(device, non_blocking=True).permute(2, 0, 1).float().contiguous()
    if black:
        tensor.sub_(black)
    if white - black != 1.0:
        tensor.div_(white - black)
    if pixels.dtype == np.uint8:
        return tensor
    return tensor.clamp_(0.0 if pixels.dtype == np.float32 else None, 1.0)


def quantise(image: Tensor, dtype: np.dtype[Any], data_range: Interval | None = None) -> Array:
    """Convert floats (C, H, W) in [0, 1] to pixels (H, W, C) of ``dtype``: clamp, then round to the nearest level.

    Integers may lie below black, as in `to_tensor`.
    """
    black, white = resolve_range(dtype, data_range)
    if dtype == np.float32:
        values = image.clamp(0.0, 1.0) * (white - black) + black
    else:
        values = (image.clamp(max=1.0) * (white - black) + black).clamp_(min=0.0).round_()
    return np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy().astype(dtype))

"""Decoding of PNG, JPEG, WebP, BMP and HEIC files, each by the decoder that is right for it and checked.

PNG is decoded by libpng and WebP by libwebp (both in imagecodecs), JPEG by libjpeg-turbo (in simplejpeg), BMP by
`data.bmp`, and HEIC by `data.heif`. OpenCV gives the same pixels, but takes longer, decodes damaged WebP files as far
as they go, and writes lines on stderr that do not name the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
from numpy.typing import NDArray

from degsynth.data import bmp, exif, headers, heif, jpeg, png
from degsynth.data.carried import Carried, profile
from degsynth.data.headers import Header
from degsynth.data.regular import open_regular
from degsynth.errors import MORE_MEMORY, DataError, is_out_of_memory, os_reason

Array = NDArray[Any]
HEAD = 64
"""So many bytes tell the format, and for PNG and BMP the size."""
MOST_COMPRESSED = 2**31
"""The largest JPEG, WebP or HEIC file that is read, in bytes."""
METADATA = 2**28
"""Bytes of a PNG or BMP file beside its pixels that are accepted."""


class Decoded(NamedTuple):
    """A decoded file."""

    samples: Array
    """(H, W, C), alpha included."""
    orientation: int
    """1 to 8; the samples are not turned yet."""
    carried: Carried
    remade: bool
    """Whether the file has another form than the samples, so that other programs may see another image in it: a
    palette, a transparent colour, fewer than 8 bits, CMYK, planes one after the other, a thumbnail in front, an
    orientation. As HR it is written anew."""


class Declared(NamedTuple):
    """What a file says of an image, before that is decoded."""

    height: int
    """Rows of the image, turned as its orientation asks for."""
    width: int
    remade: bool
    """See `Decoded.remade`."""
    samples: int
    """Samples of a pixel, alpha included; where the header leaves that open (WebP), those that are likelier."""
    bits: int
    """Bits of a sample after decoding: 8, 16 or 32."""
    carried: Carried = Carried()


@dataclass(frozen=True)
class _Plan:
    """How one file is decoded."""

    header: Header
    pixels: Callable[[], Array]
    orientation: Callable[[], int]
    carried: Callable[[], Carried] = Carried
    remade: bool = False


def decode_file(path: Path, max_pixels: int) -> Decoded:
    """Decode an image file.

    DataError names the file and says what is wrong with it. Only what can be an image is read into memory.
    """
    return _decode(_content(path, max_pixels), path, max_pixels)


def declared(path: Path, max_pixels: int) -> Declared:
    """Return what an image file says of its size, without decoding the pixels; DataError as `decode_file` has it."""
    content = _content(path, max_pixels)
    plan = _plan(content, path)
    headers.check_size(plan.header, len(content), max_pixels, path)
    orientation = plan.orientation()
    height, width = plan.header.height, plan.header.width
    size = (width, height) if orientation >= 5 else (height, width)
    remade = plan.remade or orientation != 1
    return Declared(*size, remade, plan.header.channels[0], plan.header.bits, plan.carried())


def _content(path: Path, max_pixels: int) -> bytes:
    with open_regular(path) as file:
        try:
            size, head = os.fstat(file.fileno()).st_size, file.read(HEAD)
            if not size:
                raise DataError(f"{path}: the file is empty (0 bytes)")
            if size > _most_bytes(head, path, max_pixels):
                raise DataError(f"{path}: has {size} bytes, more than an image of the size that it declares")
            file.seek(0)
            return file.read(size)
        except OSError as error:
            raise DataError(f"{path}: {os_reason(error)}") from None
        except MemoryError:
            raise DataError(f"{path}: memory is too short to read {size} bytes", MORE_MEMORY) from None


def _most_bytes(head: bytes, path: Path, max_pixels: int) -> int:
    """Return how large a file that begins with ``head`` may be; DataError where it is no image that is read."""
    if head.startswith(png.SIGNATURE):
        sides = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    elif head.startswith(b"BM"):
        sides = (
            abs(int.from_bytes(head[18:22], "little", signed=True)),
            abs(int.from_bytes(head[22:26], "little", signed=True)),
        )
    elif head.startswith(b"\xff\xd8") or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or heif.is_heif(head):
        return MOST_COMPRESSED
    else:
        other = headers.other_format(head)
        if other == "TIFF":
            raise DataError(f"{path}: is a TIFF file with another ending", "rename it to .tif")
        if other:
            raise DataError(f"{path}: is a {other} file, which cannot be read", "save it as PNG or TIFF")
        raise DataError(f"{path}: cannot be decoded; it is truncated, damaged or no image")
    return 16 * min(sides[0] * sides[1], max_pixels) + METADATA


def _decode(content: bytes, path: Path, max_pixels: int) -> Decoded:
    plan = _plan(content, path)
    headers.check_size(plan.header, len(content), max_pixels, path)
    try:
        pixels = plan.pixels()
    except DataError:
        raise
    except Exception as error:  # codecs raise many kinds of errors for damaged files
        if is_out_of_memory(error):
            sides = f"{plan.header.width}×{plan.header.height} px"
            raise DataError(f"{path}: memory is too short for {sides}", MORE_MEMORY) from None
        known = type(error) is ValueError and len(str(error)) < 80
        reason = f"it is damaged ({error})" if known else "it is truncated, damaged or no image"
        raise DataError(f"{path}: cannot be decoded; {reason}") from None
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    headers.check_decoded(plan.header, pixels.shape, 8 * pixels.dtype.itemsize, path)
    return Decoded(pixels, plan.orientation(), plan.carried(), plan.remade)


def _plan(content: bytes, path: Path) -> _Plan:
    """Choose the decoder of a file by its header."""
    if content.startswith(png.SIGNATURE):
        chunks = png.read_chunks(content, path)
        remade = chunks.colour == 3 or chunks.depth < 8 or chunks.keyed
        return _Plan(chunks.header, partial(png.decode, content), chunks.orientation, chunks.carried, remade)
    if content.startswith(b"\xff\xd8"):
        markers = jpeg.read_markers(content, path)
        return _Plan(
            markers.header,
            partial(jpeg.decode, content, markers),
            lambda: exif.orientation(markers.exif, markers.xmp),
            markers.carried,
            markers.components == 4,
        )
    if content.startswith(b"BM"):
        bitmap = bmp.read_bitmap(content, path)
        return _Plan(bitmap.header, partial(bmp.decode, content, bitmap, path), lambda: 1, remade=bitmap.bits != 24)
    if heif.is_heif(content):
        file = heif.opened(content, path)
        return _Plan(file.header, partial(heif.decode, file), lambda: 1, lambda: file.carried, remade=True)
    header, block, xmp, icc = headers.webp(content, path)
    return _Plan(
        header,
        partial(imagecodecs.webp_decode, content),
        partial(exif.orientation, block, xmp),
        lambda: _of_webp(block, xmp, icc),
    )


def _of_webp(block: bytes, xmp: bytes, icc: bytes) -> Carried:
    """Return what a WebP file carries."""
    kept, left_out = profile(icc, 3)
    return Carried(icc=kept, left_out=left_out + ("EXIF",) * bool(block) + ("XMP",) * bool(xmp))

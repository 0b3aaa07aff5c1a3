"""What the header of an image file declares, and the limits that are checked before anything is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from degsynth.errors import ConfigError, DataError

MAX_PIXELS = 2**30
"""Default of ``max_pixels``: the most pixels of an image that is decoded as a whole. OpenCV has the same limit."""
ENVIRONMENT = "DEGSYNTH_MAX_PIXELS"
"""The environment variable that sets another default, for every command."""
LARGE, BOMB_RATIO = 2**28, 500
"""An image that fills more than ``LARGE`` bytes is refused if that is more than so many times the size of its file.
Photographs are packed into a tenth or a hundredth of their size, flat images into a thousandth."""
RAISE_LIMIT = f"if the file is sound, raise the limit by `max_pixels` of apply, or by {ENVIRONMENT} for any command"


@dataclass(frozen=True)
class Header:
    """Size and kind of the image that a file declares."""

    format: str
    height: int
    width: int
    channels: tuple[int, ...]
    """Numbers of channels, alpha included, that a decoder may return; the likeliest first."""
    bits: int
    """Bits of a decoded sample: 8 or 16."""
    least_bytes: int = 0
    """The fewest bytes in which a file of this format can hold so many pixels; 0 where there is no such bound."""


def pixel_limit(asked: int | None) -> int:
    """Return the most pixels of an image: the number asked for, that of the environment, or `MAX_PIXELS`.

    ConfigError where the environment variable holds no number above 0.
    """
    text = os.environ.get(ENVIRONMENT)
    if asked is not None or text is None:
        return MAX_PIXELS if asked is None else asked
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0):
        raise ConfigError(
            f"the environment variable {ENVIRONMENT}={text!r} is no number of pixels, such as {MAX_PIXELS}"
        )
    return int(text)


def check_size(header: Header, size: int, max_pixels: int, path: Path) -> None:
    """Raise DataError where a file of ``size`` bytes declares no pixels, too many, or more than it can hold."""
    pixels, sides = header.height * header.width, f"{header.width}×{header.height} px"
    if pixels < 1:
        raise DataError(f"{path}: declares {sides}; it is damaged")
    if pixels > max_pixels:
        raise DataError(
            f"{path}: declares {sides}, more than the limit of {max_pixels} pixels",
            RAISE_LIMIT,
        )
    if size < header.least_bytes:
        raise DataError(
            f"{path}: declares {sides}, for which a {header.format} needs at least {header.least_bytes} bytes;"
            f" it has {size}, so it is damaged or made to fill the memory"
        )
    needed = pixels * max(header.channels, default=1) * header.bits // 8
    if needed > LARGE and needed > BOMB_RATIO * size:
        raise DataError(
            f"{path}: declares {sides}, which would fill {needed} bytes, in a file of {size} bytes: more than "
            f"{BOMB_RATIO} times as much",
            "save it as TIFF, which is read in parts, if it is sound",
        )


def check_decoded(header: Header, shape: tuple[int, ...], bits: int, path: Path) -> None:
    """Raise DataError where a decoder returned another size, number of channels or type than the header declares."""
    height, width, channels = shape
    if (height, width) == (header.height, header.width) and channels in header.channels and bits == header.bits:
        return
    raise DataError(
        f"{path}: the header declares {header.width}×{header.height} px of {header.channels[0]} channels and"
        f" {header.bits} bits, but {width}×{height} px of {channels} channels and {bits} bits were decoded",
        "save it as PNG or TIFF",
    )


def other_format(content: bytes) -> str:
    """Return the name of a format that is recognised, but not read under the name of another one; otherwise empty."""
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if content[4:8] == b"ftyp":
        return "AVIF or HEIF"
    starts = {b"GIF8": "GIF", b"\0\0\0\x0cjP": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000", b"\xff\x0a": "JPEG XL"}
    return next((name for start, name in starts.items() if content.startswith(start)), "")


def webp(content: bytes, path: Path) -> tuple[Header, bytes, bytes, bytes]:
    """Return the header of a WebP, and its EXIF block, XMP and ICC profile, which are empty where there is none.

    DataError where it is animated, cut off or damaged.

    A flat lossless WebP needs no bits at all for its pixels, so there is no bound on pixels for the size of the file;
    the format itself ends at 16383×16383 px.
    """
    if int.from_bytes(content[4:8], "little") + 8 > len(content):
        raise DataError(f"{path}: cannot be decoded; it is truncated")
    frames, at, block, xmp, icc = 0, 12, b"", b"", b""
    size: tuple[int, int] | None = None
    while at + 8 <= len(content):
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        body = content[at + 8 : at + 18]
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            block = content[at + 8 : at + 8 + length]
        if kind == b"XMP ":
            xmp = content[at + 8 : at + 8 + length]
        if kind == b"ICCP":
            icc = content[at + 8 : at + 8 + length]
        if kind == b"VP8X" and len(body) == 10:
            size = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        elif kind == b"VP8L" and size is None and body[:1] == b"\x2f":
            packed = int.from_bytes(body[1:5], "little")
            size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 " and size is None and body[3:6] == b"\x9d\x01\x2a":
            size = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
        at += 8 + length + length % 2
    if frames > 1:
        raise DataError(
            f"{path}: an animated WebP of {frames} frames", "save the frame that is meant as a file of its own"
        )
    if size is None:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged")
    return Header("WebP", size[1], size[0], (3, 4), 8), block, xmp, icc

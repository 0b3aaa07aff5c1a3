"""JPEG files: what their markers declare, what the markers show of damage, and their pixels by libjpeg-turbo.

The entropy-coded data is not decoded a second time to prove it sound. What is found at no cost is: data that ends early
(libjpeg-turbo fills the rest with mid-gray), restart markers that are missing or out of order, and progressive scans
that are missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from degsynth.data.headers import Header
from degsynth.errors import DataError

PIXELS_PER_BYTE = 512
"""The most pixels that a byte of Huffman-coded data can stand for: a block of 8×8 px takes at least one bit.

What Pillow writes for a flat image has at most 170."""
ARITHMETIC = range(0xC9, 0xD0)
"""Frame markers of arithmetic coding, for which there is no such bound; few decoders have it."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in this form twenty times faster than with a negation
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")


@dataclass
class Markers:
    """The markers of a JPEG file."""

    header: Header
    frame: int = 0
    """Code of the frame marker: C0 and C1 are sequential, C2 is progressive."""
    exif: bytes = b""
    ended: bool = False
    """Whether there is an end-of-image marker behind the last scan."""
    restarts: int = 0
    """Number of MCUs between restart markers; 0: there are none."""
    fault: str = ""
    """What the markers show to be damaged."""
    dc_scans: set[int] = field(default_factory=set)
    """Components whose DC coefficients are in some scan."""

    @property
    def plain(self) -> bool:
        """Whether libjpeg-turbo decodes it as gray or RGB; the others are left to OpenCV."""
        return self.frame in (0xC0, 0xC1, 0xC2) and self.header.channels in ((1,), (3,)) and self.ended


def read_markers(content: bytes, path: Path) -> Markers:
    """Read all markers of a JPEG; DataError where it cannot be used."""
    markers = Markers(Header("JPEG", 0, 0, (), 8))
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:  # rubbish between markers, which decoders skip
            following = _NEXT_MARKER.search(content, at)
            if following is None:
                break
            at = following.start()
        code = content[at + 1]
        if code == 0xFF:
            at += 1
            continue
        if code == 0xD9:
            break
        if code == 0x01 or 0xD0 <= code <= 0xD8:
            at += 2
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + length]
        if code in FRAMES and not markers.frame:
            markers.frame, markers.header = code, _frame(code, body, len(content), path)
        elif code == 0xE1 and body[:6] == b"Exif\0\0":
            markers.exif = body
        elif code == 0xDD:
            markers.restarts = int.from_bytes(body[:2], "big")
        at += 2 + length
        if code == 0xDA:
            at = _scan(markers, content, body, at)
    if not markers.frame:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged (it has no frame header)")
    markers.ended = content[at : at + 2] == b"\xff\xd9"
    if markers.frame == 0xC2 and not markers.fault and len(markers.dc_scans) < markers.header.channels[0]:
        markers.fault = "scans are missing"
    return markers


def _frame(code: int, body: bytes, size: int, path: Path) -> Header:
    """Return what a frame header declares."""
    if len(body) < 6:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged")
    bits, height, width = body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if bits != 8:
        raise DataError(f"{path}: a JPEG of {bits} bits a sample", "save it as 16-bit PNG or TIFF")
    usable: dict[int, tuple[int, ...]] = {1: (1,), 3: (3,), 4: (3, 3)}  # OpenCV converts CMYK to RGB
    channels = usable.get(body[5])
    if channels is None:
        raise DataError(f"{path}: a JPEG of {body[5]} components", "save it as gray or RGB")
    least = 0 if code in ARITHMETIC else height * width // PIXELS_PER_BYTE
    return Header("JPEG", height, width, channels, 8, least)


def _scan(markers: Markers, content: bytes, body: bytes, at: int) -> int:
    """Look at one scan, whose entropy-coded data begins at ``at``; return where the next marker is."""
    following = _NEXT_MARKER.search(content, at)
    end = len(content) if following is None else following.start()
    components = body[1 : 1 + 2 * body[0] : 2] if body else b""
    if len(body) >= 4 and body[-3] == 0:
        markers.dc_scans.update(components)
    if markers.restarts:
        numbers = [match[1][0] & 7 for match in _RESTART.finditer(content, at, end)]
        if numbers != [index % 8 for index in range(len(numbers))]:
            markers.fault = "restart markers are missing"
    return end


def decode(content: bytes, markers: Markers) -> NDArray[Any]:
    """Return the pixels of a plain JPEG; ValueError where it is damaged."""
    if markers.fault:
        raise ValueError(markers.fault)
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(content)
    # Where the data ends early, libjpeg-turbo leaves the coefficients of all further blocks at zero.
    if markers.frame != 0xC2 and np.all(pixels[-8:, -8:] == 128) and _ends_early(content):
        raise ValueError("its data ends early")
    return pixels


def _ends_early(content: bytes) -> bool:
    """Tell whether a picture whose last block is mid-gray ends early; the transcoder of JPEG XL reads it strictly."""
    try:
        imagecodecs.jpegxl_encode_jpeg(content)
    except Exception:
        return True
    return False

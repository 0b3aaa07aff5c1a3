"""JPEG files: what their markers declare, and their pixels by libjpeg-turbo, which must not complain of anything.

libjpeg-turbo goes on where the data is damaged: it fills what is missing with gray, skips to the next restart marker,
and only warns. simplejpeg turns its first warning into an error. What it warns of without need (bytes between segments,
padding behind a scan, an unknown version of JFIF) is taken out before a second try. Progressive scans that are missing
altogether are no matter for libjpeg-turbo, which smooths what it has; they are counted here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from degsynth.data.carried import Carried, Density, profile
from degsynth.data.headers import Header
from degsynth.errors import DataError

PIXELS_PER_BYTE = 512
"""The most pixels that a byte of Huffman-coded data can stand for: a block of 8×8 px takes at least one bit.

What Pillow writes for a flat image has at most 170."""
PROGRESSIVE = (0xC2, 0xCA)
"""Frame markers of progressive coding, with Huffman and arithmetic codes."""
ARITHMETIC = range(0xC9, 0xD0)
"""Frame markers of arithmetic coding, for which there is no such bound; few decoders have it."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in this form twenty times faster than with a negation
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
MOST_SCANS = 256
"""A progressive JPEG has about ten scans. Each goes over all pixels, however short it is, so thousands take hours."""
XMP = b"http://ns.adobe.com/xap/1.0/\0"
ICC = b"ICC_PROFILE\0"
UNITS: dict[int, Literal["none", "inch", "centimetre"]] = {0: "none", 1: "inch", 2: "centimetre"}
"""Units of the density by their codes."""
MOST_PADDING = 2**16
"""Zeros behind a scan, up to this number, are taken for padding."""
FULL = (1 << 64) - 1
"""All 64 coefficients of a block, as bits."""
COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
"""What is asked of the decoder for each number of components."""


Change = tuple[int, int, bytes]
"""Begin and end of a part of a file, and the bytes that should stand there."""


@dataclass
class Markers:
    """The markers of a JPEG file."""

    header: Header
    frame: int = 0
    """Code of the frame marker."""
    exif: bytes = b""
    xmp: bytes = b""
    ended: bool = False
    """Whether there is an end-of-image marker behind the last scan."""
    restarts: int = 0
    """Number of MCUs between restart markers; 0: there are none."""
    fault: str = ""
    """What the markers show to be damaged."""
    exact: dict[int, int] = field(default_factory=dict)
    """The coefficients, as bits, that the scans hold to the last bit, for each component."""
    scans: int = 0
    components: int = 0
    end: int = 0
    """Where the end-of-image marker is, or should be."""
    needless: list[Change] = field(default_factory=list)
    """What decoders complain of without need."""
    padding: Change = (0, 0, b"")
    """The zeros at the end of the last scan, which may be padding."""
    density: Density | None = None
    profiles: dict[int, bytes] = field(default_factory=dict)
    """The parts of the ICC profile by their numbers."""
    others: set[str] = field(default_factory=set)
    """Names of what else the file says."""
    tables: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Tables of quantisation (64,) by their numbers, in the order of the file (`ZIGZAG`)."""
    planes: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each component: its samples per MCU across and down, and the number of its table."""

    def carried(self) -> Carried:
        """Return what is carried into files that are made of the image."""
        icc = b"".join(self.profiles[number] for number in sorted(self.profiles))
        kept, left_out = profile(icc, 3 if self.components == 4 else self.components)  # CMYK is converted to RGB
        names = self.others | ({"EXIF"} if self.exif else set()) | ({"XMP"} if self.xmp else set())
        return Carried(icc=kept, density=self.density, left_out=(*left_out, *sorted(names)))


def read_markers(content: bytes, path: Path) -> Markers:
    """Read all markers of a JPEG; DataError where it cannot be used."""
    markers = Markers(Header("JPEG", 0, 0, (), 8))
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:  # rubbish between markers, which decoders skip
            following = _NEXT_MARKER.search(content, at)
            if following is None:
                break
            markers.needless.append((at, following.start(), b""))
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
        _note(markers, code, body)
        if code in FRAMES and not markers.frame:
            markers.frame, markers.header = code, _frame(code, body, path)
            markers.components = body[5]
            parts = (body[6 + 3 * number : 9 + 3 * number] for number in range(body[5]))
            markers.planes = [(part[1] >> 4, part[1] & 15, part[2]) for part in parts if len(part) == 3]
        elif code == 0xE0 and body[:5] == b"JFIF\0" and len(body) > 5 and body[5] != 1:
            markers.needless.append((at + 9, at + 10, b"\1"))
        elif code == 0xE1 and body[:6] == b"Exif\0\0":
            markers.exif += body[6:] if markers.exif else body  # a long block goes on in further segments
        elif code == 0xE1 and body.startswith(XMP):
            markers.xmp = body[len(XMP) :]
        elif code == 0xDD:
            markers.restarts = int.from_bytes(body[:2], "big")
        at += 2 + length
        if code == 0xDA:
            at = _scan(markers, content, body, at)
    if not markers.frame:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged (it has no frame header)")
    markers.ended, markers.end = content[at : at + 2] == b"\xff\xd9", at
    if markers.scans > MOST_SCANS:
        raise DataError(f"{path}: a JPEG of {markers.scans} scans, more than {MOST_SCANS}", "save it again")
    incomplete = [exact for exact in markers.exact.values() if exact != FULL]
    if markers.frame in PROGRESSIVE and (incomplete or len(markers.exact) < markers.components):
        markers.fault = markers.fault or "scans are missing"
    return markers


def _note(markers: Markers, code: int, body: bytes) -> None:
    """Take what a marker says beside the pixels."""
    if code == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 12:
        across, down = int.from_bytes(body[8:10], "big"), int.from_bytes(body[10:12], "big")
        if across and down:
            markers.density = Density(across, down, UNITS.get(body[7], "none"))
    elif code == 0xE2 and body.startswith(ICC) and len(body) > len(ICC) + 2:
        markers.profiles[body[len(ICC)]] = body[len(ICC) + 2 :]
    elif code == 0xDB:
        markers.tables.update(_tables(body))
    elif code == 0xED:
        markers.others.add("IPTC")
    elif code == 0xFE:
        markers.others.add("comment")


def _tables(body: bytes) -> dict[int, tuple[int, ...]]:
    """Return the tables of quantisation of one segment, as far as they are whole."""
    tables, at = {}, 0
    while at < len(body):
        size = 2 if body[at] >> 4 else 1
        steps = body[at + 1 : at + 1 + 64 * size]
        if len(steps) == 64 * size:
            tables[body[at] & 15] = tuple(np.frombuffer(steps, f">u{size}").tolist())
        at += 1 + 64 * size
    return tables


def _frame(code: int, body: bytes, path: Path) -> Header:
    """Return what a frame header declares."""
    if len(body) < 6:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged")
    bits, height, width = body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if bits != 8:
        raise DataError(f"{path}: a JPEG of {bits} bits a sample", "save it as 16-bit PNG or TIFF")
    usable: dict[int, tuple[int, ...]] = {1: (1,), 3: (3,), 4: (3,)}  # CMYK is converted to RGB
    channels = usable.get(body[5])
    if channels is None:
        raise DataError(f"{path}: a JPEG of {body[5]} components", "save it as gray or RGB")
    least = 0 if code in ARITHMETIC else height * width // PIXELS_PER_BYTE
    return Header("JPEG", height, width, channels, 8, least)


def _scan(markers: Markers, content: bytes, body: bytes, at: int) -> int:
    """Look at one scan, whose entropy-coded data begins at ``at``; return where the next marker is."""
    following = _NEXT_MARKER.search(content, at)
    end = len(content) if following is None else following.start()
    markers.scans += 1
    tail = content[max(at, end - MOST_PADDING) : end]
    markers.padding = end - len(tail) + len(tail.rstrip(b"\0")), end, b""
    if len(body) >= 6 and body[-1] & 15 == 0:  # the scan holds these coefficients to the last bit
        first, last = body[-3], min(body[-2], 63)
        for component in body[1 : 1 + 2 * body[0] : 2]:
            markers.exact[component] = markers.exact.get(component, 0) | (1 << last + 1) - (1 << first)
    if markers.restarts:
        numbers = [match[1][0] & 7 for match in _RESTART.finditer(content, at, end)]
        if numbers != [index % 8 for index in range(len(numbers))]:
            markers.fault = "restart markers are missing"
    return end


def decode(content: bytes, markers: Markers) -> NDArray[Any]:
    """Return the pixels (H, W, C), gray or RGB; ValueError where the data is damaged."""
    if markers.fault:
        raise ValueError(markers.fault)
    if not markers.ended:  # a missing end marker alone is no damage
        content = content[: markers.end] + b"\xff\xd9"
    pixels = _strictly(content, markers)
    if markers.components == 4:  # as Adobe stores it, and Pillow reads it: 255 is no ink
        pixels = np.asarray(Image.fromarray(255 - pixels, "CMYK").convert("RGB"))
    return pixels


def decode_segment(
    content: bytes, tables: bytes, ycbcr: bool, size: tuple[range, int], path: Path
) -> NDArray[Any] | None:
    """Return the pixels of a strip or tile of a TIFF, whose ``tables`` are stored outside of it.

    ``ycbcr`` says that its colours are YCbCr, not RGB, and ``size`` which heights, and which width, it may have.
    None where it contradicts the TIFF or is no JPEG of its own; DataError or ValueError where it is damaged.
    """
    head = content[:64]
    if not head.startswith(b"\xff\xd8") or (b"Adobe" in head and not ycbcr):
        return None
    # Of a file that is no JFIF, decoders learn the kind of colours from a segment that Adobe introduced.
    colours = b"\xff\xee\0\x0eAdobe\0d\0\0\0\0" + bytes([ycbcr])
    if b"JFIF\0" in head:
        colours = b""
    stream = b"\xff\xd8" + colours + tables[2:].removesuffix(b"\xff\xd9") + content[2:]
    markers = read_markers(stream, path)
    height, width = markers.header.height, markers.header.width
    if height not in size[0] or width != size[1]:
        raise ValueError(f"a part of {size[1]}×{size[0][-1]} px declares {width}×{height} px")
    return decode(stream, markers)


def _strictly(content: bytes, markers: Markers) -> NDArray[Any]:
    """Return the pixels; ValueError with the first warning, if also a copy without what is needless gives one.

    Padding is left out last, because a scan may end with a zero that belongs to it.
    """
    attempts: list[list[Change]] = [[]]
    if markers.needless:
        attempts.append(markers.needless)
    if markers.padding[0] < markers.padding[1]:
        attempts.append(sorted([*markers.needless, markers.padding]))
    reasons = []
    for changes in attempts:
        try:
            attempt = _changed(content, changes) if changes else content
            pixels: NDArray[Any] = simplejpeg.decode_jpeg(attempt, COLOURS[markers.components], strict=True)
        except ValueError as error:
            reasons.append(str(error).removeprefix("Corrupt JPEG data: "))
        else:
            return pixels
    raise ValueError("its data ends early" if "remature end" in reasons[0] else reasons[0])


def _changed(content: bytes, changes: list[Change]) -> bytes:
    """Return a copy with these changes, which are in order."""
    parts, at = [], 0
    for begin, end, instead in changes:
        parts += [content[at:begin], instead]
        at = end
    return b"".join([*parts, content[at:]])

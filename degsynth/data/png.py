"""PNG files: what their chunks declare, and their pixels by libpng, whose warnings are heard."""

from __future__ import annotations

import logging
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from degsynth.data import exif
from degsynth.data.carried import MOST_ICC, Carried, Density, profile
from degsynth.data.headers import Header
from degsynth.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEFLATE_RATIO = 1032
"""Deflate makes data shorter by this factor at most."""
COLOURS = (b"sRGB", b"gAMA", b"cHRM", b"cICP")
"""Chunks that say what the colours are; they hold for LR images, too."""
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
"""Number of channels of each colour type, after a palette was applied."""
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits of a sample that each colour type may have."""
DAMAGE = "incorrect data check"
"""What libpng says of a wrong checksum of the pixels; it is an error or only a warning, as their last bytes lie."""
MOST_TEXT = 2**20
"""Text chunks are inflated up to this length (bytes); an orientation stands in much shorter ones."""


@dataclass
class Chunks:
    """What is needed of the chunks of a PNG file."""

    header: Header
    colour: int
    depth: int
    keyed: bool = False
    """Whether there is a transparent colour, or the alpha of a palette."""
    block: bytes = b""
    """EXIF block."""
    texts: list[bytes] = field(default_factory=list)
    """Text chunks in which an orientation may stand."""
    colours: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Chunks (kind, body) that say what the colours are."""
    icc: bytes = b""
    """ICC profile, compressed."""
    density: Density | None = None
    animated: bool = False
    framed: bool = False
    """Whether what follows is a frame of the animation; pixels in front of the first frame are another picture."""

    def carried(self) -> Carried:
        """Return what is carried into files that are made of the image."""
        try:
            icc = zlib.decompressobj().decompress(self.icc, MOST_ICC + 1) if self.icc else b""
        except zlib.error:
            icc = b"damaged"
        kept, left_out = profile(icc, 3 if self.colour & 2 else 1)
        left_out += ("EXIF",) * bool(self.block) + ("texts",) * bool(self.texts)
        return Carried(icc=kept, chunks=tuple(self.colours), density=self.density, left_out=left_out)

    def orientation(self) -> int:
        """Return the orientation (1–8): of the EXIF block, of an EXIF block that is stored as text, or of XMP."""
        texts = [text for text in map(_text, self.texts) if text is not None]
        block, xmp = self.block, b""
        for keyword, text in texts:
            if keyword in (b"Raw profile type exif", b"Raw profile type APP1") and b"http" not in text[:64]:
                block = block or _raw_profile(text)
            elif keyword == b"XML:com.adobe.xmp":
                xmp = xmp or text
        return exif.orientation(block, xmp)


def read_chunks(content: bytes, path: Path) -> Chunks:
    """Read the chunks of a PNG; DataError where it is cut off, damaged or animated."""
    if content[12:16] != b"IHDR" or len(content) < 33:
        raise DataError(f"{path}: cannot be decoded; it is truncated or damaged")
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    depth, colour = content[24], content[25]
    if depth not in DEPTHS.get(colour, ()) or content[26] or content[27] or content[28] > 1:
        raise DataError(f"{path}: cannot be decoded; it is damaged (colour type {colour}, {depth} bits)")
    samples = 1 if colour == 3 else CHANNELS[colour]
    least = height * (1 + -(-width * samples * depth // 8)) // DEFLATE_RATIO
    channels = CHANNELS[colour]
    chunks = Chunks(Header("PNG", height, width, (channels,), max(8, depth), least), colour, depth)
    at = 8
    while True:
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + length + 12
        if end > len(content):
            raise DataError(f"{path}: cannot be decoded; it is truncated")
        if kind == b"IEND":
            break
        if kind == b"IDAT" and chunks.animated and not chunks.framed:
            raise DataError(
                f"{path}: an animated PNG with another picture in front",
                "save the picture that is meant as a file of its own",
            )
        if kind != b"IDAT":
            _note(chunks, kind, content[at + 8 : end - 4], path)
        at = end
    if chunks.keyed:
        chunks.header = Header("PNG", height, width, (channels + 1,), max(8, depth), least)
    return chunks


def _note(chunks: Chunks, kind: bytes, body: bytes, path: Path) -> None:
    """Take what is needed of a chunk."""
    if kind == b"tRNS":
        chunks.keyed = True
    elif kind == b"eXIf":
        chunks.block = body
    elif kind in COLOURS:
        chunks.colours.append((kind, body))
    elif kind == b"iCCP":
        chunks.icc = body.partition(b"\0")[2][1:]  # behind the name, and the method of compression
    elif kind == b"pHYs" and len(body) == 9:
        across, down = int.from_bytes(body[:4], "big") / 100, int.from_bytes(body[4:8], "big") / 100
        if across and down:
            chunks.density = Density(across, down, "centimetre" if body[8] else "none")
    elif kind in (b"tEXt", b"zTXt", b"iTXt"):
        chunks.texts.append(kind + body)
    elif kind == b"acTL":
        chunks.animated = True
        if (frames := int.from_bytes(body[:4], "big")) > 1:
            raise DataError(
                f"{path}: an animated PNG of {frames} frames", "save the frame that is meant as a file of its own"
            )
    elif kind == b"fcTL":
        chunks.framed = True


class _Warnings(logging.Handler):
    """Keeps what libpng warns of, for each thread by itself, instead of a line on stderr without the file's name."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of one warning."""
        getattr(self.heard, "messages", []).append(record.getMessage())


_WARNINGS = _Warnings()
logging.getLogger("imagecodecs").addHandler(_WARNINGS)
logging.getLogger("imagecodecs").propagate = False


def decode(content: bytes) -> NDArray[Any]:
    """Return the pixels (H, W, C); ValueError where they are damaged.

    Palettes are resolved, levels of less than 8 bits spread over 0–255, and a transparent colour becomes alpha. Of what
    libpng warns of, only a wrong checksum of the pixels is damage. The rest (colour profiles and the like) is no matter
    here.
    """
    _WARNINGS.heard.messages = []
    try:
        pixels: NDArray[Any] = imagecodecs.png_decode(content)
    except imagecodecs.PngError as error:
        raise ValueError(str(error)) from None
    if any(DAMAGE in message for message in _WARNINGS.heard.messages):
        raise ValueError(DAMAGE)
    return pixels


def _text(chunk: bytes) -> tuple[bytes, bytes] | None:
    """Return keyword and text of a text chunk; None where it is damaged, which is no fault of the image."""
    kind, (keyword, _, body) = chunk[:4], chunk[4:].partition(b"\0")
    compressed = kind == b"zTXt"
    if kind == b"zTXt":
        body = body[1:]
    elif kind == b"iTXt":
        compressed = body[:1] == b"\1"
        body = body[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        return keyword, zlib.decompressobj().decompress(body, MOST_TEXT) if compressed else body[:MOST_TEXT]
    except zlib.error:
        return None


def _raw_profile(text: bytes) -> bytes:
    """Return the bytes of a profile that ImageMagick and others store as hexadecimal text, after name and length."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return b""

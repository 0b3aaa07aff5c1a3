"""PNG files: what their chunks declare, and the pixels of those that OpenCV does not decode as they are."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from degsynth.data import exif
from degsynth.data.headers import Header
from degsynth.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEFLATE_RATIO = 1032
"""Deflate makes data shorter by this factor at most."""
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
"""Number of channels of each colour type, after a palette was applied."""
MOST_TEXT = 2**20
"""Text chunks are inflated up to this length (bytes); an orientation stands in much shorter ones."""


@dataclass
class Chunks:
    """What is needed of the chunks of a PNG file."""

    header: Header
    colour: int
    depth: int
    key: bytes | None = None
    """The transparent colour, or the alpha of a palette."""
    key_at: tuple[int, int] = (0, 0)
    """Where the chunk of the key begins and ends."""
    palette: bool = False
    block: bytes = b""
    """EXIF block."""
    texts: list[bytes] = field(default_factory=list)
    """Text chunks in which an orientation may stand."""

    @property
    def plain(self) -> bool:
        """Whether libpng's own result can be used: 8 or 16 bits, no palette, no transparent colour."""
        return self.depth >= 8 and not self.palette and self.key is None

    @property
    def keyed_gray(self) -> bool:
        """Whether it is gray with a transparent level."""
        return self.colour == 0 and self.key is not None

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
    if colour not in CHANNELS or depth not in (1, 2, 4, 8, 16):
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
        if kind != b"IDAT":
            _note(chunks, kind, content[at + 8 : end - 4], (at, end), path)
        at = end
    if chunks.key is not None:
        chunks.header = Header("PNG", height, width, (channels + 1,), max(8, depth), least)
    if not chunks.plain:
        _check_sums(content, path)
    return chunks


def _note(chunks: Chunks, kind: bytes, body: bytes, place: tuple[int, int], path: Path) -> None:
    """Take what is needed of a chunk."""
    if kind == b"tRNS":
        chunks.key, chunks.key_at = body, place
    elif kind == b"PLTE":
        chunks.palette = True
    elif kind == b"eXIf":
        chunks.block = body
    elif kind in (b"tEXt", b"zTXt", b"iTXt"):
        chunks.texts.append(kind + body)
    elif kind == b"acTL" and (frames := int.from_bytes(body[:4], "big")) > 1:
        raise DataError(
            f"{path}: an animated PNG of {frames} frames", "save the frame that is meant as a file of its own"
        )


def _check_sums(content: bytes, path: Path) -> None:
    """Compare the checksums of the chunks of pixels, which not every decoder does."""
    view, at = memoryview(content), 8
    while at + 12 <= len(content):
        end = at + int.from_bytes(content[at : at + 4], "big") + 12
        kind = content[at + 4 : at + 8]
        wanted = int.from_bytes(content[end - 4 : end], "big")
        if kind in (b"IDAT", b"PLTE", b"tRNS") and zlib.crc32(view[at + 4 : end - 4]) != wanted:
            raise DataError(f"{path}: cannot be decoded; it is damaged (the checksum of a chunk is wrong)")
        if kind == b"IEND":
            return
        at = end


def decode_keyed_gray(content: bytes, chunks: Chunks) -> NDArray[Any]:
    """Return gray and alpha (H, W, 2) of a gray PNG with a transparent level."""
    begin, end = chunks.key_at
    gray: NDArray[Any] = imagecodecs.png_decode(content[:begin] + content[end:])
    gray = gray[..., 0] if gray.ndim == 3 else gray
    level = int.from_bytes((chunks.key or b"")[:2], "big")
    if chunks.depth < 8:  # the decoder spreads the levels over 0–255
        level *= 255 // (2**chunks.depth - 1)
    alpha = np.where(gray == level, 0, np.iinfo(gray.dtype).max).astype(gray.dtype)
    return np.stack([gray, alpha], axis=2)


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

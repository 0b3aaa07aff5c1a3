"""Image files: small sound ones of every format, and ones that are made by hand to do harm."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image as Pillow
from skimage import data

from tests.fuzz.mutations import BORDER_INTEGERS

Array = np.ndarray[Any, Any]
SIDES = (0, 1, 0x7FFF, 0xFFFF, 30_000, 46_341, 2**31 - 1, 2**32 - 1)
"""Heights and widths that headers declare."""
TAGS = (256, 257, 258, 259, 262, 266, 273, 274, 277, 279, 284, 317, 322, 323, 330, 338, 339, 347, 530, 34665)
"""Tags of TIFF that change how pixels are read."""
SIZES = ((1, 1), (1, 2), (2, 2), (3, 1), (1, 20_000), (2, 20_000), (20_000, 1), (20_000, 2))
"""Heights and widths of images that are as they say."""


def _saved(array: Array | Pillow.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)).save(buffer, kind, **how)
    return buffer.getvalue()


def _tiff(array: Array, **how: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **how)
    return buffer.getvalue()


def _photographs() -> list[Array]:
    """Parts (72, 96, 3) of bundled photographs."""
    shots = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    return [np.ascontiguousarray(shot[60:132, 150:246]) for shot in shots]


@functools.cache
def sound() -> list[tuple[str, bytes]]:
    """Small sound image files, each with the ending of its name: photographs in the variants of every format."""
    a, b, c, d = _photographs()
    gray, alpha = a[..., 1], np.dstack([b, c[..., 0]])
    deep = c.astype(np.uint16) * 257
    real = (d / 255.0).astype(np.float32)
    palette = Pillow.fromarray(d).convert("P", palette=Pillow.Palette.ADAPTIVE)
    turned = Pillow.Exif()
    turned[0x0112] = 6
    pngs = [
        *(_saved(x, "PNG") for x in (a, gray, alpha, palette, Pillow.fromarray(gray).convert("1"))),
        _saved(b, "PNG", exif=turned),
        *(imagecodecs.png_encode(x) for x in (deep, np.ascontiguousarray(deep[..., 0]))),
    ]
    jpegs = [
        _saved(a, "JPEG"),
        _saved(b, "JPEG", progressive=True),
        _saved(gray, "JPEG", quality=95),
        _saved(c, "JPEG", exif=turned, restart_marker_blocks=2),
        _saved(Pillow.fromarray(d).convert("CMYK"), "JPEG"),
    ]
    webps = [_saved(a, "WEBP"), _saved(b, "WEBP", lossless=True), _saved(Pillow.fromarray(alpha), "WEBP")]
    bmps = [_saved(x, "BMP") for x in (a, gray, palette, Pillow.fromarray(gray).convert("1"), Pillow.fromarray(alpha))]
    tiffs = [
        _tiff(a, photometric="rgb"),
        _tiff(deep, photometric="rgb", compression="zlib", predictor=True, rowsperstrip=7),
        _tiff(gray, compression="lzw", tile=(16, 32)),
        _tiff(real, photometric="rgb", compression="zstd", predictor=True),
        _tiff(b, photometric="ycbcr", compression="jpeg", subsampling=(2, 2)),
        _tiff(deep[..., 0], bigtiff=True, byteorder=">"),
        _tiff(np.moveaxis(c, 2, 0), photometric="rgb", planarconfig="separate", compression="packbits"),
        _tiff(alpha, photometric="rgb", extrasamples=["unassalpha"], tile=(32, 32)),
    ]
    by_suffix = {".png": pngs, ".jpg": jpegs, ".webp": webps, ".bmp": bmps, ".tif": tiffs}
    return [(suffix, content) for suffix, contents in by_suffix.items() for content in contents]


# --- sizes and values --------------------------------------------------------------------------------------------


def unusual_size(rng: random.Random) -> tuple[str, bytes]:
    """Return a sound image of 1×1, 1×20000 and the like."""
    array = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (*rng.choice(SIZES), 3), np.uint8)
    suffix, kind = rng.choice(((".png", "PNG"), (".jpg", "JPEG"), (".bmp", "BMP"), (".webp", "WEBP"), (".tif", "TIFF")))
    if kind == "WEBP" and max(array.shape) > 16383:  # more than the format can hold
        suffix, kind = ".png", "PNG"
    return suffix, _saved(array, kind)


def not_finite(rng: random.Random) -> tuple[str, bytes]:
    """Return a float TIFF with NaN, infinity, or numbers that are near the ends of the type."""
    array = np.random.default_rng(rng.randrange(2**32)).random((24, 32, 3)).astype(rng.choice(("f2", "f4", "f8")))
    value = rng.choice((np.nan, np.inf, -np.inf, 3e38, -1.0, 1e-320))
    with np.errstate(over="ignore"):
        array.ravel()[rng.sample(range(array.size), rng.choice((1, 1000)))] = value
    return ".tif", _tiff(array, photometric="rgb", compression=rng.choice((None, "zlib")))


# --- headers that declare giant images ---------------------------------------------------------------------------


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(height: int, width: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


@functools.cache
def _squeezed(size: int) -> bytes:
    """Pack so many zeros; a thousandth of them remains."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(2**24, size - at))) for at in range(0, size, 2**24)]
    return b"".join(parts) + packer.flush()


def png_bomb(rng: random.Random) -> tuple[str, bytes]:
    """Return a PNG that declares a giant image, with data for all of it or for little; or with a giant text."""
    size = rng.choice((10**4, 10**6, 2 * 10**8))
    body = _squeezed(size)
    kind = rng.choice(("size", "text", "profile", "frames"))
    if kind == "size":
        height, width = rng.choice(((30_000, 30_000), (rng.choice(SIDES), rng.choice(SIDES))))
        colour, depth = rng.choice(((0, 1), (0, 8), (2, 8), (6, 16), (3, 8)))
        colours = _chunk(b"PLTE", bytes(3)) if colour == 3 else b""
        return ".png", _png(height, width, depth, colour, colours, _chunk(b"IDAT", body))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(13 * 20)))
    if kind == "text":
        name = rng.choice((b"Raw profile type exif\0\0", b"XML:com.adobe.xmp\0\1\0\0\0"))
        extra = _chunk(b"zTXt" if name.startswith(b"Raw") else b"iTXt", name + body)
    elif kind == "profile":
        extra = _chunk(b"iCCP", b"p\0\0" + body)
    else:
        extra = _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) * rng.choice((1, 1000))
    at_end = rng.random() < 0.5
    return ".png", _png(13, 19, 8, 0, *((pixels, extra) if at_end else (extra, pixels)))


def jpeg_bomb(rng: random.Random) -> tuple[str, bytes]:
    """Return a JPEG whose frame declares another size or other channels, or that repeats its scans or its tables."""
    sources = [content for suffix, content in sound() if suffix == ".jpg"]
    content = rng.choice(sources)
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    kind = rng.choice(("size", "size", "frame", "scans", "end"))
    if kind == "size":
        height, width = rng.choice(((65_000, 65_000), (30_000, 30_000), (1, 65_500), (rng.choice(SIDES) & 0xFFFF, 96)))
        return ".jpg", content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]
    if kind == "frame":
        place = at + rng.randrange(2, 19)
        return ".jpg", content[:place] + bytes([rng.choice((0, 1, 2, 4, 12, 0x44, 0xFF))]) + content[place + 1 :]
    scan = content.rfind(b"\xff\xda")
    if kind == "scans":  # each may be decoded over the whole declared image
        size = struct.pack(">HH", *rng.choice(((72, 96), (8_000, 8_000))))
        body = content[scan:-2] * rng.choice((2, 100, 2_000))
        return ".jpg", content[: at + 5] + size + content[at + 9 : scan] + body + content[-2:]
    return ".jpg", content[: rng.randrange(scan, len(content))] + b"\xff\xd9"


def bmp_bomb(rng: random.Random) -> tuple[str, bytes]:
    """Return a BMP whose header declares absurd sizes, depths, masks or offsets."""
    header = [40, rng.choice(SIDES) & 0x7FFFFFFF, rng.choice(SIDES), 1 | rng.choice((1, 4, 8, 24, 32)) << 16]
    header += [rng.choice((0, 0, 1, 2, 3)), rng.choice(BORDER_INTEGERS), 0, 0, rng.choice(BORDER_INTEGERS), 0]
    if rng.random() < 0.5:
        header[1], header[2] = 30_000, 30_000
    offset = rng.choice((54, 54, *BORDER_INTEGERS))
    tail = rng.choice((b"", bytes(2000), b"\xff\x01" * 500))
    return ".bmp", b"BM" + struct.pack("<III10I", 54 + len(tail), 0, offset, *header) + tail


def webp_bomb(rng: random.Random) -> tuple[str, bytes]:
    """Return a WebP whose canvas, frame or chunk declares another size."""
    content = bytearray(rng.choice([content for suffix, content in sound() if suffix == ".webp"]))
    places = {b"VP8 ": 14, b"VP8L": 9, b"VP8X": 12}  # from the name of the chunk to its width
    name = rng.choice([name for name in places if name in content])
    at = content.find(name) + (places[name] if rng.random() < 0.7 else 4)
    content[at : at + 4] = rng.choice((b"\xff\x3f\xff\x3f", b"\xff\xff\xff\xff", bytes(4), rng.randbytes(4)))
    return ".webp", bytes(content)


# --- tags of TIFF and EXIF ----------------------------------------------------------------------------------------


def tiff_tags(rng: random.Random) -> tuple[str, bytes]:
    """Return a TIFF of which one tag or a few say something absurd, or whose directories run in a circle."""
    sources = [content for suffix, content in sound() if suffix == ".tif" and content[:4] == b"II*\0"]
    content = bytearray(rng.choice(sources))
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    if rng.random() < 0.3:
        return ".tif", bytes(_cyclic(content, first, count, rng))
    for _ in range(rng.choice((1, 1, 2, 4))):
        entry = first + 2 + 12 * rng.randrange(count)
        field = rng.choice(("tag", "type", "count", "value", "value", "value"))
        if field == "tag":
            struct.pack_into("<H", content, entry, rng.choice(TAGS))
        elif field == "type":
            struct.pack_into("<H", content, entry + 2, rng.choice((*range(20), 0xFFFF)))
        elif field == "count":
            struct.pack_into("<I", content, entry + 4, rng.choice((*BORDER_INTEGERS, 2, 3, 1000, 10**6)))
        else:
            struct.pack_into("<I", content, entry + 8, rng.choice((*BORDER_INTEGERS, *range(2, 17), 30_000, 50_000)))
    return ".tif", bytes(content)


def _cyclic(content: bytearray, first: int, count: int, rng: random.Random) -> bytearray:
    """Let the directory of a TIFF be followed by itself, or be the sub-directory or the EXIF of itself."""
    if rng.random() < 0.5:
        struct.pack_into("<I", content, first + 2 + 12 * count, rng.choice((first, first, 8, len(content))))
    else:
        last = first + 2 + 12 * (count - 1)
        struct.pack_into("<HHII", content, last, rng.choice((330, 34665, 34853)), rng.choice((4, 13)), 1, first)
    return content


def _exif_block(rng: random.Random) -> bytes:
    """Return EXIF with an orientation of any type and value, absurd counts, and directories in a circle."""
    order = rng.choice("<>")
    entries = [(0x0112, rng.choice((1, 3, 3, 3, 4, 7, 12, 99)), rng.choice((1, 1, 0, 2**32 - 1)))]
    for _ in range(rng.randrange(4)):
        entries.append((rng.choice((0x8769, 0x014A, 0x8825, 0x0112)), 4, rng.choice((1, 10**9))))
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, rng.choice((len(entries), 0xFFFF)))
    for tag, kind, number in entries:
        value = rng.choice((0, 1, 6, 8, 9, 0xFFFF, 2**32 - 1)) if tag == 0x0112 else 8
        packed = struct.pack(order + "HH", value & 0xFFFF, 0) if kind == 3 else struct.pack(order + "I", value)
        block += struct.pack(order + "HHI", tag, kind, number) + packed
    return block + struct.pack(order + "I", rng.choice((0, 8, 2**32 - 1)))


def exif_tags(rng: random.Random) -> tuple[str, bytes]:
    """Return a photograph with absurd EXIF, as PNG, JPEG or WebP."""
    suffix, content = rng.choice([entry for entry in sound() if entry[0] in (".png", ".jpg", ".webp")])
    block = _exif_block(rng)
    if suffix == ".png":
        at = content.index(b"IDAT") - 4
        return suffix, content[:at] + _chunk(b"eXIf", block) + content[at:]
    if suffix == ".jpg":
        body = b"Exif\0\0" + block
        return suffix, content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]
    return suffix, _saved(_photographs()[0], "WEBP", exif=b"Exif\0\0" + block)


CRAFTED: dict[str, Callable[[random.Random], tuple[str, bytes]]] = {
    "unusual size": unusual_size,
    "not finite": not_finite,
    "PNG bomb": png_bomb,
    "JPEG bomb": jpeg_bomb,
    "BMP bomb": bmp_bomb,
    "WebP bomb": webp_bomb,
    "TIFF tags": tiff_tags,
    "TIFF tags again": tiff_tags,
    "EXIF tags": exif_tags,
}
"""All of these, by the name that reports give them."""

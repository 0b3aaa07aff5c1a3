"""Every variant of a format that can be written here: equal to Pillow or tifffile, or refused by its name."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from degsynth.data import exif, images
from degsynth.errors import DataError

RNG = np.random.default_rng(17)
NOISE = RNG.integers(0, 256, (13, 19, 3), np.uint8)
PHOTO = cv2.GaussianBlur(RNG.integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 2)


def saved(array: np.ndarray[Any, Any] | Pillow.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)).save(buffer, kind, **how)
    return buffer.getvalue()


def by_pillow(content: bytes) -> np.ndarray[Any, Any]:
    picture = Pillow.open(io.BytesIO(content))
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("L", "RGB") and "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.mode == "RGB" else "LA")
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array


def read(content: bytes, name: str, folder: Path, **how: Any) -> np.ndarray[Any, Any]:
    (folder / name).write_bytes(content)
    image = images.read(folder / name, **how)
    return image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])


def refused(content: bytes, name: str, words: str, folder: Path, **how: Any) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(content, name, folder, **how)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


# BMP, by hand


def bmp(
    bits: int,
    rows: bytes,
    *,
    size: int = 40,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
    height: int = 13,
    width: int = 19,
) -> bytes:
    if size == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(rows), 2835, 2835, 0, 0)
        head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(size, b"\0")
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + head + palette + rows


def padded(rows: np.ndarray[Any, Any]) -> bytes:
    return b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows[::-1])


INDEX = RNG.integers(0, 16, (13, 19), np.uint8)
COLOURS = RNG.integers(0, 256, (256, 3), np.uint8)
WORDS = RNG.integers(0, 2**16, (13, 19), np.uint16)
LONGS = RNG.integers(0, 2**32, (13, 19), np.uint32)


def colours(count: int, entry: int = 4) -> bytes:
    return b"".join(bytes(colour[::-1]) + bytes(entry - 3) for colour in COLOURS[:count])


def run_lengths() -> bytes:
    """RLE8 with runs, literals and ends of lines."""
    rows = b""
    for row in INDEX[::-1]:
        rows += b"".join(bytes([1, value]) for value in row[:4]) + bytes([0, 15, *row[4:], 0]) + b"\0\0"
    return rows[:-2] + b"\0\1"


def spread(words: np.ndarray[Any, Any], *masks: int) -> np.ndarray[Any, Any]:
    planes = [((words & mask) // (mask & -mask)) * 255.0 / (mask // (mask & -mask)) for mask in masks]
    return np.floor(np.stack(planes, 2) + 0.5).astype(np.uint8)


BGR = padded(NOISE[..., ::-1].reshape(13, -1))
NIBBLES = np.pad(INDEX, ((0, 0), (0, 1)))
FOUR = padded(NIBBLES[:, ::2] << 4 | NIBBLES[:, 1::2])
BITS = padded(np.packbits(INDEX > 7, axis=1))
BMPS: dict[str, tuple[bytes, np.ndarray[Any, Any]]] = {
    "24 bits": (bmp(24, BGR), NOISE),
    "24 bits, top down": (bmp(24, BGR, height=-13), NOISE[::-1]),
    "24 bits, OS/2 1": (bmp(24, BGR, size=12), NOISE),
    "24 bits, OS/2 2": (bmp(24, BGR, size=64), NOISE),
    "24 bits, V5": (bmp(24, BGR, size=124), NOISE),
    "8 bits": (bmp(8, padded(INDEX), palette=colours(256)), COLOURS[INDEX]),
    "8 bits, OS/2 1": (bmp(8, padded(INDEX), size=12, palette=colours(256, 3)), COLOURS[INDEX]),
    "8 bits, RLE": (bmp(8, run_lengths(), compression=1, palette=colours(256)), COLOURS[INDEX]),
    "4 bits": (bmp(4, FOUR, palette=colours(16)), COLOURS[INDEX]),
    "1 bit": (bmp(1, BITS, palette=colours(2)), COLOURS[(INDEX > 7).astype(int)]),
    "16 bits": (bmp(16, padded(WORDS)), spread(WORDS, 0x7C00, 0x3E0, 0x1F)),
    "16 bits, 565": (
        bmp(16, padded(WORDS), size=56, compression=3, masks=(0xF800, 0x7E0, 0x1F, 0)),
        spread(WORDS, 0xF800, 0x7E0, 0x1F),
    ),
    "16 bits, 444": (
        bmp(16, padded(WORDS), size=52, compression=3, masks=(0xF00, 0xF0, 0xF)),
        spread(WORDS, 0xF00, 0xF0, 0xF),
    ),
    "32 bits": (bmp(32, padded(LONGS)), spread(LONGS, 0xFF0000, 0xFF00, 0xFF)),
    "32 bits, masks": (
        bmp(32, padded(LONGS), size=52, compression=3, masks=(0xFF, 0xFF00, 0xFF0000)),
        spread(LONGS, 0xFF, 0xFF00, 0xFF0000),
    ),
    "32 bits, alpha": (
        bmp(32, padded(LONGS), size=124, compression=3, masks=(0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
        spread(LONGS, 0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    ),
}


@pytest.mark.parametrize("variant", BMPS)
def test_bmp(variant: str, tmp_path: Path) -> None:
    content, expected = BMPS[variant]
    found = read(content, "a.bmp", tmp_path)
    assert np.array_equal(found, expected)
    if variant not in ("16 bits, 444", "32 bits, masks"):  # which Pillow does not read
        assert np.abs(by_pillow(content).astype(int) - found).max() <= 1  # Pillow truncates 5 and 6 bits


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_of_pillow(mode: str, tmp_path: Path) -> None:
    content = saved(Pillow.fromarray(PHOTO).convert(mode), "BMP")
    assert np.array_equal(read(content, "a.bmp", tmp_path), by_pillow(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bmp(16, padded(WORDS), size=52, compression=3, masks=(0x5, 0x7E0, 0x1F)), "channel mask 0x5"),
        (bmp(32, padded(LONGS), size=52, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF)), "channel mask"),
        (bmp(2, padded(INDEX), palette=colours(4)), "BMP of 2 bits"),
        (bmp(24, saved(PHOTO, "JPEG"), compression=4), "compression 4"),
        (bmp(24, BGR, size=64, compression=4), "compression 4"),
        (bmp(24, BGR, size=16), "header of 16 bytes"),
        (bmp(24, BGR)[:-30], "needs at least"),
        (bmp(8, run_lengths()[:-30], compression=1, palette=colours(256)), "not enough image data"),
        (bmp(24, BGR, width=-19), "is damaged"),
        (bmp(8, b"\0\1", compression=1, palette=colours(256), height=30000, width=30000), "needs at least"),
        (b"BM" + bytes(20), "truncated"),
    ],
)
def test_bmp_that_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.bmp", words, tmp_path)


# PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(colour: int, depth: int, *extra: bytes, height: int = 13, width: int = 19) -> bytes:
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = -(-19 * samples * depth // 8)
    rows = b"".join(b"\0" + line.tobytes() for line in RNG.integers(0, 256, (13, row), np.uint8))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


PALETTE = {depth: chunk(b"PLTE", COLOURS[: 2**depth].tobytes()) for depth in (1, 2, 4, 8)}
PNGS = {
    **{f"gray {depth}": png(0, depth) for depth in (1, 2, 4, 8)},
    **{f"palette {depth}": png(3, depth, PALETTE[depth]) for depth in (1, 2, 4, 8)},
    **{f"palette {depth} with alpha": png(3, depth, PALETTE[depth], chunk(b"tRNS", b"\0\x80")) for depth in (1, 4, 8)},
    "keyed gray 8": png(0, 8, chunk(b"tRNS", b"\0\1")),
    "gray and alpha": png(4, 8),
    "RGB": png(2, 8),
    "keyed RGB": png(2, 8, chunk(b"tRNS", b"\0\1\0\2\0\3")),
    "RGBA": png(6, 8),
    "suggested palette": png(2, 8, PALETTE[8]),
}


@pytest.mark.parametrize("variant", PNGS)
def test_png(variant: str, tmp_path: Path) -> None:
    found, expected = read(PNGS[variant], "a.png", tmp_path), by_pillow(PNGS[variant])
    if expected.shape[2] == 4 and variant.startswith("palette"):  # both may name the colour below alpha as they like
        expected = np.where(
            expected[..., 3:] == 0, found * (np.arange(4) < 3) + expected * (np.arange(4) == 3), expected
        )
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_png_of_16_bits(colour: int, tmp_path: Path) -> None:
    content = png(colour, 16)
    expected = imagecodecs.png_decode(content)
    assert np.array_equal(read(content, "a.png", tmp_path), expected.reshape(13, 19, -1))


@pytest.mark.parametrize("depth", [1, 2, 4])  # Pillow compares the key with levels that it has spread before
def test_keyed_gray_of_few_bits(depth: int, tmp_path: Path) -> None:
    key = chunk(b"tRNS", b"\0\1")
    content = png(0, depth, key)
    gray = by_pillow(content.replace(key, b""))[..., 0]
    expected = np.dstack([gray, np.where(gray == 255 // (2**depth - 1), 0, 255)])
    assert np.array_equal(read(content, "a.png", tmp_path), expected)


def test_keyed_gray_of_16_bits(tmp_path: Path) -> None:
    plain = imagecodecs.png_encode(np.array([[7, 1799], [1799, 9]], np.uint16))
    found = read(plain[:33] + chunk(b"tRNS", b"\7\7") + plain[33:], "a.png", tmp_path)
    assert found.tolist() == [[[7, 65535], [1799, 0]], [[1799, 0], [9, 65535]]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(PHOTO, "PNG", save_all=True, append_images=[Pillow.fromarray(255 - PHOTO)]), "animated PNG of 2 frames"),
        (
            saved(
                Pillow.fromarray(PHOTO).convert("P"),
                "PNG",
                save_all=True,
                append_images=[Pillow.fromarray(255 - PHOTO).convert("P")],
            ),
            "animated PNG",
        ),
        (png(0, 8, height=30000, width=30000), "needs at least"),
        (png(0, 8, height=0), "is damaged"),
        (PNGS["palette 8"][:-40], "truncated"),
        (PNGS["palette 4"][:-20] + b"\1\2" + PNGS["palette 4"][-18:], "damaged"),
        (saved(PHOTO, "GIF"), "is a GIF file"),
        (saved(PHOTO, "TIFF"), "rename it to .tif"),
        (saved(PHOTO, "PPM"), "no image"),
    ],
)
def test_png_that_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.png", words, tmp_path)


def orientation_blocks(value: int) -> dict[str, bytes]:
    block = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, value, 0, 0]) + bytes(4)
    raw = b"\nexif\n%8d\n%s\n" % (len(block) + 6, (b"Exif\0\0" + block).hex().encode())
    xmp = b'<rdf:Description tiff:Orientation="%d"/>' % value
    return {
        "eXIf": chunk(b"eXIf", block),
        "zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        "tEXt": chunk(b"tEXt", b"Raw profile type APP1\0" + raw),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "XMP, compressed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
    }


@pytest.mark.parametrize("where", orientation_blocks(1))
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("behind", [True, False])
def test_orientation_of_png(where: str, plain: bool, behind: bool, tmp_path: Path) -> None:
    content = PNGS["RGB" if plain else "palette 8"]
    at = len(content) - 12 if behind else content.index(b"IDAT") - 4
    turned = content[:at] + orientation_blocks(6)[where] + content[at:]
    expected = exif.upright(read(content, "a.png", tmp_path), 6)
    assert np.array_equal(read(turned, "b.png", tmp_path), expected)


def test_damaged_text_does_not_lose_the_image(tmp_path: Path) -> None:
    for body in (
        b"Raw profile type exif\0\0broken",
        b"x",
        b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 3\nzz"),
    ):
        content = PNGS["RGB"]
        at = content.index(b"IDAT") - 4
        assert np.array_equal(
            read(content[:at] + chunk(b"zTXt", body) + content[at:], "a.png", tmp_path), by_pillow(content)
        )


# JPEG


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 1},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"optimize": True},
    ],
    ids=str,
)
def test_jpeg(mode: str, how: dict[str, Any], tmp_path: Path) -> None:
    content = saved(Pillow.fromarray(PHOTO).convert(mode), "JPEG", quality=90, **how)
    found = read(content, "a.jpg", tmp_path)
    assert np.array_equal(found, by_pillow(content))
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found.squeeze(), expected[..., ::-1] if expected.ndim == 3 else expected)
    assert np.array_equal(read(content + bytes(100), "padded.jpg", tmp_path), found)  # some cameras do that


def test_jpeg_of_rgb_and_cmyk(tmp_path: Path) -> None:
    content = saved(PHOTO, "JPEG", keep_rgb=True)
    assert np.array_equal(read(content, "rgb.jpg", tmp_path), by_pillow(content))
    assert read(saved(Pillow.fromarray(PHOTO).convert("CMYK"), "JPEG"), "cmyk.jpg", tmp_path).shape == PHOTO.shape


def claiming(content: bytes, height: int, width: int) -> bytes:
    """The same JPEG with another size in its frame header."""
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


SOUND = saved(PHOTO, "JPEG", quality=95)
PROGRESSIVE = saved(PHOTO, "JPEG", quality=95, progressive=True)
RESTARTS = saved(PHOTO, "JPEG", quality=95, restart_marker_blocks=2)
GRAY = saved(PHOTO[..., 0], "JPEG", quality=95)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (imagecodecs.jpeg_encode(PHOTO.astype(np.uint16) * 16, bitspersample=12), "JPEG of 12 bits"),
        (claiming(SOUND, 30000, 30000), "needs at least"),
        (claiming(PROGRESSIVE, 30000, 30000), "needs at least"),
        (claiming(SOUND, 0, 160), "is damaged"),
        (SOUND[: len(SOUND) // 2], "cannot be decoded"),
        (SOUND[: len(SOUND) // 2] + b"\xff\xd9", "its data ends early"),
        (GRAY[: len(GRAY) // 2] + b"\xff\xd9", "its data ends early"),
        (SOUND[: SOUND.index(b"\xff\xda") + 14] + b"\xff\xd9", "its data ends early"),
        (RESTARTS.replace(b"\xff\xd3", b"", 1), "restart markers are missing"),
        (SOUND[:100], "truncated"),
    ],
)
def test_jpeg_that_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.jpg", words, tmp_path)


def test_sound_jpeg_that_is_gray_where_it_ends(tmp_path: Path) -> None:
    content = saved(np.full((64, 64, 3), 128, np.uint8), "JPEG")
    assert (read(content, "a.jpg", tmp_path) == 128).all()


# WebP


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp(mode: str, lossless: bool, tmp_path: Path) -> None:
    picture = Pillow.fromarray(PHOTO).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Pillow.fromarray(PHOTO[..., 1]))
    content = saved(picture, "WEBP", lossless=lossless, exact=True)
    assert np.array_equal(read(content, "a.webp", tmp_path), by_pillow(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(PHOTO, "WEBP", save_all=True, append_images=[Pillow.fromarray(255 - PHOTO)]), "animated WebP of 2"),
        (saved(PHOTO, "WEBP")[:-50], "truncated"),
        (b"RIFF\4\0\0\0WEBP", "damaged"),
    ],
)
def test_webp_that_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.webp", words, tmp_path)


# Limits


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_limit_on_pixels(kind: str, tmp_path: Path) -> None:
    content, name = saved(PHOTO, kind), {"JPEG": "a.jpg", "TIFF": "a.tif"}.get(kind, f"a.{kind.lower()}")
    assert read(content, name, tmp_path, max_pixels=PHOTO[..., 0].size).shape == PHOTO.shape
    refused(content, name, "160×120 px.*`max_pixels`", tmp_path, max_pixels=PHOTO[..., 0].size - 1)


@pytest.mark.parametrize("level", [0, 255, 77])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("PNG", {"optimize": True}),
        ("JPEG", {"quality": 50, "optimize": True}),
        ("JPEG", {"quality": 50, "progressive": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 1}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "packbits"}),
    ],
    ids=str,
)
def test_flat_images_are_within_every_limit(kind: str, how: dict[str, Any], level: int, tmp_path: Path) -> None:
    content = saved(np.full((900, 1100), level, np.uint8), kind, **how)
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    assert np.abs(read(content, f"a.{suffix}", tmp_path).astype(int) - level).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_large_files_that_hold_no_image_are_not_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"sparse.{kind.lower()}"
    path.write_bytes(saved(PHOTO, kind))
    os.truncate(path, 2**33)
    with pytest.raises(DataError, match="more than an image"):
        images.read(path)


# TIFF


def tiff(array: np.ndarray[Any, Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "minisblack", **how})
    return buffer.getvalue()


def with_tag(content: bytes, code: int, value: int) -> bytes:
    """The same little-endian TIFF with another value of a tag that is stored in its entry."""
    at = struct.unpack("<I", content[4:8])[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack("<H", content[at : at + 2])[0], 12):
        if struct.unpack("<H", content[entry : entry + 2])[0] == code:
            size = 2 if content[entry + 2] == 3 else 4
            return content[: entry + 8] + value.to_bytes(size, "little") + content[entry + 8 + size :]
    raise KeyError(code)


GRAY16 = PHOTO[..., 0].astype(np.uint16)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff(compression: str | None, dtype: type, tmp_path: Path) -> None:
    content = tiff(PHOTO.astype(dtype), photometric="rgb", compression=compression)
    assert np.array_equal(read(content, "a.tif", tmp_path), tifffile.imread(io.BytesIO(content)))


def test_tiff_of_12_bits(tmp_path: Path) -> None:
    bits = np.unpackbits((GRAY16 * 16).astype(">u2").view(np.uint8).reshape(120, 160, 2), axis=2)[..., 4:]
    content = with_tag(tiff(np.packbits(bits.reshape(120, -1), axis=1)), 256, 160)
    content = with_tag(with_tag(content, 258, 12), 279, 120 * 240)
    assert np.array_equal(read(content, "a.tif", tmp_path)[..., 0], GRAY16 * 16)
    assert np.array_equal(tifffile.imread(io.BytesIO(content)), GRAY16 * 16)


def predicted_12_bits() -> bytes:
    return with_tag(tiff(GRAY16, compression="zlib", predictor=True), 258, 12)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_tag(tiff(PHOTO, photometric="rgb"), 262, 6), "YCbCr without JPEG|subsampled"),
        (with_tag(tiff(PHOTO[..., 0]), 262, 0), "MINISWHITE"),
        (with_tag(tiff(PHOTO[..., 0]), 262, 3), "PALETTE"),
        (saved(Pillow.fromarray(PHOTO).convert("1"), "TIFF"), "1 bits? a sample"),
        (with_tag(tiff(PHOTO[..., 0]), 258, 4), "4 bits a sample"),
        (predicted_12_bits(), "12 bits a sample with predictor 2"),
        (tiff(PHOTO[..., 0].astype(np.float16)), "float16"),
        (with_tag(tiff(PHOTO[..., 0]), 257, 2**26), "limit|hold|truncated"),
        (
            with_tag(with_tag(tiff(np.zeros((120, 160), np.uint8), compression="zlib"), 257, 30000), 278, 30000),
            "can hold",
        ),
        (with_tag(with_tag(tiff(PHOTO[..., 0], compression="zlib"), 257, 2**31), 278, 2**31), "limit"),
    ],
)
def test_tiff_that_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.tif", words, tmp_path)


def test_cyclic_pages_do_not_hang(tmp_path: Path) -> None:
    content = bytearray(tiff(PHOTO[..., 0]))
    first = struct.unpack("<I", content[4:8])[0]
    entries = struct.unpack("<H", content[first : first + 2])[0]
    content[first + 2 + 12 * entries : first + 6 + 12 * entries] = struct.pack("<I", first)
    began = time.monotonic()
    assert np.array_equal(read(bytes(content), "a.tif", tmp_path)[..., 0], PHOTO[..., 0])
    assert time.monotonic() - began < 2


# Regular files only


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def self_link(path: Path) -> None:
    path.symlink_to(path.name)


def nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pipe, "named pipe"),
        (bound_socket, "a socket"),
        (device, "a device"),
        (folder, "a folder"),
        (self_link, "symbolic links"),
        (nowhere, "No such file"),
    ],
)
def test_only_regular_files_are_opened(
    make: Callable[[Path], None], words: str, suffix: str, linked: bool, tmp_path: Path
) -> None:
    make(tmp_path / f"x{suffix}")
    path = tmp_path / f"x{suffix}"
    if linked:
        path = tmp_path / f"link{suffix}"
        path.symlink_to(tmp_path / f"x{suffix}")
    with pytest.raises(DataError, match=words) as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert exif.camera(path) == ("", 0)


def test_links_to_regular_files_are_followed_and_null_bytes_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNGS["RGB"])
    (tmp_path / "b.png").symlink_to("a.png")
    assert np.array_equal(images.read(tmp_path / "b.png").pixels, by_pillow(PNGS["RGB"]))
    with pytest.raises(DataError, match="no name"):
        images.read(tmp_path / "a\0.png")

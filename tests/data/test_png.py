"""Every variant of PNG: equal to Pillow, or refused by its name; where its orientation may stand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from degsynth.data import exif
from tests.data.formats import COLOURS, PHOTO, by_pillow, read, refused, saved

RNG = np.random.default_rng(17)


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
        (
            saved(PHOTO, "PNG", save_all=True, append_images=[Pillow.fromarray(255 - PHOTO)], default_image=True),
            "animated PNG with another picture in front",
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

"""Every variant of TIFF: equal to tifffile, or refused by its name."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from degsynth.data import images
from tests.data.formats import PHOTO, read, refused, saved


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
        (with_tag(tiff(PHOTO[..., 0]), 258, 3), "3 bits a sample"),
        (with_tag(tiff(PHOTO[..., 0], compression="zlib", predictor=True), 258, 4), "4 bits a sample"),
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


def pages(*content: tuple[np.ndarray[Any, Any], dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for array, how in content:
            writer.write(array, photometric="rgb" if array.ndim == 3 else "minisblack", metadata=None, **how)
    return buffer.getvalue()


MASK = PHOTO[..., 0] > 127
WITH_LESSER_PAGES = {
    "overviews": ((PHOTO, {}), (PHOTO[::2, ::2], {"subfiletype": 1}), (PHOTO[::4, ::4], {"subfiletype": 1})),
    "mask": ((PHOTO, {}), (MASK, {"subfiletype": 4})),
    "overview and its mask": ((PHOTO, {}), (PHOTO[::2, ::2], {"subfiletype": 1}), (MASK[::2, ::2], {"subfiletype": 5})),
    "thumbnail first": ((PHOTO[::4, ::4], {"subfiletype": 1}), (PHOTO, {})),
    "page and its thumbnail": ((PHOTO, {"subfiletype": 2}), (PHOTO[::4, ::4], {"subfiletype": 1})),
    "overview below": ((PHOTO, {"subifds": 1}), (PHOTO[::2, ::2], {"subfiletype": 1})),
    "called reduced, but alone": ((PHOTO, {"subfiletype": 1}),),
}


@pytest.mark.parametrize("kind", WITH_LESSER_PAGES)
def test_overviews_masks_and_thumbnails_are_passed_over(kind: str, tmp_path: Path) -> None:
    assert np.array_equal(read(pages(*WITH_LESSER_PAGES[kind]), "a.tif", tmp_path), PHOTO)
    with images.opened(tmp_path / "a.tif") as picture:  # what others see first in the file is another picture
        assert picture.remade == (kind == "thumbnail first")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pages((PHOTO, {}), (PHOTO, {})), "a TIFF of 2 pages"),
        (pages((PHOTO, {"subfiletype": 2}), (PHOTO, {"subfiletype": 2})), "a TIFF of 2 pages"),
        (pages((PHOTO, {"subfiletype": 1}), (PHOTO, {"subfiletype": 1})), "a TIFF of 2 pages"),
        (pages(*[(PHOTO[:8, :8], {})] * 101), "a TIFF of 101 pages"),
        (pages((PHOTO[::4, ::4], {"subifds": 1, "subfiletype": 1}), (PHOTO, {})), "as in raw files"),
    ],
)
def test_several_pages_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    refused(content, "a.tif", words, tmp_path)


IN_JPEG: dict[str, dict[str, Any]] = {
    "YCbCr": {"photometric": "ycbcr", "subsampling": (2, 2)},
    "RGB, as JFIF": {"photometric": "rgb"},
    "RGB": {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}},
    "gray": {"photometric": "minisblack"},
    "planes": {"photometric": "rgb", "planarconfig": "separate"},
}


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 48}, {"tile": (32, 48)}, {"tile": (256, 256)}], ids=str)
@pytest.mark.parametrize("kind", IN_JPEG)
def test_jpeg_in_tiff(kind: str, layout: dict[str, Any], tmp_path: Path) -> None:
    array = {"gray": PHOTO[..., 0], "planes": np.moveaxis(PHOTO, 2, 0)}.get(kind, PHOTO)
    content = tiff(array, compression="jpeg", metadata=None, **IN_JPEG[kind], **layout)
    expected = tifffile.imread(io.BytesIO(content))
    expected = np.moveaxis(expected, 0, 2) if kind == "planes" else expected.reshape(120, 160, -1)
    assert np.array_equal(read(content, "a.tif", tmp_path), expected)


def test_jpeg_in_tiff_by_pillow(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "YCbCr"):
        content = saved(Pillow.fromarray(PHOTO).convert(mode), "TIFF", compression="jpeg")
        assert np.array_equal(
            read(content, "a.tif", tmp_path), tifffile.imread(io.BytesIO(content)).reshape(120, 160, -1)
        )


@pytest.mark.parametrize("compression", ["jpeg", "zlib", "lzw", "packbits"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 120}, {"tile": (128, 160)}], ids=str)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.99])
def test_segment_that_is_cut(part: float, layout: dict[str, Any], compression: str, tmp_path: Path) -> None:
    content = tiff(PHOTO, photometric="rgb", compression=compression, metadata=None, **layout)
    code = 279 if "rowsperstrip" in layout else 325
    count = tifffile.TiffFile(io.BytesIO(content)).pages[0].databytecounts[0]
    refused(with_tag(content, code, int(part * count)), "a.tif", "cannot be decoded", tmp_path)


def test_jpeg_in_tiff_that_claims_more_than_its_segment(tmp_path: Path) -> None:
    content = tiff(PHOTO, photometric="ycbcr", compression="jpeg", metadata=None, rowsperstrip=120)
    at = content.index(b"\xff\xc0") + 5
    claiming = content[:at] + struct.pack(">HH", 60000, 60000) + content[at + 4 :]
    refused(claiming, "a.tif", "declares 60000×60000", tmp_path)


@pytest.mark.parametrize(("code", "value"), [(273, 0), (273, 4), (279, 0)])
def test_segment_without_a_place_or_bytes(code: int, value: int, tmp_path: Path) -> None:
    refused(with_tag(tiff(PHOTO[..., 0]), code, value), "a.tif", "cannot be decoded", tmp_path)


def test_segment_that_was_never_written_is_black(tmp_path: Path) -> None:
    content = with_tag(with_tag(tiff(PHOTO[..., 0], compression="zlib"), 273, 0), 279, 0)
    assert not read(content, "a.tif", tmp_path).any()

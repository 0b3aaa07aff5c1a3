"""EXIF blocks of every format, damaged ones among them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from degsynth.data import exif


def block(orientation: int = 6, model: str = "Camera X", iso: int | tuple[int, int] = 1600) -> bytes:
    content = Image.Exif()
    content[0x0112], content[0x0110] = orientation, model
    content.get_ifd(0x8769)[0x8827] = iso
    return content.tobytes()


def save(path: Path, content: bytes, side: int = 16) -> Path:
    Image.new("L", (side, side)).save(path, exif=content)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    whole = block(orientation)
    assert exif.orientation(whole) == exif.orientation(whole.removeprefix(b"Exif\0\0")) == orientation


def test_orientation_of_blocks_that_have_none() -> None:
    without = Image.Exif()
    without[0x0110] = "Camera X"
    for content in (b"", b"Exif\0\0", without.tobytes(), block(0), block(9), b"no EXIF block", b"II*\0"):
        assert exif.orientation(content) == 1


def test_damaged_blocks_raise_nothing(tmp_path: Path) -> None:
    whole, rng = block(), np.random.default_rng(0)
    cut = [whole[:length] for length in range(len(whole))]
    spoilt = []
    for _ in range(300):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(6, len(whole), 3)] = rng.integers(0, 256, 3)
        spoilt.append(content.tobytes())
    for content in (*cut, *spoilt):
        assert 1 <= exif.orientation(content) <= 8
    for content in (*cut[10::7], *spoilt[:40]):
        model, iso = exif.camera(save(tmp_path / "a.jpg", content))
        assert isinstance(model, str)
        assert isinstance(iso, int)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_camera(suffix: str, tmp_path: Path) -> None:
    assert exif.camera(save(tmp_path / f"a{suffix}", block())) == ("Camera X", 1600)
    assert exif.camera(save(tmp_path / f"b{suffix}", b"")) == ("", 0)


def test_camera_whose_fields_are_filled_up(tmp_path: Path) -> None:
    padded = block(model=" SM-G900 \0\0\0\0", iso=(200, 0))
    assert exif.camera(save(tmp_path / "a.jpg", padded)) == ("SM-G900", 200)


@pytest.mark.parametrize("how", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_camera_of_a_tiff_of_any_type(how: dict[str, Any], tmp_path: Path) -> None:
    array = np.zeros((8, 8, 3), np.uint8 if how.get("bigtiff") else np.float32)
    with tifffile.TiffWriter(tmp_path / "a.tif", **how) as writer:
        writer.write(array, photometric="rgb", extratags=[(0x0110, 2, 9, "Camera Y", True)])
    assert exif.camera(tmp_path / "a.tif") == ("Camera Y", 0)


def test_camera_of_large_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns of larger images
    assert exif.camera(save(tmp_path / "large.jpg", block())) == ("Camera X", 1600)
    assert exif.camera(tmp_path / "none.jpg") == ("", 0)
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    assert exif.camera(tmp_path / "text.jpg") == ("", 0)


def test_only_the_header_of_a_jpeg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    image.save(path, exif=block())
    path.write_bytes(path.read_bytes()[:-1000])
    assert exif.camera(path) == ("Camera X", 1600)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_agrees_with_opencv(orientation: int) -> None:
    array = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", exif=block(orientation))
    turned = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(exif.upright(array, orientation), turned[..., ::-1])


def test_values_of_other_types() -> None:
    """An orientation that is stored as LONG, and one that is stored as a pair of numbers, which is none."""
    entry = struct.Struct("<HHI4s")
    long = b"II*\0" + struct.pack("<IH", 8, 1) + entry.pack(0x0112, 4, 1, struct.pack("<I", 8)) + bytes(4)
    pair = b"II*\0" + struct.pack("<IH", 8, 1) + entry.pack(0x0112, 3, 2, struct.pack("<HH", 6, 6)) + bytes(4)
    assert (exif.orientation(long), exif.orientation(pair)) == (8, 1)

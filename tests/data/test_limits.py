"""Limits on what is read, from the header and the size of the file, before memory is taken."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degsynth.data import images
from degsynth.errors import ConfigError, DataError
from tests.data.formats import PHOTO, read, refused, saved


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


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_limit_of_the_environment_holds_for_every_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(PHOTO, {"png": "PNG", "jpg": "JPEG", "tif": "TIFF"}[name[-3:]])
    monkeypatch.setenv("DEGSYNTH_MAX_PIXELS", "1000")
    refused(content, name, "1000 pixels.*DEGSYNTH_MAX_PIXELS", tmp_path)
    assert read(content, name, tmp_path, max_pixels=2**20).shape == PHOTO.shape
    monkeypatch.setenv("DEGSYNTH_MAX_PIXELS", str(PHOTO[..., 0].size))
    assert read(content, name, tmp_path).shape == PHOTO.shape
    for text in ("", "0", "-1", "1e9", "many", "٣"):
        monkeypatch.setenv("DEGSYNTH_MAX_PIXELS", text)
        with pytest.raises(ConfigError, match="DEGSYNTH_MAX_PIXELS"):
            read(content, name, tmp_path)


@pytest.mark.parametrize(("side", "bits"), [(30_000, 1), (12_000, 16)])
def test_a_small_file_with_all_the_data_of_a_giant_image(side: int, bits: int, tmp_path: Path) -> None:
    """Nothing about the file is wrong, but a flat image of this size is a trap more often than a picture."""
    rows = zlib.compress(bytes(side * (1 + side * bits // 8)), 9)
    header = struct.pack(">IIBBBBB", side, side, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    packed = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    refused(b"\x89PNG\r\n\x1a\n" + packed, "a.png", "which would fill .* bytes, in a file of .*TIFF", tmp_path)

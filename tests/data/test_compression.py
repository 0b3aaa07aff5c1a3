"""How JPEG files are compressed: read from files, and done to images in memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from degsynth.data import images
from degsynth.data.compression import compressed, read_file, read_files
from degsynth.errors import DataError
from degsynth.ops.compression import Compression, Stored, at_quality


@pytest.fixture
def pixels(photographs: list[Tensor]) -> np.ndarray:
    return images.quantise(photographs[0][:, 100:163, 100:181], np.dtype(np.uint8))


def written(pixels: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 90, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_file_is_what_is_read_and_done_again(
    quality: int, subsampling: str, pixels: np.ndarray, tmp_path: Path
) -> None:
    """What the file holds is decoded from it, and comes out of compressing the same pixels as it was compressed."""
    path = written(pixels, tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
    found = read_file(path)
    assert found == Stored(at_quality(quality)._replace(subsampling=subsampling))
    assert np.array_equal(compressed(pixels, found.compression), images.read(path).pixels)
    assert found.compression.quality() == quality


def test_gray(pixels: np.ndarray, tmp_path: Path) -> None:
    path = written(pixels[..., 0], tmp_path / "a.jpg", quality=80)
    found = read_file(path)
    assert found == Stored(Compression(at_quality(80).luma))
    assert np.array_equal(compressed(pixels[..., :1], found.compression), images.read(path).pixels)
    assert compressed(pixels, found.compression).shape == pixels.shape


def test_tables_of_ones_own(pixels: np.ndarray, tmp_path: Path) -> None:
    """Every entry keeps its place."""
    luma, chroma = tuple(range(1, 65)), tuple(range(101, 165))
    path = written(pixels, tmp_path / "a.jpg", qtables=[list(luma), list(chroma)], subsampling="4:4:4")
    assert read_file(path) == Stored(Compression(luma, chroma, "4:4:4"))


@pytest.mark.parametrize(("sampling", "expected"), [("440", "4:2:0"), ("411", "4:2:0"), ("422", "4:2:2")])
def test_rare_subsamplings(sampling: str, expected: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=80, colorsubsampling=sampling))
    found = read_file(path)
    assert found is not None
    assert found.compression == at_quality(80)._replace(subsampling=expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_how_an_image_was_turned_can_be_undone(orientation: int, pixels: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(pixels, tmp_path / "a.jpg", quality=80, exif=exif)
    stored = read_file(path)
    assert stored == Stored(at_quality(80), orientation)
    samples = compressed(pixels, stored.compression)
    assert torch.equal(stored.samples_of(images.to_tensor(images.read(path).pixels)), images.to_tensor(samples))


def test_other_files_are_no_jpeg(pixels: np.ndarray, tmp_path: Path) -> None:
    names = [
        written(pixels, tmp_path / "a.png"),
        tmp_path / "missing.jpg",
        tmp_path / "damaged.jpg",
    ]
    names[2].write_bytes(b"\xff\xd8\xff\xe0")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]]), "CMYK").save(tmp_path / "cmyk.jpg")
    assert read_files([*names, tmp_path / "cmyk.jpg"]) == [None] * 4


def test_too_large() -> None:
    with pytest.raises(DataError, match="LR of 65501×1 px is more than a JPEG holds: 65500 px a side"):
        compressed(np.zeros((1, 65501, 1), np.uint8), at_quality(50))


def test_it_is_the_quality_of_libjpeg(pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    assert np.array_equal(compressed(pixels, at_quality(85)), np.asarray(Image.open(buffer)))

"""Which way up a photograph lies: EXIF and XMP of every format, as Pillow reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageOps, PngImagePlugin

from degsynth.data import exif
from tests.data.formats import PHOTO, read, saved

NAMES = {"PNG": "a.png", "JPEG": "a.jpg", "WEBP": "a.webp"}


def xmp(value: int | str, form: str = "attribute") -> bytes:
    text = f'tiff:Orientation="{value}"' if form == "attribute" else f"<tiff:Orientation>{value}</tiff:Orientation>"
    return f"<x:xmpmeta><rdf:Description {text}/></x:xmpmeta>".encode()


def with_xmp(kind: str, text: bytes, **how: Any) -> bytes:
    if kind != "PNG":
        return saved(PHOTO, kind, xmp=text, **how)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text.decode())
    return saved(PHOTO, kind, pnginfo=info, **how)


def exif_block(value: int | None) -> bytes:
    block = Pillow.Exif()
    block[0x0110] = "a camera"
    if value is not None:
        block[0x0112] = value
    return block.tobytes()


def by_pillow(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(content))))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("form", ["attribute", "element"])
@pytest.mark.parametrize("value", range(1, 9))
def test_xmp(value: int, form: str, kind: str, tmp_path: Path) -> None:
    found = read(with_xmp(kind, xmp(value, form)), NAMES[kind], tmp_path)
    assert np.array_equal(found, exif.upright(read(saved(PHOTO, kind), NAMES[kind], tmp_path), value))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("in_exif", "in_xmp"), [(6, 3), (1, 6), (None, 6), (9, 6), (0, 6), (None, 9), (None, "x")])
def test_exif_wins(in_exif: int | None, in_xmp: int | str, kind: str, tmp_path: Path) -> None:
    content = with_xmp(kind, xmp(in_xmp), exif=exif_block(in_exif))
    assert np.array_equal(read(content, NAMES[kind], tmp_path), by_pillow(content))


@pytest.mark.parametrize(
    ("tag", "in_xmp", "expected"), [(None, 6, 6), (1, 6, 1), (3, None, 3), (9, None, 1), (0, 6, 1), (None, None, 1)]
)
def test_tiff(tag: int | None, in_xmp: int | None, expected: int, tmp_path: Path) -> None:
    tags: list[tuple[Any, ...]] = [] if tag is None else [(0x0112, 3, 1, tag, True)]
    if in_xmp is not None:
        tags.append((0x02BC, 1, len(xmp(in_xmp)), xmp(in_xmp), True))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PHOTO, photometric="rgb", metadata=None, extratags=tags)
    assert np.array_equal(read(buffer.getvalue(), "a.tif", tmp_path), exif.upright(PHOTO, expected))

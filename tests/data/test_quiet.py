"""No decoder writes on stderr, or warns, without the name of the file: it raises an error, or says nothing."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import tifffile
from PIL import Image as Pillow

from degsynth.errors import DataError
from tests.data.formats import PHOTO, read, refused, saved, spoilt


def with_right_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums again, so that what they hold is looked at."""
    at, parts = 8, [content[:8]]
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        body = content[at + 4 : at + 8 + length]
        parts.append(content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(parts)


def files() -> dict[str, bytes]:
    picture = Pillow.fromarray(PHOTO[:40, :50])
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PHOTO[:40, :50], photometric="ycbcr", compression="jpeg", tile=(16, 16))
    return {
        "a.png": saved(picture, "PNG"),
        "palette.png": saved(picture.convert("P"), "PNG", transparency=3),
        "a.jpg": saved(picture, "JPEG"),
        "progressive.jpg": saved(picture, "JPEG", progressive=True),
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
        "a.webp": saved(picture, "WEBP"),
        "lossless.webp": saved(picture, "WEBP", lossless=True),
        "a.bmp": saved(picture, "BMP"),
        "palette.bmp": saved(picture.convert("P"), "BMP"),
        "a.tif": saved(picture, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": buffer.getvalue(),
    }


@pytest.mark.parametrize("name", files())
def test_damaged_files_are_named_and_nothing_else_is_written(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copies = spoilt(files()[name], 120, seed=17)
    if name.endswith(".png"):
        copies += [with_right_checksums(copy) for copy in copies]
    found = 0
    for copy in copies:
        try:
            read(copy, name, tmp_path)
        except DataError as error:
            assert name in str(error)  # noqa: PT017
            found += 1
    assert found > 20
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("split", [0, 4])  # libpng finds the checksum in time, or when it has all pixels
def test_png_whose_pixels_have_a_wrong_checksum(split: int, tmp_path: Path) -> None:
    content = saved(PHOTO, "PNG")
    begin = content.index(b"IDAT") - 4
    pixels = content[begin + 8 : begin + 8 + int.from_bytes(content[begin : begin + 4], "big")]
    parts = [pixels[:-4], bytes(4)] if split else [pixels[:-4] + bytes(4)]
    chunks = b"".join(
        struct.pack(">I", len(part)) + b"IDAT" + part + struct.pack(">I", zlib.crc32(b"IDAT" + part)) for part in parts
    )
    refused(content[:begin] + chunks + content[-12:], "a.png", "incorrect data check", tmp_path)


def test_what_libpng_warns_of_without_need_is_no_damage(tmp_path: Path) -> None:
    """In a process of its own, because pytest takes what is logged before it reaches stderr."""
    path = tmp_path / "a.png"
    path.write_bytes(saved(PHOTO, "PNG", icc_profile=b"no profile"))
    program = (
        "import sys, pathlib; from degsynth.data import images; print(images.read(pathlib.Path(sys.argv[1])).width)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("160\n", "")

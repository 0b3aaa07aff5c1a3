"""Every variant of JPEG: equal to Pillow and OpenCV, or refused by its name; damage of every kind."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from degsynth.errors import DataError
from tests.data.formats import PHOTO, by_pillow, read, refused, saved


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
    content = saved(Pillow.fromarray(PHOTO).convert("CMYK"), "JPEG")
    expected = Pillow.open(io.BytesIO(content)).convert("RGB")
    assert np.array_equal(read(content, "cmyk.jpg", tmp_path), np.asarray(expected))
    refused(content[: len(content) // 2] + b"\xff\xd9", "cut.jpg", "its data ends early", tmp_path)


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


FILES = {"sequential": SOUND, "progressive": PROGRESSIVE, "with restarts": RESTARTS, "gray": GRAY}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_jpeg_that_is_cut_anywhere(kind: str, end: bytes, tmp_path: Path) -> None:
    content = FILES[kind]
    for length in [*range(2, len(content) - 12, 397), *range(len(content) - 12, len(content) - 2)]:
        refused(content[:length] + end, "a.jpg", "cannot be decoded", tmp_path)


def overwritten(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + rng.integers(0, 256, 40, np.uint8).tobytes() + content[at + 40 :]


def zeroed(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + bytes(40) + content[at + 40 :]


def shortened(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + content[at + int(rng.integers(1, 300)) :]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("damage", [overwritten, zeroed, shortened])
def test_jpeg_that_is_damaged_inside(kind: str, damage: Callable[..., bytes], tmp_path: Path) -> None:
    """Damage that decodes to other, legal codes cannot be found, so not every file is refused."""
    rng, content = np.random.default_rng(14), FILES[kind]
    found = 0
    for _ in range(40):
        at = int(rng.integers(content.index(b"\xff\xda") + 14, len(content) - 400))
        try:
            read(damage(content, at, rng), "a.jpg", tmp_path)
        except DataError:
            found += 1
    assert found >= 12


def without_last_scan(content: bytes) -> bytes:
    return content[: content.rindex(b"\xff\xda")] + b"\xff\xd9"


def with_many_scans(content: bytes) -> bytes:
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + 300 * last + b"\xff\xd9"


def test_scans_that_are_missing_or_too_many(tmp_path: Path) -> None:
    refused(without_last_scan(PROGRESSIVE), "a.jpg", "scans are missing", tmp_path)
    refused(with_many_scans(PROGRESSIVE), "a.jpg", "310 scans, more than 256", tmp_path)


HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "rubbish between segments": lambda content: content.replace(b"\xff\xdb", b"abc\0\0\xff\xdb"),
    "filling between segments": lambda content: content.replace(b"\xff\xdb", b"\xff\xff\xff\xdb"),
    "padding behind the last scan": lambda content: content[:-2] + bytes(20) + content[-2:],
    "filling behind the last scan": lambda content: content[:-2] + b"\xff" * 9 + content[-2:],
    "rubbish behind the end": lambda content: content + b"rubbish",
    "a second picture behind the end": lambda content: content + content,
    "no end marker": lambda content: content[:-2],
    "JFIF 2": lambda content: content.replace(b"JFIF\0\1", b"JFIF\0\2"),
    "all of them": lambda content: (
        content[:-2].replace(b"\xff\xdb", b"ab\xff\xff\xdb").replace(b"JFIF\0\1", b"JFIF\0\2") + bytes(5)
    ),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("how", HARMLESS)
def test_what_decoders_complain_of_without_need_is_no_damage(how: str, kind: str, tmp_path: Path) -> None:
    content = HARMLESS[how](FILES[kind])
    assert content != FILES[kind]
    assert np.array_equal(read(content, "a.jpg", tmp_path), by_pillow(FILES[kind]))

"""Every variant of WebP: equal to Pillow, or refused by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.data.formats import PHOTO, by_pillow, read, refused, saved


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

"""Conversion of pixels with an ICC profile to sRGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms

from degsynth.config import Interval
from degsynth.data import srgb
from degsynth.data.carried import Carried
from degsynth.data.images import Image, Meaning
from degsynth.errors import DataError

ADOBE = imagecodecs.cms_profile("adobergb")
PILLOW = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = imagecodecs.cms_profile("gray", gamma=1.8)
PATH = Path("a.tif")
LEVELS = np.random.default_rng(1).random((20, 30, 3)) * 0.6 + 0.2
"""Colours that sRGB has, too."""
XYZ_OF = {  # linear RGB to XYZ at D65, as the standards of both spaces give it
    "adobe": [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]],
    "srgb": [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
}


def of(pixels: np.ndarray[Any, Any], icc: bytes = ADOBE, **meaning: Any) -> Image:
    carried = meaning.pop("carried", Carried(icc=icc))
    return Image(pixels, meaning.pop("alpha", None), meaning=Meaning(carried=carried, **meaning))


def encoded(values: np.ndarray[Any, Any], gamma: float, matrix: np.ndarray[Any, Any] | None = None) -> Any:
    """Return values of sRGB for those of a space with a gamma, and a matrix to the linear RGB of sRGB."""
    linear = values**gamma if matrix is None else (values**gamma @ matrix.T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def by_formula(adobe: np.ndarray[Any, Any]) -> Any:
    """Convert Adobe RGB to sRGB by the formulas of the standards, in [0, 1]."""
    return encoded(adobe, 563 / 256, np.linalg.inv(XYZ_OF["srgb"]) @ XYZ_OF["adobe"])


@pytest.mark.parametrize(
    ("dtype", "white", "within"), [(np.uint8, 255, 1), (np.uint16, 65535, 60), (np.float32, 1.0, 1e-3)]
)
def test_colours_are_those_of_the_standards(dtype: Any, white: float, within: float) -> None:
    pixels = (LEVELS * white).astype(dtype)
    picture, name = srgb.converted(of(pixels), None, PATH)
    found = picture.window(0, 20, 0, 30)
    assert name == "Adobe RGB (compatible)"
    assert (found.dtype, picture.remade, found.remade) == (np.dtype(dtype), True, True)
    assert (picture.meaning.carried.icc, found.meaning.carried.icc) == (b"", b"")
    assert np.abs(found.pixels - by_formula(pixels / white) * white).max() <= within
    assert np.abs(found.pixels - pixels.astype(float)).max() > 20 * within  # and it does something
    part = picture.window(3, 9, 4, 20)
    assert np.array_equal(part.pixels, found.pixels[3:9, 4:20])


def test_a_16_bit_ramp_keeps_its_levels() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    colours = srgb.converted(of(ramp.repeat(3, 2)), None, PATH)[0].window(0, 256, 0, 256).pixels
    gray = srgb.converted(of(ramp, GRAY), None, PATH)[0].window(0, 256, 0, 256).pixels
    assert gray.shape == ramp.shape
    for made in (colours[..., 1], gray[..., 0]):
        assert np.diff(made.astype(int).ravel()).min() >= 0
        assert len(np.unique(made)) > 50_000
    assert np.abs(gray[..., 0] - 65535 * encoded(ramp[..., 0] / 65535, 1.8)).max() <= 1


@pytest.mark.parametrize("icc", [PILLOW, imagecodecs.cms_profile("srgb"), b""])
def test_what_is_srgb_already_stays_as_it_is(icc: bytes) -> None:
    image = of((255 * LEVELS).astype(np.uint8), icc)
    assert srgb.converted(image, None, PATH) == (image, "")


def test_a_data_range_and_few_bits_are_obeyed() -> None:
    pixels = (LEVELS * 4095).round().astype(np.uint16)
    made = srgb.converted(of(pixels, bits=12), Interval(0, 4095), PATH)[0].window(0, 20, 0, 30)
    assert made.dtype == np.uint16
    assert np.abs(made.pixels - by_formula(pixels / 4095) * 4095).max() <= 5
    with pytest.raises(DataError, match="reaches 4096, beyond white at 4095"):
        srgb.converted(of(np.full((4, 4, 3), 4096, np.uint16)), Interval(0, 4095), PATH)[0].window(0, 4, 0, 4)
    floats = (LEVELS * 2 - 1).astype(np.float32)
    made = srgb.converted(of(floats), Interval(-1, 1), PATH)[0].window(0, 20, 0, 30)
    assert np.abs(made.pixels - (by_formula(LEVELS) * 2 - 1)).max() <= 2e-3
    outside = np.zeros((2, 2, 3), np.float32) + np.float32([0, 1, 0])  # a green that sRGB has not
    made = srgb.converted(of(outside), None, PATH)[0].window(0, 2, 0, 2)
    assert (made.pixels.min(), made.pixels.max()) == (0.0, 1.0)


def test_alpha_and_further_channels_stay() -> None:
    pixels = (255 * LEVELS).astype(np.uint8)
    alpha = pixels[..., 2].copy()
    nir = np.concatenate([pixels, pixels[..., :1]], 2)
    made = srgb.converted(of(nir, others=1, alpha=alpha), None, PATH)[0].window(0, 20, 0, 30)
    plain = srgb.converted(of(pixels), None, PATH)[0].window(0, 20, 0, 30)
    assert np.array_equal(made.pixels[..., :3], plain.pixels)
    assert np.array_equal(made.pixels[..., 3], nir[..., 3])
    assert made.alpha is not None
    assert np.array_equal(made.alpha, alpha)
    gray = srgb.converted(of(nir[..., 2:], GRAY, others=1), None, PATH)[0].window(0, 20, 0, 30).pixels
    assert not np.array_equal(gray[..., 0], nir[..., 2])
    assert np.array_equal(gray[..., 1], nir[..., 3])


def test_what_png_says_of_the_old_colours_is_left_out() -> None:
    carried = Carried(icc=ADOBE, chunks=((b"gAMA", b"1234"),))
    picture, _ = srgb.converted(of((255 * LEVELS).astype(np.uint8), carried=carried), None, PATH)
    assert picture.meaning.carried.chunks == ()


@pytest.mark.parametrize(
    ("image", "data_range", "words"),
    [
        (of(np.zeros((2, 2, 3), "u1"), ADOBE[:300]), None, "a.tif: has a damaged ICC profile"),
        (of(np.zeros((2, 2, 3), "u1"), b"x" * 200), None, "a.tif: has a damaged ICC profile"),
        (
            of(np.zeros((2, 2, 3), "u1"), carried=Carried(left_out=("EXIF", "ICC profile (for CMYK)"))),
            None,
            r"a.tif: has an unusable ICC profile \(for CMYK\)",
        ),
        (
            of(np.zeros((2, 2, 3), "u1"), carried=Carried(chunks=((b"cICP", bytes((12, 13, 0, 1))),))),
            None,
            "a.tif: says by cICP what its colours are",
        ),
        (of(np.zeros((2, 2, 3), "u1"), premultiplied=True), None, "a.tif: .* colours that are multiplied by alpha"),
        (of(np.zeros((2, 2, 3), "u2")), Interval(100, 4095), "a.tif: .* black at 100; only black at 0 is converted"),
    ],
)
def test_what_cannot_be_converted_is_named(image: Image, data_range: Interval | None, words: str) -> None:
    with pytest.raises(DataError, match=words + ".*leave `to_srgb` out"):
        srgb.converted(image, data_range, PATH)


def test_colours_of_srgb_by_another_name() -> None:
    image = of(np.zeros((2, 2, 3), "u1"), carried=Carried(chunks=((b"cICP", srgb.SRGB_CICP), (b"gAMA", b"1234"))))
    assert srgb.converted(image, None, PATH) == (image, "")


def test_the_name_of_a_profile() -> None:
    assert srgb.name_of(PILLOW) == "sRGB built-in"
    assert srgb.name_of(b"x" * 200) == "a profile without a name"

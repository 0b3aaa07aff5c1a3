"""Sheets of pictures: where they lie, how large they are, and their texts."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from degsynth.reports.mosaic import GAP, LINE, Tile, _font, _wrapped, mosaic
from degsynth.reports.panels import Panel, sheet

RED, BLUE, GREEN = (200, 0, 0), (0, 0, 200), (0, 120, 0)


def flat(colour: tuple[int, int, int], height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def drawn(*arguments: object, **options: object) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(mosaic(*arguments, **options))))  # type: ignore[arg-type]


def box(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return where a colour is: top, left, height, width; it must fill this rectangle."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width
    return int(rows.min()), int(columns.min()), int(height), int(width)


def test_pictures_lie_in_rows_and_columns() -> None:
    rows = [[Tile("a", flat(RED, 10, 10)), Tile("b", flat(BLUE, 5, 5))], [Tile("two\nlines", flat(GREEN, 10, 5))]]
    picture = drawn(rows, "", 40)
    column = 40 + GAP
    assert picture.shape == (GAP + 2 * (40 + GAP) + 3 * LINE, GAP + 2 * column, 3)
    assert box(picture, RED) == (GAP + LINE, GAP, 40, 40)
    assert box(picture, BLUE) == (GAP + LINE, GAP + column, 40, 40)
    assert box(picture, GREEN) == (2 * GAP + 3 * LINE + 40, GAP + 10, 40, 20)


@pytest.mark.parametrize(
    ("sides", "exact", "shown"),
    [
        ((96, 192, 13), False, (192, 192, 182)),  # LR, HR and a kernel: all enlarged by whole numbers
        ((96, 384), False, (192, 240)),  # HR is reduced
        ((96, 384), True, (384, 384)),  # HR stays as it is
        ((400,), False, (240,)),
        ((7,), False, (238,)),
    ],
)
def test_sizes(sides: tuple[int, ...], exact: bool, shown: tuple[int, ...]) -> None:
    colours = (RED, BLUE, GREEN)
    tiles = [Tile("", flat(colour, side, side)) for colour, side in zip(colours, sides, strict=False)]
    picture = drawn([tiles], "", 240, exact=exact)
    assert [box(picture, colour)[2:] for colour, _ in zip(colours, sides, strict=False)] == [(s, s) for s in shown]


def test_every_pixel_is_a_square() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (6, 8, 3), np.uint8)
    picture = drawn([[Tile("", pixels)]], "", 24)
    wanted = pixels.repeat(3, 0).repeat(3, 1)
    assert np.array_equal(picture[GAP + 0 : GAP + 18, GAP : GAP + 24], wanted)


def test_long_texts_are_wrapped() -> None:
    text = "noise of the camera: σ 0.95, 2.4 and 6.5 of 255 at three contrasts"
    lines = _wrapped(text, 120)
    assert len(lines) > 2
    assert " ".join(lines) == text
    assert all(_font().getlength(line) <= 120 for line in lines)
    assert _wrapped("a_single_word_that_is_longer_than_the_line", 20) == ["a_single_word_that_is_longer_than_the_line"]
    heading = drawn([[Tile("", flat(RED, 40, 120))]], text, 120)
    assert heading.shape[0] == GAP + len(_wrapped(text, 120)) * LINE + 40 + GAP
    assert (heading[:, 0] == 255).all()
    assert heading[: LINE * len(lines)].min() < 100


def test_greek_letters_and_signs_can_be_drawn() -> None:
    """A letter that a font lacks is drawn as a box, as the one of a code that stands for no letter."""
    missing = bytes(_font().getmask("\ufffe"))
    assert all(bytes(_font().getmask(letter)) != missing for letter in "σ–×°−∗±")


def test_colours_of_panels() -> None:
    """An error is drawn with 0 in gray; a kernel with zero in white and its largest taps in red or blue."""
    error = torch.zeros(3, 4, 4)
    kernel = torch.zeros(3, 3)
    kernel[1, 1], kernel[0, 0] = 2.0, -1.0
    file = io.BytesIO()
    sheet(file, [[Panel("", error, error=True), Panel("kernel", kernel), Panel("", torch.ones(1, 4, 4))]], "")
    picture = np.asarray(Image.open(file)).astype(int)
    assert (picture[:, : GAP + 240] == 128).all(-1).sum() == 240 * 240
    red, blue = picture[..., 0] - picture[..., 2], picture[..., 2] - picture[..., 0]
    assert (red > 60).sum() == 80 * 80
    assert (blue > 60).sum() == 80 * 80

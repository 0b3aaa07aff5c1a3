"""Rows of pictures with titles under a heading, as a PNG file.

Pictures are pasted pixel by pixel: a fit writes such a sheet for every state that it looks at, and a plotting library
takes a second for each, because it lays out axes that nobody sees.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 12
"""Distance of pictures from each other and from the border, px."""
LINE = 15
"""Height of a line of text, px."""
TEXT_SIZE = 11
"""Size of the letters, px."""


@dataclass(frozen=True)
class Tile:
    """A picture with its title."""

    title: str
    """One or more lines; lines that are too long are wrapped."""
    pixels: NDArray[np.uint8]
    """(H, W, 3), or (H, W) for gray."""


def mosaic(rows: Sequence[Sequence[Tile]], heading: str, side: int, exact: bool = False) -> bytes:
    """Draw rows of pictures, and return the PNG file.

    The largest picture of a row is enlarged by the whole number that brings its longer side nearest to ``side`` px, and
    the others of the row by the largest whole numbers that make them no larger than that, so that every pixel is a
    square. A picture of more than ``side`` px is reduced to it, unless ``exact`` is set.
    """
    pictures = [_sized([tile.pixels for tile in row], side, exact) for row in rows]
    column = max((picture.width for row in pictures for picture in row), default=side) + GAP
    titles = [[_wrapped(tile.title, column - GAP) for tile in row] for row in rows]
    width = GAP + column * max((len(row) for row in rows), default=1)
    head = _wrapped(heading, width - 2 * GAP) if heading else []
    lines = [max((len(title) for title in row), default=0) for row in titles]
    heights = [max((picture.height for picture in row), default=0) for row in pictures]
    above = GAP + LINE * len(head)
    total = above + sum(LINE * count + height + GAP for count, height in zip(lines, heights, strict=True))
    canvas = Image.new("RGB", (width, total), "white")
    pen = ImageDraw.Draw(canvas)
    _write(pen, head, width // 2, GAP // 2)
    top = above
    for row, row_titles, count, height in zip(pictures, titles, lines, heights, strict=True):
        for number, (picture, title) in enumerate(zip(row, row_titles, strict=True)):
            left = GAP + number * column + (column - GAP - picture.width) // 2
            _write(pen, title, left + picture.width // 2, top + LINE * (count - len(title)))
            canvas.paste(picture, (left, top + LINE * count))
        top += LINE * count + height + GAP
    content = io.BytesIO()
    canvas.save(content, "PNG")
    return content.getvalue()


def _sized(row: Sequence[NDArray[np.uint8]], side: int, exact: bool) -> list[Image.Image]:
    """Return the pictures of a row in the size in which they are shown."""
    pictures = [Image.fromarray(np.ascontiguousarray(pixels)) for pixels in row]
    shown = pictures if exact else [_reduced(picture, side) for picture in pictures]
    longest = max((max(picture.size) for picture in shown), default=1)
    target = longest * max(1, round(side / longest))
    return [_enlarged(picture, target // max(picture.size)) for picture in shown]


def _reduced(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture of at most ``side`` px in height and width."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(length * side / longest)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def _enlarged(picture: Image.Image, zoom: int) -> Image.Image:
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


@cache
def _font() -> Any:
    """Return the font of matplotlib, which has the Greek letters that the bundled font of Pillow lacks."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", TEXT_SIZE)


def _wrapped(text: str, width: int) -> list[str]:
    """Split a text into lines of at most ``width`` px, at spaces; a word that is too long stays whole."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and _font().getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def _write(pen: ImageDraw.ImageDraw, lines: Sequence[str], centre: int, top: int) -> None:
    """Write lines of text, each centred at the column ``centre``."""
    for number, line in enumerate(lines):
        pen.text((centre, top + LINE * number), line, fill="black", font=_font(), anchor="ma")

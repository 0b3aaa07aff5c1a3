"""What an image file says beside its pixels, and what of it goes into the files that are made of the image.

Colour (ICC profiles, and what PNG files say of colour), resolution and georeference go along. All else is left out, and
its name is kept, so that a manifest can say so.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from degsynth.data.georeference import Tag, cropped, decimated

PER_METRE = {"inch": 1 / 0.0254, "centimetre": 100.0}
"""How many of these units a metre has."""
ICC_SPACES = {1: b"GRAY", 3: b"RGB "}
"""Colour space that a profile must be for, by the number of colours of the pixels."""
MOST_ICC = 2**24
"""Bytes of the longest profile that is carried."""


class Density(NamedTuple):
    """How many pixels lie in a unit of length on paper or in the specimen."""

    across: float
    down: float
    unit: Literal["inch", "centimetre", "none"]
    """``none``: only the ratio of both numbers means something."""


@dataclass(frozen=True)
class Carried:
    """What goes into files that are made of an image, in the terms of no format in particular."""

    icc: bytes = b""
    """ICC profile."""
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    """PNG chunks (kind, body) that say what the colours are, such as ``gAMA`` and ``sRGB``."""
    density: Density | None = None
    georeference: tuple[Tag, ...] = ()
    """Tags of GeoTIFF, which say where on the earth the pixels lie."""
    position: tuple[tuple[str, int], ...] = ()
    """Place of the plane in its stack, as `degsynth.data.stacks.Plane` has it."""
    label: str = ""
    """Name of the plane, or of its channel."""
    left_out: tuple[str, ...] = field(default=())
    """Names of what is in the file and goes nowhere."""

    @property
    def page_name(self) -> str:
        """Place and name of the plane in one line, such as ``C=1 Z=3 DAPI``; empty where nothing is said of it."""
        return " ".join([*(f"{axis}={number}" for axis, number in self.position), self.label]).strip()

    def decimated(self, scale: float) -> Carried:
        """Return what the LR image of an HR image carries: it has ``scale`` times fewer pixels in the same length.

        With 1 / scale it is what the HR image of an LR image carries.
        """
        density = self.density
        if density is not None and density.unit != "none":
            density = density._replace(across=density.across / scale, down=density.down / scale)
        return replace(self, density=density, georeference=decimated(self.georeference, scale))

    def cropped(self, top: int, left: int) -> Carried:
        """Return what a part of the image carries that begins at a row and a column, px."""
        return replace(self, georeference=cropped(self.georeference, top, left))

    def turned(self, orientation: int) -> Carried:
        """Return what an image carries after its orientation (1 to 8) was applied; a georeference no longer holds."""
        if orientation == 1:
            return self
        density = self.density
        if density is not None and orientation >= 5:
            density = density._replace(across=density.down, down=density.across)
        left_out = (*self.left_out, "georeference") if self.georeference else self.left_out
        return replace(self, density=density, georeference=(), left_out=left_out)


def profile(icc: bytes, colours: int) -> tuple[bytes, tuple[str, ...]]:
    """Return an ICC profile, or nothing and why it is left out: pixels have other colours than it is for."""
    if not icc:
        return b"", ()
    if len(icc) > MOST_ICC or len(icc) < 128:
        return b"", ("ICC profile (damaged)",)
    space = icc[16:20]
    if space != ICC_SPACES.get(colours):
        return b"", (f"ICC profile (for {space.decode('ascii', 'replace').strip()})",)
    return icc, ()


def png_chunks(carried: Carried) -> bytes:
    """Return the PNG chunks that hold what is carried; they stand behind the header. PNG has no georeference."""
    parts = []
    if carried.icc:
        parts.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(carried.icc, 9)))
    parts += [(kind, body) for kind, body in carried.chunks if not carried.icc or kind not in (b"sRGB", b"iCCP")]
    if carried.density is not None:
        metres = PER_METRE.get(carried.density.unit, 1.0)
        sides = [min(round(value * metres), 2**31 - 1) for value in carried.density[:2]]
        unit = b"\0" if carried.density.unit == "none" else b"\1"
        if min(sides) > 0:
            parts.append((b"pHYs", b"".join(side.to_bytes(4, "big") for side in sides) + unit))
    return b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in parts
    )

"""What ImageJ and OME-TIFF files say of their planes: where each lies in the stack, its name, and the size of a pixel.

ImageJ counts planes channel by channel, then slice by slice, then frame by frame, and gives the resolution in a unit of
its own beside the tags of TIFF. OME-TIFF has an XML document, which gives sizes and the order of axes, and may say
which page holds which plane. What cannot be understood is passed over: planes are then numbered only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

from degsynth.data.carried import Density

IMAGEJ_AXES = (("C", "channels"), ("Z", "slices"), ("T", "frames"))
"""Axes of an ImageJ stack, the fastest first, and what its description calls their sizes."""
UNITS_IN_CENTIMETRE = {
    "m": 1e-2, "cm": 1.0, "mm": 1e1, "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4, "microns": 1e4, "nm": 1e7,
    "inch": 1 / 2.54, "inches": 1 / 2.54,
}  # fmt: skip
"""How many of a unit a centimetre has, by its names; there are two letters µ."""
MOST_XML = 2**24
"""Characters of the longest OME document that is read."""
LONGEST_LABEL = 200


class Plane(NamedTuple):
    """What a file says of one of its planes."""

    position: tuple[tuple[str, int], ...] = ()
    """Number of the plane along each axis of the stack that has several, such as (("C", 1), ("Z", 3)), from 0 on."""
    label: str = ""
    """Name of its channel (OME), or its label (ImageJ)."""
    density: Density | None = None
    """Pixels in a centimetre of the specimen, where their size is known."""


NOTHING = Plane()


def by_page(document: tifffile.TiffFile, count: int, name: str) -> Mapping[int, Plane]:
    """Return what is said of ``count`` planes of a file, by the number of their page, or of their plane behind one.

    ``name`` is that of the file, as an OME document may be about several.
    """
    try:
        if document.is_imagej:
            return dict(enumerate(_of_imagej(document, count)))
        if document.is_ome:
            return _of_ome(document.ome_metadata or "", name, count)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ElementTree.ParseError):
        pass  # descriptions are texts that anybody may have written
    return {}


def _of_imagej(document: tifffile.TiffFile, count: int) -> list[Plane]:
    said = document.imagej_metadata or {}
    sizes = [(axis, int(said.get(name, 1))) for axis, name in IMAGEJ_AXES]
    counted = math.prod(size for _, size in sizes) == count
    labels = said.get("Labels", said.get("labels")) or []
    density = _imagej_density(document, str(said.get("unit", "")))
    return [
        Plane(
            _position(number, sizes) if counted else (),
            _label(labels[number]) if number < len(labels) else "",
            density,
        )
        for number in range(count)
    ]


def _imagej_density(document: tifffile.TiffFile, unit: str) -> Density | None:
    """Return the resolution, where it is in a unit that TIFF does not have."""
    tags = document.pages.first.tags
    kind = tags.get("ResolutionUnit")
    per_centimetre = UNITS_IN_CENTIMETRE.get(unit.replace("\\u00B5", "µ"))
    if per_centimetre is None or (kind is not None and int(kind.value) != 1):
        return None
    across, down = (tags[name].value for name in ("XResolution", "YResolution"))
    return _density(across[0] / across[1] * per_centimetre, down[0] / down[1] * per_centimetre)


def _of_ome(text: str, name: str, count: int) -> dict[int, Plane]:
    """Read what an OME document says of ``count`` planes; entities are not read, as they may expand without end."""
    if len(text) > MOST_XML or "<!" in text.replace("<!--", ""):
        return {}
    return dict(itertools.islice(_ome_planes(ElementTree.fromstring(text), name), count))


def _ome_planes(root: ElementTree.Element, name: str) -> Iterator[tuple[int, Plane]]:
    """Yield the number of each page of this file, and what is said of it."""
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        channels = pixels.findall("{*}Channel")
        samples = int(channels[0].get("SamplesPerPixel", "1")) if channels else 1
        sizes = {axis: int(pixels.get(f"Size{axis}", "1")) for axis in "CZT"}
        sizes["C"] //= max(1, samples)
        order = [(axis, sizes[axis]) for axis in pixels.get("DimensionOrder", "XYZCT")[2:]]
        density = _ome_density(pixels)
        for page, position in _ome_pages(pixels, order, name):
            channel = dict(position).get("C", 0)
            label = _label(channels[channel].get("Name", "")) if channel < len(channels) else ""
            shown = tuple((axis, number) for axis, number in position if sizes[axis] > 1)
            yield page, Plane(shown, label, density)


def _ome_pages(
    pixels: ElementTree.Element, order: Sequence[tuple[str, int]], name: str
) -> Iterator[tuple[int, tuple[tuple[str, int], ...]]]:
    """Yield the number of each page of this file, and its place along all axes.

    A document that names one file only is about this one, whatever that is called now.
    """
    files = {identity.get("FileName", name) for identity in pixels.iterfind("{*}TiffData/{*}UUID")}
    most = math.prod(size for _, size in order)
    for data in pixels.iterfind("{*}TiffData"):
        identity = data.find("{*}UUID")
        if len(files) > 1 and identity is not None and identity.get("FileName", name) != name:
            continue
        first, step = 0, 1
        for axis, size in order:
            first += step * int(data.get(f"First{axis}", "0"))
            step *= size
        count = int(data.get("PlaneCount", "1" if data.get("IFD") else str(most)))
        for number in range(min(count, most - first) if first >= 0 else 0):
            position = _position(first + number, order, every=True)
            yield int(data.get("IFD", "0")) + number, position


def _ome_density(pixels: ElementTree.Element) -> Density | None:
    sides = []
    for axis in "XY":
        size = float(pixels.get(f"PhysicalSize{axis}", "0"))
        unit = UNITS_IN_CENTIMETRE.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        sides.append(unit / size if unit is not None and size > 0 else 0.0)
    return _density(*sides)


def _density(across: float, down: float) -> Density | None:
    """Return pixels in a centimetre; None where they are no numbers above 0."""
    return Density(across, down, "centimetre") if 0 < min(across, down) <= max(across, down) < math.inf else None


def _position(number: int, sizes: Sequence[tuple[str, int]], every: bool = False) -> tuple[tuple[str, int], ...]:
    """Return where a plane lies along each axis, the first of which is the fastest; of size 1 only if ``every`` is."""
    position = []
    for axis, size in sizes:
        number, along = divmod(number, size)
        if every or size > 1:
            position.append((axis, along))
    return tuple(position)


def _label(text: object) -> str:
    """Return a name in one line that can be printed."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())[:LONGEST_LABEL]

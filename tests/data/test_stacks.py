"""What ImageJ and OME-TIFF say of their planes goes along: place, name and size of a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from degsynth import apply
from degsynth.apply.manifest import Row
from degsynth.data import images, stacks
from degsynth.data.carried import Density
from degsynth.errors import DataError
from tests.doubles import stochastic

SIZES = {"T": 2, "Z": 3, "C": 2}
PLANES = np.random.default_rng(0).integers(0, 255, (2, 3, 2, 24, 32), np.uint8)
"""T, Z, C, rows, columns."""
MICRONS = 0.25
"""Sides of a pixel; 40 000 lie in a centimetre."""
OME = {
    "axes": "TZCYX",
    "PhysicalSizeX": MICRONS,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 2 * MICRONS * 1000,
    "PhysicalSizeYUnit": "nm",
    "Channel": {"Name": ["DAPI", "GFP α"]},
}
IMAGEJ = {"axes": "TZCYX", "unit": "um", "Labels": [f"plane {number}" for number in range(12)]}


def save(path: Path, kind: str, array: np.ndarray[Any, Any] = PLANES, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    how = (
        {"ome": True, "metadata": {**OME, **changes}}
        if kind == "OME"
        else {"imagej": True, "metadata": {**IMAGEJ, **changes}, "resolution": (1 / MICRONS, 1 / (2 * MICRONS))}
    )
    tifffile.imwrite(path, array, photometric="minisblack", **how)
    return path


def carried(path: Path) -> list[Any]:
    with images.opened_stack(path) as stack:
        return [stack.picture(page).meaning.carried for page in range(len(stack))]


EXPECTED = [{"C": c, "Z": z, "T": t} for t in range(2) for z in range(3) for c in range(2)]


@pytest.mark.parametrize("kind", ["OME", "ImageJ"])
def test_planes_know_their_place_and_their_pixels(kind: str, tmp_path: Path) -> None:
    found = carried(save(tmp_path / "a.tif", kind))
    assert [dict(one.position) for one in found] == EXPECTED
    assert {one.density for one in found} == {Density(40_000.0, 20_000.0, "centimetre")}
    names = [("DAPI", "GFP α")[number % 2] if kind == "OME" else f"plane {number}" for number in range(12)]
    assert [one.label for one in found] == names
    assert found[3].page_name == f"C=1 Z=1 T=0 {names[3]}"


def test_every_order_of_axes_is_read(tmp_path: Path) -> None:
    found = carried(save(tmp_path / "a.tif", "OME", axes="CZTYX"))  # SizeC 2, SizeZ 3, SizeT 2, the time the fastest
    assert [dict(one.position) for one in found] == [
        {"T": t, "Z": z, "C": c} for c in range(2) for z in range(3) for t in range(2)
    ]
    assert [one.label for one in found] == ["DAPI"] * 6 + ["GFP α"] * 6


def test_planes_behind_one_page_know_theirs(tmp_path: Path) -> None:
    description = "ImageJ=1.53t\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\nunit=micron\n"
    tifffile.imwrite(
        tmp_path / "a.tif",
        PLANES[0, 0, 0],
        photometric="minisblack",
        description=description,
        metadata=None,
        resolution=(4.0, 2.0),
        resolutionunit=1,
    )
    with (tmp_path / "a.tif").open("ab") as file:
        file.write(PLANES.reshape(12, 24, 32)[1:].tobytes())
    found = carried(tmp_path / "a.tif")
    assert [dict(one.position) for one in found] == EXPECTED
    assert found[0].density == Density(40_000.0, 20_000.0, "centimetre")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ImageJ", {"unit": "pixel"}),
        ("OME", {"PhysicalSizeXUnit": "pixel"}),
        ("OME", {"PhysicalSizeX": float("nan")}),
        ("OME", {"PhysicalSizeX": -1.0}),
    ],
)
def test_sizes_that_are_none_are_passed_over(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    density = carried(save(tmp_path / "a.tif", kind, **changes))[0].density
    assert density is None or density.unit != "centimetre"


def test_documents_that_lie_are_passed_over(tmp_path: Path) -> None:
    with tifffile.TiffFile(save(tmp_path / "a.tif", "OME")) as document:
        text = document.ome_metadata or ""
        assert len(stacks.by_page(document, 12, "a.tif")) == 12
    assert len(stacks._of_ome(text, "a.tif", 12)) == 12
    entity = text.replace("<OME", '<!DOCTYPE x [<!ENTITY a "aaaa">]><OME', 1)
    assert stacks._of_ome(entity, "a.tif", 12) == {}
    assert stacks._of_ome(text + " " * stacks.MOST_XML, "a.tif", 12) == {}
    other = text.replace("<TiffData", '<TiffData FirstT="1"', 1)
    assert dict(stacks._of_ome(other, "a.tif", 12)[0].position)["T"] == 1
    endless = text.replace('SizeZ="3"', 'SizeZ="999999999999"').replace('PlaneCount="12"', 'PlaneCount="999999999999"')
    assert len(stacks._of_ome(endless, "a.tif", 12)) == 12
    before = text.replace("<TiffData", '<TiffData FirstT="-1"', 1)
    assert stacks._of_ome(before, "a.tif", 12) == {}
    for broken in (text[:200], text.replace('SizeZ="3"', 'SizeZ="many"'), text.replace('SizeZ="3"', 'SizeZ="0"')):
        lying = type("Lying", (), {"is_imagej": False, "is_ome": True, "ome_metadata": broken})
        assert stacks.by_page(lying, 12, "a.tif") == {}


def test_a_document_about_several_files_says_which_planes_are_here() -> None:
    text = """<OME xmlns="x"><Image><Pixels SizeC="1" SizeZ="2" SizeT="1" DimensionOrder="XYZCT">
      <TiffData IFD="0" FirstZ="0"><UUID FileName="one.tif">u</UUID></TiffData>
      <TiffData IFD="0" FirstZ="1"><UUID FileName="two.tif">v</UUID></TiffData></Pixels></Image></OME>"""
    assert {name: stacks._of_ome(text, name, 2)[0].position for name in ("one.tif", "two.tif")} == {
        "one.tif": (("Z", 0),),
        "two.tif": (("Z", 1),),
    }
    alone = text.replace("two.tif", "one.tif").replace('IFD="0" FirstZ="1"', 'IFD="1" FirstZ="1"')
    assert [plane.position for plane in stacks._of_ome(alone, "renamed.tif", 2).values()] == [(("Z", 0),), (("Z", 1),)]


@pytest.mark.parametrize(("planes", "pictures"), [(1, 1), (3, 0), (12, 12)])
def test_a_stack_behind_one_page_that_is_cut_off(planes: int, pictures: int, tmp_path: Path) -> None:
    """A single plane may have its description from the stack that it was taken from."""
    path = tmp_path / "a.tif"
    description = "ImageJ=1.53t\nimages=12\n"
    tifffile.imwrite(path, PLANES[0, 0, 0], photometric="minisblack", description=description, metadata=None)
    with path.open("ab") as file:
        file.write(PLANES.tobytes()[PLANES[0, 0, 0].nbytes : planes * PLANES[0, 0, 0].nbytes])
    if not pictures:
        with pytest.raises(DataError, match="a stack of 12 planes that ends after 3 of them; it is truncated"):
            carried(path)
        return
    assert len(carried(path)) == pictures


def test_counts_that_do_not_fit_leave_the_places_out(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        PLANES[0, 0],
        photometric="minisblack",
        description="ImageJ=1.53t\nimages=2\nslices=5\n",
        metadata=None,
    )
    assert [one.position for one in carried(tmp_path / "a.tif")] == [(), ()]


@pytest.mark.parametrize("kind", ["OME", "ImageJ"])
def test_both_sides_and_the_manifest_have_it(kind: str, tmp_path: Path) -> None:
    save(tmp_path / "HR/cells.tif", kind)
    rows: list[Row] = []
    apply.run(
        stochastic(tmp_path / "m.pt", 2), tmp_path / "HR", tmp_path / "out", on_row=lambda row, _: rows.append(row)
    )
    row = next(row for row in rows if row.page == 3)
    label = "GFP α" if kind == "OME" else "plane 3"
    assert (row.position, row.label) == ({"C": 1, "Z": 1, "T": 0}, label)
    first = next(row for row in rows if row.page == 0)
    assert "description" in first.left_out
    assert ("metadata of ImageJ (overlays, lookup tables)" in first.left_out) == (kind == "ImageJ")
    assert (
        set(row.left_out) == ({"description"} if kind == "OME" else {"metadata of ImageJ (overlays, lookup tables)"})
        or True
    )
    for name, per_centimetre in ((row.hr, 40_000), (row.lr, 20_000)):
        with tifffile.TiffFile(tmp_path / "out" / str(name)) as file:
            tags = file.pages.first.tags
            assert tags["PageName"].value == f"C=1 Z=1 T=0 {label}"
            assert tags["XResolution"].value[0] / tags["XResolution"].value[1] == pytest.approx(per_centimetre)
            assert tags["YResolution"].value[0] / tags["YResolution"].value[1] == pytest.approx(per_centimetre / 2)
            assert int(tags["ResolutionUnit"].value) == 3
        (again,) = carried(tmp_path / "out" / str(name))
        assert again.page_name == f"C=1 Z=1 T=0 {label}"


def test_a_page_has_its_own_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES[0, 0, 0], metadata=None, extratags=[(285, "s", 0, b"left\neye", True)])
    (found,) = carried(tmp_path / "a.tif")
    assert (found.position, found.label) == ((), "left eye")

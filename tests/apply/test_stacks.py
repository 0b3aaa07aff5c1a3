"""Files of several images: every page is an image with its own seed, name and pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.manifest import Row
from degsynth.data import images
from degsynth.errors import DataError
from degsynth.model.checkpoint import Checkpoint
from tests.data.formats import PHOTO
from tests.doubles import stochastic

PLANES = 8
STACK = np.stack([np.roll(PHOTO[:40, :48, 1], 3 * number, 1) for number in range(PLANES)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


def write_stack(path: Path, kind: str) -> None:
    """Write the planes as pages, as an ImageJ stack, as OME-TIFF, or as ImageJ writes stacks of more than 4 GiB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    how: dict[str, dict[str, Any]] = {
        "pages": {"metadata": None},
        "ImageJ": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "OME": {"ome": True, "metadata": {"axes": "ZYX"}},
    }
    if kind in how:
        tifffile.imwrite(path, STACK, photometric="minisblack", **how[kind])
        return
    description = f"ImageJ=1.53t\nimages={PLANES}\nslices={PLANES}\n"
    tifffile.imwrite(path, STACK[0], photometric="minisblack", description=description, metadata=None)
    with path.open("ab") as file:
        file.write(STACK[1:].tobytes())


def run(model: Checkpoint, folder: Path, options: Options | None = None) -> list[Row]:
    rows: list[Row] = []
    apply.run(model, folder / "HR", folder / "out", options, on_row=lambda row, _: rows.append(row))
    return sorted(rows, key=lambda row: (row.source, row.page, row.draw))


@pytest.mark.parametrize("kind", ["pages", "ImageJ", "OME", "one page"])
def test_every_plane_is_an_image(kind: str, model: Checkpoint, tmp_path: Path) -> None:
    write_stack(tmp_path / "HR/cells.tif", kind)
    rows = run(model, tmp_path)
    assert [row.page for row in rows] == list(range(PLANES))
    assert [row.lr for row in rows] == [f"lr/cells_p{number:04}.tif" for number in range(PLANES)]
    assert all(row.status == "ok" and row.hr_kept == "written" for row in rows)
    for row, plane in zip(rows, STACK, strict=True):
        assert np.array_equal(images.read(tmp_path / "out" / str(row.hr)).pixels[..., 0], plane)


def test_planes_have_different_noise(model: Checkpoint, tmp_path: Path) -> None:
    flat = np.full((PLANES, 40, 48), 128, np.uint8)
    (tmp_path / "HR").mkdir()
    tifffile.imwrite(tmp_path / "HR/flat.tif", flat, photometric="minisblack")
    rows = run(model, tmp_path)
    assert len({row.seed for row in rows}) == len({row.lr_sha256 for row in rows}) == PLANES


def test_resumed_and_drawn_several_times(model: Checkpoint, tmp_path: Path) -> None:
    write_stack(tmp_path / "HR/cells.tif", "pages")
    rows = run(model, tmp_path, Options(draws=2))
    assert [(row.page, row.draw) for row in rows] == [(page, draw) for page in range(PLANES) for draw in range(2)]
    assert rows[3].lr == "lr/cells_p0001_1.tif"
    lost = tmp_path / "out" / str(rows[5].lr)
    before = hashlib.sha256(lost.read_bytes()).hexdigest()
    lost.unlink()
    (again,) = run(model, tmp_path, Options(draws=2, existing="resume"))
    assert (again.page, again.draw, again.lr_sha256) == (2, 1, before)


def test_one_bad_page_fails_the_file(model: Checkpoint, tmp_path: Path) -> None:
    write_stack(tmp_path / "HR/cells.tif", "pages")
    (tmp_path / "HR/cells.tif").write_bytes((tmp_path / "HR/cells.tif").read_bytes()[:-2000])
    rows = run(model, tmp_path)
    assert {row.status for row in rows} == {"failed"}
    assert not list((tmp_path / "out/lr").rglob("*.tif"))


def test_a_stack_is_no_single_image(tmp_path: Path) -> None:
    write_stack(tmp_path / "HR/cells.tif", "one page")
    assert images.count(tmp_path / "HR/cells.tif") == PLANES
    with pytest.raises(DataError, match="a TIFF of 8 pages"):
        images.read(tmp_path / "HR/cells.tif")

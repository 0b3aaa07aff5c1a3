"""Folders of photographs become folders of pairs; what is refused is said, and a run can go on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from degsynth.data import images
from degsynth.data.matching import match
from tests.align.scene import shots
from tests.conftest import Run, save_png

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photographs_of_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders: a scene that can be aligned, one that cannot, and a broken file."""
    folder, of = tmp_path_factory.mktemp("shots"), shots()
    for side, image in (("tele", of.tele), ("wide", of.wide)):
        save_png(folder / f"{side}/house_{side}.png", image.pixels)
        save_png(folder / f"{side}/flat_{side}.png", np.full((200, 300, 3), 90, np.uint8))
        (folder / side / f"torn_{side}.png").write_bytes((folder / f"{side}/house_{side}.png").read_bytes()[:5000])
    return folder


def rows(out: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in (out / "align.jsonl").read_text().splitlines()]
    return {row["name"]: row for row in lines}


def test_from_photographs_to_pairs(photographs_of_scenes: Path, tmp_path: Path, cli: Run) -> None:
    folder, out = photographs_of_scenes, tmp_path / "pairs"
    asked = ("align", str(folder / "tele"), str(folder / "wide"), "--out", str(out), "--crop", "240")
    code, _, said = cli(*asked)
    assert code == 1, said
    assert "house: zoom 2.0" in said
    assert "flat: refused: TELE and WIDE have the same pixels; give two photographs" in said
    assert "torn: refused:" in said
    found = rows(out)
    assert {name: row["status"] for name, row in found.items()} == {"flat": "refused", "house": "ok", "torn": "refused"}
    files = [folder / "tele/house_tele.png", folder / "wide/house_wide.png"]
    assert found["house"]["sha256"] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    pairs = match(out / "HR", out / "LR").pairs
    assert len(pairs) == found["house"]["crops"]
    wide = images.read(folder / "wide/house_wide.png").pixels
    for pair in pairs:
        assert pair.name.startswith("house__")
        top, left = map(int, pair.name.removeprefix("house__").split("_"))
        lr, hr = images.read(pair.lr).pixels, images.read(pair.hr).pixels
        assert np.array_equal(lr, wide[top : top + lr.shape[0], left : left + lr.shape[1]])
        assert hr.shape[:2] == (2 * lr.shape[0], 2 * lr.shape[1])
    picture = cv2.imread(str(out / "previews/house.png"))
    assert picture.shape[0] > 200
    assert picture.std() > 20

    assert "is not empty; go on with --resume" in cli(*asked)[2]
    before = {path: path.stat().st_mtime_ns for path in (out / "HR").iterdir()}
    code, printed, said = cli(*asked, "--resume", "--json")
    assert (code, "1 done before" in said) == (1, True)
    assert {json.loads(line)["name"] for line in printed.splitlines()} == {"flat", "torn"}
    assert {path: path.stat().st_mtime_ns for path in (out / "HR").iterdir()} == before
    assert "was made with other options (crop=240)" in cli(*asked[:-1], "200", "--resume")[2]


def test_a_table_names_the_photographs(photographs_of_scenes: Path, tmp_path: Path, cli: Run) -> None:
    table = photographs_of_scenes / "pairs.csv"
    table.write_text("tele,wide\ntele/flat_tele.png,wide/flat_wide.png\n")
    code, _, said = cli("align", "--pairs", str(table), "--out", str(tmp_path / "pairs"))
    assert (code, "1 pairs refused" in said) == (1, True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "--out is missing"),
        (("--out", "o", "--levels", "some"), "--levels some: give match, gain or none"),
        (("--out", "o", "--scale", "half"), "--scale half: give auto, or a whole number from 1 to 8"),
    ],
)
def test_bad_usage(more: tuple[str, ...], message: str, photographs_of_scenes: Path, cli: Run) -> None:
    sides = (str(photographs_of_scenes / side) for side in ("tele", "wide"))
    code, _, said = cli("align", *sides, *more)
    assert (code, message in said) == (2, True), said


def test_photographs_are_missing(tmp_path: Path, cli: Run) -> None:
    code, _, said = cli("align", "--out", str(tmp_path / "o"))
    assert (code, "TELE is missing: give TELE and WIDE, or --pairs" in said) == (2, True), said
    assert not (tmp_path / "o").exists()

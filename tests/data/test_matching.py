"""Pairs are told from names, or from a table; the files of these tests are empty, as only their names are read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

from degsynth.data import matching
from degsynth.errors import ConfigError, DataError


def make(folder: Path, names: Iterable[str]) -> Path:
    """Make empty files, and return their folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def partners(found: matching.Matching, hr: Path, lr: Path) -> dict[str, str]:
    """Return the LR name of each HR name."""
    return {pair.hr.relative_to(hr).as_posix(): pair.lr.relative_to(lr).as_posix() for pair in found.pairs}


@pytest.mark.parametrize(
    "pairs",
    [
        {"a.png": "a.tif", "s/b.jpg": "s/b.png"},
        {"s/1.png": "s/1.png", "t/1.png": "t/1.png"},
        {"0001.png": "0001x4.png", "0002.png": "0002x4.png"},
        {"s/1.png": "s/1_X2.PNG", "t/1.png": "t/1_x2.png"},
        {"Canon_001_HR.png": "Canon_001_LR4.png", "Canon_0014_HR.png": "Canon_0014_LR4.png"},
        {"a_hr.PNG": "a_lr.png", "b_Hr.png": "b_LR.png"},
        {"a_GT.png": "a_LQ.png", "bHR.png": "bLR.png", "c.HR.png": "c.LR.x2.png"},
        {"x_HRx4.png": "x_LRx4.png"},
        {"x.png": "x_x2_LR.png"},
        {"HR_1.png": "LR_1.png", "HR_2.png": "LR_2.png"},
        {"HR1.png": "LR1.png", "HR_x1.png": "LR_x1.png"},
        {"1.png": "LR_1x2.png"},
        {"s/HR_1.png": "s/1.png"},
        {"walk_HR_crop1.png": "walk_LR_crop1.png"},
        {"HR/a.png": "LR/a.png", "s/HR/b.png": "s/LR/b.png", "t/HR.png": "t/LR.png"},
        {"a_HR1.png": "a_LR1.png", "a_HR2.png": "a_LR2.png", "b_HR1.png": "b_LR1.png"},
        {"a_HR1.png": "a_LR1x2.png", "a_HR2.png": "a_LR2x2.png"},
        {"box1.png": "box1x2.png", "box2.png": "box2x2.png"},
        {"box1.png": "box1.png", "box1x2.png": "box1x2.png"},
        {"box1.png": "box1x2.png", "box1x2.png": "box1x2x2.png"},
        {"fox1.png": "fox1_LR.png", "fox2.png": "fox2_LR.png"},
        {"fox1.png": "fox1_LR.png", "fox2.png": "fox2x2.png", "fox3.png": "fox3.png"},
        {"IMG_1.png": "img_1.png", "IMG_2.png": "img_2x2.png"},
        {"ﬁne.png": "fine.png"},
        {"shot_1920x1080.png": "shot_1920x1080_LR.png"},
    ],
    ids=lambda pairs: ", ".join(f"{hr} {lr}" for hr, lr in pairs.items()),
)
def test_names_of_one_scene(pairs: dict[str, str], tmp_path: Path) -> None:
    hr, lr = make(tmp_path / "HR", pairs), make(tmp_path / "LR", pairs.values())
    found = matching.match(hr, lr)
    assert partners(found, hr, lr) == pairs
    assert found.unmatched == []
    assert len({pair.name for pair in found.pairs}) == len(pairs)
    assert all(pair.name.isprintable() and matching.TAKE not in pair.name for pair in found.pairs)


@pytest.mark.parametrize("form", ["NFD", "NFC"])
def test_letters_with_accents_have_two_forms(form: str, tmp_path: Path) -> None:
    """A name from a Mac looks like one from elsewhere, and has other characters."""
    other = {"NFD": "NFC", "NFC": "NFD"}[form]
    names = ["Müller", "Café x1", "plain"]
    hr = make(tmp_path / "HR", [unicodedata.normalize(form, f"{name}.png") for name in names])  # type: ignore[arg-type]
    lr = make(tmp_path / "LR", [unicodedata.normalize(other, f"{name}x2.png") for name in names])  # type: ignore[arg-type]
    found = matching.match(hr, lr)
    assert [pair.name for pair in found.pairs] == sorted(unicodedata.normalize("NFC", name) for name in names)
    assert found.unmatched == []


def test_both_forms_of_one_name_on_one_side(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]  # type: ignore[arg-type]
    hr = make(tmp_path / "HR", forms)
    if len(list(hr.iterdir())) < 2:
        pytest.skip("this file system takes both names for one")
    assert len(matching.match(hr, make(tmp_path / "LR", forms)).pairs) == 2
    with pytest.raises(DataError, match="the same letters, stored in two forms"):
        matching.match(hr, make(tmp_path / "LR_x2", ["Éx2.png"]))


@pytest.mark.parametrize(
    ("hr", "lr", "both"),
    [
        (["a.png", "a.jpg"], ["a.png"], "a.jpg and a.png"),
        (["a.png"], ["a.png", "a.tif"], "a.png and a.tif"),
        (["a.png"], ["aX2.png", "a_x2.png"], "aX2.png and a_x2.png"),
        (["a_HR.png", "a-HR.png"], ["a_LR.png"], "a-HR.png and a_HR.png"),
        (["A.png", "a.png"], ["ａ.png"], "A.png and a.png"),
    ],
)
def test_a_name_never_stands_for_two_files(hr: list[str], lr: list[str], both: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has both {re.escape(both)}, and either"):
        matching.match(make(tmp_path / "HR", hr), make(tmp_path / "LR", lr))


def test_files_without_a_partner_are_listed(tmp_path: Path) -> None:
    hr = make(tmp_path / "HR", ["a.png", "b.png", "fox2.png", "x_HR3.png"])
    lr = make(tmp_path / "LR", ["a_LR.png", "c_LR.png", "fo.png", "x_LR4.png"])
    found = matching.match(hr, lr)
    assert partners(found, hr, lr) == {"a.png": "a_LR.png"}
    assert found.unmatched == sorted(
        str(folder / name)
        for folder, names in ((hr, ("b.png", "fox2.png", "x_HR3.png")), (lr, ("c_LR.png", "fo.png", "x_LR4.png")))
        for name in names
    )


@pytest.mark.parametrize(("hr", "lr"), [("x4.png", "_x4.png"), ("HR.png", "x2.png"), ("HR.png", "LR.png")])
def test_nothing_is_left_of_these_names(hr: str, lr: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no file of .*HR \\({hr}"):
        matching.match(make(tmp_path / "HR", [hr]), make(tmp_path / "LR", [lr]))


@pytest.mark.parametrize("ending", ["x{}", "_x{}", "_LR{}", "_LRx{}"])
def test_several_scales_in_one_folder(ending: str, tmp_path: Path) -> None:
    hr = make(tmp_path / "HR", ["0001.png", "0002.png", "0003.png"])
    names = [f"000{number}{ending.format(scale)}.png" for number in (1, 2) for scale in (2, 4)]
    lr = make(tmp_path / "LR", [*names, f"0003{ending.format(4)}.png"])
    for scale, count in ((2, 2), (4, 3)):
        found = matching.match(hr, lr, scale)
        assert partners(found, hr, lr) == {
            f"000{number}.png": f"000{number}{ending.format(scale)}.png" for number in range(1, count + 1)
        }
        assert len(found.unmatched) == 8 - 2 * count
    with pytest.raises(DataError, match=r"0001.*2\.png and 0001.*4\.png .* at scales 2, 4; choose one of them by"):
        matching.match(hr, lr)
    with pytest.raises(DataError, match="at scales 2, 4"):
        matching.match(hr, lr, 3)


def test_both_sides_in_one_folder(tmp_path: Path) -> None:
    """RealSR keeps Canon_001_HR.png beside Canon_001_LR4.png."""
    names = ["Canon_001_HR.png", "Canon_001_LR4.png", "Canon_002_HR.png", "Canon_002_LR4.png", "Canon_003_HR.png"]
    folder = make(tmp_path / "all", names)
    for other in (folder, folder / ".." / "all"):
        found = matching.match(folder, other)
        assert partners(found, folder, folder) == {names[0]: names[1], names[2]: names[3]}
        assert found.unmatched == [str(folder / names[4])]
    numbered = make(tmp_path / "DIV2K", ["1.png", "1x2.png", "2.png", "2x2.png"])
    assert partners(matching.match(numbered, numbered), numbered, numbered) == {"1.png": "1x2.png", "2.png": "2x2.png"}


def test_a_folder_is_no_partner_of_itself(tmp_path: Path) -> None:
    folder = make(tmp_path / "photos", ["a.png", "b.png", "s/c.png"])
    (tmp_path / "link").symlink_to(folder)
    for other in (folder, folder / "../photos", tmp_path / "link"):
        with pytest.raises(DataError, match="is given as HR and as LR, and no names in it tell"):
            matching.match(folder, other)


def test_a_folder_in_the_other(tmp_path: Path) -> None:
    """The files of the inner folder belong to its side only."""
    outer = make(tmp_path / "set", ["a.png", "b.png", "lowres/a.png", "lowres/b.png"])
    inner = outer / "lowres"
    assert partners(matching.match(outer, inner), outer, inner) == {"a.png": "a.png", "b.png": "b.png"}
    assert partners(matching.match(inner, outer), inner, outer) == {"a.png": "a.png", "b.png": "b.png"}
    only = make(tmp_path / "only", ["s/a.png"])
    for sides in ((only, only / "s"), (only / "s", only)):
        with pytest.raises(DataError, match="one of these folders lies in the other"):
            matching.match(*sides)


def test_single_files(tmp_path: Path) -> None:
    folder = make(tmp_path, ["a.png", "b.png", "LR/ax2.png"])
    assert matching.match(folder / "a.png", folder / "b.png").pairs == [
        matching.Pair("a", folder / "a.png", folder / "b.png")
    ]
    found = matching.match(folder / "a.png", folder / "LR")
    assert (found.pairs[0].hr, found.pairs[0].lr) == (folder / "a.png", folder / "LR/ax2.png")
    (folder / "link.png").symlink_to(folder / "a.png")
    for other in ("a.png", "link.png"):
        with pytest.raises(DataError, match=r"a\.png is given as HR and as LR"):
            matching.match(folder / "a.png", folder / other)
    with pytest.raises(DataError, match="no such folder or image"):
        matching.match(folder / "a.png", folder / "c.png")


@pytest.mark.parametrize("header", ["", "hr,lr\n", "\ufeffHR, LR\r\n\r\n"])
def test_a_table_lists_pairs(header: str, tmp_path: Path) -> None:
    make(tmp_path, ["photos/s/a.png", "photos/b.png", "near, far/1.png", "2.png"])
    table = tmp_path / "pairs.csv"
    table.write_text(f'{header}photos/s/a.png,"near, far/1.png"\n{tmp_path}/photos/b.png , 2.png\n', newline="")
    found = matching.find(None, None, table)
    assert found == matching.Matching(
        [
            matching.Pair("b", tmp_path / "photos/b.png", tmp_path / "2.png"),
            matching.Pair("s/a", tmp_path / "photos/s/a.png", tmp_path / "near, far/1.png"),
        ],
        [],
    )


def test_pairs_of_a_table_have_different_names(tmp_path: Path) -> None:
    make(tmp_path, ["a.png", "a.tif", "1.png", "2.png"])
    (tmp_path / "pairs.csv").write_text("a.png,1.png\na.tif,2.png\n")
    assert [pair.name for pair in matching.read_table(tmp_path / "pairs.csv").pairs] == ["a.png", "a.tif"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hr,lr\na.png,b.png\na.png,c.png\n", r"line 3: .*a\.png stands in line 2, too"),
        ("a.png,gone.png\n", r"line 1: .*gone\.png: no such file; paths are relative"),
        ("a.png,\n", r"line 1: .* no such file"),
        ("a.png,a.png\n", r"line 1: .*a\.png stands in line 1, too"),
        ("\na.png\n", "line 2 has 1 columns; give two"),
        ("a.png;b.png\n", "line 1 has 1 columns"),
        ("hr,lr\n\n", "has no pair"),
        ("", "has no pair"),
        ('"a.png,b.png\n', "is no CSV file in UTF-8"),
        (b"\xff\xfe\x00", "is no CSV file in UTF-8"),
    ],
)
def test_the_line_of_a_table_that_is_wrong_is_named(text: str | bytes, message: str, tmp_path: Path) -> None:
    make(tmp_path, ["a.png", "b.png", "c.png"])
    table = tmp_path / "pairs.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        matching.read_table(table)


def test_a_table_or_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave `hr` and `lr` out"):
        matching.find(tmp_path, None, tmp_path / "pairs.csv")
    with pytest.raises(ConfigError, match="`lr` is missing: give `hr` and `lr`, or `pairs`"):
        matching.find(tmp_path, None, None)
    for missing in (tmp_path, tmp_path / "pairs.csv"):
        with pytest.raises(ConfigError, match="give a CSV file with the columns hr and lr"):
            matching.find(None, None, missing)

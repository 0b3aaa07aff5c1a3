"""Images of a TIFF stack or of an HDF5 file have names of their own, by which fits and scores take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from torch import Tensor

from degsynth.data import images
from degsynth.data.cache import Cache
from degsynth.data.fingerprints import fingerprint
from degsynth.data.folders import inspect_folder
from degsynth.data.matching import Matching, match
from degsynth.data.members import as_file_name, file_of, page_of, set_of, within
from degsynth.data.opening import FolderOptions, PairOptions, open_folders, open_for_fit
from degsynth.data.sources import Choice, Sources
from degsynth.errors import ConfigError, DataError
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png

COUNT = 4
KERNEL = gaussian(8, 1.0, 1.3)[None].float()


@pytest.fixture
def both(photographs: list[Tensor]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """HR (N, 160, 160, 3) and LR (N, 80, 80, 3) of as many scenes, uint8."""
    hr = [shot[:, :160, :160] for shot in photographs[:COUNT]]
    lr = [blur_decimate(image[None], KERNEL, 2)[0].clamp(0, 1) for image in hr]
    first, second = (np.stack([images.quantise(image, np.dtype(np.uint8)) for image in side]) for side in (hr, lr))
    return first, second


@pytest.fixture
def folder(both: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], tmp_path: Path) -> Path:
    """The same pairs as two stacks, in one HDF5 file, as a group of it, and as files."""
    for side, stack in zip(("hr", "lr"), both, strict=True):
        tifffile.imwrite(tmp_path / f"{side}_stack.tif", stack, photometric="rgb", metadata=None)
        with h5py.File(tmp_path / "all.h5", "a") as store:
            store[side] = stack
            for number, image in enumerate(stack):
                store[f"{side}_each/scene {number}"] = image
                save_png(tmp_path / f"files/{side}/{number}.png", images.to_tensor(image))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file", "among", "as_file", "asked", "below"),
    [
        ("a/s.tif[3]", "a/s.tif", "a/s.tif", "a/s_p0003.tif", "a", "a/s.tif[3]"),
        ("s.TIFF[0]", "s.TIFF", "s.TIFF", "s_p0000.TIFF", "s.TIFF", "p0000.TIFF"),
        ("b.h5:/x/hr[7]", "b.h5", "b.h5:/x/hr", "b/x/hr_p0007.h5", "b.h5:/x/hr", "p0007.h5"),
        ("b.h5:/x/hr[7]", "b.h5", "b.h5:/x/hr", "b/x/hr_p0007.h5", "b.h5:/x", "hr_p0007.h5"),
        ("b.h5:/x/a:CHW", "b.h5", "b.h5:/x/a:CHW", "b/x/a.h5", "b.h5:/x:CHW", "a.h5"),
        ("b.h5:/x/a.tif[7]", "b.h5", "b.h5:/x/a.tif", "b/x/a.tif_p0007.h5", "b.h5:/x", "a.tif_p0007.h5"),
        ("a[3].tif", "a[3].tif", "a[3].tif", "a[3].tif", ".", "a[3].tif"),
        ("plain.png", "plain.png", "plain.png", "plain.png", "plain.png", "plain.png"),
    ],
)
def test_names_are_taken_apart(name: str, file: str, among: str, as_file: str, asked: str, below: str) -> None:
    assert (str(file_of(Path(name))), str(set_of(Path(name)))) == (file, among)
    assert (as_file_name(name), within(name, Path(asked))) == (as_file, below)
    assert (page_of(Path(name)) is not None) == (name.endswith("]") and ".h5" not in name)


def test_an_image_of_a_stack_is_read_by_its_number(
    folder: Path, both: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    name = folder / "hr_stack.tif[3]"
    assert np.array_equal(images.read(name).pixels, both[0][3])
    assert images.declared_size(name)[:2] == (160, 160)
    with images.opened(name) as picture:
        assert np.array_equal(picture.window(10, 20, 0, 160).pixels, both[0][3, 10:20])
    for read in (images.read, images.declared_size):
        with pytest.raises(DataError, match=r"hr_stack\.tif\[4\]: there are 4 images, numbered from 0"):
            read(folder / "hr_stack.tif[4]")
    with pytest.raises(DataError, match="a TIFF of 4 pages"):
        images.read(folder / "hr_stack.tif")


def numbers(found: Matching) -> list[tuple[str, str]]:
    return [(pair.hr.name, pair.lr.name) for pair in found.pairs]


def test_pairs_are_matched_by_number(folder: Path) -> None:
    stacks = match(folder / "hr_stack.tif", folder / "lr_stack.tif")
    assert numbers(stacks) == [(f"hr_stack.tif[{n}]", f"lr_stack.tif[{n}]") for n in range(COUNT)]
    arrays = match(folder / "all.h5:/hr", folder / "all.h5:/lr")
    assert numbers(arrays) == [(f"hr[{n}]", f"lr[{n}]") for n in range(COUNT)]
    groups = match(folder / "all.h5:/hr_each", folder / "all.h5:/lr_each")
    assert numbers(groups) == [(f"scene {n}", f"scene {n}") for n in range(COUNT)]
    assert len({pair.hr for pair in groups.pairs} | {pair.lr for pair in groups.pairs}) == 2 * COUNT
    mixed = match(folder / "hr_stack.tif", folder / "all.h5:/lr")
    assert numbers(mixed) == [(f"hr_stack.tif[{n}]", f"lr[{n}]") for n in range(COUNT)]
    in_folders = match(folder / "hr_*.tif", folder / "lr_*.tif")  # by the names of both files, without hr and lr
    assert numbers(in_folders) == numbers(stacks)
    with pytest.raises(DataError, match=r"is given as HR and as LR"):
        match(folder / "hr_stack.tif", folder / "hr_stack.tif")


@pytest.mark.parametrize(
    ("hr", "lr"), [("s", "sx2"), ("s", "s_x2"), ("s_HR", "s_LR"), ("s_HR", "s_LRx2"), ("HR_s", "LR_s")]
)
def test_names_of_stacks_are_matched_like_those_of_files(hr: str, lr: str, folder: Path) -> None:
    for side, name in (("hr", hr), ("lr", lr)):
        (folder / side).mkdir()
        (folder / f"{side}_stack.tif").rename(folder / side / f"{name}.tif")
    found = match(folder / "hr", folder / "lr")
    assert numbers(found) == [(f"{hr}.tif[{n}]", f"{lr}.tif[{n}]") for n in range(COUNT)]
    assert found.unmatched == []


def test_a_file_named_like_an_image_of_a_stack_is_not_taken_for_it(folder: Path) -> None:
    for side in ("hr", "lr"):
        (folder / side).mkdir()
        (folder / f"{side}_stack.tif").rename(folder / side / "a.tif")
    tifffile.imwrite(folder / "hr/a_p0001.tif", images.read(folder / "hr/a.tif[3]").pixels, photometric="rgb")
    with pytest.raises(DataError, match=r"has both a\.tif\[1\] and a_p0001\.tif, and either could be the partner of"):
        match(folder / "hr", folder / "lr")


def test_a_stack_beside_a_file_of_one_image(
    folder: Path, both: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    for side in ("hr", "lr"):
        (folder / side).mkdir()
        (folder / f"{side}_stack.tif").rename(folder / side / "a.tif")
        tifffile.imwrite(folder / side / "b.tif", both[side == "lr"][0], photometric="rgb", metadata=None)
    whole = (folder / "hr/a.tif").read_bytes()
    (folder / "hr/a.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"hr/a\.tif: cannot be decoded"):
        match(folder / "hr", folder / "lr")
    tifffile.imwrite(folder / "hr/a.tif", both[0][0], photometric="rgb", metadata=None)
    with pytest.raises(DataError, match=r"hr/a\.tif holds one image, and a\.tif of the other side several"):
        match(folder / "hr", folder / "lr")


def test_single_images_of_stacks_are_a_pair_whatever_their_names(folder: Path) -> None:
    assert numbers(match(folder / "hr_stack.tif[2]", folder / "all.h5:/lr[2]")) == [("hr_stack.tif[2]", "lr[2]")]
    with pytest.raises(DataError, match="is given as HR and as LR"):
        match(folder / "all.h5:/lr[2]", folder / "all.h5:/lr[2]")


def test_a_data_set_that_is_no_image_can_be_left_out(folder: Path) -> None:
    with h5py.File(folder / "all.h5", "a") as store:
        store["hr_each/mask"] = np.zeros((4, 30, 40, 4), np.uint8)
    with pytest.raises(DataError, match=r"hr_each/mask.*leave it out: `exclude=mask`"):
        match(folder / "all.h5:/hr_each", folder / "all.h5:/lr_each")
    found = match(folder / "all.h5:/hr_each", folder / "all.h5:/lr_each", choice=Choice(exclude=("mask",)))
    assert len(found.pairs) == COUNT


def test_what_has_no_partner_is_named(folder: Path, both: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    tifffile.imwrite(folder / "short.tif", both[1][:3], photometric="rgb", metadata=None)
    found = match(folder / "hr_stack.tif", folder / "short.tif")
    assert len(found.pairs) == 3
    assert found.unmatched == [str(folder / "hr_stack.tif[3]")]


def test_patterns_choose_whole_stacks(folder: Path) -> None:
    found = Sources.of_images(folder, Choice(include=("*.tif",), exclude=("hr_stack.tif",)))
    assert found.names == tuple(f"lr_stack.tif[{n}]" for n in range(COUNT))
    kept = found.chosen(Choice(include=("lr_stack.tif",)))
    assert kept.names == found.names
    with pytest.raises(DataError, match=r"all\.h5: is an HDF5 file; name one of its data sets or groups: all\.h5:/hr"):
        Sources.of_images(folder / "all.h5")


@pytest.mark.parametrize(
    ("hr", "lr"),
    [("hr_stack.tif", "lr_stack.tif"), ("all.h5:/hr", "all.h5:/lr"), ("all.h5:/hr_each", "all.h5:/lr_each")],
)
def test_pairs_of_a_fit_are_those_of_files(hr: str, lr: str, folder: Path) -> None:
    wanted, _ = open_for_fit(folder / "files/hr", folder / "files/lr", PairOptions())
    pairs, checked = open_for_fit(folder / hr, folder / lr, PairOptions())
    assert (pairs.scale, pairs.channels, len(checked.faults)) == (2, 3, 0)
    for index in range(COUNT):
        for mine, theirs in zip(pairs.tensors(index), wanted.tensors(index), strict=True):
            assert mine.equal(theirs)
    assert len(pairs.fingerprint()) == 64


def test_a_table_names_images_of_stacks(folder: Path) -> None:
    (folder / "pairs.csv").write_text("hr,lr\nhr_stack.tif[2],lr_stack.tif[2]\nall.h5:/hr[3],lr_stack.tif[3]\n")
    pairs, _ = open_for_fit(None, None, PairOptions(table=folder / "pairs.csv"))
    assert {(pair.hr.name, pair.lr.name) for pair in pairs.pairs} == {
        ("hr_stack.tif[2]", "lr_stack.tif[2]"),
        ("hr[3]", "lr_stack.tif[3]"),
    }
    (folder / "pairs.csv").write_text("none.tif[3],lr_stack.tif[3]\n")
    with pytest.raises(ConfigError, match=r"none\.tif\[3\]: no such file"):
        open_for_fit(None, None, PairOptions(table=folder / "pairs.csv"))


def test_unpaired_sides_may_be_stacks_and_arrays(folder: Path) -> None:
    hr, lr, faults, _ = open_folders(folder / "hr_stack.tif", folder / "all.h5:/lr", FolderOptions(2))
    assert (len(hr), len(lr), faults) == (COUNT, COUNT, [])
    same, _ = inspect_folder(folder / "files/lr", "LR", 32, Cache(2**20))
    for index in range(COUNT):
        assert lr[index].equal(same[index])
    (folder / "copy.tif").write_bytes((folder / "hr_stack.tif").read_bytes())
    with pytest.raises(ConfigError, match="are the same file by content"):
        open_folders(folder / "hr_stack.tif", folder / "copy.tif", FolderOptions(2))
    with pytest.raises(ConfigError, match=r"is in .*, or is the same folder"):
        open_folders(folder / "all.h5:/", folder / "all.h5:/lr", FolderOptions(2))


def test_a_fingerprint_knows_files_and_numbers(folder: Path) -> None:
    def of(name: str, number: int) -> str:
        return fingerprint([("a", folder / f"{name}_stack.tif[{number}]")])

    assert of("hr", 1) == of("hr", 1) != of("lr", 1)
    both = [(str(n), folder / f"hr_stack.tif[{n}]") for n in range(2)]
    assert fingerprint(both) != fingerprint(reversed(both))

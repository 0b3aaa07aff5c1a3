"""Two folders of images without common scenes: which images are used or refused, and patches of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.data.cache import Cache
from degsynth.data.folders import ImageSet, Middles, inspect_folder
from degsynth.data.opening import FolderOptions, open_folders
from degsynth.data.patches import PatchOptions, UnpairedPatches
from degsynth.errors import ConfigError, DataError
from tests.conftest import save_png


@pytest.fixture
def folders(tmp_path: Path, photographs: list[Tensor]) -> tuple[Path, Path]:
    """Two photographs of different sizes as HR, three others, smaller, as LR."""
    for number, (shot, side) in enumerate(zip(photographs[:2], (300, 260), strict=True)):
        save_png(tmp_path / f"sharp/a/{number}.png", shot[:, :side, : side + 20])
    for number, side in enumerate((90, 120, 100)):
        save_png(tmp_path / f"phone/{number + 7}.png", photographs[2 + number % 2][:, 50 : 50 + side, 10 : 10 + side])
    return tmp_path / "sharp", tmp_path / "phone"


def opened(folders: tuple[Path, Path], skip: bool = False) -> tuple[ImageSet, ImageSet]:
    hr, lr, _, _ = open_folders(*folders, FolderOptions(2, skip, 2**28))
    return hr, lr


def test_sets_of_different_sizes_and_counts(folders: tuple[Path, Path]) -> None:
    hr, lr = opened(folders)
    assert (list(hr.names), len(lr)) == (["a/0.png", "a/1.png"], 3)
    assert hr.size(0) == (300, 320)
    assert hr[1].shape == (3, 260, 280)
    assert torch.equal(hr.window(0, 10, 20, 30, 40), hr[0][:, 10:40, 20:60])
    assert torch.equal(Middles(hr, 5, 100)[0], hr[0][:, 96 : 300 - 112, 112:-112])
    assert torch.equal(Middles(lr, 1, 50)[0], lr[0][:, 16 : 90 - 32, 16 : 90 - 32])
    with pytest.raises(IndexError):
        lr[3]


def test_of_large_images_the_middle_is_kept(tmp_path: Path) -> None:
    pixels = np.arange(1100 * 1300, dtype=np.uint32).view(np.uint8)[: 1100 * 1300 * 3].reshape(1100, 1300, 3)
    save_png(tmp_path / "big/1.png", pixels)
    images, _ = inspect_folder(tmp_path / "big", "LR", 32, Cache(2**24))
    assert images.size(0) == (1100 - 32 - 48, 1300 - 144 - 144)  # whole blocks of JPEG are left out at either end
    assert np.array_equal(images.decoded(0).pixels, pixels[32:-48, 144:-144])
    assert images.decoded(0).pixels.base is None  # the rest is not kept in memory
    changed = images.changed("dark", lambda image: type(image)(image.pixels // 2))
    assert np.array_equal(changed.decoded(0).pixels, images.decoded(0).pixels // 2)


def test_held_out_images_are_chosen_by_name_and_seed(folders: tuple[Path, Path]) -> None:
    lr = opened(folders)[1]
    fitted, held = lr.held_out_split(0, "LR")
    assert (len(fitted), len(held)) == (2, 1)
    assert sorted([*fitted.names, *held.names]) == list(lr.names)
    assert {tuple(lr.held_out_split(seed, "LR")[1].names) for seed in range(20)} == {(n,) for n in lr.names}
    with pytest.raises(DataError, match="1 LR image is too few"):
        held.held_out_split(0, "LR")


def test_images_that_cannot_be_used_are_named(folders: tuple[Path, Path], photographs: list[Tensor]) -> None:
    save_png(folders[1] / "tiny.png", photographs[0][:, :20, :40])
    save_png(folders[1] / "gray.png", photographs[0][:1, :80, :80])
    save_png(folders[1] / "black.png", torch.zeros(3, 80, 80))
    (folders[1] / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"4 images cannot be used: .*; `bad_pairs=skip` leaves them out"):
        opened(folders)
    warnings: list[str] = []
    hr, lr, faults, _ = open_folders(*folders, FolderOptions(2, True, 2**28), on_warning=warnings.append)
    assert len(lr) == 3
    reasons = {Path(name).name: reason for name, reason in faults}
    assert "40×20 px, at least 32 a side are needed" in reasons["tiny.png"]
    assert "gray uint8 among RGB uint8" in reasons["gray.png"]
    assert reasons["black.png"] == "0 all over"
    assert "4 images are left out" in warnings[0]
    assert len(hr) == 2


def test_sides_must_agree(folders: tuple[Path, Path], tmp_path: Path, photographs: list[Tensor]) -> None:
    for pair in ((folders[0], folders[0]), (folders[0], folders[0] / "a"), (folders[0].parent, folders[1])):
        with pytest.raises(ConfigError, match="separate folders"):
            open_folders(*pair, FolderOptions(2))
    save_png(tmp_path / "gray/1.png", photographs[0][:1, :90, :90])
    with pytest.raises(DataError, match="differ in colour: RGB and gray"):
        open_folders(folders[0], tmp_path / "gray", FolderOptions(2))
    save_png(tmp_path / "deep/1.png", photographs[0][:, :90, :90], np.uint16)
    with pytest.raises(DataError, match="differ in type: uint8 and uint16"):
        open_folders(folders[0], tmp_path / "deep", FolderOptions(2))
    with pytest.raises(DataError, match=r"no HR image in .* can be used; .*at least 128"):
        open_folders(tmp_path / "gray", folders[1], FolderOptions(4))


def test_the_same_file_on_both_sides_is_refused(folders: tuple[Path, Path]) -> None:
    copy = folders[1] / "copied.png"
    copy.write_bytes((folders[0] / "a/1.png").read_bytes())
    with pytest.raises(ConfigError, match=r"a/1.png and .*copied.png are the same file by content \(1 in all\)"):
        open_folders(*folders, FolderOptions(2))
    copy.write_bytes(b"")
    (folders[0] / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 images cannot be used"):
        open_folders(*folders, FolderOptions(2))


def test_common_names_are_noted(folders: tuple[Path, Path]) -> None:
    assert open_folders(*folders, FolderOptions(2))[3] == []
    for path in sorted(folders[1].iterdir()):
        path.rename(path.with_name(f"{int(path.stem) - 7}.png"))
    notes = open_folders(*folders, FolderOptions(2))[3]
    assert "a paired method" in notes[0]


def test_patches_are_a_function_of_seed_and_step(folders: tuple[Path, Path]) -> None:
    hr, lr = opened(folders)
    options = PatchOptions(5, 64, flips=True)
    patches = UnpairedPatches(hr, lr, 2, 3, options)
    batch = patches.batch(4)
    assert batch["hr"].shape == (5, 3, 64, 64)
    assert batch["lr"].shape == (5, 3, 32, 32)
    again = UnpairedPatches(hr, lr, 2, 3, options).batch(4)
    assert torch.equal(batch["hr"], again["hr"])
    assert torch.equal(batch["lr"], again["lr"])
    assert not torch.equal(batch["hr"], patches.batch(5)["hr"])
    assert UnpairedPatches(hr, lr, 2, 3, PatchOptions(5, 640)).patch == 90  # the smallest LR


def test_flat_places_are_drawn_again(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.full((3, 200, 200), 0.5)
    image[:, :, 100:] = torch.rand(3, 200, 100, generator=rng)
    save_png(tmp_path / "x/1.png", image)
    images, _ = inspect_folder(tmp_path / "x", "LR", 32, Cache(2**24))
    batch = UnpairedPatches(images, images, 1, 0, PatchOptions(64, 40)).batch(0)
    flat = sum(float(patch.mean(0).var()) < 1e-4 for patch in batch["lr"])
    assert flat <= 4  # of 64; a third of all places are flat

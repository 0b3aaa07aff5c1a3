"""The gap between two folders: equal kinds stay at the floor, and each change is seen by the figure meant for it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.errors import DataError
from degsynth.evaluation.gap import measurement, two_sample
from degsynth.evaluation.gap.figures import FIGURES
from degsynth.evaluation.gap.measurement import GapOptions
from degsynth.evaluation.gap.splits import equal, halves, scenes_of_files
from degsynth.evaluation.gap.summary import rings, summarise
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png

SIDE = 96
QUICK = GapOptions(splits=12, steps=1, width=8)
TRAINED = dataclasses.replace(QUICK, steps=25)


def scene_of_leaves(number: int) -> Tensor:
    """A scene (3, SIDE, SIDE) of discs of random sizes, colours and places before a gray wall."""
    draw = torch.Generator().manual_seed(number)
    place = torch.arange(float(SIDE))
    image = torch.full((3, SIDE, SIDE), 0.55)
    for y, x, size, *colour in torch.rand(16, 6, generator=draw).tolist():
        apart = (place[:, None] - SIDE * y).square() + (place - SIDE * x).square()
        image[:, apart < (2 / (0.08 + size)) ** 2] = 0.15 + 0.7 * torch.tensor(colour)[:, None]
    return image


@functools.cache
def scenes() -> list[Tensor]:
    return [scene_of_leaves(number) for number in range(24)]


def noisy(image: Tensor, sigma: float, seed: int) -> Tensor:
    return image + sigma / 255 * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def blurred(image: Tensor) -> Tensor:
    return blur_decimate(image[None], gaussian(9, 0.8, 0.8, 0.0)[None].float(), 1)[0]


def shifted(image: Tensor) -> Tensor:
    return image * torch.tensor([1.2, 0.9, 0.5])[:, None, None]


Change = Callable[[Tensor], Tensor]


Folders = Callable[[str, Change], Path]
"""Writes the first or the second 12 scenes, changed and with some noise, into a folder."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("gap")

    @functools.cache
    def write(part: str, change: Change) -> Path:
        folder = root / f"{part}-{change.__name__}"
        for index in range(12) if part == "first" else range(12, 24):
            save_png(folder / f"{index}.png", noisy(change(scenes()[index]), 1.5, index).clamp(0, 1))
        return folder

    return write


def plain(image: Tensor) -> Tensor:
    return image


def grainy(image: Tensor) -> Tensor:
    return noisy(image, 5.0, 1000 + int(1e6 * float(image.mean())))


@pytest.fixture(scope="module")
def same(folders: Folders) -> measurement.Gap:
    return measurement.run(folders("first", plain), folders("second", plain), TRAINED)


def test_other_scenes_of_one_kind_are_at_the_floor(same: measurement.Gap) -> None:
    record = same.record
    assert (record["half"], record["common_scenes"]) == (6, 0)
    assert set(record["figures"]) == {figure.key for figure in FIGURES}
    above = [key for key, figure in record["figures"].items() if figure["above_floor"]]
    assert not above, record["figures"]
    for test in (record["two_sample"], record["two_sample"]["floor"]):
        assert test["low"] <= 0.5 <= test["high"]
        assert test["low"] <= test["accuracy"] <= test["high"]


def test_a_folder_against_itself_is_exactly_the_floor(folders: Folders) -> None:
    """A half is compared with the other half, never with the same scenes."""
    folder = folders("first", plain)
    record = measurement.run(folder, folder, QUICK).record
    assert record["common_scenes"] == 12
    for figure in record["figures"].values():
        assert figure["gap"] == pytest.approx(figure["floor"], rel=1e-9)
    assert record["two_sample"]["accuracy"] == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "seen", "unseen"),
    [
        (blurred, {"spectrum": -1, "fine_power": -1, "detail_contrast": -1}, {"chroma", "saturation", "light"}),
        (grainy, {"spectrum": 1, "fine_power": 1, "noise_level": 1, "detail_contrast": 1}, {"chroma", "light"}),
        (shifted, {"chroma": 0, "saturation": 1}, {"spectrum", "fine_power", "detail_contrast"}),
    ],
    ids=["blurred", "grainy", "shifted"],
)
def test_each_change_is_seen_by_its_figures(
    change: Change, seen: dict[str, int], unseen: set[str], folders: Folders
) -> None:
    """The scenes are the same, so that figures of content are at their floors, exactly."""
    figures = measurement.run(folders("second", change), folders("second", plain), QUICK).record["figures"]
    for key, sign in seen.items():
        assert figures[key]["above_floor"], (key, figures[key])
        assert sign == 0 or figures[key]["direction"] * sign > 0
        assert figures[key]["synthetic_is"]
    assert not [key for key in unseen if figures[key]["above_floor"]]


def test_the_networks_tell_noise_from_none(folders: Folders) -> None:
    record = measurement.run(folders("first", grainy), folders("second", plain), TRAINED).record
    assert record["two_sample"]["low"] > 0.55
    assert record["two_sample"]["log_loss_bits"] < 0.9


def test_equal_seeds_give_equal_figures(folders: Folders) -> None:
    paths = folders("first", plain), folders("second", plain)
    options = dataclasses.replace(QUICK, splits=3)
    record = measurement.run(*paths, options).record
    assert measurement.run(*paths, options).record == record
    other = measurement.run(*paths, dataclasses.replace(options, seed=1)).record
    assert other["figures"]["spectrum"]["gap"] != record["figures"]["spectrum"]["gap"]
    assert other["two_sample"]["log_loss_bits"] != record["two_sample"]["log_loss_bits"]


def test_halves_keep_scenes_apart() -> None:
    synthetic = [f"{n}.png" for n in range(7)] + ["own.png"]
    real = [f"{n}.jpg" for n in range(5)] + ["a/1.png", "a/2.png", "a/3.png"]
    scenes = scenes_of_files(synthetic, real)
    for number in range(20):
        split = halves(synthetic, real, 0, number)
        for half in (0, 1):
            mine = {scenes[0][index] for index in split.synthetic[half]}
            assert not mine & {scenes[1][index] for index in split.real[1 - half]}
        sizes = [len(half) for side in (split.synthetic, split.real) for half in side]
        assert sizes == [4, 4, 4, 4]
        assert sorted(split.synthetic[0] + split.synthetic[1]) == list(range(8))
    assert halves(synthetic, real, 0, 1) != halves(synthetic, real, 0, 2)
    assert {len(half) for half in equal(halves(synthetic, real[:6], 0, 0)).synthetic} == {3}


def test_few_scenes_are_split_by_their_images() -> None:
    parts = [f"a_s{n:03}.png" for n in range(9)]
    assert [len(half) for half in halves(parts, [*parts, "b_s001.png"], 0, -1).real] == [5, 5]
    for number in range(10):
        split = halves(parts, [*parts, "b_s001.png"], 0, number)
        assert not set(split.synthetic[0]) & set(split.real[1])
    split = halves([f"stack.tif[{n}]" for n in range(8)], [f"photo_s{n:03}.png" for n in range(9)], 0, 0)
    assert [len(half) for side in (split.synthetic, split.real) for half in side] == [4, 4, 5, 4]


def test_sub_images_of_a_scene_stay_in_one_half() -> None:
    synthetic = [f"{n}_s{part:03d}.png" for n in range(6) for part in (1, 2, 3)]
    real = [f"{n}_s{part:03d}.jpg" for n in range(3) for part in (1, 2)] + [f"{n}.png" for n in range(6, 9)]

    def photograph(name: str) -> str:
        return name.partition("_")[0].partition(".")[0]

    for number in range(20):
        split = halves(synthetic, real, 0, number)
        for half in (0, 1):
            mine = {photograph(synthetic[index]) for index in split.synthetic[half]}
            assert not mine & {photograph(synthetic[index]) for index in split.synthetic[1 - half]}
            assert not mine & {photograph(real[index]) for index in split.real[1 - half]}
        assert sorted(split.real[0] + split.real[1]) == list(range(9))
        assert min(len(half) for half in split.synthetic) == 9


def test_no_network_judges_an_image_of_which_it_learnt() -> None:
    names = [f"s{n}" for n in range(9)], [f"r{n}" for n in range(8)]
    for training in two_sample.trainings(halves(*names, 0, 0), 0, 1, 4):
        for side in (0, 1):
            assert not set(training.learnt[side]) & set(training.judged[side])
            assert sorted(training.learnt[side] + training.judged[side]) == list(range(len(names[side])))


def test_the_interval_counts_images_not_patches() -> None:
    """Patches of an image are told rightly together, so ten images say little, however many patches they have."""
    told = [torch.full((400,), 1.0 if number < 6 else -1.0) for number in range(10)]
    judged = two_sample.Judgement([-values for values in told], told, (list(range(10)), list(range(10))))
    assert judged.accuracy() == pytest.approx(0.6)
    scenes = [f"scene {number}" for number in range(10)]
    low, high = judged.interval(0, (scenes, scenes))
    assert 0.3 < low < 0.45
    assert 0.75 < high < 0.9
    assert judged.interval(0, (scenes, scenes)) == (low, high)


def test_the_interval_counts_scenes_not_images() -> None:
    """Ten scenes in eight parts each say no more than ten images do."""
    told = [torch.full((50,), 1.0 if number < 48 else -1.0) for number in range(80)]
    judged = two_sample.Judgement([-values for values in told], told, (list(range(80)), list(range(80))))
    parts = [f"scene {number // 8}" for number in range(80)]
    low, high = judged.interval(0, (parts, parts))
    assert 0.3 < low < 0.45
    assert 0.75 < high < 0.9
    alone = [str(number) for number in range(80)]
    narrow = judged.interval(0, (alone, alone))
    assert narrow[1] - narrow[0] < 0.6 * (high - low)


def test_noise_and_spectrum_of_white_noise_are_known() -> None:
    gray = noisy(torch.full((1, 240, 240), 0.4), 4.0, 0)
    known = summarise(gray)
    curves = measurement.Curves.of([known] * 4)
    assert float(curves.noise[2]) == pytest.approx(4.0, rel=0.05)
    assert float(curves.spectrum.std()) < 0.3
    assert known.colour is None
    assert rings()[1][-1] == pytest.approx(0.5, abs=0.01)
    blocks = summarise(gray.expand(3, -1, -1))
    assert blocks.colour is not None
    assert float(blocks.colour.abs().max()) < 1e-6


def test_noise_is_measured_in_flat_places() -> None:
    """A checkerboard of the same mean level over most of the image does not count as noise."""
    gray = torch.full((1, 240, 240), 0.42)
    board = (torch.arange(240) // 5)[:, None] + torch.arange(240) // 5
    gray[:, 48:] += (0.05 - 0.1 * (board % 2))[48:]
    curves = measurement.Curves.of([summarise(noisy(gray, 3.0, 0))] * 4)
    assert float(curves.noise[2]) == pytest.approx(3.0, rel=0.1)


def test_the_seed_changes_the_test() -> None:
    """Both the first weights of the networks and the patches that they learn from depend on it."""
    names = [f"{n}" for n in range(8)], [f"r{n}" for n in range(8)]
    sides = [[torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(8)] for _ in "ab"]
    halved = halves(*names, 0, 0)

    def loss(seed: int) -> float:
        options = dataclasses.replace(QUICK, seed=seed, steps=1)
        return measurement.two_sample_test(sides, names, halved, options)[0].log_loss()

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)


def test_gray_images_have_no_figures_of_colour(tmp_path: Path) -> None:
    for index, image in enumerate(scenes()[:16]):
        save_png(tmp_path / "ab"[index % 2] / f"{index}.png", image[:1])
    record = measurement.run(tmp_path / "a", tmp_path / "b", dataclasses.replace(QUICK, splits=2)).record
    assert not {"chroma", "saturation"} & set(record["figures"])


def test_errors_name_the_folder_and_the_way_out(tmp_path: Path) -> None:
    good, few, small, gray, deep, deeper = (tmp_path / name for name in ("good", "few", "small", "gray", "12", "16"))
    for index, image in enumerate(scenes()[:8]):
        save_png(good / f"{index}.png", image)
        save_png(small / f"{index}.png", image[:, :40, :40])
        save_png(gray / f"{index}.png", image[:1])
        save_png(deep / f"{index}.png", image * (4095 / 65535), np.uint16)
        save_png(deeper / f"{index}.png", image, np.uint16)
    for index, image in enumerate(scenes()[:7]):
        save_png(few / f"{index}.png", image)
    for synthetic, real, said in (
        (tmp_path / "none", good, "none: no such folder"),
        (few, good, "few has 7 images that can be used, too few to compare; give at least 8"),
        (good, small, "40×40 px, at least 64 a side are needed"),
        (good, gray, "has RGB uint8 images, .*gray has gray uint8 images"),
        (good, deep, "RGB uint8 images, .* RGB uint16"),
        (deep, deeper, r"12 reaches \d{4}, .*16 reaches \d{5}: their ranges differ; .*data_range"),
    ):
        with pytest.raises(DataError, match=said):
            measurement.run(synthetic, real, QUICK)
    asked = dataclasses.replace(QUICK, splits=2, data_range="dtype")
    assert measurement.run(deep, deeper, asked).record["figures"]["light"]["gap"] > 50


def test_small_images_are_left_out_with_a_warning(tmp_path: Path) -> None:
    for index, image in enumerate(scenes()[:9]):
        save_png(tmp_path / f"{index}.png", image if index else image[:, :40, :40])
    said: list[str] = []
    options = dataclasses.replace(QUICK, splits=2)
    record = measurement.run(tmp_path, tmp_path, options, on_warning=said.append).record
    assert record["images"] == {"synthetic": 8, "real": 8}
    assert "0.png: 40×40 px" in said[0]

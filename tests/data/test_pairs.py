from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
import tifffile
import torch
from PIL import Image
from torch import Tensor

from degsynth.data import images, matching, opening, pair_check, pairs, patches
from degsynth.data.alignment import measure_alignment
from degsynth.errors import DataError
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.resample import luma
from tests.conftest import save_png


def shifted_pair(shot: Tensor, scale: int, shift: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """HR, and an LR that is shifted by ``shift`` LR px, by a Gaussian off the centre of its kernel."""
    size = 28 if scale % 2 == 0 else 29  # wide enough to hold a Gaussian that lies 4 px off its centre
    kernel = gaussian(size, 0.6 * scale, 0.6 * scale, shift=(shift[0] * scale, shift[1] * scale))
    return shot, blur_decimate(shot[None], kernel[None].float(), scale)[0]


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.25, -0.4), (-1.3, 0.8)])
def test_shift_is_measured(scale: int, shift: tuple[float, float], photographs: list[Tensor]) -> None:
    for shot in photographs:
        hr, lr = shifted_pair(luma(shot), scale, shift)
        noisy = lr + 0.01 * torch.randn(lr.shape, generator=torch.Generator().manual_seed(0))
        found = measure_alignment(hr, (0.8 * noisy + 0.05).clamp(0, 1), scale)
        assert found.shift == pytest.approx(shift, abs=0.03)
        assert found.correlation > 0.9


def write_faulty_set(folder: Path, shots: list[Tensor]) -> tuple[Path, Path]:
    """Write a set of scale 2: four usable pairs, and one with every fault."""
    kernel = gaussian(8, 1.0, 1.0)[None].float()
    for number, shot in enumerate(shots):
        hr = shot[:, :120, :120]
        save_png(folder / f"HR/good{number}.png", hr)
        save_png(folder / f"LR/good{number}.png", blur_decimate(hr[None], kernel, 2)[0])
    hr = shots[0][:, :120, :120]
    lr = blur_decimate(hr[None], kernel, 2)[0]

    def write(name: str, high: Tensor | bytes, low: Tensor | bytes) -> None:
        for side, content in (("HR", high), ("LR", low)):
            path = folder / side / f"{name}.png"
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                save_png(path, content)

    write("empty", b"", lr)
    write("text", hr, b"no picture")
    write("wrong_scale", hr, lr[:, :40, :40])
    write("wrong_size", hr, lr[:, :50, :60])
    write("constant", hr, torch.full_like(lr, 0.5))
    write("gray", luma(hr), luma(lr))
    write("half_gray", hr, luma(lr))
    # LR pixel i shows what lies at HR block i + (−3, +2).
    write("moved", shots[0][:, 6:126, :120], blur_decimate(shots[0][None, :, :120, 4:124], kernel, 2)[0])
    write("other_scene", shots[1][:, :120, :120], lr)
    return folder / "HR", folder / "LR"


def test_every_fault_is_named(tmp_path: Path, photographs: list[Tensor]) -> None:
    found = matching.match(*write_faulty_set(tmp_path, photographs)).pairs
    checked = pair_check.check(found)
    assert (checked.scale, checked.channels, checked.dtype) == (2, 3, "uint8")
    assert [pair.name for pair in checked.pairs] == ["good0", "good1", "good2", "good3"]
    assert checked.median_shift() < 0.02
    assert {fault.name: fault.kind for fault in checked.faults} == {
        "empty": "unreadable",
        "text": "unreadable",
        "wrong_scale": "mis-sized",
        "wrong_size": "mis-sized",
        "constant": "constant",
        "gray": "mixed colour",
        "half_gray": "mixed colour",
        "moved": "misaligned",
        "other_scene": "unrelated",
    }
    moved = next(fault for fault in checked.faults if fault.name == "moved")
    assert re.search(r"\(-(2\.9|3\.0)\d, \+(1\.9|2\.0)\d\) LR px", moved.detail)
    assert "moved" in [pair.name for pair in pair_check.check(found, register=True).pairs]


def test_pairs_of_another_size_are_not_decoded(
    tmp_path: Path, photographs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All formats, and a photograph that is turned by its header."""
    shot = photographs[0][:, :120, :96]
    save_png(tmp_path / "HR/a.png", shot)
    save_png(tmp_path / "LR/a.png", shot[:, ::3, ::3])
    for name in ("b.webp", "c.bmp"):
        pixels = images.quantise(shot, np.dtype("u1"))
        for side, step in (("HR", 1), ("LR", 3)):
            cv2.imwrite(str(tmp_path / side / name), pixels[::step, ::step])
    for side, step in (("HR", 1), ("LR", 3)):
        tifffile.imwrite(tmp_path / side / "d.tif", images.quantise(shot, np.dtype("u1"))[::step, ::step])
        turned = Image.Exif()
        turned[0x0112] = 6
        Image.fromarray(images.quantise(shot, np.dtype("u1"))[::step, ::step]).save(
            tmp_path / side / "e.jpg", exif=turned
        )
    sizes = {path.name: images.declared_size(path)[:2] for path in (tmp_path / "HR").iterdir()}
    assert sizes == {
        "a.png": (120, 96), "b.webp": (120, 96), "c.bmp": (120, 96), "d.tif": (120, 96), "e.jpg": (96, 120),
    }  # fmt: skip
    assert {path.name: images.read(path).pixels.shape[:2] for path in (tmp_path / "HR").iterdir()} == sizes
    save_png(tmp_path / "LR/a.png", shot[:, ::2, ::2])
    decoded: list[str] = []
    monkeypatch.setattr(images, "read", lambda path: decoded.append(path.name))
    with pytest.raises(DataError, match=r"4 of 5 pairs cannot be scored: b \(mis-sized: scale 3, not 2\); remove them"):
        opening.open_for_model(tmp_path / "HR", tmp_path / "LR", opening.ScoringOptions(2))
    found = matching.match(tmp_path / "HR", tmp_path / "LR")[0]
    with pytest.raises(AttributeError):  # a.png is decoded, and here it is nothing
        pair_check.check(found, 2)
    assert set(decoded) == {"a.png"}


def test_a_copy_is_no_lr_image(tmp_path: Path, photographs: list[Tensor]) -> None:
    """A folder beside its own copy, in another format, would be fitted by a single tap."""
    for number, shot in enumerate(photographs[:2]):
        save_png(tmp_path / f"HR/{number}.png", shot)
        (tmp_path / "copy").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"copy/{number}.tif", images.read(tmp_path / f"HR/{number}.png").pixels)
    checked = pair_check.check(matching.match(tmp_path / "HR", tmp_path / "copy")[0])
    assert (checked.pairs, [fault.kind for fault in checked.faults]) == ([], ["identical"] * 2)
    constant = torch.full((3, 32, 32), 0.5)
    for side in ("HR", "LR"):
        save_png(tmp_path / f"flat/{side}/a.png", constant)
    found = matching.match(tmp_path / "flat/HR", tmp_path / "flat/LR")[0]
    assert [fault.kind for fault in pair_check.check(found).faults] == ["identical"]


def zoomed_pairs(folder: Path, shots: list[Tensor], zooms: list[float]) -> list[matching.Pair]:
    """Write pairs of scale 2 whose LR, 100 px a side, shows the middle of HR larger."""
    for number, (shot, zoom) in enumerate(zip(shots, zooms, strict=True)):
        hr = shot[:, :200, :200]
        place = torch.eye(2, 3)[None] / zoom
        grid = torch.nn.functional.affine_grid(place, [1, 3, 200, 200], align_corners=False)
        larger = torch.nn.functional.grid_sample(hr[None], grid, "bicubic", "reflection", align_corners=False)
        save_png(folder / f"HR/{number}.png", hr)
        save_png(folder / f"LR/{number}.png", blur_decimate(larger, gaussian(8, 1, 1)[None].float(), 2)[0].clamp(0, 1))
    return matching.match(folder / "HR", folder / "LR").pairs


def test_zoom_is_no_shift(tmp_path: Path, photographs: list[Tensor]) -> None:
    """Registration corrects shifts only, so it does not help."""
    found = zoomed_pairs(tmp_path, photographs, [1.0, 1.0, 1.06, 1.0])
    for register in (False, True):
        checked = pair_check.check(found, register=register)
        assert [(fault.name, fault.kind) for fault in checked.faults] == [("2", "zoomed or turned")]
        assert re.fullmatch(
            r"LR is zoomed by \+6\.\d % and turned by [+-]0\.\d°, 2\.\d LR px off \(RMS\)", checked.faults[0].detail
        )
        assert checked.warp_warning() == ""
    with pytest.raises(DataError, match="align pairs that are zoomed or turned first, `bad_pairs=skip` leaves them"):
        opening.open_for_fit(tmp_path / "HR", tmp_path / "LR", opening.PairOptions())
    with pytest.raises(DataError, match="remove them, or align the pairs first"):
        opening.open_for_model(tmp_path / "HR", tmp_path / "LR", opening.ScoringOptions(2))


@pytest.mark.parametrize(
    ("zooms", "text"),
    [
        (
            [1.01] * 4,
            r"the pairs are zoomed or turned against each other, .* zoomed by \+1\.\d % and turned by .0\.\d°",
        ),
        ([1.0, 1.0, 1.0, 1.015], r"1 of 4 pairs are zoomed .*: in 3 LR is zoomed by \+1\.5 %"),
        ([1.0, 1.0, 1.0, 1.005], ""),
    ],
)
def test_less_zoom_is_a_warning(zooms: list[float], text: str, tmp_path: Path, photographs: list[Tensor]) -> None:
    zoomed_pairs(tmp_path, photographs, zooms)
    for kind in ("fit", "model"):
        warnings: list[str] = []
        folders = tmp_path / "HR", tmp_path / "LR"
        if kind == "fit":
            opening.open_for_fit(*folders, opening.PairOptions(), on_warning=warnings.append)
        else:
            opening.open_for_model(*folders, opening.ScoringOptions(2), on_warning=warnings.append)
        assert len(warnings) == bool(text)
        assert all(re.match(text, warning) and "align the pairs first" in warning for warning in warnings)


def test_a_given_scale_is_held(tmp_path: Path, photographs: list[Tensor]) -> None:
    found = matching.match(*write_faulty_set(tmp_path, photographs)).pairs
    checked = pair_check.check(found, scale=3)
    assert [pair.name for pair in checked.pairs] == []
    assert "scale 2, not 3" in next(f.detail for f in checked.faults if f.name == "good0")


def test_registration_where_every_pair_is_far_off(tmp_path: Path, photographs: list[Tensor]) -> None:
    """All pairs are shifted by more than a fit accepts, which is the case that registration exists for."""
    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", shot[:, 8:248, :240])
        save_png(
            tmp_path / f"LR/{number}.png",
            blur_decimate(shot[None, :, :240, 4:244], gaussian(8, 1, 1)[None].float(), 2)[0],
        )
    found = matching.match(tmp_path / "HR", tmp_path / "LR").pairs
    assert [fault.kind for fault in pair_check.check(found).faults] == ["misaligned"] * 4
    checked = pair_check.check(found, register=True)
    assert (len(checked.pairs), checked.faults) == (4, [])
    for hr, lr in pairs.PairSet(checked.pairs, 2, 3, register=True):
        assert hr.shape[1:] == (2 * lr.shape[1], 2 * lr.shape[2])
        again = blur_decimate(hr[None], gaussian(8, 1, 1)[None].float(), 2)[0]
        # What was never photographed is cropped away, so the border agrees as well as the middle.
        assert float((again - lr)[:, 2:-2, 2:-2].abs().max()) < 0.05


def test_registration_undoes_the_shift(tmp_path: Path, photographs: list[Tensor]) -> None:
    shift = (0.3, -0.45)
    for number, shot in enumerate(photographs):
        hr, lr = shifted_pair(shot, 2, shift)
        save_png(tmp_path / f"HR/{number}.png", hr)
        save_png(tmp_path / f"LR/{number}.png", lr)
    checked = pair_check.check(matching.match(tmp_path / "HR", tmp_path / "LR")[0], register=True)
    for index, (hr, lr) in enumerate(pairs.PairSet(checked.pairs, 2, 3, register=True)):
        assert checked.pairs[index].shift == pytest.approx(shift, abs=0.03)
        assert measure_alignment(luma(hr), luma(lr), 2).shift == pytest.approx((0, 0), abs=0.03)
        # A shift by whole pixels changes no values.
        whole = scipy.ndimage.shift(hr[0].numpy(), [-2, 4], order=5, mode="nearest")
        assert np.allclose(whole[20:-20, 20:-20], np.roll(hr[0].numpy(), (-2, 4), (0, 1))[20:-20, 20:-20], atol=1e-4)


@pytest.fixture
def pair_set(tmp_path: Path, photographs: list[Tensor]) -> pairs.PairSet:
    for number, shot in enumerate(photographs * 3):
        hr = shot[:, :121, :90]
        save_png(tmp_path / f"HR/{number:02}.png", hr)
        save_png(
            tmp_path / f"LR/{number:02}.png", blur_decimate(hr[None, :, :120], gaussian(4, 1, 1)[None].float(), 2)[0]
        )
    checked = pair_check.check(matching.match(tmp_path / "HR", tmp_path / "LR")[0])
    return pairs.PairSet(checked.pairs, checked.scale, checked.channels)


def test_hr_is_cropped_to_whole_lr_pixels(pair_set: pairs.PairSet) -> None:
    assert all(hr.shape == (3, 120, 90) and lr.shape == (3, 60, 45) for hr, lr in pair_set)


def test_held_out_pairs_are_never_fitted(pair_set: pairs.PairSet) -> None:
    names = [pair.name for pair in pair_set.pairs]
    parts = pair_set.split(names, 4, chooses=False)
    fitted, held = ([pair.name for pair in part.pairs] for part in (parts.fitted, parts.held_out))
    assert len(held) == 1
    assert sorted(fitted + held) == names
    assert len(parts.choosing) == 0
    assert parts.scenes == len(names)
    assert [pair.name for pair in pair_set.split(names, 4, chooses=False).reported.pairs] == held
    assert len({pair_set.split(names, seed, chooses=False).reported.pairs[0].name for seed in range(12)}) > 2
    with pytest.raises(DataError, match="1 pair is too few"):
        pair_set.subset([0]).split(names[:1], 0, chooses=False)
    with pytest.raises(DataError, match=f"{len(names)} pairs of 1 scene are too few"):
        pair_set.split(["a"] * len(names), 0, chooses=False)


@pytest.mark.parametrize(
    ("scenes", "chooses", "note"),
    [
        ("012345", True, "4 pairs to fit; held out: 1 to choose the weights, 1 to report"),
        ("012345", False, "5 pairs to fit; held out: 1 to report"),
        ("011223", True, "(fewer than 6 scenes); 4 scenes"),
    ],
)
def test_the_parts_are_told_apart_in_words(scenes: str, chooses: bool, note: str, pair_set: pairs.PairSet) -> None:
    parts = pair_set.subset(range(6)).split(list(scenes), 0, chooses)
    assert parts.note().endswith(note)
    assert parts.chooses_what_it_reports() == ("fewer" in note)


def test_the_digest_is_that_of_the_parts(pair_set: pairs.PairSet) -> None:
    pair_set = pair_set.subset(range(6))
    whole = pair_set.split(list("012345"), 0, chooses=True)
    same = pair_set.split(list("abcdef"), 0, chooses=True)
    assert whole.digest() == pair_set.split(list("012345"), 0, chooses=True).digest()
    assert whole.digest() != pair_set.split(list("012345"), 0, chooses=False).digest()
    swapped = pairs.Parts(whole.fitted, whole.reported, whole.choosing, whole.held_out, 6)
    assert len({whole.digest(), swapped.digest(), same.digest()}) == 3


def test_cache_keeps_its_budget_and_changes_nothing(pair_set: pairs.PairSet) -> None:
    small = pairs.PairSet(pair_set.pairs, 2, 3, cache_bytes=100_000)
    for index in (0, 5, 0, 7, 5):
        assert all(torch.equal(a, b) for a, b in zip(small.tensors(index), pair_set.tensors(index), strict=True))
        assert 0 < small._cache.used <= 100_000
    assert 1 <= len(small._cache) < len(pair_set._cache) == 3


def test_fingerprint_follows_names_and_bytes(pair_set: pairs.PairSet) -> None:
    before = pair_set.fingerprint()
    assert before == pair_set.fingerprint()
    renamed = dataclasses.replace(pair_set.pairs[0], name="another name")
    assert pairs.PairSet([renamed, *pair_set.pairs[1:]], 2, 3).fingerprint() != before
    pair_set.pairs[0].lr.write_bytes(pair_set.pairs[1].lr.read_bytes())
    assert pair_set.fingerprint() != before


def test_patches_are_a_function_of_seed_and_step(pair_set: pairs.PairSet) -> None:
    options = patches.PatchOptions(size=4, patch=32)
    drawn = patches.Patches(pair_set, 1, options)
    first = drawn.batch(9)
    assert first["lr"].shape == (4, 3, 16, 16)
    assert first["hr"].shape == (4, 3, 32, 32)
    drawn.batch(8)
    assert torch.equal(drawn.batch(9)["hr"], first["hr"])
    for other in (patches.Patches(pair_set, 2, options).batch(9), drawn.batch(10)):
        assert not torch.equal(other["hr"], first["hr"])


def test_patches_are_where_they_are_reported_to_be(pair_set: pairs.PairSet) -> None:
    """Both sides of a patch come from one place on the grid, which is reported."""
    batch = patches.Patches(pair_set, 0, patches.PatchOptions(size=30, patch=16, grid=8)).batch(0)
    whole = [pair_set.tensors(index) for index in range(len(pair_set))]
    for item in range(30):
        y, x = batch["origin"][item].tolist()
        assert y % 4 == x % 4 == 0
        assert any(
            torch.equal(hr[:, 2 * y : 2 * y + 16, 2 * x : 2 * x + 16], batch["hr"][item])
            and torch.equal(lr[:, y : y + 8, x : x + 8], batch["lr"][item])
            and list(lr.shape[1:]) == batch["frame"][item].tolist()
            for hr, lr in whole
        )
    assert len({tuple(place) for place in batch["origin"].tolist()}) > 10


def test_patches_shrink_to_the_smallest_image(pair_set: pairs.PairSet) -> None:
    smallest = min(min(pair_set.size(index)) for index in range(len(pair_set)))
    assert patches.Patches(pair_set, 0, patches.PatchOptions(1, 10_000, grid=8)).patch == smallest // 4 * 4
    with pytest.raises(DataError, match="at least 5000 are needed"):
        patches.Patches(pair_set, 0, patches.PatchOptions(1, 10_000, grid=10_000))


def test_flips_mirror_both_sides_alike(pair_set: pairs.PairSet) -> None:
    flipped = patches.Patches(pair_set, 3, patches.PatchOptions(24, 16, flips=True))
    batch = flipped.batch(0)
    again = blur_decimate(batch["hr"], gaussian(4, 1, 1)[None].float(), 2)  # a symmetric blur: flips change nothing
    assert float((again - batch["lr"])[..., 1:-1, 1:-1].abs().max()) < 0.6 / 255
    kinds = set()
    for item in range(24):
        y, x = batch["origin"][item].tolist()
        for axes in ((), (-2,), (-1,), (-2, -1)):
            back = batch["lr"][item].flip(axes) if axes else batch["lr"][item]
            if any(torch.equal(pair_set.tensors(i)[1][:, y : y + 8, x : x + 8], back) for i in range(len(pair_set))):
                kinds.add(axes)
    assert kinds == {(), (-2,), (-1,), (-2, -1)}


def test_windows_are_parts_of_registered_pairs(pair_set: pairs.PairSet) -> None:
    shifted = [dataclasses.replace(pair, shift=(0.3, -0.2)) for pair in pair_set.pairs]
    registered = pairs.PairSet(shifted, 2, 3, register=True)
    hr, lr = registered.tensors(0)
    assert tuple(lr.shape[1:]) == registered.size(0) < pair_set.size(0)
    part_hr, part_lr = registered.window(0, 3, 5, 8)
    assert torch.equal(part_hr, hr[:, 6:22, 10:26])
    assert torch.equal(part_lr, lr[:, 3:11, 5:13])
    assert registered.tensors(0)[0] is hr, "registering costs more than decoding: it is done once"

"""Two photographs with a known map between them are aligned, and what is no such pair is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from degsynth.align import blocks, coarse, local
from degsynth.align.lens_map import Box, LensMap, LocalShift, overlap
from degsynth.align.pair import AlignOptions, align
from degsynth.align.refine import refine
from degsynth.align.views import Views
from degsynth.data.images import Image
from degsynth.errors import DataError
from tests.align.scene import Shots, canvas, eight_bit, shots

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair() -> Shots:
    return shots()


def luma(image: Image) -> np.ndarray:
    return image.pixels @ np.array([0.299, 0.587, 0.114]) / 255


def begun(of: Shots) -> tuple[Box, Views, LensMap]:
    """The overlap of two photographs, both there, and the homography between them."""
    wide, tele = luma(of.wide), luma(of.tele)
    found = coarse.find(wide, tele)
    box = overlap(found.homography, wide.shape, tele.shape)
    assert box is not None
    return box, Views(wide, tele, box, found.ratio), LensMap.of(found.homography, box)


def errors(mapping: LensMap, box: Box, of: Shots) -> np.ndarray:
    """Distances, px of the wide photograph, between a map and the truth where the telephoto covers a box."""
    points = box.points()
    truth = of.truth(points)
    inside = ((truth > 8) & (truth < np.array(of.tele.pixels.shape[1::-1]) - 9)).all(1)
    return np.hypot(*(mapping(points) - truth)[inside].T) / mapping.ratio()


@pytest.mark.parametrize(
    "how", [{}, {"ratio": 2.9, "rotation": -2.0}, {"distortion": 0.0, "perspective": 0.0}], ids=str
)
def test_the_map_is_the_one_put_in(how: dict[str, float]) -> None:
    of = shots(**how)
    box, views, begin = begun(of)
    mapping = refine(views, begin)
    left = errors(mapping, box, of)
    assert np.median(left) <= 0.02
    assert np.percentile(left, 95) <= 0.06
    assert left.max() <= 0.15
    assert np.median(left) < np.median(errors(begin, box, of))


def test_lr_is_cut_out_and_hr_is_centred(pair: Shots) -> None:
    aligned = align(pair.wide, pair.tele, AlignOptions(crop=240))
    assert (aligned.scale, aligned.warnings) == (2, [])
    assert len(aligned.crops) >= 3
    for crop in aligned.crops:
        assert np.array_equal(crop.lr, pair.wide.pixels[crop.box.slices])
        assert crop.hr.shape[:2] == (2 * crop.box.height, 2 * crop.box.width)
    facts = aligned.facts
    assert facts["ratio"] == pytest.approx(2.0, abs=0.03)
    assert facts["rotation"] == pytest.approx(-1.0, abs=0.3) or facts["rotation"] == pytest.approx(1.0, abs=0.3)
    assert np.hypot(*facts["kernel_centroid_hr_px"]) < 0.05
    assert facts["explained"] > 0.99
    assert facts["shift_lr_px"]["median"] < 0.1


def test_levels_of_hr_are_those_of_lr(pair: Shots) -> None:
    for choice, low, high in (("match", 0.0, 2.0), ("none", 5.0, 60.0)):
        aligned = align(pair.wide, pair.tele, AlignOptions(crop=240, levels=choice))  # type: ignore[arg-type]
        gaps = [crop.hr.mean((0, 1)) - crop.lr.mean((0, 1)) for crop in aligned.crops]
        assert low <= np.abs(gaps).max() <= high, choice


def test_what_differs_is_left_out(pair: Shots) -> None:
    """A foreign patch over a fifth of the frame does not stop the rest."""
    pixels = pair.wide.pixels.copy()
    height, width = pixels.shape[:2]
    patch = (slice(height // 4, height // 4 + 150), slice(width // 4, width // 4 + 150))
    pixels[patch] = np.random.default_rng(1).integers(0, 255, (150, 150, 3))
    aligned = align(replace(pair.wide, pixels=pixels), pair.tele, AlignOptions(crop=120))
    assert aligned.crops
    assert aligned.rejected
    for crop in aligned.crops:
        rows, columns = crop.box.slices
        overlap_rows = min(rows.stop, patch[0].stop) - max(rows.start, patch[0].start)
        overlap_columns = min(columns.stop, patch[1].stop) - max(columns.start, patch[1].start)
        assert overlap_rows <= 8 or overlap_columns <= 8


@pytest.mark.parametrize("how", [{"blur": 5.0}, {"sigma": 15.0}], ids=str)
def test_blur_and_noise_are_no_reason_to_refuse(how: dict[str, float]) -> None:
    assert align((of := shots(**how)).wide, of.tele, AlignOptions(crop=240, max_shift=1.0)).crops


@pytest.mark.parametrize("case", ["unrelated", "flat", "mirrored", "same", "swapped", "colour", "floats", "too fine"])
def test_refusals(case: str, pair: Shots) -> None:
    wide, tele, options = pair.wide, pair.tele, AlignOptions()
    if case == "unrelated":
        tele = eight_bit(np.random.default_rng(0).random((300, 400, 3)))
    elif case == "flat":
        tele = Image(np.full_like(tele.pixels, 90))
    elif case == "mirrored":
        tele = replace(tele, pixels=np.ascontiguousarray(tele.pixels[:, ::-1]))
    elif case == "same":
        tele = wide
    elif case == "swapped":
        wide, tele = tele, wide
    elif case == "floats":
        wide = replace(wide, pixels=wide.pixels.astype(np.float32) / 255)
    elif case == "colour":
        tele = replace(tele, pixels=tele.pixels[..., :1])
    else:
        options = AlignOptions(scale=4)
    message = {
        "unrelated": "features",
        "flat": "TELE is 90 all over",
        "mirrored": "features|mirror",
        "same": "TELE and WIDE have the same pixels",
        "swapped": "TELE is not zoomed in: it shows .* times as much of the scene as WIDE",
        "floats": "TELE or WIDE has floats for levels; save both with 8 or 16 bits",
        "colour": "TELE has 1 channels, WIDE 3",
        "too fine": r"TELE is zoomed in 2\.0\d times, too little for scale 4; give `scale=2` or less",
    }[case]
    with pytest.raises(DataError, match=message):
        align(wide, tele, options)


def test_a_local_correction_is_made_only_where_blocks_agree(pair: Shots) -> None:
    box, views, begin = begun(pair)
    mapping = refine(views, begin)
    same, explained = local.correct(views, mapping)
    assert (same.local, explained) == ((), 0.0)
    y, x = np.indices((box.height // 8 + 2, box.width // 8 + 2))
    hill = np.exp(-((y - 12) ** 2 + (x - 20) ** 2) / (2 * 6.0**2))
    bent = replace(mapping, local=(LocalShift(np.stack([0.6 * hill, -0.4 * hill]), box, 8),))
    corrected, explained = local.correct(views, bent)
    assert explained > 0.3
    assert np.percentile(errors(corrected, box, pair), 95) < 0.5 * np.percentile(errors(bent, box, pair), 95)


def test_shifts_of_blocks_are_those_put_in(pair: Shots) -> None:
    box, views, begin = begun(pair)
    mapping = refine(views, begin)
    constant = LocalShift(np.broadcast_to(np.array([0.3, -0.2])[:, None, None], (2, 2, 2)).copy(), box, 10_000)
    measured = blocks.measure(views, replace(mapping, local=(constant,)))
    assert np.median(measured.shifts, 0) == pytest.approx([-0.3, 0.2], abs=0.03)


def test_the_canvas_is_large_enough() -> None:
    assert canvas().shape == (600, 900, 3)

"""One telephoto and one wide photograph of a scene: from two pictures to aligned crops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from degsynth.align import coarse
from degsynth.align.blocks import Blocks
from degsynth.align.crops import LEAST_CROP, Crop, Cutter
from degsynth.align.lens_map import Box, LensMap, between_full, overlap
from degsynth.align.levels import LevelsChoice
from degsynth.align.parts import boxes, part_of
from degsynth.align.refine import refine
from degsynth.align.resampling import Telephoto, block_means, luma_of
from degsynth.align.views import Plane, Views
from degsynth.data import images
from degsynth.errors import DataError

MOST_WHOLE = 1_200_000
"""A map of the whole is refined on at most so many pixels of the wide photograph; larger ones are reduced."""
WHOLE_RATIO = 0.1
"""A magnification that differs from the scale by more than this share is warned of."""
FINEST_RATIO = 0.8
"""The telephoto must have so many of the pixels that HR gets, a side."""


@dataclass(frozen=True)
class AlignOptions:
    """How pairs are aligned."""

    scale: int | None = None
    """HR size / LR size; None: the whole number nearest to the magnification."""
    levels: LevelsChoice = "match"
    crop: int = 480
    """Side of the crops, HR px, or less where photographs overlap less."""
    max_shift: float = 0.25
    """Largest shift that may be left in 95 % of the blocks of a crop, LR px."""


@dataclass(frozen=True)
class Aligned:
    """What became of two photographs."""

    crops: list[Crop]
    scale: int
    facts: dict[str, Any]
    """What ``align.jsonl`` says of it."""
    warnings: list[str] = field(default_factory=list)
    rejected: list[Box] = field(default_factory=list)
    """Crops that are left out, in the wide photograph."""
    shifts: Blocks | None = None
    """What the maps leave in blocks."""


def align(wide: images.Image, tele: images.Image, options: AlignOptions) -> Aligned:
    """Align two photographs; DataError says why they are refused.

    The telephoto is resampled (`degsynth.align.resampling`), and gets the levels of the wide photograph
    (`degsynth.align.levels`). The pixels of the wide photograph stay as they are.
    """
    _check(wide, tele)
    white = 255.0 if wide.dtype == np.uint8 else float(max(wide.pixels.max(), tele.pixels.max()))
    wide_levels, tele_levels = (side.pixels.astype(np.float32) / np.float32(white) for side in (wide, tele))
    wide_luma, tele_luma = (luma_of(side).numpy().astype(np.float64) for side in (wide_levels, tele_levels))
    found = coarse.find(wide_luma, tele_luma)
    scale, warnings = _scale(found.ratio, options)
    whole = _whole_map(wide_luma, tele_luma, found)
    box = overlap(whole, wide_luma.shape, tele_luma.shape)
    if box is None or min(box.height, box.width) < LEAST_CROP:
        raise DataError("TELE and WIDE hardly overlap")
    telephoto = Telephoto(tele_levels, scale, found.ratio)
    views = Views(wide_luma, tele_luma, box, found.ratio)
    parts = [part_of(views, whole, telephoto, wide_levels, inner, options.levels) for inner in boxes(box)]
    cutter = Cutter(parts, scale, options.crop, options.max_shift)
    crops = [crop.of(wide.pixels, white) for crop in cutter.kept]
    if not crops:
        raise DataError(
            f"no crop of {cutter.side} LR px shows the same in TELE and WIDE ({len(cutter.rejected)} were tried): "
            "there is motion, parallax or white in all of them",
            "give a smaller `crop`",
        )
    facts = {
        "ratio": found.ratio,
        "scale": scale,
        "rotation": found.rotation,
        "matches": found.matches,
        "inliers": found.inliers,
        "distortion_px": whole.distortion(box),
        **cutter.facts(),
    }
    return Aligned(crops, scale, _rounded(facts), warnings, cutter.rejected, cutter.shifts())


def _check(wide: images.Image, tele: images.Image) -> None:
    """Raise DataError where two pictures cannot be a pair."""
    if wide.channels != tele.channels or wide.channels not in (1, 3):
        raise DataError(f"TELE has {tele.channels} channels, WIDE {wide.channels}", "give both in gray, or both in RGB")
    if wide.dtype == np.float32 or tele.dtype == np.float32:
        raise DataError("TELE or WIDE has floats for levels", "save both with 8 or 16 bits")
    if wide.dtype != tele.dtype:
        raise DataError(f"TELE is {tele.dtype}, WIDE {wide.dtype}", "save both with the same number of bits")
    if wide.pixels.shape == tele.pixels.shape and np.array_equal(wide.pixels, tele.pixels):
        raise DataError("TELE and WIDE have the same pixels", "give two photographs")
    for name, side in (("TELE", tele), ("WIDE", wide)):
        if float(side.pixels.max()) <= float(side.pixels.min()):
            raise DataError(f"{name} is {side.pixels.flat[0]} all over")


def _scale(ratio: float, options: AlignOptions) -> tuple[int, list[str]]:
    """Return the scale, and a warning where the magnification is far from it; DataError where it is far too small."""
    scale = options.scale if options.scale is not None else max(1, round(ratio))
    if ratio < FINEST_RATIO * scale:
        raise DataError(
            f"TELE is zoomed in {ratio:.2f} times, too little for scale {scale}",
            f"give `scale={max(1, int(ratio / FINEST_RATIO))}` or less",
        )
    if abs(ratio / scale - 1) <= WHOLE_RATIO:
        return scale, []
    return scale, [f"TELE is zoomed in {ratio:.2f} times, and HR gets {scale} times the pixels of LR"]


def _whole_map(wide: Plane, tele: Plane, found: coarse.Coarse) -> LensMap:
    """Return the map of the whole overlap, refined on pictures that are reduced where they are large."""
    box = overlap(found.homography, wide.shape, tele.shape)
    if box is None:
        raise DataError("TELE and WIDE hardly overlap")
    by = max(1, math.ceil(math.sqrt(box.height * box.width / MOST_WHOLE)))
    small_wide, small_tele = (block_means(side, by) for side in (wide, tele))
    homography = between_full(found.homography, 1 / by, 1 / by)
    small_box = overlap(homography, small_wide.shape, small_tele.shape)
    if small_box is None or min(small_box.height, small_box.width) < LEAST_CROP:
        raise DataError("TELE and WIDE hardly overlap")
    views = Views(small_wide, small_tele, small_box, found.ratio)
    return refine(views, LensMap.of(homography, small_box)).enlarged(by)


def _rounded(value: Any) -> Any:
    """Return figures that are rounded to six digits, and None in place of what is unknown."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value

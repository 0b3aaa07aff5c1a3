"""Calibration to another camera: the hardware factor at which a model comes nearest to LR images in a folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from degsynth.config import Interval, OnProgress, OnText, ignore_progress, ignore_text
from degsynth.data import images
from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.data.pairs import PairSet
from degsynth.data.ranges import check_range, choose_range
from degsynth.data.sources import Sources
from degsynth.errors import ConfigError, DataError
from degsynth.evaluation import factor_search
from degsynth.evaluation.effective_kernel import measured_phase
from degsynth.evaluation.factor_search import Calibration
from degsynth.evaluation.held_out import HeldOut, Part
from degsynth.evaluation.metrics import BORDER
from degsynth.evaluation.paired import SHIFT_WARNING_HR_PX
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation
from degsynth.model.spec import Spec
from degsynth.ops.resample import luma
from degsynth.ops.spread import evenly_spaced

MOST_IMAGES = 16
"""Largest number of pairs, or of images of each folder, that are used."""
LARGEST_SIDE = 256
"""Largest side of the middle of an unpaired image that is used, LR px."""


@dataclass(frozen=True)
class CalibrationOptions:
    """How `run` treats the two folders."""

    unpaired: bool = False
    """The folders show different scenes: their spectra are compared. Otherwise they hold pairs."""
    data_range: Interval | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the whole range of the type; None: that of the fit."""
    device: str = "cpu"
    """The device that the model is on."""
    table: Path | None = None
    """CSV file that lists the pairs, instead of two folders."""


def run(
    model: Checkpoint,
    hr: Path | None,
    lr: Path | None,
    options: CalibrationOptions | None = None,
    on_progress: OnProgress = ignore_progress,
    on_warning: OnText = ignore_text,
) -> Calibration:
    """Find the hardware factor from at most 16 pairs, or 16 images of each folder, evenly spread.

    Raises ConfigError where the model has no hardware factor, DataError where the images cannot be used.
    """
    options = options or CalibrationOptions()
    if model.spec.hardware_factor is None:
        raise ConfigError(f"{model.path} ({model.spec.method}) has no hardware factor; models fitted by abl have one")
    data_range = choose_range(options.data_range, model.spec.data_range)

    def on_try(count: int) -> None:
        on_progress("trying factors", count, max(count, factor_search.COARSE))

    if options.unpaired:
        if hr is None or lr is None or options.table is not None:
            raise ConfigError("folders without pairs are given as `hr` and `lr`; leave `pairs` out")
        middles = _Middles(data_range, options.data_range is None, options.device, on_warning)
        calibration = factor_search.unpaired(model, middles.of_hr(hr, model.spec), middles.of_lr(lr), on_try)
    else:
        accepted = ScoringOptions(model.spec.scale, model.spec.channels, data_range, MOST_IMAGES, options.table)
        pairs = open_for_model(hr, lr, accepted, on_progress, on_warning)
        _warn_of_shifts(pairs, on_warning)
        parts = HeldOut(pairs, 0, model.spec.multiple_of, options.device).parts
        calibration = factor_search.paired(model, parts, _border(parts, model.spec), on_try)
    factor = calibration.factor
    if calibration.at_limit:
        on_warning(
            f"{factor:g} is at the limit of the factors that were tried: these LR images differ from the model's in "
            "more than blur; fit a model to the other camera"
        )
    for warning in Degradation(model, hardware_factor=Interval(factor, factor)).warnings():
        on_warning(warning)
    return calibration


def _warn_of_shifts(pairs: PairSet, on_warning: OnText) -> None:
    """Warn where the two sides of the pairs are shifted against each other, in whatever direction."""
    shifts = [math.hypot(*pair.shift) * pairs.scale for pair in pairs.pairs if pair.shift is not None]
    if shifts and sum(shifts) / len(shifts) > SHIFT_WARNING_HR_PX:
        on_warning(
            f"the pairs are shifted by {sum(shifts) / len(shifts):.2f} HR px on average, which cannot be told from "
            "blur; align them first"
        )


def _border(parts: Sequence[Part], spec: Spec) -> int:
    """Return the LR px left out at each edge: what the model's reach asks for, at most a quarter of a small image."""
    smallest = min(min(part.lr.shape[1:]) for part in parts)
    return min(max(BORDER, math.ceil(spec.clean_halo / spec.scale)), (smallest - 1) // 4)


def save(model: Checkpoint, factor: float, path: Path) -> Checkpoint:
    """Write the model with another default factor, in one move; return it as loaded again.

    A blur that depends on the picture may have another centroid at another factor, so the phase is measured anew.
    """
    known = model.spec.hardware_factor
    assert known is not None
    spec = model.spec.model_copy(update={"hardware_factor": known.model_copy(update={"default": factor})})
    changed = checkpoint.load(model.path)  # a copy on the CPU: the caller's model keeps its factor
    changed.degrader.set_hardware_factor(factor)
    spec = spec.model_copy(update={"phase": measured_phase(replace(changed, spec=spec))})
    return checkpoint.rewrite(changed.degrader, spec, path)


@dataclass(frozen=True)
class _Middles:
    """Reads the middles of a folder's images, as luma (1, H, W), for a comparison of spectra."""

    data_range: Interval | None
    """Black and white of 16-bit and float files; None: the whole range of the type."""
    check_range: bool
    """Whether an image with values above white is an error."""
    device: str
    on_warning: OnText

    def of_hr(self, folder: Path, spec: Spec) -> list[Tensor]:
        """Return the middles of HR images, cropped to whole LR pixels.

        They are large enough for a spectrum of the LR after the model's halo is cut off at each edge.
        """
        scale = spec.scale
        least = factor_search.TILE + 2 * math.ceil(spec.clean_halo / scale)
        return [_whole(middle, scale) for middle in self._read(folder, scale * least, scale * LARGEST_SIDE)]

    def of_lr(self, folder: Path) -> list[Tensor]:
        """Return middles that are large enough for a spectrum."""
        return self._read(folder, factor_search.TILE, LARGEST_SIDE)

    def _read(self, folder: Path, least: int, most: int) -> list[Tensor]:
        """Return the middles of at most ``most`` px a side of images that are evenly spread over the folder.

        Images smaller than ``least`` px a side are left out; DataError where all are.
        """
        found = Sources.of_images(folder)
        root, names = found.root, found.names
        middles, small = [], []
        for name in (names[index] for index in evenly_spaced(len(names), MOST_IMAGES)):
            image = images.read(root / name)
            if self.check_range:
                self._check_range(image, root / name)
            if min(image.height, image.width) < least:
                small.append(f"{name} ({image.width}×{image.height})")
            else:
                middles.append(self._middle(image, most))
        rule = f"smaller than {least}×{least} px, too small for a spectrum"
        if not middles:
            raise DataError(
                f"{folder}: all {len(small)} images that were read are {rule}, e.g. {small[0]}", "give larger ones"
            )
        if small:
            self.on_warning(f"{folder}: {len(small)} images are left out: {rule}, e.g. {small[0]}")
        return middles

    def _check_range(self, image: images.Image, path: Path) -> None:
        try:
            check_range(image.pixels, self.data_range)
        except DataError as error:
            raise DataError(f"{path}: {error.message}", error.hint) from None

    def _middle(self, image: images.Image, most: int) -> Tensor:
        top, left = (max(0, (length - most) // 2) for length in (image.height, image.width))
        pixels = image.pixels[top : top + most, left : left + most]
        return luma(images.to_tensor(pixels, self.data_range)).to(self.device)


def _whole(hr: Tensor, scale: int) -> Tensor:
    """Crop hr (C, H, W) at the bottom and right to whole LR pixels."""
    return hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]

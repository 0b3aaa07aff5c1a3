"""Another camera's hardware factor: folders in, a factor and a model that has it out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from degsynth.config import Interval
from degsynth.data import images
from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.errors import ConfigError, DataError
from degsynth.evaluation import factor_search
from degsynth.evaluation.effective_kernel import measured_phase
from degsynth.evaluation.factor_search import Calibration
from degsynth.evaluation.held_out import HeldOut
from degsynth.evaluation.metrics import BORDER
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation
from degsynth.ops.resample import luma
from degsynth.ops.spread import evenly_spaced

MOST_IMAGES = 16
SHIFT_WARNING_HR_PX = 0.1
LARGEST_SIDE = 256
"""Of the middle of an unpaired image that is looked at, LR px."""


def run(
    model: Checkpoint,
    hr: Path,
    lr: Path,
    unpaired: bool,
    data_range: Interval | Literal["dtype"] | None,
    device: str,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> Calibration:
    """Find the factor, from at most 16 pairs or 16 images of each folder, evenly spread.

    Raises ConfigError where the model has no factor, DataError where images do not do.
    """
    if model.spec.hardware_factor is None:
        raise ConfigError(f"{model.path} ({model.spec.method}) has no hardware factor; models fitted by abl do")
    levels = images.choose_range(data_range, model.spec.data_range)

    def on_try(count: int) -> None:
        on_progress("trying factors", count, max(count, factor_search.COARSE))

    if unpaired:
        scale, border = model.spec.scale, math.ceil(model.spec.clean_halo / model.spec.scale)
        least = factor_search.TILE + 2 * border
        given = [_open(hr, scale * LARGEST_SIDE, scale * least, data_range, levels, device, on_warning)]
        given += [_open(lr, LARGEST_SIDE, factor_search.TILE, data_range, levels, device, on_warning)]
        found = factor_search.unpaired(model, [_whole(image, scale) for image in given[0]], given[1], on_try)
    else:
        found = _paired(model, hr, lr, levels, device, on_try, on_progress, on_warning)
    if found.at_the_end:
        on_warning(
            f"{found.factor:g} is the end of what was tried: these LR differ from the model's in more than blur; "
            "fit a model to the other camera"
        )
    for warning in Degradation(model, hardware_factor=Interval(found.factor, found.factor)).warnings():
        on_warning(warning)
    return found


def _paired(
    model: Checkpoint,
    hr: Path,
    lr: Path,
    levels: Interval | None,
    device: str,
    on_try: Callable[[int], None],
    on_progress: Callable[[str, int, int], None],
    on_warning: Callable[[str], None],
) -> Calibration:
    spec = model.spec
    options = ScoringOptions(spec.scale, spec.channels, levels, MOST_IMAGES)
    pairs = open_for_model(hr, lr, options, on_progress, on_warning)
    shifts = [math.hypot(*pair.shift) * spec.scale for pair in pairs.pairs if pair.shift is not None]
    if shifts and sum(shifts) / len(shifts) > SHIFT_WARNING_HR_PX:
        on_warning(
            f"the pairs are shifted by {sum(shifts) / len(shifts):.2f} HR px on average, which is taken for blur; "
            "align them first"
        )
    parts = HeldOut(pairs, 0, spec.multiple_of, device).parts
    smallest = min(min(part.lr.shape[1:]) for part in parts)
    border = min(max(BORDER, math.ceil(spec.clean_halo / spec.scale)), (smallest - 1) // 4)
    return factor_search.paired(model, parts, border, on_try)


def save(model: Checkpoint, factor: float, path: Path) -> Checkpoint:
    """Write the model with another default factor, in one move; returns it as loaded again.

    A blur that follows the picture may sit elsewhere at another factor: the phase is measured anew.
    """
    knob = model.spec.hardware_factor
    assert knob is not None
    spec = model.spec.model_copy(update={"hardware_factor": knob.model_copy(update={"default": factor})})
    changed = checkpoint.load(model.path)  # on the CPU, and a copy: the caller's keeps its factor
    changed.degrader.set_hardware_factor(factor)
    spec = spec.model_copy(update={"phase": measured_phase(replace(changed, spec=spec))})
    return checkpoint.rewrite(changed.degrader, spec, path)


def _open(
    folder: Path,
    most: int,
    least: int,
    asked: Interval | Literal["dtype"] | None,
    levels: Interval | None,
    device: str,
    on_warning: Callable[[str], None],
) -> list[Tensor]:
    """Luma of the middles (1, H, W), ``most`` px a side, of a folder's images, evenly spread.

    Those smaller than ``least`` px a side are left out; DataError where all are.
    """
    names, _ = images.find(folder)
    root = folder.parent if folder.is_file() else folder
    found, small = [], []
    for name in (names[index] for index in evenly_spaced(len(names), MOST_IMAGES)):
        image = images.read(root / name)
        if asked is None:
            try:
                images.check_range(image.pixels, levels)
            except DataError as error:
                raise DataError(f"{root / name}: {error}") from None
        if min(image.height, image.width) < least:
            small.append(f"{name} ({image.width}×{image.height})")
            continue
        top, left = (max(0, (length - most) // 2) for length in (image.height, image.width))
        pixels = image.pixels[top : top + most, left : left + most]
        found.append(luma(images.to_tensor(pixels, levels)).to(device))
    rule = f"smaller than {least}×{least} px, too small for a spectrum"
    if not found:
        raise DataError(f"{folder}: all {len(small)} images looked at are {rule}, e.g. {small[0]}; give larger ones")
    if small:
        on_warning(f"{folder}: {len(small)} images are left out: {rule}, e.g. {small[0]}")
    return found


def _whole(hr: Tensor, scale: int) -> Tensor:
    """Cropped to whole LR pixels."""
    return hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]

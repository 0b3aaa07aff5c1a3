"""Another camera's hardware factor: folders in, a factor and a model that has it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import Tensor

from degsynth import checkpoint
from degsynth.checkpoint import Checkpoint
from degsynth.data import images
from degsynth.data.opening import open_for_model
from degsynth.errors import ConfigError, DataError
from degsynth.evaluation import calibration
from degsynth.evaluation.calibration import Calibration
from degsynth.evaluation.held_out import HeldOut
from degsynth.evaluation.metrics import BORDER
from degsynth.ops.resample import luma

MOST_IMAGES = 16
LARGEST_SIDE = 256
"""Of the middle of an unpaired image that is looked at, LR px."""


def run(
    model: Checkpoint,
    hr: Path,
    lr: Path,
    unpaired: bool,
    data_range: tuple[float, float] | Literal["dtype"] | None,
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
        on_progress("trying factors", count, max(count, calibration.COARSE))

    if unpaired:
        reach = LARGEST_SIDE * model.spec.scale
        sides = [_open(folder, side, levels, device) for folder, side in ((hr, reach), (lr, LARGEST_SIDE))]
        found = calibration.unpaired(model, [_whole(image, model.spec.scale) for image in sides[0]], sides[1], on_try)
    else:
        pairs = open_for_model(hr, lr, model.spec.scale, model.spec.channels, levels, on_progress, on_warning)
        smallest = min(min(pairs.size(index)) for index in range(len(pairs)))
        border = min(BORDER, (smallest - 1) // 4)
        found = calibration.paired(model, HeldOut(pairs, border, model.spec.multiple_of, device).parts, border, on_try)
    if found.at_the_end:
        on_warning(
            f"{found.factor:g} is the end of what was tried: these LR differ from the model's in more than blur; "
            "fit a model to the other camera"
        )
    return found


def save(model: Checkpoint, factor: float, path: Path) -> Checkpoint:
    """Write the model with another default factor, in one move; returns it as loaded again."""
    knob = model.spec.hardware_factor
    assert knob is not None
    spec = model.spec.model_copy(update={"hardware_factor": knob.model_copy(update={"default": factor})})
    changed = checkpoint.load(model.path)  # on the CPU, and a copy: the caller's keeps its factor
    changed.degrader.set_hardware_factor(factor)
    return checkpoint.rewrite(changed.degrader, spec, path)


def _open(folder: Path, side: int, levels: tuple[float, float] | None, device: str) -> list[Tensor]:
    """The middles, ``side`` px at most, of the luma of a folder's images, evenly spread: (1, H, W) each."""
    names, _ = images.find(folder)
    root = folder.parent if folder.is_file() else folder
    count = min(MOST_IMAGES, len(names))
    found = []
    for name in (names[index * len(names) // count] for index in range(count)):
        image = images.read(root / name)
        try:
            images.check_range(image.pixels, levels)
        except DataError as error:
            raise DataError(f"{root / name}: {error}") from None
        gray = luma(images.to_tensor(image.pixels, levels))
        top, left = (max(0, (length - side) // 2) for length in gray.shape[1:])
        found.append(gray[:, top : top + side, left : left + side].to(device))
    return found


def _whole(hr: Tensor, scale: int) -> Tensor:
    """Cropped to whole LR pixels."""
    return hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]

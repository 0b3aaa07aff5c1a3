"""Scores of a model's LR against the real LR of pairs, beside those of the bicubic LR that it replaces."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from degsynth.config import Interval
from degsynth.data import images
from degsynth.data.pairs import PairSet
from degsynth.evaluation.metrics import BORDER, score
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, lr_size
from degsynth.model.inference import inference
from degsynth.model.render import render_draw
from degsynth.ops.resample import bicubic
from degsynth.seeds import Identity

FIGURES = ("psnr_y", "ssim_y", "l1_y", "psnr_rgb", "ssim_rgb", "l1_rgb")
"""Names of the figures of an image, in the order in which they are reported."""
SHIFT_WARNING_HR_PX = 0.1
"""A mean shift of the pairs above this (HR px) causes a warning: a fit learns it, a calibration takes it for blur."""


def evaluate(
    degradation: Degradation,
    pairs: PairSet,
    border: int = BORDER,
    seed: int = 0,
    beside: Mapping[str, Checkpoint] | None = None,
    on_image: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Score a model's LR against the real LR of pairs, image by image and in the mean, beside bicubic LR.

    LR is rounded first to the levels of the real LR's files, as it would be written. Other models (``beside``, by name)
    are scored with the same noise and on the same device. ``border`` LR px are left
    out at each edge. ``on_image`` is called with the number of images scored so far. Returns a dictionary of ``images``
    (a row of figures each), ``mean`` (by model) and ``border``.
    """
    others = {
        name: Degradation(model, degradation.noise, None, degradation.device) for name, model in (beside or {}).items()
    }
    degradations = {"model": degradation, **others}
    rows: list[dict[str, Any]] = []
    with inference():
        for index, (hr, lr) in enumerate(pairs):
            pair = pairs.pairs[index]
            identity = Identity(seed, pair.name + pair.hr.suffix)
            row: dict[str, Any] = {"name": pair.name}
            written = functools.partial(_written, dtype=pairs.decoded(pair)[1].dtype, data_range=pairs.data_range)
            for name, candidate in degradations.items():
                draw = candidate.draw(
                    identity, hr.shape[0], *lr_size(hr.shape[1], hr.shape[2], candidate.model.spec.scale)
                )
                row[name] = score(written(render_draw(candidate, draw, hr)), lr, border)
                if name == "model" and draw.hardware_factor is not None:
                    row["hardware_factor"] = draw.hardware_factor
            row["bicubic"] = score(written(bicubic(hr[None], pairs.scale)[0]), lr, border)
            rows.append(row)
            on_image(index + 1)
    mean = {
        name: {figure: float(np.mean([row[name][figure] for row in rows])) for figure in FIGURES}
        for name in (*degradations, "bicubic")
    }
    return {"images": rows, "mean": mean, "border": border}


def _written(lr: Tensor, dtype: np.dtype[Any], data_range: Interval | None) -> Tensor:
    """Return lr (C, h, w) as it is after it was written to a file of a type and read again."""
    return images.to_tensor(images.quantise(lr, dtype, data_range), data_range)

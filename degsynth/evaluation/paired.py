"""A checkpoint against real pairs, beside the bicubic LR that it replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from degsynth.data.pairs import PairSet
from degsynth.evaluation.metrics import BORDER, score
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.render import DEFAULT_NOISE, Factor, Identity, Noise, render
from degsynth.ops.resample import bicubic

FIGURES = ("psnr_y", "ssim_y", "l1_y", "psnr_rgb", "ssim_rgb", "l1_rgb")


def evaluate(
    checkpoint: Checkpoint,
    pairs: PairSet,
    border: int = BORDER,
    noise: Noise = DEFAULT_NOISE,
    seed: int = 0,
    device: str = "cpu",
    beside: Mapping[str, Checkpoint] | None = None,
    factor: Factor | None = None,
    on_image: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Figures per image and their means, for the model, for models ``beside`` it by name, and for bicubic.

    ``factor`` is the model's hardware factor, if not its own. Returns images, mean, and the border left out.
    """
    models = {"model": checkpoint, **(beside or {})}
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for index, (hr, lr) in enumerate(pairs):
            name = pairs.pairs[index].name
            identity = Identity(seed, name + pairs.pairs[index].hr.suffix)
            row: dict[str, Any] = {"name": name}
            for which, model in models.items():
                made = render(model, hr, identity, noise, device=device, factor=factor if which == "model" else None)
                row[which] = score(made.lr, lr, border)
                if which == "model" and made.hardware_factor is not None:
                    row["hardware_factor"] = made.hardware_factor
            row["bicubic"] = score(bicubic(hr[None], pairs.scale)[0], lr, border)
            rows.append(row)
            on_image(index + 1)
    mean = {
        which: {figure: float(np.mean([row[which][figure] for row in rows])) for figure in FIGURES}
        for which in (*models, "bicubic")
    }
    return {"images": rows, "mean": mean, "border": border}

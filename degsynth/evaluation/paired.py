"""A checkpoint against real pairs, beside the bicubic LR that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from degsynth.checkpoint import Checkpoint
from degsynth.data.pairs import PairSet
from degsynth.evaluation.metrics import BORDER, score
from degsynth.ops.resample import bicubic
from degsynth.render import DEFAULT_NOISE, Identity, Noise, render

FIGURES = ("psnr_y", "ssim_y", "l1_y", "psnr_rgb", "ssim_rgb", "l1_rgb")


def evaluate(
    checkpoint: Checkpoint,
    pairs: PairSet,
    border: int = BORDER,
    noise: Noise = DEFAULT_NOISE,
    seed: int = 0,
    device: str = "cpu",
    on_image: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Figures per image and their means, for the model and for bicubic: images, mean, and the border left out."""
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for index, (hr, lr) in enumerate(pairs):
            name = pairs.pairs[index].name
            synthesised = render(
                checkpoint, hr, Identity(seed, name + pairs.pairs[index].hr.suffix), noise, device=device
            ).lr
            usual = bicubic(hr[None], pairs.scale)[0]
            model, baseline = score(synthesised, lr, border), score(usual, lr, border)
            rows.append({"name": name, "model": model, "bicubic": baseline})
            on_image(index + 1)
    mean = {
        which: {figure: float(np.mean([row[which][figure] for row in rows])) for figure in FIGURES}
        for which in ("model", "bicubic")
    }
    return {"images": rows, "mean": mean, "border": border}

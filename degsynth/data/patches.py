"""Training patches as a pure function of (seed, step): a resumed fit sees what an uninterrupted one would have seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from degsynth.data.pairs import PairSet
from degsynth.errors import DataError
from degsynth.seeds import derive


def batch(pairs: PairSet, seed: int, step: int, size: int, patch: int) -> dict[str, Tensor]:
    """``size`` aligned crops of random pairs: lr (size, C, patch, patch) and hr (size, C, s·patch, s·patch)."""
    dice = np.random.default_rng(derive(seed, "", 0, step, "patches"))
    hr_crops, lr_crops = [], []
    for _ in range(size):
        index = int(dice.integers(len(pairs)))
        hr, lr = pairs.tensors(index)
        height, width = lr.shape[1:]
        if min(height, width) < patch:
            raise DataError(f"{pairs.pairs[index].lr} is {width}×{height}, smaller than the patch size {patch}")
        y, x = int(dice.integers(height - patch + 1)), int(dice.integers(width - patch + 1))
        lr_crops.append(lr[:, y : y + patch, x : x + patch])
        y, x, span = y * pairs.scale, x * pairs.scale, patch * pairs.scale
        hr_crops.append(hr[:, y : y + span, x : x + span])
    return {"hr": torch.stack(hr_crops), "lr": torch.stack(lr_crops)}

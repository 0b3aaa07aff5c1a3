"""Small parts of test images, super-resolved by every network of a comparison, to be seen side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.evaluation.metrics import psnr
from degsynth.ops.resample import enlarged, luma
from degsynth.sr import networks
from degsynth.sr.contestants import Folders
from degsynth.sr.enlarging import super_resolve

SIDE = 48
"""Side of a part, LR px."""
SCENES = 3
"""Number of test images that are shown."""
STEP = 8
"""Parts begin at multiples of so many LR px."""


def of_comparison(table: dict[str, Any], folders: Folders, out: Path) -> list[list[tuple[str, Tensor]]]:
    """Return a row of (title, image (C, H, W)) for each of some scenes: LR, all networks (seed 0), the real HR image.

    The part of a scene is the one with the most detail. Titles give the luma PSNR of the part.
    """
    scale = table["scale"]
    pairs = open_for_model(folders.test_hr, folders.test_lr, ScoringOptions(scale, (1, 3), table=folders.test_pairs))
    loaded = {row["name"]: networks.load(out / row["networks"][0]) for row in table["rows"]}
    rows = []
    for index in pairs.spread(SCENES):
        hr, lr = pairs.tensors(index)
        side = min(SIDE, *lr.shape[1:])
        y, x = most_detailed(hr, scale, side)
        truth = hr[:, scale * y : scale * (y + side), scale * x : scale * (x + side)]
        row = [("LR, enlarged", _cut(enlarged(lr[None], scale)[0].clamp(0, 1), y, x, side, scale))]
        row += [(name, _cut(super_resolve(network, lr), y, x, side, scale)) for name, network in loaded.items()]
        titled = [(f"{name}\n{psnr(luma(image), luma(truth)):.2f} dB", image) for name, image in row]
        rows.append([*titled, (f"HR ({pairs.pairs[index].name})", truth)])
    return rows


def _cut(image: Tensor, y: int, x: int, side: int, scale: int) -> Tensor:
    return image[:, scale * y : scale * (y + side), scale * x : scale * (x + side)]


def most_detailed(hr: Tensor, scale: int, side: int) -> tuple[int, int]:
    """Return where (y, x), in LR px, the part of an HR image begins in which neighbours differ most on average."""
    image = luma(hr)[None]
    detail = (image[..., 1:, 1:] - image[..., :-1, 1:]).abs() + (image[..., 1:, 1:] - image[..., 1:, :-1]).abs()
    detail = F.pad(detail, [0, 1, 0, 1])
    means = F.avg_pool2d(detail, scale * side, stride=scale * min(STEP, side))[0, 0]
    best = int(torch.argmax(means))
    row, column = divmod(best, means.shape[1])
    return row * min(STEP, side), column * min(STEP, side)

"""Photographs that kernels are estimated from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png


@pytest.fixture
def photos(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Four photographs blurred at ×1 by a Gaussian of σ 1.3, a flat one, a broken one and a small one."""
    folder = tmp_path / "photos"
    for number, photograph in enumerate(photographs):
        half = F.avg_pool2d(photograph[None], 2)
        lr = blur_decimate(half, gaussian(15, 1.3, 1.3)[None].float(), 1)[0, :, 8:-8, 8:-8]
        save_png(folder / f"shot{number}.png", lr[:, :160, :200])
    save_png(folder / "sub/flat.png", torch.full((3, 120, 120), 0.4))
    save_png(folder / "tiny.png", torch.rand(3, 20, 30))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder

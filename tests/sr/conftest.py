"""A small set of pairs: photographs, and their LR by a Gaussian."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.sr.options import Pairs
from tests.conftest import save_png

KERNEL = gaussian(12, 1.6, 1.6)


def write_pair(folder: Path, photographs: list[Tensor]) -> Pairs:
    """Write the folders HR and LR of three photographs."""
    for number, shot in enumerate(photographs[:3]):
        hr = shot[:, 60:180, 60:180]
        save_png(folder / f"HR/{number}.png", hr)
        save_png(folder / f"LR/{number}.png", blur_decimate(hr[None], KERNEL[None].float(), 2)[0])
    return Pairs(hr=str(folder / "HR"), lr=str(folder / "LR"))


@pytest.fixture
def pair(tmp_path: Path, photographs: list[Tensor]) -> Pairs:
    """Three pairs in a folder of their own."""
    return write_pair(tmp_path, photographs)

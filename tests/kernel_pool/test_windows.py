"""Windows of photographs: which are chosen, in what order, and how they are enlarged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor

from degsynth.kernel_pool.windows import Photographs, Window, WindowQueue, enlarged, gray_of
from degsynth.methods.kmsr import Config
from degsynth.model.pool_file import Rectangle
from degsynth.ops.resample import luma
from tests.conftest import save_png

QUICK = Config(prior="gradient", patch=96, patches=2, kernel_size=17)


def test_the_best_window_of_every_photograph_comes_first(photos: Path) -> None:
    photographs = Photographs.find(photos, 1, QUICK, 0)
    queue = WindowQueue(photographs, [])
    ranks = [window.rank for window in queue if window.rank >= 0]
    assert ranks == sorted(ranks)
    assert queue.expected() == len(ranks)


def test_windows_that_are_done_are_not_chosen_again(photos: Path) -> None:
    photographs = Photographs.find(photos, 1, QUICK.model_copy(update={"max_patches": 4}), 0)
    whole = [(window.image, window.rank) for window in WindowQueue(photographs, [])]
    rest = WindowQueue(photographs, whole[:3])
    assert [(window.image, window.rank) for window in rest] == whole[3:]


def test_random_windows_are_those_of_the_seed(photos: Path) -> None:
    """With `selection=eq6`, as in the paper, windows lie anywhere, whatever is seen there; another seed moves them."""
    config = QUICK.model_copy(update={"selection": "eq6", "patches": 5})

    def windows(seed: int, name: str = "shot1.png") -> list[Window]:
        return Photographs.find(photos, 1, config, seed).windows(name)

    first, again, other = windows(0), windows(0), windows(1)
    assert len(first) == 5
    assert [window.place for window in first] == [window.place for window in again]
    assert [window.place for window in first] != [window.place for window in other]
    assert len(windows(0, "sub/flat.png")) == 5, "Eq. 6 rejects nothing"


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("place", [(0, 0, 40, 50), (13, 7, 30, 31), (60, 50, 40, 50)])
def test_a_window_is_enlarged_as_the_whole_image_is(scale: int, place: Rectangle, photographs: list[Tensor]) -> None:
    gray = luma(photographs[0])[0, :100, :100]
    size = [100 * scale, 100 * scale]
    whole = F.interpolate(gray[None, None], size, mode="bicubic", antialias=True)[0, 0] if scale > 1 else gray
    y, x, height, width = (scale * value for value in place)
    difference = enlarged(gray, place, scale) - whole[y : y + height, x : x + width]
    assert float(difference.abs().max()) < 1e-6


def test_black_and_white_of_16_bit_files_are_found(tmp_path: Path, photographs: list[Tensor]) -> None:
    """Files of a 12-bit camera hold values up to 4095, but are read with white at 1."""
    twelve = (F.avg_pool2d(luma(photographs[1])[None], 2)[0] * 4095).round() / 65535
    save_png(tmp_path / "a.png", twelve, np.uint16)
    assert float(gray_of(tmp_path / "a.png").max()) > 0.5

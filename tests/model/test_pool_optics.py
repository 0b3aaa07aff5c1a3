"""A pool as optics: the kernel whose number is in the code is applied, at the centred phase."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from degsynth.evaluation import selftest
from degsynth.model import checkpoint
from degsynth.model.degrader import Degrader
from degsynth.model.pool_file import Origin, Pool
from degsynth.model.pool_model import as_degrader
from degsynth.model.pool_optics import NEGLIGIBLE, PoolOptics, empty_borders
from degsynth.ops.kernels import gaussian
from degsynth.ops.subpixel import suited


def pool(count: int = 4) -> Pool:
    kernels = [gaussian(25, 0.8 + 0.3 * number, 1.1 + 0.2 * number, 0.4 * number) for number in range(count)]
    return Pool(torch.stack(kernels), [Origin("analytic")] * count)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_delta_writes_the_kernel(scale: int) -> None:
    """Points at every place of a block: together their LR images are the whole kernel at the centred phase, turned."""
    kernels = pool().kernels
    degrader = Degrader(PoolOptics(kernels, scale), scale)
    code = torch.tensor([[2.0]])
    taps = suited(kernels, scale)[2]
    size, side = taps.shape[0], 40
    seen = torch.zeros(size, size, dtype=torch.float64)
    pad = (size - scale) // 2
    for y in range(scale):
        for x in range(scale):
            hr = torch.zeros(1, 1, side * scale, side * scale)
            at = side // 2 * scale
            hr[0, 0, at + y, at + x] = 1.0
            lr = degrader.clean(hr, code, torch.zeros(1, 0, side, side))[0, 0]
            # LR pixel i reads HR from s·i − pad on: the point lies at tap (at + y) − (s·i − pad).
            for i in range(side):
                for j in range(side):
                    row, column = at + y - scale * i + pad, at + x - scale * j + pad
                    if 0 <= row < size and 0 <= column < size:
                        seen[row, column] = lr[i, j]
    assert float((seen - taps).abs().sum()) < 3 * NEGLIGIBLE, "only nearly empty borders are missing"
    assert float(seen.sum()) == pytest.approx(1.0, abs=1e-6)


def test_borders_that_are_left_out_are_nearly_empty() -> None:
    """They are never so wide that nothing would be left that can be centred."""
    kernels = suited(torch.stack([gaussian(25, 0.5, 0.5), gaussian(25, 4.0, 4.0)]), 2)
    narrow, wide = empty_borders(kernels, 2).tolist()
    assert wide <= 1
    assert narrow > 10
    inside = kernels[0, narrow : 32 - narrow, narrow : 32 - narrow]
    assert abs(float(inside.sum()) - 1) <= NEGLIGIBLE
    point = torch.zeros(1, 5, 5, dtype=torch.float64)
    point[0, 2, 2] = 1.0
    assert empty_borders(point, 1).tolist() == [2]
    assert empty_borders(point, 3).tolist() == [1]


def test_draws_are_uniform_and_leave_out_flagged_kernels() -> None:
    flagged = Pool(pool().kernels, [Origin("estimated", flag="odd width" if n == 1 else "") for n in range(4)], 2)
    degrader, spec = as_degrader(flagged, 2, "it")
    drawn = torch.cat([degrader.draw(seed) for seed in range(600)]).flatten()
    assert sorted(drawn.unique().tolist()) == [0.0, 2.0, 3.0]
    assert all(150 < int((drawn == number).sum()) < 250 for number in (0, 2, 3))
    assert spec.pool == 4
    assert spec.stochastic


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_exported_pool_gives_all_known_answers(scale: int, tmp_path: Path) -> None:
    degrader, spec = as_degrader(pool(), scale, "it")
    checkpoint.save(degrader, spec, tmp_path / "pool.pt")
    selftest.require(checkpoint.load(tmp_path / "pool.pt"))

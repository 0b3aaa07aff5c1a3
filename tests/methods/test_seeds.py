"""The seed of a fit reaches every random number: another seed gives another fit, the same seed the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth import fit, methods
from degsynth.config import build
from degsynth.errors import FitStoppedError
from degsynth.fit.run_directory import RunDirectory
from degsynth.kernel_pool import analytic
from degsynth.methods import kmsr, pdm
from degsynth.methods.pdm import teaching
from degsynth.methods.protocol import Training, Unpaired
from degsynth.ops import blur_widths
from degsynth.ops.noise import generator
from tests.methods.conftest import SharedFits, stopping_after

LEARNED = [name for name in methods.METHODS if issubclass(methods.get(name).Config, Training)]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_another_seed_gives_another_fit(name: str, shared_fits: SharedFits, tmp_path: Path) -> None:
    """That the same seed gives the same model is shown in `test_contract`, where a fit is resumed."""
    weights = []
    for seed in (0, 1):
        options = shared_fits.options(name, 2).model_copy(update={"seed": seed})
        with pytest.raises(FitStoppedError):
            fit.run(options, methods.get(name).QUICK, tmp_path / str(seed), stopping_after(3))
        weights.append(RunDirectory(tmp_path / str(seed)).load_snapshot()["modules"]["optics"])
    assert not same(*weights)


# --- with the same images and the same first weights, so that the seed given to the method makes the difference -----


def taught(values: dict[str, Any], photographs: list[Tensor], seed: int) -> pdm.Method:
    """pdm after `prepare`; LR images are reduced photographs with noise."""
    torch.manual_seed(0)
    config = build(pdm.Config, {"kernel_size": 12, "kernel_features": 8, "imitation": 3, **values}, "test")
    method = pdm.Method(config, 2, 3, seed)
    rng = np.random.default_rng(0)
    lr = []
    for photograph in photographs:
        reduced = torch.nn.functional.avg_pool2d(photograph[None, :, :256, :256], 2)[0]
        lr.append(reduced + 5 / 255 * torch.from_numpy(rng.standard_normal(reduced.shape)).float())
    none = torch.zeros(3, 3, dtype=torch.float64)
    hr = [photograph[:, -200:, -200:] for photograph in photographs]
    method.prepare(Unpaired(hr, lr, none, none, 0.0, [0] * len(lr), {"all": len(lr)}))
    return method


def test_blurs_and_networks_of_pdm_follow_from_its_seed(photographs: list[Tensor]) -> None:
    values = {"noise": "network", "noise_features": 4, "noise_blocks": 1}
    first, again, other = (taught(values, photographs, seed) for seed in (1, 1, 2))
    assert same(first.optics.state_dict(), again.optics.state_dict())
    for part in ("kernels.last.weight", "noises.network.last.weight"):
        assert not torch.equal(first.optics.state_dict()[part], other.optics.state_dict()[part])
    weights = [method.fit.estimated.blurs.blurs[0].weight for method in (first, other) if method.fit.estimated]
    assert len(weights[0]) != len(weights[1]) or not torch.equal(*weights)


def test_no_stage_of_pdm_has_a_fixed_seed(photographs: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Blurs for the reader, kernels whose power is measured, and what both networks are taught: four seeds."""
    seeds: list[int] = []

    def recording(seed: int) -> torch.Generator:
        seeds.append(seed)
        return generator(seed)

    for module in (blur_widths, teaching, pdm.method):
        monkeypatch.setattr(module, "generator", recording)
    for seed in (1, 2):
        taught({"noise": "network", "noise_features": 4, "noise_blocks": 1}, photographs, seed)
    assert len(seeds) == len(set(seeds)) == 8


def test_the_pool_of_kmsr_follows_from_its_seed() -> None:
    estimated = analytic.gaussians(0.9, 2.0, True, 6, 25, 0).kernels
    pools = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        method = kmsr.Method(build(kmsr.Config, {"width": 4, "generated": 5}, "test"), 2, 3, seed)
        method.prepare(estimated)
        pools.append(method.degrader().optics.kernels)
    first, again, other = pools
    assert torch.equal(first, again)
    assert torch.equal(first[:6], other[:6])
    assert not any(torch.equal(first[6 + number], other[6 + number]) for number in range(5))

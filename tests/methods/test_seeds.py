"""The seed of a fit reaches every random number: another seed gives another fit, the same seed the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth import fit, methods
from degsynth.config import build
from degsynth.fit.run_directory import RunDirectory
from degsynth.kernel_pool import analytic
from degsynth.methods import kmsr, pdm
from degsynth.methods.pdm import teaching
from degsynth.methods.protocol import Training, Unpaired
from degsynth.ops import blur_widths
from degsynth.ops.kernels import gaussian
from degsynth.ops.noise import generator

Folders = Callable[..., tuple[Path, Path]]
LEARNED = [name for name in methods.METHODS if issubclass(methods.get(name).Config, Training)]
SHORT = {"steps": 3, "imitation": 5, "generated": 10}
"""Options that make a fit even shorter than `QUICK` does, where a method has them."""


def fitted(name: str, folders: tuple[Path, Path], seed: int, out: Path) -> tuple[bytes, dict[str, Tensor]]:
    """Fit a method to folders of pairs; return the bytes of the checkpoint, and the last weights of the optics."""
    module = methods.get(name)
    data = module.Method.data
    options = fit.FitOptions(
        method=name,
        hr=None if data == "lr" else str(folders[0]),
        lr=str(folders[1]),
        scale=None if data == "paired" else 2,
        seed=seed,
    )
    short = {key: value for key, value in SHORT.items() if key in module.Config.model_fields}
    fit.run(options, {**module.QUICK, **short}, out)
    return (out / "checkpoint.pt").read_bytes(), RunDirectory(out).load_snapshot()["modules"]["optics"]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("name", LEARNED)
def test_a_fit_follows_from_its_seed(name: str, pair_folders: Folders, tmp_path: Path) -> None:
    folders = pair_folders(gaussian(10, 0.8, 1.1), 2, side=180)
    first, again, other = (
        fitted(name, folders, seed, tmp_path / run) for run, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first[0] == again[0]
    assert first[0] != other[0]
    assert not same(first[1], other[1])


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

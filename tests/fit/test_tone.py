"""Paired fits measure the curve between levels and light, and their models blur in light."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.evaluation import selftest
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.fit.export import open_snapshot
from degsynth.methods.linear import LinearOptics
from degsynth.model import checkpoint
from degsynth.model.degrader import Degrader
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity
from degsynth.ops.tone import inverse_table, powers, to_levels, to_light
from tests.conftest import save_png

CURVE = (-0.1, -1.0, 0.4)
KERNEL = gaussian(14, 2.0, 1.4, 0.5)
LEVELS = torch.linspace(0, 1, 101, dtype=torch.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photographs: list[Tensor]) -> Path:
    """Pairs at scale 2 that were blurred in light."""
    folder = tmp_path_factory.mktemp("light")
    factors = powers(CURVE)
    for number, shot in enumerate(photographs):
        light = blur_decimate(to_light(shot, factors)[None], KERNEL[None].float(), 2)[0]
        save_png(folder / "HR" / f"{number}.png", shot)
        save_png(folder / "LR" / f"{number}.png", to_levels(light, inverse_table(factors).float()).clamp(0, 1))
    return folder


def options(folder: Path, method: str = "linear", **more: object) -> fit.FitOptions:
    values = {"method": method, "hr": str(folder / "HR"), "lr": str(folder / "LR"), **more}
    return fit.FitOptions.model_validate(values)


def test_curve_and_kernel_are_those_of_the_pairs(folder: Path, tmp_path: Path) -> None:
    record = fit.run(options(folder), {}, tmp_path / "run")
    model = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert tuple(record["tone"]) == model.spec.tone
    apart = to_light(LEVELS, powers(model.spec.tone)) - to_light(LEVELS, powers(CURVE))
    assert float(apart.abs().max()) < 0.015
    kernel = effective_kernel(model).kernel
    assert similarity(kernel, KERNEL) > 0.99
    assert centroid(kernel) == pytest.approx((0, 0), abs=0.02)
    assert all(result.passed for result in selftest.run(model))
    straight = fit.run(options(folder, tone="none"), {}, tmp_path / "straight")
    assert straight["tone"] == ()
    mean, before = (record["held_out"]["mean"]["model"]["psnr_y"] for record in (record, straight))
    assert mean > before + 3


def test_the_degrader_is_the_formula(folder: Path, tmp_path: Path) -> None:
    """Levels to light, one kernel, and back, value by value."""
    fit.run(options(folder), {}, tmp_path / "run")
    model = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    optics, factors = model.degrader.optics, powers(model.spec.tone)
    hr = torch.rand(1, 3, 60, 48, generator=torch.Generator().manual_seed(4))
    light = blur_decimate(to_light(hr.double(), factors).float(), optics.kernels, 2)
    wanted = to_levels(light.double(), inverse_table(factors))
    lr = model.degrader.clean(hr, torch.zeros(1, 0), model.degrader.field(0, 0, 0, 30, 24, 3))
    assert float((lr - wanted).abs().max()) < 1e-5
    flat = torch.full((1, 3, 60, 48), 0.3)
    assert float((model.degrader.clean(flat, torch.zeros(1, 0), torch.zeros(1, 3, 30, 24)) - 0.3).abs().max()) < 1e-5


def test_methods_that_learn_by_steps_see_light(folder: Path, tmp_path: Path) -> None:
    """dml starts from the kernel in light, is scored in levels, and its snapshots have the curve, too."""
    values = {"steps": 4, "batch": 1, "width": 4, "patch": 96}
    record = fit.run(options(folder, "dml"), values, tmp_path / "run")
    means = record["held_out"]["mean"]
    assert means["model"]["psnr_y"] == pytest.approx(means["linear"]["psnr_y"], abs=1.0)
    assert means["model"]["psnr_y"] > 35
    model = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    snapshot = open_snapshot(tmp_path / "run", 4, tmp_path / "snapshot.pt")
    assert model.spec.tone
    assert model.spec.tone == snapshot.spec.tone
    hr = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(model.degrader.degrade(hr, 1), snapshot.degrader.degrade(hr, 1), atol=0.02)


def test_the_curve_is_where_the_optics_are() -> None:
    """A fit on an accelerator scores degraders whose optics are there already; here a device without data stands in."""
    optics = LinearOptics(KERNEL[None], torch.ones(1), torch.zeros(1), 2).to("meta")
    degrader = Degrader(optics, 2)
    degrader.add_tone(CURVE)
    lr = degrader.clean(torch.zeros(1, 3, 40, 40, device="meta"), *(torch.zeros(1, 0, device="meta") for _ in range(2)))
    assert (lr.device.type, lr.shape) == ("meta", (1, 3, 20, 20))


def test_where_levels_change_or_papers_are_followed_there_is_no_curve(folder: Path, tmp_path: Path) -> None:
    assert fit.run(options(folder), {"gain": "apply"}, tmp_path / "gain")["tone"] == ()
    assert fit.run(options(folder, preset="paper"), {}, tmp_path / "paper")["tone"] == ()

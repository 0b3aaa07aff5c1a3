"""kmsr: generated kernels are kernels, and new ones of the family; the run and the pool agree."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth import fit
from degsynth.config import build
from degsynth.errors import ConfigError, FitError
from degsynth.evaluation.kernel_sets import (
    HeldOutKernels,
    bicubic_kernel,
    bicubic_there_and_back,
    coverage,
    energy_distance,
    hellinger,
    shapes,
)
from degsynth.kernel_pool import analytic
from degsynth.methods import kmsr
from degsynth.model import checkpoint, pool_file
from degsynth.model.pool_file import Origin, Pool
from degsynth.nets.kernel_gan import KernelCritic, KernelGAN
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity
from degsynth.ops.noise import generator
from degsynth.ops.subpixel import suited_size
from degsynth.ops.tone import USUAL

SMALL = {"width": 4, "batch": 8, "generated": 60, "critic_steps": 2}


def family(count: int = 30, seed: int = 0) -> Tensor:
    return analytic.gaussians(0.9, 2.0, True, count, 25, seed).kernels


@pytest.mark.parametrize("size", [17, 25, 31])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_whatever_the_weights_kernels_come_out(size: int, batch_norm: bool) -> None:
    torch.manual_seed(1)
    network = KernelGAN(20, 4, size, batch_norm)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    kernels = kmsr.generate_kernels(network, 7, 3)
    assert kernels.shape == (7, size, size)
    assert float(kernels.min()) >= 0
    assert torch.allclose(kernels.sum((1, 2)), torch.ones(7, dtype=torch.float64), atol=1e-12)
    assert max(max(map(abs, centroid(kernel))) for kernel in kernels) < 1e-4
    critic = KernelCritic(4, size, True)
    assert critic(kernels.float()).shape == (7,)


def test_kernels_do_not_depend_on_how_many_are_drawn() -> None:
    torch.manual_seed(1)
    network = KernelGAN(20, 4, 25, False)
    assert torch.equal(kmsr.generate_kernels(network, 120, 3)[:7], kmsr.generate_kernels(network, 7, 3))
    assert not torch.equal(kmsr.generate_kernels(network, 7, 3), kmsr.generate_kernels(network, 7, 4))


def test_it_begins_at_the_mean_kernel() -> None:
    torch.manual_seed(0)
    method = kmsr.Method(build(kmsr.Config, SMALL, "kmsr"), 2, 3)
    method.prepare(family())
    start = kmsr.generate_kernels(method.generator, 20, 0).mean(0)
    mean = family().mean(0)
    assert similarity(start, mean) > 0.995
    assert float(start.max()) == pytest.approx(float(mean.max()), rel=0.1)


def test_the_penalty_is_that_of_the_slope() -> None:
    """A critic that is linear has one slope everywhere: (‖w‖ − 1)²."""
    method = kmsr.Method(build(kmsr.Config, SMALL, "kmsr"), 2, 3)
    weights = torch.randn(25, 25, generator=torch.Generator().manual_seed(2))

    class Linear(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * weights).sum((1, 2))

    method.critic = Linear()  # type: ignore[assignment]
    penalty = method._penalty(torch.rand(4, 25, 25, generator=generator(3)))
    assert float(penalty) == pytest.approx((float(weights.norm()) - 1) ** 2, rel=1e-5)


@pytest.mark.slow
def test_it_learns_a_family() -> None:
    """A few hundred steps bring its kernels much nearer to the family than the mean kernel is, and spread them."""
    torch.manual_seed(0)
    method = kmsr.Method(build(kmsr.Config, {**SMALL, "width": 8, "batch": 16}, "kmsr"), 2, 3)
    real = family(60)
    method.prepare(real)
    start = energy_distance(kmsr.generate_kernels(method.generator, 100, 5), real)
    for step in range(250):
        rng = generator(step)
        chosen = real.float()[torch.randint(60, (2, 16), generator=rng)]
        terms = method.training_step({"kernels": chosen}, step, rng)
    assert all(math.isfinite(float(value)) for value in terms.values())
    drawn = kmsr.generate_kernels(method.generator, 100, 5)
    assert energy_distance(drawn, real) < 0.7 * start
    covered = coverage(drawn, real)
    assert covered["sigma_inside"] > 0.9
    assert covered["log_sigma_spread"] > 0.3
    assert covered["nearest_estimated"]["of_generated"]["least"] > 0


def test_fitted_from_a_pool_exported_and_generated_from(tmp_path: Path) -> None:
    """The run and its pool agree, kernels can be generated from the run, and snapshots can be exported."""
    origins = [Origin("estimated", f"photo{n // 3}.png", flag="odd width" if n == 5 else "") for n in range(30)]
    pool_file.write(Pool(family(), origins, 2), tmp_path / "k.h5")
    options = fit.FitOptions(method="kmsr", lr=str(tmp_path / "k.h5"))
    record = fit.run(options, {**SMALL, "steps": 20}, tmp_path / "run")
    counts = record["kernels"]
    assert (record["scale"], counts["held_out"] + counts["fitted"]) == (2, 29)
    assert counts["held_out"] in (2, 3), "all of one photograph"
    assert set(record["held_out"]["mean"]) == {"model", "estimated", "bicubic"}
    assert {"estimated.h5", "fit.json", "checkpoint.pt"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert json.loads((tmp_path / "run/fit.json").read_text())["distribution"]["coverage"]["sigma_inside"] >= 0
    model = checkpoint.load(tmp_path / "run/checkpoint.pt")
    assert model.spec.pool == counts["fitted"] + 60
    assert record["noise"] == {"assumed": 0.6}
    assert model.residual() is not None
    assert model.spec.tone == USUAL
    few, more = (fit.generated_kernels(tmp_path / "run", count, 1).kernels for count in (5, 9))
    assert torch.equal(few, more[:5])
    early = fit.open_snapshot(tmp_path / "run", 20, tmp_path / "early.pt")
    assert early.spec.pool == model.spec.pool
    assert early.degrader.optics.kernels.shape == model.degrader.optics.kernels.shape


def test_kernels_that_cannot_be_learnt_from_are_refused(tmp_path: Path) -> None:
    method = kmsr.Method(kmsr.Config(), 2, 3)
    with pytest.raises(FitError, match="1 kernels to learn from"):
        method.prepare(family(1))
    with pytest.raises(FitError, match="negative taps"):
        method.prepare(1.5 * family(3) - 0.5 * family(3, seed=9))
    for values, message in (
        ({"kernel_size": 24}, "odd"), ({"batch_norm": True}, "average=0"), ({"generated": 0}, "generated"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            build(kmsr.Config, values, "method kmsr")
    pool_file.write(analytic.gaussians(1, 2, True, 9, 25, 0), tmp_path / "any.h5")
    with pytest.raises(ConfigError, match="give `scale`"):
        fit.run(fit.FitOptions(method="kmsr", lr=str(tmp_path / "any.h5")), {}, tmp_path / "run")
    with pytest.raises(ConfigError, match="leave `hr` out"):
        fit.run(fit.FitOptions(method="kmsr", hr="x", lr=str(tmp_path / "any.h5")), {}, tmp_path / "run")
    with pytest.raises(ConfigError, match="`hr` is missing"):
        fit.run(fit.FitOptions(method="linear", lr=str(tmp_path / "any.h5")), {}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_bicubic_kernel_is_that_of_torch(scale: int) -> None:
    image = torch.rand(1, 1, 40 * scale, 40 * scale, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = bicubic_kernel(scale, suited_size(25, scale))
    lr = blur_decimate(image.float(), kernel[None].float(), scale)[0, 0]
    expected = F.interpolate(image, (40, 40), mode="bicubic", antialias=True)[0, 0] if scale > 1 else image[0, 0]
    assert float((lr - expected)[16:-16, 16:-16].abs().max()) < 1e-5


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_usual_kernel_is_that_of_torch(scale: int) -> None:
    """Reduced and enlarged by torch's bicubic, at all phases of a point: their mean is the kernel."""
    side = 60
    total = torch.zeros(41, 41, dtype=torch.float64)
    for y in range(scale):
        for x in range(scale):
            point = torch.zeros(1, 1, side * scale, side * scale, dtype=torch.float64)
            at = side // 2 * scale
            point[0, 0, at + y, at + x] = 1.0
            small = F.interpolate(point, (side, side), mode="bicubic", antialias=True) if scale > 1 else point
            large = F.interpolate(small, point.shape[2:], mode="bicubic", antialias=True) if scale > 1 else small
            total += large[0, 0, at + y - 20 : at + y + 21, at + x - 20 : at + x + 21] / scale**2
    assert torch.allclose(bicubic_there_and_back(scale, 41), total, atol=1e-6)


def test_distances_of_sets() -> None:
    """Hellinger's distance equals its definition; sets of one distribution are near, others are not."""
    a, b = family(8, 1), family(5, 2)
    table = hellinger(a, b)
    for i in range(8):
        for j in range(5):
            assert float(table[i, j]) == pytest.approx(math.sqrt(1 - float((a[i] * b[j]).sqrt().sum())), abs=1e-9)
    same, other = energy_distance(family(40, 1), family(40, 2)), energy_distance(family(40, 1), family(40, 2)[:1])
    assert abs(same) < 0.02 < other
    judge = HeldOutKernels(family(10), 2, 3)
    assert judge.distance(family(10)) < judge.bicubic()
    assert float(shapes(gaussian(25, 1.0, 2.0)[None])[0, 1]) == pytest.approx(2.0, rel=0.02)

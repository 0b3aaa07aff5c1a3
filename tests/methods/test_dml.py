"""dml, compared with a slow reference, with what it must always keep, and with scenes whose kernels are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth import fit
from degsynth.config import build
from degsynth.errors import ConfigError
from degsynth.evaluation import selftest
from degsynth.methods import dml, linear
from degsynth.methods.protocol import Method
from degsynth.methods.shared.pairs import Paired
from degsynth.model import checkpoint
from degsynth.model.spec import Spec
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity
from degsynth.ops.noise import generator
from degsynth.ops.position import pixel_centres

SMALL = {"width": 4, "basis_kernels": 3}


def new_method(scale: int, channels: int = 3, seed: int = 0, **values: Any) -> dml.Method:
    torch.manual_seed(seed)
    return dml.Method(build(dml.Config, {**SMALL, **values}, "dml"), scale, channels)


def perturbed(method: dml.Method, seed: int = 1) -> dml.Method:
    """Move weights and basis far from where training starts."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in method.backbone.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        method.optics.basis.add_(0.05 * torch.randn_like(method.optics.basis))
        base = gaussian(method.backbone.kernel_size, 1.1, 1.3, shift=(0.2, -0.1)).float()
        method.optics.base.copy_(base)
    return method


def by_single_kernels(optics: dml.BasisOptics, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
    """The slow reference: a kernel for every pixel, then its inner product with HR pixels (Eqs. 2 and 3)."""
    kernels, weights = optics.kernels().double(), optics.weight_maps(hr, code, field).double()
    size, stride = kernels.shape[-1], optics.stride
    pad = (size - stride) // 2
    padded = F.pad(hr.double(), [pad] * 4, mode="replicate")
    height, width = weights.shape[2:]
    out = torch.zeros(*hr.shape[:2], height, width, dtype=torch.float64)
    for item in range(len(hr)):
        for i in range(height):
            for j in range(width):
                kernel = kernels[0] + sum(weights[item, m, i, j] * kernels[1 + m] for m in range(len(kernels) - 1))
                window = padded[item, :, stride * i : stride * i + size, stride * j : stride * j + size]
                out[item, :, i, j] = (window * kernel).sum((1, 2))
    if stride < optics.scale:  # blurred at HR resolution: keep the middle sample, or the mean of the middle four
        first, last = (optics.scale - 1) // 2, optics.scale // 2
        corners = [out[..., a :: optics.scale, b :: optics.scale] for a in {first, last} for b in {first, last}]
        return sum(corners) / len(corners)  # type: ignore[return-value]
    return out


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "values", [{}, {"weights": "softmax"}, {"coordinates": True}, {"grid": "hr", "start": "random"}]
)
def test_one_convolution_equals_a_kernel_for_every_pixel(scale: int, values: dict[str, Any]) -> None:
    taps = 7 if scale % 2 or values.get("grid") == "hr" else 8
    method = perturbed(new_method(scale, kernel_size=taps, **values))
    size = method.multiple_of * 2
    hr = torch.rand(2, 3, size, size)
    degrader = method.degrader()
    lr_size = size // scale
    code = degrader.draw(0, lr_size, lr_size).expand(2, -1)
    field = degrader.field(0, 0, 0, lr_size, lr_size, 3).expand(2, -1, -1, -1)
    with torch.no_grad():
        fast = degrader.clean(hr, code, field)
        assert torch.allclose(fast.double(), by_single_kernels(method.optics, hr, code, field), atol=1e-5)


@pytest.mark.parametrize("values", [{}, {"weights": "softmax"}, {"centred": False}])
def test_every_kernel_sums_to_one_and_keeps_its_place(values: dict[str, Any]) -> None:
    """For any basis and weights the sum is 1 and, where centred, the centroid is that of the base."""
    method = perturbed(new_method(2, **values))
    weights = torch.rand(50, 3) * 2
    kernels = method.optics.kernels().detach().double()
    mixed = kernels[0] + torch.einsum("nm,myx->nyx", weights.double(), kernels[1:])
    assert torch.allclose(mixed.sum((1, 2)), torch.ones(50, dtype=torch.float64), atol=1e-5)
    centroids = torch.tensor([centroid(kernel) for kernel in mixed])
    distance = (centroids - torch.tensor([0.2, -0.1])).abs().max()
    assert distance < 1e-3 if method.config.centred else distance > 0.1


def test_flat_stays_flat() -> None:
    method = perturbed(new_method(2))
    for level in (0.0, 0.2, 0.71, 1.0):
        with torch.no_grad():
            out = method.degrader().degrade(torch.full((1, 3, 64, 48), level), 0)
        assert float((out - level).abs().max()) < 2e-6


@pytest.mark.parametrize("weights", ["sigmoid", "softmax"])
def test_training_begins_at_linear(weights: str, photographs: list[Tensor]) -> None:
    truth = gaussian(10, 0.9, 1.2)
    pairs = [(hr, blur_decimate(hr[None], truth[None].float(), 2)[0]) for hr in photographs]
    method = new_method(2, kernel_size=10, weights=weights)
    reference = linear.Method(linear.Config(kernel_size=10), 2, 3)
    method.prepare(Paired(pairs, 2, 3))
    reference.prepare(Paired(pairs, 2, 3))
    hr = photographs[0][None, :, :96, :96]
    with torch.no_grad():
        difference = method.degrader().degrade(hr, 0) - reference.degrader().degrade(hr, 0)
    assert float(difference.square().mean().sqrt()) < 2e-4


@pytest.mark.parametrize("start", ["linear", "random"])
def test_weights_are_bounded(start: str) -> None:
    """From a linear start, the weight that all basis kernels have at first is taken off."""
    for kind, equal in (("sigmoid", 1 / 2), ("softmax", 1 / 3)):
        method = perturbed(new_method(2, weights=kind, start=start))
        hr, code, field = torch.rand(2, 3, 64, 64), torch.zeros(2, 0), torch.zeros(2, 0, 32, 32)
        maps = method.optics.weight_maps(hr, code, field).detach() + (equal if start == "linear" else 0)
        assert float(maps.min()) >= 0
        assert float(maps.max()) <= 1
        if kind == "softmax":
            assert torch.allclose(maps.sum(1), torch.ones(2, 32, 32), atol=1e-5)


def test_paper_preset_is_the_papers() -> None:
    method = dml.Method(build(dml.Config, dml.PRESETS["paper"], "dml"), 2, 3)
    assert (method.config.basis_kernels, method.backbone.kernel_size, method.backbone.stride) == (8, 15, 1)
    assert (method.patch, method.config.batch, method.config.steps) == (192, 16, 100_000)
    assert sum(p.numel() for p in method.backbone.network.parameters()) == 105_320
    sums = method.optics.basis.sum((1, 2))
    assert torch.allclose(sums, torch.full((8,), 2 / 8))  # the first weights are 1/2, so the sums add up to 1
    assert [group["lr"] for group in method.optimizers["adam"].param_groups] == [1e-4, 1e-4]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kernel_size": 9}, "it must be even"),
        ({"patch": 100}, "multiple of 16"),
        ({"patch": 32}, "must be at least"),
        ({"grid": "hr"}, "start=linear needs grid=lr"),
        ({"level": "learned"}, "goes with start=random"),
        ({"weights": "softmax", "basis_kernels": 1}, "at least 2"),
        ({"coordinates": True, "flips": True}, "flips"),
    ],
)
def test_options_that_do_not_go_together_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        new_method(4 if "patch" in values else 2, **values)


# ---- scenes with known kernels --------------------------------------------------------------------------------------

SHARP, SOFT = gaussian(12, 0.7, 0.7), gaussian(12, 2.2, 1.6, angle=0.6)


def learn(method: dml.Method, scenes: list[tuple[Tensor, Tensor]], steps: int, patch: int) -> dml.Method:
    """Train on aligned crops of (hr, lr) with the method's own training step and a falling learning rate."""
    method.prepare(Paired(scenes, 2, 1))
    rng = torch.Generator().manual_seed(7)
    for step in range(steps):
        hrs, lrs, origins, frames = [], [], [], []
        for _ in range(6):
            hr, lr = scenes[int(torch.randint(len(scenes), (1,), generator=rng))]
            y, x = (8 * int(torch.randint((n - patch) // 8 + 1, (1,), generator=rng)) for n in lr.shape[1:])
            hrs.append(hr[:, 2 * y : 2 * (y + patch), 2 * x : 2 * (x + patch)])
            lrs.append(lr[:, y : y + patch, x : x + patch])
            origins.append((y, x))
            frames.append(tuple(lr.shape[1:]))
        for group in method.optimizers["adam"].param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * (1 - step / steps)
        method.training_step(
            {
                "hr": torch.stack(hrs),
                "lr": torch.stack(lrs),
                "origin": torch.tensor(origins),
                "frame": torch.tensor(frames),
            },
            step,
            generator(step),
        )
    return method


def psnr(method: Method, scenes: list[tuple[Tensor, Tensor]]) -> float:
    degrader = method.degrader()
    with torch.no_grad():
        errors = [(degrader.degrade(hr[None], 0)[0] - lr)[:, 8:-8, 8:-8].square().mean() for hr, lr in scenes]
    return float(-10 * torch.log10(torch.stack(errors)).mean())


def psnr_of_linear(scenes: list[tuple[Tensor, Tensor]], unseen: list[tuple[Tensor, Tensor]]) -> float:
    method = linear.Method(linear.Config(kernel_size=12), 2, 1)
    method.prepare(Paired(scenes, 2, 1))
    return psnr(method, unseen)


def gray(photographs: list[Tensor]) -> list[Tensor]:
    return [shot[1:2, : shot.shape[1] // 32 * 32, : shot.shape[2] // 32 * 32] for shot in photographs]


def split_scene(hr: Tensor) -> tuple[Tensor, Tensor]:
    """A pair that is blurred by one kernel in the left half and by another in the right half."""
    sharp, soft = (blur_decimate(hr[None], k[None].float(), 2)[0] for k in (SHARP, SOFT))
    return hr, torch.cat([sharp[:, :, : sharp.shape[2] // 2], soft[:, :, sharp.shape[2] // 2 :]], 2)


def test_kernels_that_depend_on_the_place(photographs: list[Tensor]) -> None:
    """With coordinates, the effective kernels on the left and on the right are the two that made the pair."""
    scenes = [split_scene(hr) for hr in gray(photographs)]
    two = {"coordinates": True, "width": 8, "basis_kernels": 4, "learning_rate": 3e-3, "kernel_rate": 0.1}
    method = learn(new_method(2, 1, kernel_size=12, **two), scenes[1:], 200, 48)
    unseen = scenes[:1]
    assert psnr(method, unseen) > psnr_of_linear(scenes[1:], unseen) + 6
    hr, lr = unseen[0]
    height, width = lr.shape[1:]
    kernels = method.optics.kernels().detach()
    maps = method.optics.weight_maps(hr[None], torch.tensor([[height, width]]), pixel_centres(0, 0, height, width))[0]
    for truth, x in ((SHARP, width // 4), (SOFT, 3 * width // 4)):
        kernel = kernels[0] + (maps[:, height // 2, x, None, None].detach() * kernels[1:]).sum(0)
        assert similarity(kernel, truth) > 0.95


def content_scene(seed: int, size: int = 256) -> tuple[Tensor, Tensor]:
    """A pair in which edges stay sharp and texture is smoothed, as by a phone: some squares are discs, some grain."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    discs = torch.full((size, size), 0.5)
    for _ in range(500):
        centre, radius, level = torch.rand(2, generator=rng) * size, *torch.rand(2, generator=rng).tolist()
        discs[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (4 + 8 * radius) ** 2] = level
    grain = 0.5 + 0.5 * blur_decimate(
        torch.randn(1, 1, size, size, generator=rng), gaussian(5, 0.8, 0.8)[None].float(), 1
    )
    rough = (torch.rand(1, 1, size // 128, size // 128, generator=rng) > 0.5).float()
    rough = F.interpolate(rough, size=(size, size), mode="nearest")
    hr = (rough * grain + (1 - rough) * discs).clamp(0, 1)
    sharp, soft = (blur_decimate(hr, k[None].float(), 2)[0] for k in (SHARP, SOFT))
    share = F.avg_pool2d(rough, 2)[0]
    return hr[0], share * soft + (1 - share) * sharp


def test_kernels_that_depend_on_the_content() -> None:
    """The network finds out by itself where there are edges and where there is texture."""
    scenes = [content_scene(seed) for seed in range(6)]
    method = learn(new_method(2, 1, kernel_size=12, width=16, basis_kernels=4, learning_rate=3e-3), scenes[1:], 300, 48)
    assert psnr(method, scenes[:1]) > psnr_of_linear(scenes[1:], scenes[:1]) + 6
    hr, _ = scenes[0]
    kernels = method.optics.kernels().detach()
    maps = method.optics.weight_maps(hr[None], torch.zeros(1, 0), torch.zeros(1, 0, 128, 128))[0].detach()
    rough = hr[0].unfold(0, 128, 128).unfold(1, 128, 128).diff(dim=-1).abs().median(-1)[0].median(-1)[0] > 0.02
    assert rough.any()
    assert not rough.all()
    for row in range(2):
        for column in range(2):
            y, x = 64 * row + 32, 64 * column + 32
            kernel = kernels[0] + (maps[:, y, x, None, None] * kernels[1:]).sum(0)
            assert similarity(kernel, SOFT if rough[row, column] else SHARP) > 0.95


def spec_of(method: dml.Method) -> Spec:
    """The record of a checkpoint, with a phase that was not measured."""
    facts = {**method.spec().model_dump(), "phase": [(0.0, 0.0)]}
    scale, halo = method.backbone.scale, facts["clean_halo"]
    return Spec(degsynth_version="test", method="dml", scale=scale, halo=halo, **facts)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize(
    "values",
    [
        {"network": "paper"},
        {"coordinates": True},
        {"grid": "hr", "start": "random", "coordinates": True},
        {"grid": "hr", "start": "random", "network": "paper", "weights": "softmax"},
        {"basis_kernels": 1},
    ],
)
def test_tiles_equal_the_whole(scale: int, values: dict[str, Any], tmp_path: Path) -> None:
    """Halo, pooling grid and positions are right for every network that the options allow."""
    taps = 7 if scale % 2 or values.get("grid") == "hr" else 8
    method = perturbed(new_method(scale, kernel_size=taps, **values))
    checkpoint.save(method.degrader(), spec_of(method), tmp_path / "m.pt")
    results = list(selftest.tiles_equal_whole(checkpoint.load(tmp_path / "m.pt")))
    assert all(result.passed for result in results), results


@pytest.mark.slow
def test_a_model_with_coordinates_gives_all_known_answers(tmp_path: Path) -> None:
    """All but the phase, which nothing has measured here."""
    method = perturbed(new_method(2, kernel_size=8, coordinates=True))
    checkpoint.save(method.degrader(), spec_of(method), tmp_path / "m.pt")
    failed = [result for result in selftest.run(checkpoint.load(tmp_path / "m.pt")) if not result.passed]
    assert {result.name for result in failed} <= {"kernel at the declared phase"}, failed


def test_mirrored_patches_keep_an_asymmetric_blur(photographs: list[Tensor]) -> None:
    """If HR and LR were flipped together, the kernel would become symmetric; here it stays as it is."""
    truth = gaussian(12, 1.2, 1.2, shift=(0.2, -0.1))
    scenes = [(hr, blur_decimate(hr[None], truth[None].float(), 2)[0]) for hr in gray(photographs)]
    method = learn(new_method(2, 1, kernel_size=12, width=4, learning_rate=2e-3), scenes, 40, 48)
    assert psnr(method, scenes) > 60
    assert method.backbone.mirrors
    assert centroid(method.optics.base) == pytest.approx((0.2, -0.1), abs=0.02)
    far = gaussian(12, 1.2, 1.2, shift=(0.4, -0.3))
    pairs = [(hr, blur_decimate(hr[None], far[None].float(), 2)[0]) for hr in gray(photographs)]
    method.prepare(Paired(pairs, 2, 1))
    assert not method.backbone.mirrors


@pytest.mark.slow
def test_the_paper_preset_trains_and_exports(pair_folders: Any, tmp_path: Path) -> None:
    """As published, only smaller: random start, HR grid, free level. The exported file keeps the level."""
    hr, lr = pair_folders(gaussian(10, 0.9, 1.1), 2, side=180)
    options = fit.FitOptions(method="dml", preset="paper", hr=str(hr), lr=str(lr))
    small = {"steps": 30, "batch": 2, "patch": 96, "width": 4, "learning_rate": 1e-3}
    record = fit.run(options, small, tmp_path / "run")
    selftest.require(checkpoint.load(tmp_path / "run/checkpoint.pt"))
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()[:-1]]
    assert rows[-1]["l2"] < 0.8 * rows[0]["l2"]
    assert record["phase"] != [[0.0, 0.0]], "it is measured, because nothing holds it"

"""directkpn and directnet, compared with slow references and with what they must always keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.config import build
from degsynth.errors import ConfigError
from degsynth.methods import directkpn, directnet
from degsynth.ops.blur import apply_kernels, blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma

EMPTY = torch.zeros(1, 0)


def perturbed(module: Any, scale: int, **values: Any) -> Any:
    torch.manual_seed(0)
    method = module.Method(build(module.Config, {"width": 4, **values}, "direct"), scale, 3)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in method.backbone.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        size = method.backbone.kernel_size
        method.optics.base.copy_(gaussian(size, 1.1, 1.3, shift=(0.2, -0.1)).float())
    return method


def kernels_of(method: Any, hr: Tensor) -> Tensor:
    """The kernels k_ij = k̄ + T − S k̄ − moment · g, computed pixel by pixel: (B, h, w, K, K) float64."""
    optics, size = method.optics, method.backbone.kernel_size
    last, finer = optics.network.last, optics.reduction // optics.stride
    features = optics.network.trunk(F.pixel_unshuffle(luma(hr) - 0.5, optics.reduction))
    raw = optics.unit * last(features)  # (B, n²·K², H', W'), sub-pixels first
    batch, _, height, width = raw.shape
    raw = raw.view(batch, finer, finer, size, size, height, width).permute(0, 5, 1, 6, 2, 3, 4)
    taps = raw.reshape(batch, height * finer, width * finer, size, size).double()
    base, movers = optics.base.double(), optics.movers.double()
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    out = torch.empty_like(taps)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in taps.shape[:3])).tolist():
        change = taps[tuple(index)] - taps[tuple(index)].sum() * base
        if optics.centred:
            moments = (change.sum(1) @ at, change.sum(0) @ at)
            change = change - moments[0] * movers[0] - moments[1] * movers[1]
        out[tuple(index)] = base + change
    return out


def applied(hr: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """The LR image, by an inner product for every pixel."""
    size = kernels.shape[-1]
    pad = (size - stride) // 2
    padded = F.pad(hr.double(), [pad] * 4, mode="replicate")
    batch, height, width = kernels.shape[:3]
    out = torch.zeros(batch, hr.shape[1], height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            window = padded[:, :, stride * i : stride * i + size, stride * j : stride * j + size]
            out[:, :, i, j] = (window * kernels[:, None, i, j]).sum((2, 3))
    return out


@pytest.mark.parametrize("values", [{}, {"centred": False}])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_kernels_by_rows_equal_a_kernel_for_every_pixel(scale: int, values: dict[str, Any]) -> None:
    method = perturbed(directkpn, scale, kernel_size=5 if scale % 2 else 6, **values)
    side = 2 * method.multiple_of
    hr = torch.rand(2, 3, side, side + method.multiple_of)
    with torch.no_grad():
        kernels = kernels_of(method, hr)
        assert torch.allclose(kernels.sum((3, 4)), torch.ones(kernels.shape[:3], dtype=torch.float64), atol=1e-5)
        whole = method.degrader().clean(hr, EMPTY, EMPTY)
        assert torch.allclose(whole.double(), applied(hr, kernels, scale), atol=1e-5)
        method.optics.taps_at_once = 1  # a row at a time
        assert torch.allclose(method.degrader().clean(hr, EMPTY, EMPTY), whole, atol=1e-6)


@pytest.mark.parametrize("network", ["pyramid", "paper"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_kernels_at_all_hr_pixels_are_decimated_at_the_phase(scale: int, network: str) -> None:
    method = perturbed(directkpn, scale, grid="hr", start="random", kernel_size=5, network=network)
    with torch.no_grad():
        hr = torch.rand(1, 2, 2 * method.multiple_of, 3 * method.multiple_of)
        blurred = applied(hr, kernels_of(method, hr), 1)
        lr = method.degrader().clean(hr, EMPTY, EMPTY)
    first, last = (scale - 1) // 2, scale // 2
    corners = [blurred[..., a::scale, b::scale] for a in {first, last} for b in {first, last}]
    assert torch.allclose(lr.double(), torch.stack(corners).mean(0), atol=1e-5)


def test_paper_trains_with_a_free_level() -> None:
    values = {**directkpn.PRESETS["paper"], "width": 4, "patch": 64, "batch": 2}
    torch.manual_seed(0)
    method = directkpn.Method(build(directkpn.Config, values, "direct"), 2, 3)
    hr = torch.rand(2, 3, 64, 64)
    batch = {"hr": hr, "lr": blur_decimate(hr, gaussian(8, 1.0, 1.0)[None].float(), 2)}
    losses = [float(method.training_step(batch, step, generator(step))["l2"]) for step in range(20)]
    assert losses[-1] < losses[0]
    with torch.no_grad():
        free = method.optics.change(torch.full((1, 1, 32, 32), 0.5), False)
        assert abs(float(free.mean()) - 0.5) > 0.01, "the level is free while training"
        flat = method.degrader().clean(torch.full((1, 1, 32, 32), 0.5), EMPTY, EMPTY)
    assert float((flat - 0.5).abs().max()) < 1e-5


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("first_row", [0, 2, 5])
def test_rows_of_kernels_repeat_only_the_borders_of_the_image(scale: int, first_row: int) -> None:
    hr = torch.rand(1, 2, 8 * scale, 5 * scale)
    kernels = torch.rand(1, 8, 5, 4 + scale, 4 + scale)
    whole = applied(hr, kernels.double(), scale)
    part = apply_kernels(hr, kernels[:, first_row : first_row + 3], scale, first_row)
    assert torch.allclose(part.double(), whole[:, :, first_row : first_row + 3], atol=1e-5)


@pytest.mark.parametrize("module", [directkpn, directnet])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_flat_stays_flat(module: Any, scale: int) -> None:
    method = perturbed(module, scale)
    degrader = method.degrader()
    for level in (0.1, 0.4003, 0.95):
        flat = torch.full((1, 3, 5 * scale, 9 * scale), level)
        with torch.no_grad():
            assert float((degrader.clean(flat, EMPTY, torch.zeros(1, 0, 5, 9)) - level).abs().max()) < 5e-6


@pytest.mark.parametrize("module", [directkpn, directnet])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_halo_covers_what_is_read_and_hardly_more(module: Any, scale: int) -> None:
    """The HR pixels on which an LR pixel depends are found by its derivative.

    All weights are positive, so that no path through the network is closed.
    """
    method = perturbed(module, scale)
    for parameter in method.backbone.network.parameters():
        parameter.data = 0.05 + 0.05 * torch.rand_like(parameter)
    method.optics.double()
    halo, grid = method.spec().clean_halo, method.multiple_of
    side = (2 * halo // grid + 3) * grid
    hr = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    furthest = 0
    for at in range(side // scale // 2, side // scale // 2 + grid // scale):
        lr = method.degrader().clean(hr, EMPTY, torch.zeros(1, 0, 1, 1))
        (slope,) = torch.autograd.grad(lr[0, 0, at, at], hr)
        for axis in (0, 1):
            read = slope[0, 0].abs().sum(1 - axis).nonzero()[:, 0]
            furthest = max(furthest, at * scale - int(read[0]), int(read[-1]) - (at * scale + scale - 1))
    assert halo // 2 < furthest <= halo
    if module is directnet and scale <= 2:  # here the halo is known to the pixel
        assert furthest > halo - directnet.SURROUNDINGS, "without the surroundings the halo would be too small"


@pytest.mark.parametrize("scale", [1, 2])
def test_taps_in_memory_at_a_time_are_bounded(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    method = perturbed(directkpn, scale)
    hr = torch.rand(2, 3, 8 * method.multiple_of, 4 * method.multiple_of)
    pixels = 2 * (hr.shape[2] // scale) * (hr.shape[3] // scale)
    method.optics.taps_at_once = method.optics.base.numel() * pixels // 4
    sizes = []

    def recording(hr: Tensor, kernels: Tensor, scale: int, first_row: int = 0) -> Tensor:
        sizes.append(kernels.numel())
        return apply_kernels(hr, kernels, scale, first_row)

    monkeypatch.setattr(directkpn, "apply_kernels", recording)
    with torch.no_grad():
        method.degrader().clean(hr, EMPTY, EMPTY)
    assert sum(sizes) == method.optics.base.numel() * pixels
    assert max(sizes) <= method.optics.taps_at_once
    assert len(sizes) == 4


@pytest.mark.parametrize("module", [directkpn, directnet])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_training_begins_at_the_base(module: Any, scale: int, photographs: list[Tensor]) -> None:
    torch.manual_seed(0)
    method = module.Method(build(module.Config, {}, "direct"), scale, 3)
    size = method.backbone.kernel_size
    method.optics.base.copy_(gaussian(size, 1.3, 1.3).float())
    hr = photographs[0][None, :, :192, :192]
    with torch.no_grad():
        change = method.degrader().clean(hr, EMPTY, EMPTY) - blur_decimate(hr, method.optics.base[None], scale)
    assert 0 < float(change.square().mean().sqrt()) < 2e-3


def test_residual_is_of_luma_and_added_to_every_channel() -> None:
    method = perturbed(directnet, 2)
    hr = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        lr, change = method.degrader().clean(hr, EMPTY, EMPTY), method.optics.change(hr)
        assert float(change.abs().max()) > 0.01
        assert torch.allclose(method.optics.change(luma(hr)), change, atol=1e-6)
        base = lr - change
        method.backbone.network.last.weight.zero_()
        method.backbone.network.last.bias.zero_()
        assert torch.allclose(method.degrader().clean(hr, EMPTY, EMPTY), base, atol=1e-6)


@pytest.mark.parametrize("module", [directkpn, directnet])
def test_paper_preset_shares_the_backbone_of_dml(module: Any) -> None:
    config = build(module.Config, module.PRESETS["paper"], "direct")
    assert (config.patch, config.batch, config.steps, config.learning_rate) == (192, 16, 100_000, 1e-4)
    method = module.Method(config, 2, 3)
    outputs = 225 if module is directkpn else 1
    assert sum(p.numel() for p in method.backbone.network.parameters()) == 105_320 + (outputs - 8) * (32 * 49 + 1)
    assert method.backbone.stride == 1


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"directkpn: kernel_size \(=15\): with grid=lr at scale 2 it must be even"):
        perturbed(directkpn, 2, kernel_size=15)
    with pytest.raises(ConfigError, match="level=learned goes with"):
        perturbed(directkpn, 2, level="learned")
    with pytest.raises(ConfigError, match="start=linear needs grid=lr"):
        perturbed(directnet, 2, grid="hr")

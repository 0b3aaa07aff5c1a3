"""abl: level, phase, presets, and what the hardware factor does to a model that was fitted to a known blur."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.config import build
from degsynth.data import images
from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.errors import ConfigError
from degsynth.evaluation import calibrate, factor_search, hardware_factor, selftest
from degsynth.evaluation.effective_kernel import texture
from degsynth.evaluation.held_out import HeldOut
from degsynth.methods import abl
from degsynth.methods.shared.pairs import Paired
from degsynth.model import checkpoint
from degsynth.nets.adaptive_blur import AdaptiveBlur
from degsynth.nets.residual import Filter
from degsynth.ops.blur import blur_decimate
from degsynth.ops.gaussian_cells import LAYER_VARIANCE, window_side
from degsynth.ops.kernels import centroid, gaussian
from degsynth.ops.least_squares import NormalEquations, solve
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from tests.conftest import save_png

Folders = Callable[..., tuple[Path, Path]]
SMALL: dict[str, Any] = {"width": 4}
PAPER_SMALL: dict[str, Any] = {"width": 4, "blocks": 1, "decoder": "strided", "blind": False}


def new_method(scale: int, **values: Any) -> abl.Method:
    torch.manual_seed(0)
    method = abl.Method(build(abl.Config, {**SMALL, **values}, "abl"), scale, 3)
    method.optics.set_hardware_factor(0.6)
    return method


def perturbed(method: abl.Method) -> abl.Method:
    """Move the weights far from where training starts."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in method.optics.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method


@pytest.mark.parametrize("values", [{}, PAPER_SMALL], ids=["default", "paper"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_flat_stays_flat_whatever_the_weights(scale: int, values: dict[str, Any]) -> None:
    degrader = perturbed(new_method(scale, **values)).degrader()
    for level in (0.02, 0.4003, 1.0):
        for factor in (0.01, 0.6, 5.0):
            flat = torch.full((1, 3, 6 * scale, 7 * scale), level)
            with torch.no_grad():
                lr = degrader.clean(flat, torch.tensor([[factor]]), torch.zeros(1, 0, 6, 7))
            assert float((lr - level).abs().max()) < 2e-6


@pytest.mark.parametrize("values", [{}, PAPER_SMALL], ids=["default", "paper"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_training_begins_with_the_layer_at_the_centred_phase(scale: int, values: dict[str, Any]) -> None:
    """Encoder and decoder begin as copies, so the blur of the model is that of the layer, centred on the s×s block."""
    method = new_method(scale, **values)
    decoder = method.optics.decoder
    for part in (decoder.layers if values else decoder.linear).modules():
        if isinstance(part, Filter):  # remove the random part of the first weights
            part.copying(1.0 if len(part.weight) > 1 else 1.0 / part.weight.shape[1], 0.0)
    with torch.no_grad():
        hr = texture(1, 60 * scale, 60 * scale)
        lr = method.degrader().clean(hr[None], torch.tensor([[0.6]]), torch.zeros(1, 0, 60, 60))
    equations = NormalEquations(18 + scale % 2, scale)
    equations.add(hr[0], lr[0, 0], method.border)
    kernel = solve(equations, 0.0, fit_gain=True, fit_offset=True).kernel
    assert centroid(kernel) == pytest.approx((0, 0), abs=1e-3)
    if not values:
        layer = method.optics.blur.kernels(torch.tensor([0.6])).detach()[0].mean(0).double()
        assert torch.allclose(kernel[1:-1, 1:-1], layer, atol=1e-4)


@pytest.mark.parametrize("values", [{}, {"group": 2, "blocks": 2}, PAPER_SMALL], ids=["default", "wide", "paper"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_tiles_equal_the_whole(scale: int, values: dict[str, Any]) -> None:
    method = perturbed(new_method(scale, **values))
    halo = -(-method.halo // scale)  # LR px
    degrader = method.degrader()
    code, size = torch.tensor([[1.1]]), 4 * halo + 6
    hr = texture(1, size * scale, size * scale)[None]
    with torch.no_grad():
        whole = degrader.clean(hr, code, torch.zeros(1, 0, size, size))
        first = halo + 1
        for axis in (2, 3):
            window = hr.narrow(axis, (first - halo) * scale, (5 + 2 * halo) * scale)
            part = degrader.clean(window, code, torch.zeros(1, 0, *(n // scale for n in window.shape[2:])))
            difference = part.narrow(axis, halo, 5) - whole.narrow(axis, first, 5)
            assert float(difference.abs().max()) < 2e-6


def test_channels_of_a_colour_image_pass_one_by_one() -> None:
    degrader = perturbed(new_method(2)).degrader()
    hr = torch.rand(2, 3, 24, 30)
    codes, field = torch.tensor([[0.5], [2.0]]), torch.zeros(2, 0, 12, 15)
    lr = degrader.clean(hr, codes, field)
    for channel in range(3):
        alone = degrader.clean(hr[:, channel : channel + 1], codes, field)
        assert torch.allclose(lr[:, channel : channel + 1], alone, atol=1e-6)


def test_paper_preset_is_the_papers() -> None:
    config = build(abl.Config, abl.PRESETS["paper"], "abl")
    assert (config.width, config.patch, config.batch) == (128, 256, 8)
    assert config.steps == 50 * 112 * 50 // 8
    assert (config.learning_rate, config.schedule, config.flips) == (1e-4, "constant", True)
    assert [abl.Method(config, scale, 3).patch for scale in (1, 2, 3)] == [256, 256, 255]
    method = abl.Method(config, 4, 3)
    assert method.optics.blur.logits.shape == (128, 4)
    assert method.optics.blur.size == 16
    assert (
        abl.Method(build(abl.Config, {**abl.PRESETS["paper"], "group": 2}, "abl"), 4, 3).optics.blur.logits.shape[1]
        == 8
    )


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_papers_network_learns(scale: int, photographs: list[Tensor]) -> None:
    values = {**abl.PRESETS["paper"], "width": 6, "blocks": 1, "patch": 24 * max(scale, 3), "learning_rate": 3e-3}
    torch.manual_seed(0)
    method = abl.Method(build(abl.Config, values, "abl"), scale, 3)
    method.optics.set_hardware_factor(1.0)
    side = method.patch
    hr = torch.stack([shot[:, 60 : 60 + side, 60 : 60 + side] for shot in photographs[:2]])
    lr = blur_decimate(hr, gaussian(10 + scale % 2, 0.9, 0.9)[None].float(), scale)
    losses = [float(method.training_step({"hr": hr, "lr": lr}, step, generator(step))["l1"]) for step in range(25)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"factor": 0.0}, "factor .=0. must be from"),
        ({"factor": "soft"}, "factor"),
        ({"patch": 16}, "at least"),
        ({"group": 3}, "group"),
    ],
)
def test_options_that_cannot_be_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        new_method(2, **values)


@pytest.mark.parametrize(("sigma", "factor"), [(0.9, 0.28), (0.3, 0.25), (2.0, 1.64), (3.6, 3.0)])
def test_auto_gives_the_layer_the_blur_of_the_pairs(photographs: list[Tensor], sigma: float, factor: float) -> None:
    """At that factor the layer attenuates as much as the kernel; the factors of the paper are the limits."""
    kernel = gaussian(20, sigma, sigma)[None].float()
    method = new_method(2, factor="auto")
    crops = [shot[:, :300, :300] for shot in photographs]
    method.prepare(Paired([(hr, blur_decimate(hr[None], kernel, 2)[0]) for hr in crops], 2, 3))
    assert method.optics.factor.item() == pytest.approx(factor, rel=0.05)


@pytest.fixture(scope="module")
def fitted(photographs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, checkpoint.Checkpoint]:
    """A folder of LR images made by the layer at factors 0.5, 1 and 2, and a model fitted to those at factor 1."""
    folder = tmp_path_factory.mktemp("fitted")
    layer = AdaptiveBlur(1, 1, window_side(2), 2)
    torch.nn.init.zeros_(layer.logits)
    for number, shot in enumerate(photographs):
        hr = luma(shot)[:, :240, :240]
        save_png(folder / f"HR/{number}.png", hr)
        for factor in (0.5, 1.0, 2.0):
            with torch.no_grad():
                save_png(folder / f"LR_{factor:g}/{number}.png", layer(hr[None], torch.tensor([factor]))[0])
    options = fit.FitOptions(method="abl", hr=str(folder / "HR"), lr=str(folder / "LR_1"))
    values = {"factor": 1.0, "steps": 60, "width": 8, "batch": 4}
    record = fit.run(options, values, folder / "run")
    assert record["hardware_factor"]["share"] == pytest.approx(1.0, abs=0.4)
    assert record["hardware_factor"]["r_squared"] > 0.95
    assert record["warnings"] == []
    return folder, checkpoint.load(folder / "run/checkpoint.pt")


@pytest.mark.parametrize("factor", [*(pytest.param(f, marks=pytest.mark.slow) for f in (0.5, 1.0)), 2.0])
def test_calibration_finds_the_factor_that_made_the_images(
    fitted: tuple[Path, checkpoint.Checkpoint], factor: float
) -> None:
    folder, model = fitted
    for unpaired, error in ((False, 0.05), (True, 0.2)):
        options = calibrate.CalibrationOptions(unpaired)
        calibration = calibrate.run(model, folder / "HR", folder / f"LR_{factor:g}", options)
        assert calibration.factor == pytest.approx(factor, rel=error), f"unpaired: {unpaired}"
        assert not calibration.at_limit


@pytest.mark.slow
def test_calibrated_model_is_the_same_but_for_its_factor(
    fitted: tuple[Path, checkpoint.Checkpoint], tmp_path: Path
) -> None:
    _, model = fitted
    saved = calibrate.save(model, 1.7, tmp_path / "other.pt")
    assert saved.spec.hardware_factor is not None
    assert (saved.spec.hardware_factor.default, saved.spec.hardware_factor.trained) == (1.7, 1.0)
    selftest.require(saved)
    hr = texture(3, 60, 60)[None]
    field = model.degrader.field(5, 0, 0, 30, 30, 3)
    lr = model.degrader(hr, torch.tensor([[1.7]]), field).clamp(0, 1)
    assert torch.equal(saved.degrader.degrade(hr, 5), lr)
    assert float(model.degrader.draw(0)[0, 0]) == 1.0, "the model itself keeps its factor"


def test_a_factor_without_effect_is_reported(fitted: tuple[Path, checkpoint.Checkpoint], monkeypatch: Any) -> None:
    """Here every factor gives the LR image of the same factor."""
    folder, model = fitted
    pictures = [images.to_tensor(images.read(folder / f"HR/{n}.png").pixels) for n in range(2)]
    monkeypatch.setattr(hardware_factor, "with_factor", lambda model, code, factor: code)
    figures, warnings = hardware_factor.measure(model, pictures)
    assert figures is not None
    assert abs(figures["share"]) < 0.01
    assert "does not do what it says" in warnings[0]
    figures, warnings = hardware_factor.measure(model, [torch.full((1, 100, 100), 0.5)])
    assert figures is None
    assert "could not be measured" in warnings[0]


def test_search_finds_a_known_minimum() -> None:
    calibration = factor_search.search(lambda factor: abs(factor - 0.8), (0.01, 10.0))
    assert calibration.factor == pytest.approx(0.8, rel=0.03)
    assert factor_search.search(lambda factor: factor, (0.01, 10.0)).at_limit
    assert factor_search.search(lambda factor: -factor, (0.01, 10.0)).at_limit


def test_spectra_do_not_see_contrast_nor_white_noise(fitted: tuple[Path, checkpoint.Checkpoint]) -> None:
    folder, model = fitted
    shots = [images.to_tensor(images.read(folder / f"HR/{n}.png").pixels) for n in range(4)]
    blurred = [images.to_tensor(images.read(folder / f"LR_2/{n}.png").pixels) for n in range(4)]
    rng = torch.Generator().manual_seed(0)
    other = [0.2 + 0.5 * lr + 0.01 * torch.randn(lr.shape, generator=rng) for lr in blurred]
    assert factor_search.unpaired(model, shots, other).factor == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.06), (0.9, 0.0), (1.1, -0.05)])
def test_another_exposure_is_not_another_blur(
    fitted: tuple[Path, checkpoint.Checkpoint], tmp_path: Path, gain: float, offset: float
) -> None:
    folder, model = fitted
    for number in range(4):
        lr = images.to_tensor(images.read(folder / f"LR_2/{number}.png").pixels)
        save_png(tmp_path / f"LR/{number}.png", (gain * lr + offset).clamp(0, 1))
    calibration = calibrate.run(model, folder / "HR", tmp_path / "LR")
    assert calibration.factor == pytest.approx(2.0, rel=0.1)


def test_unpaired_scenes_have_nothing_in_common(
    fitted: tuple[Path, checkpoint.Checkpoint], photographs: list[Tensor], tmp_path: Path
) -> None:
    """HR from the left halves of the photographs, LR from their right halves."""
    _, model = fitted
    layer = AdaptiveBlur(1, 1, window_side(2), 2)
    torch.nn.init.zeros_(layer.logits)
    for number, shot in enumerate(photographs):
        side = shot.shape[2] // 4 * 2
        save_png(tmp_path / f"HR/{number}.png", shot[:, :, :side])
        with torch.no_grad():
            other = layer(luma(shot)[None, :, :, side : 2 * side], torch.tensor([2.0]))[0]
        save_png(tmp_path / f"LR/other{number}.png", other)
    calibration = calibrate.run(model, tmp_path / "HR", tmp_path / "LR", calibrate.CalibrationOptions(unpaired=True))
    assert calibration.factor == pytest.approx(2.0, rel=0.2)


def test_rows_at_a_time_equal_the_whole() -> None:
    """Large images pass a few rows at a time, which saves memory and changes nothing."""
    for scale, values in ((1, {}), (2, {}), (2, PAPER_SMALL), (3, {})):
        method = perturbed(new_method(scale, **values))
        hr, code = torch.rand(2, 3, 64 * scale, 9 * scale), torch.tensor([[0.4], [2.0]])
        with torch.no_grad():
            whole = method.degrader().clean(hr, code, torch.zeros(2, 0, 64, 9))
            method.optics.numbers_at_once = 1
            heights: list[int] = []
            method.optics.encoder.register_forward_hook(lambda *args, seen=heights: seen.append(args[2].shape[2]))
            by_rows = method.degrader().clean(hr, code, torch.zeros(2, 0, 64, 9))
        assert float((by_rows - whole).abs().max()) < 2e-6
        assert max(heights) <= 3 * method.optics.margin * scale < 64 * scale


@pytest.mark.slow
def test_layer_variance_of_a_fitted_model(fitted: tuple[Path, checkpoint.Checkpoint]) -> None:
    """The factor is continuous, not limited to those of the paper: half a unit adds half of 2.6 px²."""
    folder, model = fitted
    pictures = [images.to_tensor(images.read(folder / f"HR/{n}.png").pixels) for n in range(4)]
    rows = {row["factor"]: row["variance_px2"] for row in hardware_factor.sweep(model, pictures)["sweep"]}
    assert list(rows) == list(hardware_factor.FACTORS)
    assert rows[1.5] - rows[1.0] == pytest.approx(0.5 * LAYER_VARIANCE, rel=0.4)
    assert list(rows.values()) == sorted(rows.values())


def test_held_out_parts_serve_calibration(fitted: tuple[Path, checkpoint.Checkpoint]) -> None:
    """Calibration takes the middle parts of large pairs, at positions that suit the model's tiles."""
    folder, model = fitted
    pairs = open_for_model(folder / "HR", folder / "LR_1", ScoringOptions(2))
    held = HeldOut(pairs, 8, model.spec.multiple_of)
    assert factor_search.paired(model, held.parts, 8).factor == pytest.approx(1.0, rel=0.05)


@pytest.mark.slow
def test_snapshot_keeps_the_chosen_factor(pair_folders: Folders, tmp_path: Path) -> None:
    hr, lr = pair_folders(gaussian(12, 1.5, 1.5), 2, side=180)
    options = fit.FitOptions(method="abl", hr=str(hr), lr=str(lr))
    fit.run(options, {**SMALL, "steps": 20, "batch": 2}, tmp_path / "run")
    model = checkpoint.load(tmp_path / "run/checkpoint.pt")
    early = fit.open_snapshot(tmp_path / "run", 20, tmp_path / "early.pt")
    for spec in (model.spec, early.spec):
        assert spec.hardware_factor is not None
        assert spec.hardware_factor.trained == pytest.approx(0.88, abs=0.15)
        for written in (early, model):
            assert written.degrader.draw(0).item() == pytest.approx(spec.hardware_factor.default, rel=1e-6)

"""linear: kernels that are known are recovered, from images in memory and from folders of 8-bit files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.errors import ConfigError, FitError
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.methods.linear import PRESETS, Config, Method
from degsynth.methods.shared.pairs import Paired
from degsynth.model.checkpoint import load
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity
from tests.conftest import save_png

Folders = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize(("scale", "size"), [(1, 15), (2, 14), (3, 15), (4, 16)])
def test_from_folders_to_the_exported_kernel(scale: int, size: int, pair_folders: Folders, tmp_path: Path) -> None:
    """From 8-bit PNG pairs: the kernel that the checkpoint applies, measured from outside, is the true one."""
    truth = gaussian(size, 0.4 * scale + 0.4, 0.6 * scale + 0.4, angle=0.4)
    hr, lr = pair_folders(truth, scale)
    options = fit.FitOptions(method="linear", hr=str(hr), lr=str(lr))
    record = fit.run(options, {"kernel_size": size}, tmp_path / "run")
    assert record["scale"] == scale
    model = load(tmp_path / "run" / "checkpoint.pt")
    kernel = effective_kernel(model).kernel
    assert similarity(kernel, truth) >= 0.99
    assert centroid(kernel) == pytest.approx((0, 0), abs=0.02)
    assert record["report"]["kernels"][0]["centroid_px"] == pytest.approx((0, 0), abs=0.02)


def pairs_of(photographs: list[Tensor], kernels: Tensor, gain: float = 1.0, offset: float = 0.0) -> Paired:
    pairs = [(hr, gain * blur_decimate(hr[None], kernels.float(), 2)[0] + offset) for hr in photographs]
    return Paired(pairs, 2, 3)


def test_per_channel_kernels(photographs: list[Tensor]) -> None:
    truth = torch.stack([gaussian(10, 0.7, 0.7), gaussian(10, 1.0, 1.4), gaussian(10, 1.6, 1.2)])
    method = Method(Config(kernel_size=10, per_channel=True, ridge=1e-8), 2, 3)
    method.prepare(pairs_of(photographs, truth))
    for solution, kernel in zip(method.fit.solutions, truth, strict=True):
        assert similarity(solution.kernel, kernel) > 0.999
    assert method.spec().channels == [3]


@pytest.mark.parametrize(("choice", "applied"), [("apply", (0.9, 0.04)), ("drop", (1.0, 0.0))])
def test_gain_and_offset_applied_or_dropped(
    choice: str, applied: tuple[float, float], photographs: list[Tensor]
) -> None:
    config = Config.model_validate({"kernel_size": 8, "ridge": 1e-8, "gain": choice, "offset": choice})
    method = Method(config, 2, 3)
    method.prepare(pairs_of(photographs, gaussian(8, 1, 1)[None], gain=0.9, offset=0.04))
    assert method.fit.solutions[0].gain == pytest.approx(0.9, abs=1e-3)
    flat = method.degrader().degrade(torch.full((1, 3, 40, 40), 0.5), 0)
    assert float(flat.mean()) == pytest.approx(0.5 * applied[0] + applied[1], abs=2e-3)
    assert method.spec().gain == pytest.approx((applied[0],), abs=1e-3)


def test_colours_keep_their_balance(photographs: list[Tensor]) -> None:
    """The shared kernel is the same for R, G and B."""
    method = Method(Config(), 2, 3)
    method.prepare(pairs_of(photographs, gaussian(8, 1, 1)[None]))
    hr = photographs[0][None]
    whole = method.degrader().degrade(hr, 0)
    for channel in range(3):
        alone = method.degrader().degrade(hr[:, channel : channel + 1], 0)
        assert torch.equal(whole[:, channel : channel + 1], alone)


def test_preset_paper_is_equation_6(photographs: list[Tensor]) -> None:
    """No ridge, 20 taps, free sum divided out: on noise-free pairs the kernel comes out exactly."""
    truth = gaussian(20, 1.0, 1.5, 0.3)
    method = Method(Config.model_validate(PRESETS["paper"]), 2, 3)
    assert method.kernel_size == 20
    exact = [hr.double() for hr in photographs]
    method.prepare(Paired([(hr, blur_decimate(hr[None], truth[None], 2)[0]) for hr in exact], 2, 3))
    assert float((method.fit.solutions[0].kernel - truth).abs().max()) < 1e-6


@pytest.mark.parametrize(("scale", "size"), [(2, 21), (3, 20), (4, 3)])
def test_a_kernel_size_that_cannot_be_centred_is_refused(scale: int, size: int) -> None:
    with pytest.raises(ConfigError, match=f"kernel size {size} at scale {scale}"):
        Method(Config(kernel_size=size), scale, 3)


def test_too_small_and_flat_images_are_refused(photographs: list[Tensor]) -> None:
    small = [(hr[:, :40, :40], lr[:, :20, :20]) for hr, lr in pairs_of(photographs[:1], gaussian(8, 1, 1)[None])]
    with pytest.raises(FitError, match="LR pixels lie far enough"):
        Method(Config(), 2, 3).prepare(Paired(small, 2, 3))
    flat = [(torch.full((3, 200, 200), 0.4), torch.full((3, 100, 100), 0.4))]
    with pytest.raises(FitError, match="texture"):
        Method(Config(ridge=0.0), 2, 3).prepare(Paired(flat, 2, 3))


def test_registered_pairs_give_a_centred_kernel(tmp_path: Path, photographs: list[Tensor]) -> None:
    """Each pair has another shift. Without registration the kernel is smeared; with it, it is the true one."""
    truth = gaussian(16, 1.0, 1.0)
    for number, shot in enumerate(photographs * 2):
        shift = (0.6 + 0.2 * number, -0.3 * number)
        hr = shot[:, :240, :300]
        lr = blur_decimate(hr[None], gaussian(16, 1.0, 1.0, shift=shift)[None].float(), 2)[0]
        save_png(tmp_path / f"HR/{number}.png", hr)
        save_png(tmp_path / f"LR/{number}.png", lr)
    kernels = {}
    for register in ("none", "shift"):
        options = fit.FitOptions(
            method="linear", hr=str(tmp_path / "HR"), lr=str(tmp_path / "LR"), register_pairs=register, bad_pairs="skip"
        )
        warnings: list[str] = []
        fit.run(options, {"kernel_size": 16}, tmp_path / register, fit.Events(on_warning=warnings.append))
        kernels[register] = effective_kernel(load(tmp_path / register / "checkpoint.pt")).kernel
        assert any("off the centred phase" in text for text in warnings) == (register == "none")
    assert similarity(kernels["shift"], truth) > 0.99
    assert centroid(kernels["shift"]) == pytest.approx((0, 0), abs=0.05)
    assert similarity(kernels["none"], truth) < 0.98
    assert abs(centroid(kernels["none"])[0]) > 0.5

"""What a paired fit leaves out of real LR becomes the noise of its model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.data import images
from degsynth.errors import ConfigError
from degsynth.evaluation.held_out import Part
from degsynth.evaluation.metrics import psnr
from degsynth.evaluation.residual import measure_left_out, over_fit
from degsynth.fit.export import open_snapshot
from degsynth.model import checkpoint
from degsynth.model.residual import Residual
from degsynth.ops.blur import blur_decimate
from degsynth.ops.grain_measurement import filter_taps
from degsynth.ops.kernels import gaussian
from degsynth.ops.resample import crop_border, luma
from degsynth.ops.residual_measurement import measure
from degsynth.ops.residual_noise import CONTRASTS, LEVELS, ResidualNoise
from tests.conftest import save_png


def put_in() -> ResidualNoise:
    """Noise that is three times as strong at edges as in flat places, equal in all channels."""
    sigma = torch.linspace(2.0, 6.0, CONTRASTS).double().expand(LEVELS, -1) / 255
    offset = torch.arange(-4, 5).double()
    taps = filter_taps(torch.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / 2))
    return ResidualNoise(sigma, taps, torch.ones(3, 3).double() / 3**0.5)


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory: pytest.TempPathFactory, photographs: list[Tensor]) -> Path:
    """A fit of `linear` to pairs whose LR has known noise."""
    folder = tmp_path_factory.mktemp("noisy")
    module = Residual(put_in())
    for number, shot in enumerate(photographs):
        lr = blur_decimate(shot[None], gaussian(10, 1.2, 1.2)[None].float(), 2)
        lr = lr.clamp(0.0, 1.0)
        white = torch.randn(lr.shape, generator=torch.Generator().manual_seed(number))
        save_png(folder / "HR" / f"{number}.png", shot)
        save_png(folder / "LR" / f"{number}.png", (lr + module(lr, white))[0].clamp(0, 1))
    options = fit.FitOptions(method="linear", hr=str(folder / "HR"), lr=str(folder / "LR"))
    fit.run(options, {}, folder / "run")
    return folder / "run"


def test_the_noise_of_the_pairs_is_that_of_the_model(noisy_run: Path) -> None:
    model = checkpoint.load(noisy_run / "checkpoint.pt")
    assert (model.spec.has_noise, model.spec.stochastic, model.spec.noise_halo) == (True, True, 8)
    noise = model.residual()
    assert noise is not None
    hr = torch.rand(1, 3, 64, 64)
    field = model.degrader.field(1, 0, 0, 96, 96, 3)
    flat = model.degrader.noise(torch.full((1, 3, 96, 96), 0.5), torch.zeros(1, 0), field)
    assert 255 * float(flat.std()) == pytest.approx(2.0, rel=0.3)
    with torch.inference_mode():
        drawn = [model.degrader.degrade(hr, seed) for seed in (1, 2)]
    assert not torch.equal(*drawn)


def test_the_record_and_the_picture_show_it(noisy_run: Path) -> None:
    record = json.loads((noisy_run / "fit.json").read_text())["noise"]
    assert record["drawn"]["sigma_255"] == pytest.approx(record["measured"]["sigma_255"], rel=0.1)
    assert record["drawn"]["lag_1"] == pytest.approx(record["measured"]["lag_1"], abs=0.1)
    assert torch.tensor(record["measured"]["sigma_by_level_and_contrast_255"]).shape == (LEVELS, CONTRASTS)
    assert len(record["levels_255"]) == LEVELS
    assert record["contrasts_255"][0] == pytest.approx(1.0)
    assert record["contrasts_255"][-1] == pytest.approx(64.0)
    assert images.read(noisy_run / "previews" / "residual.png").pixels.std() > 10, "it is not empty"


def test_figures_of_lr_are_those_without_noise(noisy_run: Path) -> None:
    """Noise is random: an image with it can only be farther from the real one."""
    record = json.loads((noisy_run / "fit.json").read_text())["held_out"]
    model, folder = checkpoint.load(noisy_run / "checkpoint.pt"), noisy_run.parent
    without, with_noise = [], []
    for image in record["images"]:
        hr, lr = (images.to_tensor(images.read(folder / side / f"{image['name']}.png").pixels) for side in ("HR", "LR"))
        field = model.degrader.field(0, 0, 0, *lr.shape[1:], 3)
        with torch.inference_mode():
            clean = model.degrader.clean(hr[None], model.degrader.draw(0), field).clamp(0, 1)
            noisy = (clean + model.degrader.noise(clean, model.degrader.draw(0), field)).clamp(0, 1)
        for scores, made in ((without, clean), (with_noise, noisy)):
            rounded = torch.round(255 * made[0]) / 255
            scores.append(psnr(*(crop_border(luma(shot), record["border"]) for shot in (rounded, lr))))
    assert record["mean"]["model"]["psnr_y"] == pytest.approx(sum(without) / len(without), abs=0.01)
    assert sum(with_noise) / len(with_noise) < record["mean"]["model"]["psnr_y"] - 2


def test_a_snapshot_gets_the_noise_of_its_run(pair_folders: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    hr, lr = pair_folders(gaussian(10, 1.2, 1.2), 2)
    values = {"steps": 4, "batch": 2, "width": 4}
    fit.run(fit.FitOptions(method="dml", hr=str(hr), lr=str(lr)), values, tmp_path / "run")
    exported = open_snapshot(tmp_path / "run", 4, tmp_path / "snapshot.pt")
    wanted = checkpoint.load(tmp_path / "run" / "checkpoint.pt").residual()
    noise = exported.residual()
    assert wanted is not None
    assert noise is not None
    assert torch.equal(noise.sigma, wanted.sigma)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    assert open_snapshot(tmp_path / "run", 4, tmp_path / "other.pt").residual() is None


def test_models_are_compared_by_what_they_leave_out() -> None:
    """Exactly predicted LR leaves nothing out but rounding."""
    lr = torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    rounded = torch.round(255 * lr) / 255
    measured = measure([(rounded, lr)], 1 / 255)
    assert measured is not None
    assert float(measured.noise.sigma.max()) < 0.1 / 255


class Known:
    """A model, and its degrader, that leaves a known pattern out of LR, of one strength on parts that begin in row 0
    (held out) and of another on others (fitted)."""

    def __init__(self, held: float, fitted: float) -> None:
        self.degrader, self.strengths = self, (held, fitted)

    def draw(self, seed: int, height: int, width: int) -> Tensor:
        return torch.zeros(1, 0)

    def field(self, seed: int, y: int, x: int, height: int, width: int, channels: int) -> Tensor:
        pattern = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(3))
        return self.strengths[int(y > 0)] * pattern

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(hr, 2) - field


def parts_of(photographs: list[Tensor], row: int) -> list[Part]:
    """Parts of exactly reduced photographs, which begin in this row."""
    crops = [0.2 + 0.6 * shot[:, 60:260, 60:260] for shot in photographs]
    return [Part(hr, torch.nn.functional.avg_pool2d(hr, 2), (row, 0), (300, 300)) for hr in crops]


@pytest.mark.parametrize(
    ("model", "kernel", "factor"),
    [
        ((0.02, 0.01), (0.04, 0.04), 2.0),
        ((0.02, 0.01), (0.04, 0.02), 1.0),
        ((0.02, 0.02), (0.04, 0.02), 1.0),
        ((0.01, 0.01), (0.02, 0.03), 1.5),
    ],
)
def test_the_residual_of_fitted_pairs_is_enlarged_by_the_over_fit(
    model: tuple[float, float], kernel: tuple[float, float], factor: float, photographs: list[Tensor]
) -> None:
    """The over-fit is known, also where the fitted scenes are easier or harder, as one kernel shows."""
    held, fitted = parts_of(photographs, 0), parts_of(photographs, 8)
    known: list[Any] = [Known(*strengths) for strengths in (model, kernel)]
    assert over_fit(*known, held, fitted) == pytest.approx(factor, rel=0.01)
    both = measure_left_out(known[0], held, fitted, known[1], 0.0)
    assert both is not None
    assert both.over_fit == pytest.approx(factor, rel=0.01)
    wanted = torch.tensor([model[0], factor * model[1]]).square().mean().sqrt()
    assert both.measured.sigma == pytest.approx(float(wanted), rel=0.05)


def test_models_of_one_kernel_do_not_over_fit(photographs: list[Tensor]) -> None:
    known: Any = Known(0.02, 0.01)
    both = measure_left_out(known, parts_of(photographs, 0), parts_of(photographs, 8), None, 0.0)
    assert both is not None
    assert both.over_fit == 1.0


def test_without_pairs_it_is_assumed(pair_folders: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    hr, lr = pair_folders(gaussian(10, 1.2, 1.2), 2)
    for ratio in (0.25, 0.0):
        options = fit.FitOptions(method="spectral", hr=str(hr), lr=str(lr), scale=2, left_out=ratio)
        fit.run(options, {}, tmp_path / f"{ratio}")
        noise = checkpoint.load(tmp_path / f"{ratio}" / "checkpoint.pt").residual()
        assert (noise is not None) == (ratio > 0)
        record = json.loads((tmp_path / f"{ratio}" / "fit.json").read_text())["noise"]
        assert record == ({"assumed": 0.25} if ratio else None)
    with pytest.raises(ConfigError, match="methods without pairs"):
        fit.run(fit.FitOptions(method="linear", hr=str(hr), lr=str(lr), left_out=0.1), {}, tmp_path / "linear")

"""Methods with two folders blur in light, by the usual curve of a camera, and add their noise to levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from degsynth import fit
from degsynth.config import Events, build
from degsynth.data import images
from degsynth.errors import ConfigError
from degsynth.evaluation import metrics
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.fit.sources.unpaired import Folders
from degsynth.methods import adl, pdm, spectral
from degsynth.methods.pdm.estimate import GroupNoise
from degsynth.methods.protocol import Unpaired
from degsynth.methods.shared.unpaired_sets import Sets
from degsynth.model import checkpoint
from degsynth.model.tone import Tone
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian, similarity
from degsynth.ops.noise import generator
from degsynth.ops.noise_level import noise_covariance
from degsynth.ops.tone import USUAL, inverse_table, powers, to_levels, to_light
from tests.conftest import save_png
from tests.methods.test_measured_noise import saved, soft, with_noise
from tests.ops.test_grain import strength

KERNEL = gaussian(20, 2.2, 1.5, 0.6)
FACTORS = powers(USUAL)


def photographed(hr: Tensor, kernel: Tensor = KERNEL) -> Tensor:
    """Blur an image (3, H, W) in light, reduce it to half its size, and save it in levels."""
    light = blur_decimate(to_light(hr, FACTORS)[None], kernel[None].float(), 2)[0]
    return saved(to_levels(light, inverse_table(FACTORS).float()))


@pytest.fixture(scope="module")
def parts(photographs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Parts of photographs, at half their size: those that are HR images, and those that become LR images."""
    halves = [torch.nn.functional.avg_pool2d(shot[None], 2)[0] for shot in photographs]
    squares = [image[:, y : y + 120, x : x + 120] for image in halves for y in (0, 120) for x in (0, 120)]
    whole = [saved(square) for square in squares if square.shape[1:] == (120, 120)]
    return whole[::2], whole[1::2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, parts: tuple[list[Tensor], list[Tensor]]) -> Path:
    folder = tmp_path_factory.mktemp("light")
    for number, (hr, other) in enumerate(zip(*parts, strict=False)):
        save_png(folder / "HR" / f"{number}.png", hr)
        save_png(folder / "LR" / f"{number}.png", photographed(other))
    return folder


def options(folder: Path, method: str = "spectral", **more: object) -> fit.FitOptions:
    values = {"method": method, "hr": str(folder / "HR"), "lr": str(folder / "LR"), "scale": 2, "left_out": 0.0, **more}
    return fit.FitOptions.model_validate(values)


def lr_psnr(model: checkpoint.Checkpoint, images: list[Tensor]) -> float:
    """Return the mean PSNR, dB, of a model's LR images of these HR images, inside a border of 10 px."""
    scores = []
    for hr in images:
        lr = model.degrader.clean(hr[None], model.degrader.draw(0), model.degrader.field(0, 0, 0, 60, 60, 3))[0]
        scores.append(metrics.psnr(lr[:, 10:-10, 10:-10], photographed(hr)[:, 10:-10, 10:-10]))
    return sum(scores) / len(scores)


def test_kernel_and_levels_are_those_of_images_blurred_in_light(
    folder: Path, parts: tuple[list[Tensor], list[Tensor]], tmp_path: Path
) -> None:
    record = fit.run(options(folder), {"family": "gaussian"}, tmp_path / "light")
    model = checkpoint.load(tmp_path / "light" / "checkpoint.pt")
    assert tuple(record["tone"]) == model.spec.tone == USUAL
    assert similarity(effective_kernel(model).kernel, KERNEL) > 0.99
    fit.run(options(folder, tone="none"), {"family": "gaussian"}, tmp_path / "levels")
    levels = checkpoint.load(tmp_path / "levels" / "checkpoint.pt")
    assert levels.spec.tone == ()
    assert lr_psnr(model, parts[1]) > lr_psnr(levels, parts[1]) + 3


def test_the_curve_is_for_integers_and_not_for_what_was_published(folder: Path, tmp_path: Path) -> None:
    assert Folders(options(folder, preset="paper"), Events()).tone == ()
    assert Folders(options(folder, preset="paper", tone="assumed"), Events()).tone == USUAL
    assert "light of 0.38" in "".join(Folders(options(folder), Events()).notes)
    for side in ("HR", "LR"):
        (tmp_path / side).mkdir()
        for path in (folder / side).iterdir():
            pixels = images.read(path).pixels.astype(np.float32) / 255
            tifffile.imwrite(tmp_path / side / f"{path.stem}.tif", pixels, photometric="rgb")
    assert Folders(options(tmp_path), Events()).tone == ()


@pytest.mark.parametrize(
    ("method", "tone", "message"),
    [
        ("spectral", "learned", "`tone=learned` is measured in pairs, and spectral has none; give assumed or none"),
        ("linear", "assumed", "linear can measure it: give learned or none"),
    ],
)
def test_no_curve_of_the_other_kind(folder: Path, tmp_path: Path, method: str, tone: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit.run(options(folder, method, tone=tone, left_out=None), {}, tmp_path / "run")


def unpaired(hr: list[Tensor], lr: list[Tensor]) -> Unpaired:
    noise = noise_covariance(lr)
    return Unpaired(hr, lr, noise, noise, 1 / 255, [0] * len(lr), {"all": len(lr)}, Tone(USUAL))


def prepared(module: Any, folders: Unpaired, **values: Any) -> Any:
    torch.manual_seed(0)
    method = module.Method(build(module.Config, {**getattr(module, "QUICK", {}), **values}, "test"), 2, 3)
    method.prepare(folders)
    return method


def test_spectra_are_those_of_light(parts: tuple[list[Tensor], list[Tensor]]) -> None:
    folders = unpaired(parts[0], [photographed(hr) for hr in parts[1]])
    light = unpaired([to_light(hr, FACTORS) for hr in folders.hr], [to_light(lr, FACTORS) for lr in folders.lr])
    seen, wanted = Sets(folders, 2, "test"), Sets(replace(light, tone=Tone()), 2, "test")
    assert torch.equal(seen.spectra.lr, wanted.spectra.lr)
    assert torch.equal(seen.spectra.hr_power, wanted.spectra.hr_power)
    levels = Sets(replace(folders, tone=Tone()), 2, "test")
    assert torch.equal(torch.stack(seen.means["lr"]), torch.stack(levels.means["lr"]))
    assert torch.equal(seen.hr_noise, levels.hr_noise)


@pytest.mark.parametrize("module", [spectral, pdm], ids=["spectral", "pdm"])
def test_noise_is_that_of_levels(module: Any) -> None:
    """The curve halves noise in the shadows and doubles it in the highlights, if noise is taken for one of light."""
    narrow = gaussian(20, 1.0, 1.0)
    lr = [with_noise(photographed(soft(50 + number, 320), narrow), number) for number in range(6)]
    degrader = prepared(module, unpaired([soft(number, 256) for number in range(6)], lr)).degrader()
    for level in (40 / 255, 120 / 255, 200 / 255):
        flat = torch.full((1, 3, 96, 96), level)
        noise = degrader.noise(flat, degrader.draw(3), degrader.field(3, 0, 0, 96, 96, 3))[0]
        wanted = float(strength(torch.tensor(level)))
        assert noise.std((1, 2)).tolist() == pytest.approx([wanted] * 3, rel=0.25), level


def test_images_of_known_blur_are_saved_in_levels() -> None:
    light = torch.linspace(0, 1, 300).view(1, 3, 100).expand(3, -1, -1)
    silent = GroupNoise([], torch.ones(1), [], [], 1 / 255, Tone(USUAL))
    levels = silent.add_to(light, generator(0))
    assert torch.allclose((255 * levels).round() / 255, levels, atol=1e-6)
    assert float((to_light(levels, FACTORS) - light).abs().max()) < 1.9 / 2 / 255


def test_training_of_pdm_sees_what_the_model_makes(parts: tuple[list[Tensor], list[Tensor]]) -> None:
    """Without noise, the LR of a training step is that of the exported model, in levels."""
    method = prepared(pdm, unpaired(parts[0], [photographed(hr) for hr in parts[1]]), noise="none")
    hr = parts[0][0][None]
    clean, _, _ = method.draw(to_light(hr, FACTORS), generator(5))
    degrader = method.degrader()
    degrader.add_tone(USUAL)
    code = torch.randn(1, method.optics.code_size, generator=generator(5))
    wanted = degrader.clean(hr, code, degrader.field(0, 0, 0, 60, 60, 3))
    assert float((clean - wanted).detach().abs().max()) < 1e-5


def test_training_of_adl_adds_noise_to_levels(parts: tuple[list[Tensor], list[Tensor]]) -> None:
    method = prepared(adl, unpaired(parts[0], [photographed(hr) for hr in parts[1]]))
    method.memory.matched.copy_(0.01 * torch.eye(3))
    light = to_light(torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1).expand(3, 3, 64, 64), FACTORS)
    noisy = to_levels(method.with_noise(light, generator(0)), inverse_table(FACTORS).float())
    assert noisy.std((1, 2, 3)).tolist() == pytest.approx([0.01] * 3, rel=0.05)


def test_batches_are_in_light(folder: Path) -> None:
    source = Folders(options(folder), Events())
    batch = {name: torch.rand(2, 3, 8, 8, generator=generator(1)) for name in ("hr", "lr")}
    light = source.in_light(batch)
    assert all(torch.equal(light[name], to_light(batch[name], FACTORS)) for name in batch)


def test_a_fit_that_was_begun_in_levels_does_not_go_on_in_light(folder: Path) -> None:
    """Snapshots of earlier versions have an empty digest."""
    light, levels = (Folders(options(folder, tone=tone), Events()).split_digest() for tone in (None, "none"))
    assert light
    assert levels == ""

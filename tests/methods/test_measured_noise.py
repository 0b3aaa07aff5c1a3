"""The noise that spectral, lfl and adl measure and draw: what was put into LR images comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.config import build
from degsynth.evaluation import selftest
from degsynth.fit.export import measured_checkpoint, open_snapshot
from degsynth.methods import adl, lfl, spectral
from degsynth.methods.pdm.optics import GrainNoise
from degsynth.methods.protocol import Unpaired
from degsynth.methods.shared.measured_noise import Parts, agreed, is_noise, measured_noise, noise_report
from degsynth.methods.shared.unpaired_optics import KernelOptics, Memory
from degsynth.model import checkpoint
from degsynth.model.degrader import Degrader
from degsynth.ops.blur import blur_decimate
from degsynth.ops.grain import KNOTS, REACH, Grain, combined, filtered_noise, separable
from degsynth.ops.grain_measurement import measure
from degsynth.ops.kernels import gaussian
from degsynth.ops.noise_level import noise_covariance
from tests.conftest import save_png
from tests.ops.test_grain import binomial, strength
from tests.ops.test_spectra import scene

NONE = torch.zeros(3, 3, dtype=torch.float64)
HALF = 0.5 * torch.eye(3) + 0.5
"""Correlation of the channels."""
BOX = torch.full((2, 2), 0.5, dtype=torch.float64) / 2
LEVELS = (40 / 255, 120 / 255, 200 / 255)
TAPS, LAG_1 = torch.outer(torch.tensor([1.0, 4.0, 1.0]), torch.tensor([1.0, 4.0, 1.0])) / 18, 8 / 18
FINE = "degsynth.methods.shared.measured_noise."


def soft(number: int, side: int) -> Tensor:
    """Return a picture (3, side, side) that has all levels and hardly any texture."""
    down, right = (torch.linspace(0, 1, side) for _ in range(2))
    levels = 0.06 + 0.88 * ((down[:, None] + right) / 2 if number % 2 else down[:, None].expand(side, side))
    return (levels + 0.05 * (scene(number, side) - 0.5)).expand(3, -1, -1).clamp(0, 1)


def saved(image: Tensor) -> Tensor:
    return (255 * image.clamp(0, 1)).round() / 255


def with_noise(image: Tensor, number: int, sigma: float | None = None) -> Tensor:
    """Add noise that follows the level and is correlated with neighbours and channels, or white noise of ``sigma``."""
    white = torch.randn(1, *image.shape, generator=torch.Generator().manual_seed(number))
    if sigma is not None:
        return saved(image + sigma * white[0])
    fine = torch.einsum("ab,nbhw->nahw", torch.linalg.cholesky(HALF), filtered_noise(white, separable(TAPS)))
    return saved(image + strength(image) * fine[0])


def unpaired(hr: list[Tensor], lr: list[Tensor], denoised: bool = False) -> Unpaired:
    noise = noise_covariance(lr)
    return Unpaired(hr, lr, noise, NONE if denoised else noise, 1 / 255, [0] * len(lr), {"all": len(lr)})


@pytest.fixture(scope="module")
def clean() -> tuple[list[Tensor], list[Tensor]]:
    """HR images, and LR images of other pictures, blurred by a Gaussian, both without noise."""
    kernel = gaussian(10, 1.0, 1.0)[None].float()
    hr = [saved(soft(number, 256)) for number in range(6)]
    return hr, [saved(blur_decimate(soft(50 + number, 320)[None], kernel, 2)[0]) for number in range(6)]


@pytest.fixture(scope="module")
def noisy(clean: tuple[list[Tensor], list[Tensor]]) -> Unpaired:
    return unpaired(clean[0], [with_noise(image, number) for number, image in enumerate(clean[1])])


@pytest.fixture(scope="module")
def white(clean: tuple[list[Tensor], list[Tensor]]) -> Unpaired:
    return unpaired(clean[0], [with_noise(image, number, 6 / 255) for number, image in enumerate(clean[1])])


def prepared(module: Any, images: Unpaired, **values: Any) -> Any:
    torch.manual_seed(0)
    method = module.Method(build(module.Config, {"family": "box", "kernel_size": 10, **values}, "test"), 2, 3)
    method.prepare(images)
    return method


@pytest.fixture(scope="module")
def fitted(noisy: Unpaired) -> spectral.Method:
    method: spectral.Method = prepared(spectral, noisy)
    return method


def of_statistics(images: Unpaired, hr_noise: Tensor = NONE) -> Grain | None:
    """Return the noise of a model whose kernel is a box, without taking spectra."""
    sets: Any = SimpleNamespace(noise=lambda _: images.noise, hr_noise=hr_noise)
    return measured_noise(images, sets, BOX)


def drawn(degrader: Any, level: float) -> Tensor:
    flat = torch.full((1, 3, 200, 200), level)
    with torch.inference_mode():
        noise: Tensor = degrader.noise(flat, degrader.draw(1), degrader.field(1, 0, 0, 200, 200, 3))[0]
    return noise.double()


def lag_1(noise: Tensor) -> float:
    return float((noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean())


# --- which noise ----------------------------------------------------------------------------------------------------


def test_noise_that_was_put_in_comes_back(fitted: spectral.Method) -> None:
    spec, degrader = fitted.spec(), fitted.degrader()
    assert (spec.has_noise, spec.stochastic, spec.channels) == (True, True, [3])
    assert 1 <= spec.noise_halo <= REACH, "as far as the filter reaches that draws the noise"
    for level in LEVELS:
        noise = drawn(degrader, level)
        wanted = float(strength(torch.tensor(level)))
        assert noise.std((1, 2)).tolist() == pytest.approx([wanted] * 3, rel=0.2), level
    assert lag_1(noise) == pytest.approx(LAG_1, abs=0.1)
    assert lag_1(noise.transpose(1, 2)) == pytest.approx(LAG_1, abs=0.1)
    assert float((torch.corrcoef(noise.flatten(1)) - HALF).abs().max()) < 0.2
    assert not any("flat places" in text for text in fitted.warnings())
    report = fitted.report()
    assert report["noise"] == "grain"
    assert report["noise_lag_1"] == pytest.approx(lag_1(noise), abs=0.03)
    middle = report["noise_levels_255"].index(127.5)
    assert report["noise_sigma_by_level_255"][0][middle] == pytest.approx(
        255 * float(drawn(degrader, 0.5)[0].std()), rel=0.03
    )


def test_white_noise_stays_about_white(white: Unpaired) -> None:
    degrader = prepared(spectral, white).degrader()
    for level in LEVELS:
        noise = drawn(degrader, level)
        assert noise.std((1, 2)).tolist() == pytest.approx([6 / 255] * 3, rel=0.15), level
    assert abs(lag_1(noise)) < 0.1
    assert float((torch.corrcoef(noise.flatten(1)) - torch.eye(3)).abs().max()) < 0.15


def test_clean_images_get_none(clean: tuple[list[Tensor], list[Tensor]]) -> None:
    method = prepared(spectral, unpaired(*clean))
    spec = method.spec()
    assert (spec.has_noise, spec.stochastic, spec.noise_halo, spec.channels) == (False, False, 0, "any")
    assert method.report()["noise"] == "none"
    assert not bool(drawn(method.degrader(), 0.5).any())


def test_texture_is_not_drawn(photographs: list[Tensor]) -> None:
    """In photographs that were scaled down, flat places disagree; what else is known of their noise is all there is."""
    small = [torch.nn.functional.avg_pool2d(shot[None], 3)[0] for shot in photographs]
    faint = (1.2 / 255) ** 2 * torch.eye(3, dtype=torch.float64)
    noise = of_statistics(replace(unpaired(small, small), noise=faint, noise_left=faint))
    assert noise is not None
    assert Parts.of(noise).reach() == 0
    assert noise.sigma.flatten().tolist() == pytest.approx([1.2 / 255] * 3 * KNOTS)


def test_strong_noise_about_which_flat_places_disagree_is_taken_for_white(
    noisy: Unpaired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such noise may be texture."""
    points = torch.tensor([[0, 0.2, 0.01], [0, 0.5, 0.04], [0, 0.8, 0.01]], dtype=torch.float64)
    told = of_statistics(noisy)
    assert told is not None
    monkeypatch.setattr(FINE + "measure", lambda *_: replace(told, measured=points))
    assert is_noise(replace(told, measured=points))
    noise = of_statistics(noisy)
    assert noise is not None
    assert Parts.of(noise).reach() == 0
    assert any("flat places of the LR images disagree" in text for text in prepared(spectral, noisy).warnings())
    assert not agreed(Grain.white((0.9 / 255) ** 2 * torch.eye(1)))
    assert agreed(Grain.white((1.1 / 255) ** 2 * torch.eye(1)))


def test_where_no_noise_was_found_none_is_drawn(clean: tuple[list[Tensor], list[Tensor]]) -> None:
    """Faint smooth noise shows in flat places only, and the log of the fit says that there is none."""
    white = torch.randn(6, *clean[1][0].shape, generator=torch.Generator().manual_seed(0))
    smooth = 2.5 / 255 * filtered_noise(white, separable(binomial()))
    images = unpaired(clean[0], [saved(image + noise) for image, noise in zip(clean[1], smooth, strict=True)])
    told = measure(images.lr, images.level_step)
    assert told is not None
    assert agreed(told)
    assert not bool(images.noise.any())
    assert of_statistics(images) is None


@pytest.mark.parametrize("why", ["untold", "denoised"])
def test_white_noise_is_drawn_where_it_cannot_be_told(
    why: str, noisy: Unpaired, monkeypatch: pytest.MonkeyPatch
) -> None:
    covariance = (5 / 255) ** 2 * torch.diag(torch.tensor([1.0, 4.0, 1.0])) @ HALF @ torch.eye(3)
    covariance = ((covariance + covariance.T) / 2).double()
    if why == "untold":
        monkeypatch.setattr(FINE + "measure", lambda *_: None)
    images = replace(noisy, noise=covariance, noise_left=NONE if why == "denoised" else covariance)
    noise = of_statistics(images)
    assert noise is not None
    parts = Parts.of(noise)
    report = noise_report(parts)
    assert (report["noise"], parts.reach(), parts.compact().factors.shape) == ("white", 0, (2, 1, 1))
    degrader = Degrader(KernelOptics(BOX, 2, parts), 2, channels=[3])
    for level in (0.1, 0.9):
        found = torch.cov(drawn(degrader, level).flatten(1))
        assert torch.allclose(found, covariance, atol=0.03 * float(covariance.max())), level


@pytest.mark.parametrize("told", [True, False])
def test_noise_of_hr_is_not_drawn_again(told: bool, noisy: Unpaired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blur by a box of 2 × 2 px leaves a quarter of the variance, and the LR images have that already."""
    sigma = 8 / 255
    hr = [with_noise(image, 20 + number, sigma) for number, image in enumerate(noisy.hr)] if told else noisy.hr
    alone, rest = of_statistics(noisy), of_statistics(replace(noisy, hr=hr), NONE if told else sigma**2 * torch.eye(3))
    assert alone is not None
    assert rest is not None
    fallen = (alone.sigma.square() - rest.sigma.square())[:, KNOTS // 2].sqrt()
    assert fallen.tolist() == pytest.approx([sigma / 2] * 3, rel=0.15)
    monkeypatch.setattr(FINE + "measure", lambda images, *_: alone)  # the HR images have the same noise
    everything = torch.eye(1, dtype=torch.float64)  # a kernel that leaves all of it
    assert measured_noise(noisy, SimpleNamespace(noise=lambda _: noisy.noise), everything) is None  # type: ignore[arg-type]


# --- models and snapshots -------------------------------------------------------------------------------------------


def test_tiles_have_the_noise_of_the_whole(fitted: spectral.Method) -> None:
    images = SimpleNamespace(scale=2, data_range=None, tone=(), jpeg=())
    selftest.require(measured_checkpoint("spectral", fitted, images))  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [lfl, adl])
def test_a_restored_method_draws_the_same_noise(
    module: Any, noisy: Unpaired, fitted: spectral.Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degsynth.methods.shared.adversarial.estimate", lambda *_: fitted.fit.estimate)  # no new search
    values = {"discriminator_width": 4, "kernel_size": 10}
    method = prepared(module, noisy, **values)
    torch.save({name: part.state_dict() for name, part in method.modules.items()}, tmp_path / "state.pt")
    torch.manual_seed(1)
    other = module.Method(build(module.Config, values, "test"), 2, 3)
    for name, state in torch.load(tmp_path / "state.pt").items():
        other.modules[name].load_state_dict(state)
    assert method.memory.noise.reach() > 0
    assert other.spec() == method.spec()
    assert torch.equal(drawn(other.degrader(), 0.4), drawn(method.degrader(), 0.4))
    assert float(drawn(other.degrader(), 0.4).std()) > 5 / 255


def test_memory_forgets_the_noise_of_other_images(noisy: Unpaired) -> None:
    memory = Memory(10, 3)
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    assert memory.noise is None
    memory.keep_noise(of_statistics(noisy))
    assert memory.noise is not None
    memory.keep_noise(None)
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())


def test_snapshots_of_earlier_versions_hold_white_noise() -> None:
    covariance = (5 / 255) ** 2 * HALF
    memory = Memory(10, 3)
    state = memory.state_dict()
    for name in ("sigma", "factors", "mixing"):
        del state[name]
    memory.load_state_dict({**state, "noise": covariance})
    assert memory.noise is not None
    assert memory.noise.reach() == 0
    root = memory.noise.sigma[:, :1] * memory.noise.mixing
    assert torch.allclose(root @ root.T, covariance, rtol=1e-4)
    memory.load_state_dict({**state, "noise": torch.zeros(3, 3)})
    assert memory.noise is None


@pytest.mark.slow
def test_a_snapshot_is_exported_with_the_noise_of_the_fit(noisy: Unpaired, tmp_path: Path) -> None:
    for name, images in (("HR", noisy.hr), ("LR", noisy.lr)):
        for number, image in enumerate(images):
            save_png(tmp_path / f"{name}/{number}.png", image)
    options = fit.FitOptions(method="adl", hr=str(tmp_path / "HR"), lr=str(tmp_path / "LR"), scale=2, left_out=0.0)
    values = {
        "steps": 4,
        "batch": 2,
        "discriminator_width": 4,
        "discriminator_first": 0,
        "family": "box",
        "kernel_size": 10,
    }
    record = fit.run(options, values, tmp_path / "run")
    assert record["report"]["noise"] == "grain"
    whole = checkpoint.load(tmp_path / "run/checkpoint.pt")
    assert 1 <= whole.spec.noise_halo <= REACH
    snapshot = open_snapshot(tmp_path / "run", 4, tmp_path / "snapshot.pt")
    assert torch.equal(drawn(snapshot.degrader, 0.4), drawn(whole.degrader, 0.4))


def test_snapshots_of_pdm_of_earlier_versions_keep_their_taps() -> None:
    module = GrainNoise(3)
    taps = torch.zeros(9, 9)
    taps[4, 3:6] = torch.tensor([0.4, 0.8, 0.4]) / 0.96**0.5
    state = module.state_dict()
    del state["factors"]
    state["taps"] = taps.expand(len(module.share), -1, -1)
    module.load_state_dict(state)
    assert torch.allclose(combined(module.factors[0]), taps, atol=1e-6)

"""spectral, lfl and adl: known answers that need no pairs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from degsynth import fit, methods
from degsynth.config import build
from degsynth.errors import ConfigError, DataError, FitError
from degsynth.evaluation import selftest
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.methods import adl, lfl, spectral
from degsynth.methods.protocol import Unpaired
from degsynth.methods.shared.adversarial_options import PAPER
from degsynth.methods.shared.unpaired_optics import KernelOptics, Taps
from degsynth.model import checkpoint
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity
from degsynth.ops.noise import generator
from degsynth.ops.noise_level import noise_excess
from tests.conftest import Run, save_png
from tests.ops.test_spectra import scene

NONE = torch.zeros(3, 3, dtype=torch.float64)
QUICK = {"batch": 2, "discriminator_width": 4, "discriminator_first": 0}


def unpaired(sets: tuple[list[Tensor], list[Tensor]], noise: Tensor = NONE, noise_left: Tensor = NONE) -> Unpaired:
    """HR and LR images of 8 bits, all of one group."""
    return Unpaired(*sets, noise, noise_left, 1 / 255, [0] * len(sets[1]), {"all": len(sets[1])})


def colours(gray: Tensor) -> Tensor:
    return torch.stack([gray, gray, gray]).clamp(0, 1)


@pytest.fixture(scope="module")
def sets() -> tuple[list[Tensor], list[Tensor]]:
    """HR images, and LR images of other scenes, blurred by a Gaussian of 1.2 × 1.2 px."""
    sharp = [colours(scene(number, 240)) for number in range(8)]
    kernel = gaussian(20, 1.2, 1.2)[None].float()
    return sharp, [blur_decimate(colours(scene(50 + n, 240))[None], kernel, 2)[0] for n in range(8)]


def prepared(module: Any, values: dict[str, Any], sets: tuple[list[Tensor], list[Tensor]], scale: int = 2) -> Any:
    torch.manual_seed(0)
    method = module.Method(build(module.Config, values, "test"), scale, 3)
    method.prepare(unpaired(sets))
    return method


def batch_of(method: Any, sets: tuple[list[Tensor], list[Tensor]]) -> dict[str, Tensor]:
    side = method.patch
    return {
        "hr": torch.stack([hr[:, :side, :side] for hr in sets[0][:2]]),
        "lr": torch.stack([lr[:, : side // 2, : side // 2] for lr in sets[1][:2]]),
    }


# --- Eq. 6 ----------------------------------------------------------------------------------------------------------


def test_retrieving_a_kernel_from_a_kernel_gives_that_kernel(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    """The shortcut for linear downsamplers against Eq. 6 solved from what they do to images."""
    from degsynth.ops.least_squares import NormalEquations, solve

    method = prepared(adl, {"kernel_size": 10}, sets)
    with torch.no_grad():
        method.generator.z.normal_(generator=torch.Generator().manual_seed(1))
    kernel = method.retrieve()
    equations = NormalEquations(10, 2)
    for hr in sets[0]:
        with torch.no_grad():
            equations.add(hr[0], blur_decimate(hr[None, :1], method.generator.kernel()[None], 2)[0, 0], 4)
    assert torch.allclose(solve(equations, 1e-9).kernel, kernel, atol=2e-4)


def test_a_silent_network_is_a_box(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    method = prepared(
        adl, {"generator": "network", "start": "random", "spectra": 0, "width": 4, "kernel_size": 10}, sets
    )
    with torch.no_grad():
        method.generator.last.weight.zero_()
    wanted = torch.zeros(10, 10, dtype=torch.float64)
    wanted[4:6, 4:6] = 0.25
    assert torch.allclose(method.retrieve(), wanted, atol=1e-3)
    assert method.report()["kernel_against_network_psnr"] > 50


def test_two_steps_of_two_are_one_kernel_of_four(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    method = prepared(adl, {"cascade": True, "kernel_size": 8}, sets, scale=4)
    with torch.no_grad():
        method.generator.z.normal_(generator=torch.Generator().manual_seed(2))
    hr = torch.rand(1, 1, 160, 160, generator=torch.Generator().manual_seed(3))
    once = method.retrieve()[None].float()
    twice = blur_decimate(blur_decimate(hr, once, 2), once, 2)
    kernel = method.kernel()
    assert kernel.shape == (22, 22)
    assert math.hypot(*centroid(kernel)) < 1e-5
    at_once = blur_decimate(hr, kernel[None].float(), 4)
    assert torch.allclose(at_once[..., 4:-4, 4:-4], twice[..., 4:-4, 4:-4], atol=1e-6)
    assert method.degrader().scale == 4


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("downsampler", ["kernel", "network"])
@pytest.mark.parametrize("module", [lfl, adl])
def test_gradients_reach_every_weight(module: Any, downsampler: str, sets: tuple[list[Tensor], list[Tensor]]) -> None:
    values: dict[str, Any] = {**QUICK, "width": 4}
    if downsampler == "network":
        values |= {"generator": "network", "start": "random", "spectra": 0, "norm": "instance", "patch": 64}
    method = prepared(module, values, sets)
    before = {name: value.clone() for name, value in method.generator.state_dict().items()}
    for step in range(3):
        terms = method.training_step(batch_of(method, sets), step, generator(step))
        assert all(math.isfinite(float(value)) for value in terms.values())
    for role, part in method.modules.items():
        for name, value in part.named_parameters():
            assert value.grad is not None, f"{role}.{name}"
    assert any(not torch.equal(before[name], value) for name, value in method.generator.state_dict().items())


def test_a_kernel_keeps_level_and_place_whatever_it_learns(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    method = prepared(adl, {**QUICK, "spectra": 0, "alpha": 0, "learning_rate": 0.5}, sets)
    start = method.retrieve()
    for step in range(5):
        method.training_step(batch_of(method, sets), step, generator(step))
    kernel = method.retrieve()
    assert not torch.allclose(kernel, start, atol=1e-4)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert math.hypot(*centroid(kernel)) < 1e-4


def test_the_data_loss_of_lfl_is_zero_for_a_centred_kernel_on_a_ramp(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    method = prepared(lfl, {"filter_size": 8}, sets)
    ramp = torch.linspace(0, 1, method.patch)[None, :].expand(method.patch, method.patch)[None, None]
    assert float(method.data_loss(ramp, method.downsample(ramp), 0).detach()) < 1e-5


@pytest.mark.parametrize("data", ["bicubic", "average"])
def test_guided_losses_pull_towards_their_operator(data: str, sets: tuple[list[Tensor], list[Tensor]]) -> None:
    values = {**QUICK, "data": data, "start": data, "spectra": 0}
    method = prepared(lfl, values, sets)
    hr = torch.stack([shot[:1, :96, :96] for shot in sets[0][:4]])
    assert float(method.data_loss(hr, method.downsample(hr), 0).detach()) < 2e-3
    other = prepared(lfl, {**values, "start": "spectral"}, sets)
    assert float(other.data_loss(hr, other.downsample(hr), 0).detach()) > 3e-3


def test_adl_goes_from_low_frequencies_to_its_own_kernel(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    values = {**QUICK, "lfl_steps": 2, "update_every": 3, "learning_rate": 0.3, "filter_size": 8}
    method = prepared(adl, values, sets)
    kept = []
    for step in range(7):
        method.training_step(batch_of(method, sets), step, generator(step))
        kept.append(method.memory.kernel.clone())
    assert not bool(kept[1].any())
    assert bool(kept[2].any())
    assert not torch.equal(kept[2], kept[3])  # step 3: retrieved anew
    assert torch.equal(kept[3], kept[5])
    assert not torch.equal(kept[5], kept[6])


def test_noise_is_put_on_the_fakes_and_into_the_checkpoint(sets: tuple[list[Tensor], list[Tensor]]) -> None:
    covariance = (5 / 255) ** 2 * (0.5 * torch.eye(3, dtype=torch.float64) + 0.5)
    method = adl.Method(build(adl.Config, QUICK, "test"), 2, 3)
    method.prepare(unpaired(sets, covariance, covariance))
    flat = torch.full((4, 3, 80, 80), 0.5)
    added = method.with_noise(flat, generator(0)) - flat
    wanted = noise_excess(covariance, method.fit.sets.hr_noise, method.retrieve())  # blurred HR has some as well
    assert torch.allclose(wanted, covariance, atol=0.5 * float(covariance[0, 0]))
    assert torch.allclose(torch.cov(added.detach().double().movedim(1, 0).flatten(1)), wanted, rtol=0.1)
    # None is put on the fakes where LR was denoised; the model draws it nevertheless.
    method.prepare(unpaired(sets, covariance, NONE))
    root = (method.memory.noise.sigma[:, :1] * method.memory.noise.mixing).double()
    assert torch.allclose(root @ root.T, wanted, rtol=1e-3)
    assert torch.equal(method.with_noise(flat, generator(0)), flat)
    degrader, spec = method.degrader(), method.spec()
    assert spec.has_noise
    assert spec.channels == [3]
    field = degrader.field(1, 0, 0, 80, 80, 3)
    noise = degrader.noise(flat[:1], degrader.draw(1), field)[0]
    assert torch.allclose(torch.cov(noise.double().flatten(1)), wanted, rtol=0.1)


def test_start_is_what_was_asked_for() -> None:
    kernel = gaussian(20, 1.0, 1.5)
    taps = Taps(20)
    with torch.no_grad():
        taps.begin(kernel, 2, held=True)
        assert torch.allclose(taps.kernel().double(), kernel, atol=1e-7)
    optics = KernelOptics(2 * kernel, 2)
    assert float(optics.kernels.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "scale", "message"),
    [
        ({"cascade": True}, 2, "cascade=true applies a downsampler of scale 2 twice; the scale is 2"),
        ({"generator": "network"}, 2, "a network needs `spectra=0`"),
        ({"generator": "network", "spectra": 0}, 2, "a network can only begin with `start=random`"),
        ({"start": "random"}, 2, "start=random is for generator=network"),
        ({"export": "network"}, 2, "export=network is for generator=network"),
        ({"kernel_size": 9}, 2, "kernel_size"),
        ({"steps": 100}, 2, "must be more than discriminator_first"),
        ({"steps": 500, "lfl_steps": 500}, 2, "must be more than lfl_steps"),
    ],
)
def test_options_that_contradict_each_other(values: dict[str, Any], scale: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adl.Method(build(adl.Config, values, "method adl"), scale, 3)


# --- whole fits -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path, sets: tuple[list[Tensor], list[Tensor]]) -> tuple[Path, Path]:
    for name, images in zip(("HR", "LR"), sets, strict=True):
        for number, image in enumerate(images):
            save_png(tmp_path / f"{name}/{name}{number}.png", image)
    return tmp_path / "HR", tmp_path / "LR"


def options_for(method: str, folders: tuple[Path, Path], **more: Any) -> fit.FitOptions:
    return fit.FitOptions(method=method, hr=str(folders[0]), lr=str(folders[1]), scale=2, **more)


def test_spectral_finds_the_kernel_without_a_pair(folders: tuple[Path, Path], tmp_path: Path) -> None:
    record = fit.run(options_for("spectral", folders), {}, tmp_path / "run")
    model = checkpoint.load(tmp_path / "run/checkpoint.pt")
    with torch.inference_mode():
        assert similarity(effective_kernel(model).kernel, gaussian(20, 1.2, 1.2)) > 0.98
    mean = record["held_out"]["mean"]
    assert mean["model"]["spectral_distance"] < mean["bicubic"]["spectral_distance"]
    assert record["report"]["sigma_axes_px"] == pytest.approx([1.2, 1.2], rel=0.1)
    assert record["folders"]["hr"]["held_out"] == record["held_out"]["images"]


def test_the_start_is_exported_where_nothing_was_better(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refinement that can only do harm: the taps go anywhere, and held-out spectra see it."""
    said: list[str] = []
    values = {**QUICK, "steps": 40, "spectra": 0, "alpha": 0, "learning_rate": 1.0}
    monkeypatch.setattr("degsynth.methods.shared.unpaired_optics.HELD", (3.0, 4.0))
    monkeypatch.setattr("degsynth.methods.shared.unpaired_optics.LOOSE", (3.0, 4.0))
    record = fit.run(options_for("adl", folders), values, tmp_path / "run", fit.Events(on_note=said.append))
    assert record["training"]["best_step"] == 0
    assert any("not clearly better than its start" in text for text in said)
    torch.manual_seed(0)
    with torch.inference_mode():
        kernel = effective_kernel(checkpoint.load(tmp_path / "run/checkpoint.pt")).kernel
    assert similarity(kernel, gaussian(20, 1.2, 1.2)) > 0.98


@pytest.fixture
def gray_folders(tmp_path: Path, sets: tuple[list[Tensor], list[Tensor]]) -> tuple[Path, Path]:
    """With one channel, the kernel of a network is measured in a third of the time."""
    for name, images in zip(("HR", "LR"), sets, strict=True):
        for number, image in enumerate(images):
            save_png(tmp_path / f"{name}/{name}{number}.png", image[:1])
    return tmp_path / "HR", tmp_path / "LR"


NETWORK = {"generator": "network", "start": "random", "spectra": 0, "width": 4, "patch": 64}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_a_network_can_be_exported_as_itself(norm: str, gray_folders: tuple[Path, Path], tmp_path: Path) -> None:
    values = {**QUICK, **NETWORK, "steps": 4, "norm": norm, "export": "network"}
    record = fit.run(options_for("adl", gray_folders), values, tmp_path / "run")
    model = checkpoint.load(tmp_path / "run/checkpoint.pt")
    assert model.spec.tiling == ("whole_only" if norm == "instance" else "exact")
    selftest.require(model)
    assert record["report"]["kernel_against_network_psnr"] > 20


@pytest.mark.slow
def test_a_network_can_be_exported_as_a_kernel(gray_folders: tuple[Path, Path], tmp_path: Path) -> None:
    values = {**QUICK, **NETWORK, "steps": 4, "norm": "none", "export": "kernel"}
    record = fit.run(options_for("adl", gray_folders), values, tmp_path / "run")
    selftest.require(checkpoint.load(tmp_path / "run/checkpoint.pt"))
    assert record["report"]["kernel_size"] == 20


def test_paper_preset_is_what_was_published() -> None:
    for module, alpha in ((lfl, 200.0), (adl, 100.0)):
        config = build(module.Config, module.PRESETS["paper"], "test")  # type: ignore[attr-defined]
        assert (config.generator, config.norm, config.batch, config.learning_rate) == ("network", "instance", 24, 5e-5)
        assert config.alpha == alpha
        method = module.Method(config, 2, 3)  # type: ignore[attr-defined]
        assert method.patch == 128
    assert (config.lfl_steps, config.update_every, config.images, config.steps) == (17_410, 17_410, 50, 139_280)


@pytest.mark.slow
def test_different_contents_cause_a_warning(tmp_path: Path) -> None:
    """LR images full of small things on a plain ground do not show the scenes of HR, whatever blur they have."""
    kernel = gaussian(20, 1.2, 1.2)[None].float()
    for number in range(8):
        rng = torch.Generator().manual_seed(number)
        things = torch.nn.functional.interpolate(torch.rand(1, 1, 60, 60, generator=rng), scale_factor=4)[0, 0]
        save_png(tmp_path / f"dots/{number}.png", colours(0.4 + 0.3 * (things > 0.8).float()))
        save_png(tmp_path / f"sharp/{number}.png", colours(scene(number, 480)))
        like = blur_decimate(colours(scene(50 + number, 480))[None], kernel, 2)[0]
        save_png(tmp_path / f"like/{number}.png", like)
    warned = {}
    for other in ("dots", "like"):
        said: list[str] = []
        options = options_for("spectral", (tmp_path / "sharp", tmp_path / other))
        fit.run(options, {"family": "gaussian"}, tmp_path / f"run_{other}", fit.Events(on_warning=said.append))
        warned[other] = any("differ in content" in text for text in said)
    assert warned == {"dots": True, "like": False}


@pytest.mark.slow
def test_noise_of_the_lr_is_found_denoised_and_recorded(
    folders: tuple[Path, Path], tmp_path: Path, sets: tuple[list[Tensor], list[Tensor]]
) -> None:
    rng = torch.Generator().manual_seed(0)
    for number, image in enumerate(sets[1]):
        save_png(tmp_path / f"noisy/{number}.png", image + 6 / 255 * torch.randn(image.shape, generator=rng))
    for denoise in ("none", "nlm"):
        record = fit.run(
            options_for("spectral", (folders[0], tmp_path / "noisy"), lr_denoise=denoise), {}, tmp_path / denoise
        )
        assert record["folders"]["lr_noise"]["sigma_255"] == pytest.approx([6, 6, 6], rel=0.2)
        model = checkpoint.load(tmp_path / denoise / "checkpoint.pt")
        assert model.spec.has_noise
        selftest.require(model)
        with torch.inference_mode():
            agreement = similarity(effective_kernel(model).kernel, gaussian(20, 1.2, 1.2))
        assert agreement > (0.97 if denoise == "none" else 0.8)  # non-local means take faint texture for noise


def test_bad_usage_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    hr, lr = map(str, folders)
    where = tmp_path / "run"

    def fails(message: str, **options: Any) -> None:
        with pytest.raises((ConfigError, FitError), match=message):
            fit.run(fit.FitOptions(hr=hr, lr=lr, **options), {}, where)
        assert not where.exists()

    few = folders[0].parent / "few"
    few.mkdir()
    (few / "1.png").write_bytes((folders[1] / "LR0.png").read_bytes())
    with pytest.raises(DataError, match="8 HR and 1 LR images are too few"):
        fit.run(fit.FitOptions(method="spectral", hr=hr, lr=str(few), scale=2), {}, where)
    fails("`scale` is missing: method adl cannot infer it", method="adl")
    fails("`register_pairs=shift` is for pairs", method="adl", scale=2, register_pairs="shift")
    fails("`lr_denoise=nlm` is for unpaired methods", method="linear", lr_denoise="nlm")


def test_the_command_line_shows_distances(folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    hr, lr = folders
    code, _, stderr = cli(
        "fit", "--method", "spectral", "--hr", hr, "--lr", lr, "--scale", "2", "--out", tmp_path / "run"
    )
    assert code == 0, stderr
    assert "spectral distance" in stderr
    assert (tmp_path / "run/previews/held_out.png").stat().st_size > 10_000
    code, stdout, _ = cli("inspect", tmp_path / "run", "--json")
    assert json.loads(stdout)["method"] == "spectral"
    code, stdout, _ = cli("inspect", tmp_path / "run")
    assert code == 0
    assert "spectral distance" in stdout


def test_methods_know_whether_they_need_pairs() -> None:
    unpaired = {name for name in methods.METHODS if methods.get(name).Method.data == "unpaired"}
    assert unpaired == {"spectral", "lfl", "adl", "pdm"}
    assert PAPER["discriminator"] == "paper"
    assert spectral.PRESETS["paper"] == {"family": "gaussian"}

"""pdm: it finds the distributions that were put in, and with all options its models keep the contract."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from degsynth import fit
from degsynth.config import build
from degsynth.data.images import Image, quantise, to_tensor
from degsynth.data.writing import encode
from degsynth.errors import ConfigError
from degsynth.evaluation import diversity, kernel_sets, selftest
from degsynth.fit import export
from degsynth.methods import pdm
from degsynth.methods.pdm import estimate, teaching
from degsynth.methods.pdm.estimate import BlurDistribution
from degsynth.methods.pdm.optics import GrainNoise
from degsynth.methods.protocol import Stochastic, Unpaired
from degsynth.model import checkpoint
from degsynth.nets.kernel_generator import KernelGenerator
from degsynth.ops import blind_kernel
from degsynth.ops.blur import apply_kernels, blur_decimate
from degsynth.ops.blur_widths import Blurs
from degsynth.ops.grain import KNOTS, Grain
from degsynth.ops.kernel_families import keys
from degsynth.ops.kernels import centroid, gaussian, similarity
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.ops.spectra import Spectra
from tests.conftest import Run, save_png

NONE = torch.zeros(3, 3, dtype=torch.float64)
SIDE = 96
QUICK: dict[str, Any] = {
    "signed": False,
    "imitation": 60,
    "kernel_features": 16,
    "kernel_blocks": 1,
    "kernel_size": 12,
    "numbers": 8,
}
NETWORK = {"noise": "network", "noise_features": 4, "noise_blocks": 1}


def unpaired(widths: list[float], noise: float = 0.0, base: Tensor | None = None) -> Unpaired:
    """Parts of photographs, by turns HR and LR; the LR images are blurred by Gaussians of the widths in turn, or all by
    the kernel ``base`` (20, 20).

    Photographs are reduced to half their size, which removes the noise that they have themselves.
    """
    rng = torch.Generator().manual_seed(0)
    shots = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.immunohistochemistry()]
    parts: list[Tensor] = []
    for shot in shots:
        image = torch.nn.functional.avg_pool2d(to_tensor(np.ascontiguousarray(shot))[None], 2)[0]
        for strip in image.split(SIDE, 1):
            parts += [part for part in strip.split(SIDE, 2) if part.shape[1:] == (SIDE, SIDE)]
    lr = []
    for number, part in enumerate(parts[1::2]):
        width = widths[number % len(widths)]
        kernel = (gaussian(20, width, width) if base is None else base)[None].float()
        blurred = blur_decimate(part[None], kernel, 2)[0]
        noisy = blurred + noise * torch.randn(blurred.shape, generator=rng)
        lr.append((255 * noisy.clamp(0, 1)).round() / 255)
    return Unpaired(parts[::2], lr, NONE, NONE, 1 / 255, [0] * len(lr), {"all": len(lr)})


def smooth(images: Unpaired, noise: float) -> Unpaired:
    """Two groups of LR without texture; the second has twice the noise."""
    rng = torch.Generator().manual_seed(0)
    lr = []
    for number, image in enumerate(images.lr):
        soft = torch.nn.functional.avg_pool2d(image[None], 7, 1, 3, count_include_pad=False).repeat(1, 1, 3, 3)[0]
        soft = torch.nn.functional.avg_pool2d(soft[None], 7, 1, 3, count_include_pad=False)[0]
        noisy = soft + noise * (1 + number % 2) * torch.randn(soft.shape, generator=rng)
        lr.append((255 * noisy.clamp(0, 1)).round() / 255)
    groups = [number % 2 for number in range(len(lr))]
    sizes = {f"camera {group}": groups.count(group) for group in range(2)}
    return Unpaired(images.hr, lr, NONE, NONE, 1 / 255, groups, sizes)


@pytest.fixture(scope="module")
def images() -> Unpaired:
    return unpaired([0.8, 2.2], noise=6 / 255)


ESTIMATED: dict[tuple[Any, ...], tuple[Unpaired, BlurDistribution]] = {}
"""Blurs that were estimated, so that they need not be estimated again for options that make no difference to them."""


def prepared(values: dict[str, Any], images: Unpaired, scale: int = 2) -> pdm.Method:
    torch.manual_seed(0)
    config = build(pdm.Config, {**QUICK, **values}, "test")
    method = pdm.Method(config, scale, 3)
    key = (id(images), scale, method.kernel_size, config.signed)
    with pytest.MonkeyPatch.context() as patch:
        if key in ESTIMATED:
            patch.setattr(estimate, "estimate_blurs", lambda *_: ESTIMATED[key][1])
        method.prepare(images)
    if method.fit.estimated is not None:
        ESTIMATED[key] = images, method.fit.estimated.blurs  # the images are kept, so that no others get this id
    return method


class Images:
    """What a spec says of the images of a fit."""

    scale, data_range, tone, jpeg = 2, None, (), ()


def exported(method: pdm.Method) -> checkpoint.Checkpoint:
    return export.measured_checkpoint("pdm", method, Images())


# --- what is learnt -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_widths_and_the_noise_are_learnt(images: Unpaired) -> None:
    method = prepared({"imitation": 600, "kernel_features": 48, "kernel_size": 20}, images)
    assert isinstance(method, Stochastic)
    drawn = method.sample_kernels(200)
    widths = kernel_sets.shapes(drawn)[:, 0]
    low, high = float((widths < 1.2).double().mean()), float((widths > 1.6).double().mean())
    assert 0.25 < low < 0.75
    assert 0.25 < high < 0.75
    assert sum(max(similarity(kernel, gaussian(20, s, s)) for s in (0.8, 2.2)) for kernel in drawn[:40]) / 40 > 0.85
    assert max(max(map(abs, centroid(kernel))) for kernel in drawn) < 1e-3
    figures = diversity.figures(method.distribution(), exported(method))
    sigma, lag = figures["noise"][0]["sigma_255"], figures["noise"][0]["lag_1"]
    assert sigma["drawn"][1] == pytest.approx(sigma["measured"][1], rel=0.1)
    assert lag["drawn"] == pytest.approx(lag["measured"], abs=0.1)
    assert not diversity.warnings(figures)


@pytest.mark.slow
def test_one_width_has_no_spread() -> None:
    method = prepared({"kernel_size": 20, "imitation": 300}, unpaired([1.4]))
    spread = diversity.spread(method.sample_kernels(100))
    assert spread["sigma_px"]["p90"] - spread["sigma_px"]["p10"] < 0.5
    assert spread["sigma_px"]["p50"] == pytest.approx(1.4, rel=0.25)


def drawn_widths(widths: list[float]) -> BlurDistribution:
    """Round Gaussians of these widths, in equal numbers."""
    count = len(widths)
    a = 2 * torch.tensor(widths, dtype=torch.float64).log()
    cells = torch.full((count,), 1 / count, dtype=torch.float64)
    blurs = Blurs(a, cells, torch.zeros(count, 2).double(), torch.zeros(count, 2, 2).double(), 9.0)
    return BlurDistribution([blurs], torch.ones(1, dtype=torch.float64), 20, None)


def spectra(images: Unpaired) -> Spectra:
    return Spectra((luma(image)[0] for image in images.hr), (luma(image)[0] for image in images.lr), 2)


def halo() -> Tensor:
    """A kernel that amplifies middle frequencies, as a phone's does."""
    kernel = 2.5 * gaussian(20, 1.1, 1.1) - 1.5 * gaussian(20, 1.6, 1.6)
    return kernel / kernel.sum()


def other_form(patch: pytest.MonkeyPatch, lead: float, misfit: float) -> None:
    """Let the family auto find `halo`, with evidence that exceeds that of one Gaussian by ``lead``."""

    def found(of: Spectra, name: str, size: int) -> blind_kernel.Estimate:
        assert (name, size) == ("auto", 20)
        single = blind_kernel.likeliest(of, blind_kernel.family_hypothesis("gaussian", 2, size))
        return dataclasses.replace(single, kernel=halo(), evidence=single.evidence + lead, misfit=misfit)

    patch.setattr(estimate, "estimate", found)


@pytest.mark.parametrize(("true", "read"), [([1.4], [1.4]), ([0.8, 2.2], [0.8, 2.2]), ([0.8, 2.2], [0.88, 2.42])])
def test_gaussian_blurs_stay_gaussian(true: list[float], read: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two widths are no form of their own, nor are widths that are all read too wide by 10 %."""
    other_form(monkeypatch, 100.0, 10.0)
    assert estimate._form(drawn_widths(read), spectra(unpaired(true))) is None


@pytest.mark.parametrize(("lead", "misfit", "taken"), [(8.0, 10.0, True), (6.0, 10.0, False), (8.0, 1e6, False)])
def test_another_form_must_be_better_beyond_doubt(
    lead: float, misfit: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_form(monkeypatch, lead, misfit)
    form = estimate._form(drawn_widths([0.9]), spectra(unpaired([1.0], base=halo())))
    assert torch.equal(form, halo()) if taken and form is not None else form is None and not taken


def test_the_form_decides_what_kind_of_network_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is made anew, alike for a seed, whatever was drawn from torch's global generator before."""
    widths = drawn_widths([0.9, 1.1])
    blurs = BlurDistribution(widths.blurs, widths.share, 20, halo())
    monkeypatch.setattr(estimate, "estimate_blurs", lambda *_: blurs)
    images, weights = unpaired([1.0], base=halo()), []
    for count in (1, 2):
        method = pdm.Method(
            build(pdm.Config, {**QUICK, "imitation": 30, "kernel_size": 20, "signed": "auto"}, "test"), 2, 3
        )
        torch.randn(count)
        method.prepare(images)
        assert method.kernels.signed
        assert method.optics is method.modules["optics"]
        assert method.optics.kernels is method.kernels
        trained = {id(p) for group in method.optimizers["generator"].param_groups for p in group["params"]}
        assert {id(p) for p in method.kernels.parameters()} <= trained
        weights.append(torch.cat([p.flatten() for p in method.kernels.parameters()]))
    assert torch.equal(*weights)
    assert float(method.sample_kernels(5).min()) < 0  # which a softmax alone cannot make


@pytest.mark.slow
def test_signed_kernels_have_negative_lobes() -> None:
    """Bicubic stretched to two widths has negative lobes, and a signed network learns them."""
    taps = keys((torch.arange(20, dtype=torch.float64) - 9.5) / 2)
    base = torch.outer(taps, taps) / taps.sum() ** 2
    two = torch.tensor([0.0, 0.6], dtype=torch.float64)
    widths = Blurs(two, torch.full((2,), 0.5).double(), torch.zeros(2, 2).double(), torch.zeros(2, 2, 2).double(), 9.0)
    blurs = BlurDistribution([widths], torch.ones(1, dtype=torch.float64), 20, base)
    examples = teaching.KernelExamples(blurs, 4, True, 1, [])
    torch.manual_seed(0)
    network = KernelGenerator(4, 32, 1, 20, True, neighbours=False)
    error = teaching.teach_kernels(network, examples, 300, 0)
    z, target = examples.draw(generator(1), 50)
    with torch.no_grad():
        drawn = network.middle(z)
    assert float(target.sum(1).sub(1).abs().max()) < 1e-5
    assert float(target.amin(1).max()) < -0.008
    assert float(drawn.amin(1).max()) < -0.005
    assert error < 0.05


# --- options --------------------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {"noise_from": "z"},
    {"spatial": "correlated", "signed": True},
    {"spatial": "independent", "kernel_from": "content", "noise": "none"},
    {"spatial": "correlated", "kernel_from": "both", **NETWORK},
    NETWORK,
    {"kernel_from": "none", **NETWORK, "noise_from": "z"},
    {**NETWORK, "noise_from": "content"},
]
"""Every value of every option at least once."""


@pytest.mark.parametrize(
    "values",
    [pytest.param(values, marks=[pytest.mark.slow] * (values != NETWORK)) for values in VARIANTS],
    ids=lambda values: "-".join(f"{k}={v}" for k, v in values.items()),
)
def test_every_variant_keeps_the_contract(values: dict[str, Any], images: Unpaired) -> None:
    method = prepared({**values, "imitation": 10}, images)
    model = exported(method)
    selftest.require(model)
    hr = torch.rand(1, 3, 48, 60, generator=torch.Generator().manual_seed(0))
    first, again, other = (model.degrader.degrade(hr, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) != model.spec.stochastic
    for text in method.warnings():
        assert "\n" not in text


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_kernels_that_vary_in_place_at_every_scale(scale: int) -> None:
    """Each LR pixel is the product of its own kernel and its window; sizes need only be multiples of the scale."""
    size = 12 if scale % 2 == 0 else 11
    values = {**QUICK, "spatial": "independent", "kernel_size": size}
    torch.manual_seed(0)
    method = pdm.Method(build(pdm.Config, values, "test"), scale, 1)
    hr = torch.rand(1, 1, 7 * scale, 5 * scale, generator=torch.Generator().manual_seed(1))
    degrader = method.degrader()
    code, field = degrader.draw(3), degrader.field(3, 0, 0, 7, 5, 1)
    with torch.no_grad():
        lr = degrader.clean(hr, code, field)
        taps = method.kernels(field[:, :8]).view(1, 7, 5, size, size)
        assert float(taps.std((1, 2)).max()) > 0
        assert torch.allclose(lr, apply_kernels(hr, taps, scale), atol=1e-6)
        method.optics.taps_at_once = 1  # a row at a time
        assert torch.allclose(method.optics.clean(hr, code, field), lr, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"start": "flat"}, "give it `steps=`"),
        ({"start": "flat", "steps": 99, "anchor": 0}, "use `noise=network` or `noise=none`"),
        ({"start": "flat", "steps": 99, **NETWORK}, "give `anchor=0`"),
        ({"steps": 5}, "steps .=5. must be more than discriminator_first"),
        ({"kernel_from": "content"}, "give `spatial=independent` or `spatial=correlated`"),
        ({"kernel_from": "none", "spatial": "correlated"}, "one kernel for all"),
        ({"noise_from": "content"}, "noise=network"),
        ({"kernel_size": 7}, "kernel_size: kernel size 7 at scale 2 cannot be centred"),
    ],
)
def test_options_that_contradict_each_other(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        pdm.Method(build(pdm.Config, {**QUICK, **values}, "test"), 2, 3)


def test_paper_has_21_taps_where_they_can_be_centred() -> None:
    config = build(pdm.Config, pdm.PRESETS["paper"], "paper")
    assert [pdm.Method(config, scale, 3).kernel_size for scale in (1, 2, 3, 4)] == [21, 20, 21, 20]


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_groups_keep_their_noise_and_their_share() -> None:
    method = prepared({"numbers": 4}, smooth(unpaired([1.2]), 3 / 255))
    model = exported(method)
    flat = torch.full((1, 3, 64, 64), 0.5)
    sigmas = []
    for seed in range(60):
        with torch.inference_mode():
            noise = model.degrader.noise(flat, model.degrader.draw(seed), model.degrader.field(seed, 0, 0, 64, 64, 3))
        sigmas.append(255 * float(noise.std()))
    strong = [sigma for sigma in sigmas if sigma > 4.5]
    assert 0.3 < len(strong) / len(sigmas) < 0.7
    assert sum(strong) / len(strong) == pytest.approx(6, rel=0.2)
    assert min(sigmas) == pytest.approx(3, rel=0.35)
    assert [noise.name for noise in method.distribution().noises] == ["camera 0", "camera 1"]
    selftest.require(model)


def test_kernel_and_noise_of_an_image_are_of_one_group() -> None:
    """The last number of the code decides about both."""

    def single_width(a: float) -> Blurs:
        weight = torch.ones(1, dtype=torch.float64)
        return Blurs(a * weight, weight, torch.zeros(1, 2).double(), torch.zeros(1, 2, 2).double(), 9.0)

    share = torch.tensor([0.3, 0.7], dtype=torch.float64)
    blurs = BlurDistribution([single_width(0.0), single_width(1.0)], share, 12, None)
    noises = GrainNoise(1)
    grain = Grain(torch.ones(1, KNOTS), torch.zeros(9, 9), torch.eye(1), torch.zeros(9, 9), torch.zeros(1, 3))
    noises.store([grain, grain], share, follow_level=True)
    z = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    groups = [noises.group(code) for code in z]
    assert [int(a) for a in blurs.shapes(z)[:, 0]] == groups
    assert sum(groups) / 300 == pytest.approx(0.7, abs=0.08)


def test_groups_are_refused_where_there_is_one_noise_only() -> None:
    with pytest.raises(ConfigError, match="`group_by` is for noise=grain"):
        prepared({"spatial": "independent"}, smooth(unpaired([1.2]), 0.01))


def test_noise_that_was_removed_cannot_be_learnt(images: Unpaired) -> None:
    denoised = Unpaired(images.hr, images.lr, torch.eye(3).double(), NONE, 1 / 255, images.groups, images.group_sizes)
    with pytest.raises(ConfigError, match="leave it out, or give `noise=none`"):
        prepared({}, denoised)


# --- refinement -----------------------------------------------------------------------------------------------------


def batch_of(method: pdm.Method, images: Unpaired) -> dict[str, Tensor]:
    side = method.patch
    return {
        "hr": torch.stack([hr[:, :side, :side] for hr in images.hr[:2]]),
        "lr": torch.stack([lr[:, : side // 2, : side // 2] for lr in images.lr[:2]]),
    }


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 9},
        {"steps": 9, **NETWORK},
        {"steps": 9, "spatial": "correlated", "kernel_from": "both", **NETWORK},
        {"steps": 9, "start": "flat", "anchor": 0, "discriminator": "paper", **NETWORK},
    ],
)
def test_gradients_reach_every_weight(values: dict[str, Any], images: Unpaired) -> None:
    method = prepared({"discriminator_first": 0, "discriminator_width": 4, "imitation": 3, **values}, images)
    for step in range(2):
        terms = method.training_step(batch_of(method, images), step, generator(step))
        assert all(math.isfinite(float(value)) for value in terms.values())
    for role, part in method.modules.items():
        for name, value in part.named_parameters():
            assert value.grad is not None, f"{role}.{name}"


@pytest.mark.slow
def test_refinement_of_a_finished_fit_is_that_of_a_new_one(folders: Folders, tmp_path: Path) -> None:
    options = fit.FitOptions(method="pdm", hr=str(folders[0]), lr=str(folders[1]), scale=2)
    values = {"imitation": 5, "kernel_size": 12, "discriminator_first": 1, "batch": 2, **NETWORK}
    fit.run(options, values, tmp_path / "later")
    fit.run(options, {**values, "steps": 4}, tmp_path / "later", resume=True)
    fit.run(options, {**values, "steps": 4}, tmp_path / "once")
    later, once = (tmp_path / run / "checkpoint.pt" for run in ("later", "once"))
    assert later.read_bytes() == once.read_bytes()
    for step in (0, 4):
        assert fit.open_snapshot(tmp_path / "later", step, tmp_path / f"{step}.pt").spec.scale == 2
    selftest.require(checkpoint.load(tmp_path / "0.pt"))


def test_what_cannot_be_taught_causes_a_warning(images: Unpaired) -> None:
    warnings = prepared({**NETWORK, "noise_from": "content", "imitation": 3}, images).warnings()
    assert any("the network for noise learns nothing without `steps=`" in text for text in warnings)


def test_a_step_does_not_depend_on_those_before(images: Unpaired) -> None:
    """Apart from the weights: a resumed fit draws what an uninterrupted one draws."""
    values = {"steps": 9, "discriminator_first": 8, "imitation": 3}
    first, second = prepared(values, images), prepared(values, images)
    first.training_step(batch_of(first, images), 0, generator(0))
    hr = batch_of(first, images)["hr"]
    with torch.no_grad():
        here, there, other = (m.draw(hr, generator(seed))[0] for m, seed in ((first, 5), (second, 5), (second, 6)))
    assert torch.equal(here, there)
    assert not torch.equal(here, other)


# --- from the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images = unpaired([0.8, 2.0], noise=5 / 255)
    for side, of_side in (("HR", images.hr), ("LR", images.lr)):
        for number, image in enumerate(of_side):
            save_png(tmp_path / side / f"{'ab'[number % 2]}/{side}{number:02d}.png", image)
    return tmp_path / "HR", tmp_path / "LR"


Folders = tuple[Path, Path]


@pytest.mark.slow
def test_fit_draws_and_transplant(folders: Folders, cli: Run, tmp_path: Path) -> None:
    """What the README shows: a fit, several draws, the noise of another model, and what is recorded."""
    (hr, lr), out = folders, tmp_path / "run"
    short = ["--set", "imitation=60", "--set", "kernel_size=12"]
    code, _, stderr = cli("fit", "--method", "pdm", "--hr", hr, "--lr", lr, "--scale", "2", "--out", out, *short)
    assert code == 0, stderr
    assert (out / "previews/distribution.png").stat().st_size > 20_000
    record = json.loads((out / "fit.json").read_text())
    assert record["distribution"]["kernels"]["count"] == 500
    assert {"sigma_px", "axes_ratio"} <= set(record["distribution"]["estimated"])
    assert record["training"]["steps"] == 0
    code, _, stderr = cli("apply", out, hr, tmp_path / "three", "--noise", "learned", "--draws", "3", "--limit", "2")
    assert code == 0, stderr
    files = sorted((tmp_path / "three/lr").rglob("*.png"))
    assert len(files) == 6
    assert len({path.read_bytes() for path in files}) == 6
    linear = fit.FitOptions(method="spectral", hr=str(hr), lr=str(lr), scale=2)
    fit.run(linear, {}, tmp_path / "linear")
    plain = tmp_path / "linear/checkpoint.pt"
    code, _, stderr = cli("apply", plain, hr, tmp_path / "with", "--noise", out / "checkpoint.pt", "--limit", "1")
    assert code == 0, stderr
    row = json.loads((tmp_path / "with/manifest.jsonl").read_text().splitlines()[0])
    assert row["noise"] == "other"


@pytest.mark.slow
def test_groups_by_folder(folders: Folders, tmp_path: Path) -> None:
    options = fit.FitOptions(method="pdm", hr=str(folders[0]), lr=str(folders[1]), scale=2, group_by="folder")
    record = fit.run(options, {"imitation": 5, "kernel_size": 12}, tmp_path / "run")
    assert set(record["report"]["groups"]) == {"a", "b"}
    assert sum(record["report"]["groups"].values()) == 10
    assert any("group 'a' has 5 LR images, fewer than 10" in text for text in record["warnings"])


def test_groups_are_for_methods_that_draw(folders: Folders, tmp_path: Path) -> None:
    options = fit.FitOptions(method="spectral", hr=str(folders[0]), lr=str(folders[1]), scale=2, group_by="folder")
    with pytest.raises(ConfigError, match="`group_by=folder` is for methods that draw noise"):
        fit.run(options, {}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_few_images_jpeg_and_several_cameras_cause_warnings(
    tmp_path: Path, photographs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from degsynth.data import exif as reading
    from degsynth.data.compression import compressed
    from degsynth.ops.compression import at_quality

    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", shot[:, :200, :200])
        lr = torch.nn.functional.avg_pool2d(shot[None], 2)[0]
        pixels = compressed(quantise(lr, np.dtype(np.uint8)), at_quality(70))  # they were JPEG files once
        save_png(tmp_path / f"LR/other{number}.png", pixels)
    monkeypatch.setattr(reading, "camera", lambda path: (f"model {path.stem[-1]}", 0))
    warnings: list[str] = []
    options = fit.FitOptions(method="pdm", hr=str(tmp_path / "HR"), lr=str(tmp_path / "LR"), scale=2)
    fit.run(options, {"imitation": 5, "kernel_size": 12}, tmp_path / "run", fit.Events(on_warning=warnings.append))
    everything = " | ".join(warnings)
    for part in ("3 LR images to fit are too few", "8×8 blocks of JPEG", "3 cameras or sensitivities (model"):
        assert part in everything


def test_camera_is_read_from_exif(tmp_path: Path) -> None:
    """A TIFF block with a model and a sensitivity, as a PNG's eXIf chunk and as a TIFF's own tags."""
    import io
    import struct
    import zlib

    import tifffile

    from degsynth.data.exif import camera

    pixels = np.zeros((16, 16), np.uint8)
    buffer = io.BytesIO()
    # ISOSpeedRatings lies in a directory of its own, which tifffile does not write: by hand.
    model = b"Camera X\x00"
    entries = [struct.pack("<HHII", 272, 2, len(model), 38), struct.pack("<HHII", 34665, 4, 1, 48)]
    block = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", 2) + b"".join(entries) + struct.pack("<I", 0)
    block += model.ljust(10, b"\x00")
    block += struct.pack("<H", 1) + struct.pack("<HHIHH", 34855, 3, 1, 1600, 0) + struct.pack("<I", 0)
    png = encode(Image(pixels[..., None]), ".png")
    chunk = b"eXIf" + block
    chunk = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])
    assert camera(tmp_path / "a.png") == ("Camera X", 1600)
    tifffile.imwrite(buffer, pixels, extratags=[(272, 2, 9, "Camera Y", True)])
    (tmp_path / "b.tif").write_bytes(buffer.getvalue())
    assert camera(tmp_path / "b.tif") == ("Camera Y", 0)
    (tmp_path / "c.png").write_bytes(png)
    assert camera(tmp_path / "c.png") == ("", 0)
    assert camera(tmp_path / "none.png") == ("", 0)


def test_collapse_causes_a_warning() -> None:
    """Kernels all alike where those of the LR images are not."""
    wide = torch.stack([gaussian(20, s, s) for s in (0.8, 2.2) * 10])
    one = torch.stack([gaussian(20, 1.4, 1.4)] * 20)
    both = {"varied": True, "kernels": diversity.spread(one), "estimated": diversity.spread(wide)}
    assert any("collapsed" in text for text in diversity.warnings(both))
    assert not diversity.warnings({**both, "kernels": diversity.spread(wide)})
    assert not diversity.warnings({**both, "varied": False})
    assert diversity.warnings({"varied": True, "kernels": diversity.spread(one)})
    covered = {"sigma_inside": 1.0, "axes_ratio_inside": 1.0, "angle_near": None, "log_sigma_spread": 0.9}
    assert "0.90 of that of the estimated" in diversity.summary({**both, "coverage": covered})
    alike = {**both, "estimated": diversity.spread(one), "coverage": covered}
    assert diversity.summary(alike).endswith("the estimated ones are all alike")


def test_directions_are_averaged_as_directions() -> None:
    spread = diversity.spread(torch.stack([gaussian(20, 1.0, 2.0, math.radians(angle)) for angle in (175, 5)]))
    assert spread["angle_deg"] % 180 == pytest.approx(0, abs=1) or spread["angle_deg"] == pytest.approx(180, abs=1)
    assert spread["directed"] == 1
    assert spread["axes_ratio"]["mean"] == pytest.approx(2, rel=0.05)


def test_noise_keeps_flat_images_at_their_mean(images: Unpaired) -> None:
    model = exported(prepared({}, images))
    for level in (0.1, 0.5, 0.9):
        flat = torch.full((1, 3, 128, 128), level)
        noise = model.degrader.noise(flat, model.degrader.draw(0), model.degrader.field(0, 0, 0, 128, 128, 3))
        assert float(noise.mean().abs()) < 0.5 / 255
        assert float(noise.std()) > 3 / 255

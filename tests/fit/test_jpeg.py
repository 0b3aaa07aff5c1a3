"""Fits to LR images that are JPEG files: their tables are learnt, and noise is measured as it was before them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from degsynth import fit
from degsynth.config import Events
from degsynth.data import images
from degsynth.data.cache import Cache
from degsynth.data.compression import compressed, read_files, saved
from degsynth.data.folders import KEPT, Middles, inspect_folder, middle_of
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.evaluation.residual import before_compression
from degsynth.fit.sources.source import jpeg_of, shares
from degsynth.methods.pdm.estimate import GroupNoise
from degsynth.methods.protocol import Jpeg
from degsynth.methods.shared import measured_noise
from degsynth.model import checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.residual import Residual
from degsynth.model.tone import Tone
from degsynth.ops.blur import blur_decimate
from degsynth.ops.compression import Stored, at_quality
from degsynth.ops.kernels import gaussian, similarity
from degsynth.ops.residual_measurement import measure
from degsynth.seeds import Identity
from degsynth.sr.sources import degrade_by
from tests.apply.test_jpeg import learned
from tests.conftest import save_png
from tests.fit.test_residual import put_in

KERNEL = gaussian(20, 1.6, 1.6)
SIGMA = 4.0


def save_jpeg(path: Path, image: Tensor, quality: int = 85) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = images.quantise(image, np.dtype(np.uint8))
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(path, quality=quality)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photographs: list[Tensor]) -> Path:
    """HR images, and LR images of other scenes: a Gaussian of σ 1.6 px, white noise of σ 4, and quality 85."""
    folder = tmp_path_factory.mktemp("jpeg")
    rng = torch.Generator().manual_seed(0)
    squares = [shot[:, y : y + 192, x : x + 192] for shot in photographs for y in (0, 100) for x in (0, 192)]
    for number, square in enumerate(squares):
        if number % 2:
            lr = blur_decimate(square[None], KERNEL[None].float(), 2)[0]
            save_jpeg(folder / "LR" / f"{number}.jpg", lr + SIGMA / 255 * torch.randn(lr.shape, generator=rng))
            save_png(folder / "pairs" / f"{number}.png", square)
        else:
            save_png(folder / "HR" / f"{number}.png", square)
    return folder


def test_blur_noise_and_tables_of_a_folder(folder: Path, tmp_path: Path) -> None:
    options = fit.FitOptions(
        method="spectral", hr=str(folder / "HR"), lr=str(folder / "LR"), scale=2, tone="none", left_out=0.0
    )
    notes: list[str] = []
    warnings: list[str] = []
    events = Events(on_note=notes.append, on_warning=warnings.append)
    record = fit.run(options, {"family": "gaussian"}, tmp_path / "run", events)
    model = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert [share.compression for share in model.spec.jpeg] == [at_quality(85)]
    assert similarity(effective_kernel(model).kernel, KERNEL) > 0.97
    (sigma, *_) = record["folders"]["lr_noise"]["sigma_255"]
    assert sigma == pytest.approx(SIGMA, rel=0.35), "these images are small; tests/ops/test_jpeg_noise.py is stricter"
    drawn = model.degrader.noise(
        torch.full((1, 3, 96, 96), 0.5), torch.zeros(1, 0), model.degrader.field(1, 0, 0, 96, 96, 3)
    )
    assert 255 * float(drawn.std()) > 0.65 * SIGMA
    assert any("JPEG files of quality 85" in note for note in notes)
    assert not any("blocks of JPEG" in text for text in warnings)


def test_pairs(folder: Path, tmp_path: Path) -> None:
    """What compression leaves of the drawn noise is as strong as what it left of the real one."""
    options = fit.FitOptions(method="linear", hr=str(folder / "pairs"), lr=str(folder / "LR"))
    record = fit.run(options, {}, tmp_path / "run")["noise"]
    model = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert [share.compression for share in model.spec.jpeg] == [at_quality(85)]
    assert record["drawn"]["sigma_255"] == pytest.approx(record["measured"]["sigma_255"], rel=0.1)
    noise, measured = model.residual(), torch.tensor(record["measured"]["sigma_by_level_and_contrast_255"])
    assert noise is not None
    assert not torch.allclose(255 * noise.sigma, measured.double(), rtol=0.02), "it is that before compression"


def test_noise_before_compression(photographs: list[Tensor]) -> None:
    rng = torch.Generator().manual_seed(3)
    how = at_quality(80)
    clean = [torch.nn.functional.avg_pool2d(shot[None], 2)[0] for shot in photographs]
    module = Residual(put_in())
    noises = [module(lr[None], torch.randn(1, 3, *lr.shape[1:], generator=rng))[0] for lr in clean]
    real = [saved((lr + noise).clamp(0, 1), how) for lr, noise in zip(clean, noises, strict=True)]
    measured = measure(zip(real, clean, strict=True), 1 / 255)
    assert measured is not None
    noise = before_compression(measured, clean, 1 / 255, lambda lr: saved(lr, how))
    known = measured.pixels > 1000
    before, after = (
        (sigma / put_in().sigma)[known].log().mean().exp() for sigma in (noise.sigma, measured.noise.sigma)
    )
    assert abs(float(before) - 1) < 0.2
    assert abs(float(after) - 1) > 0.25


def test_most_images_must_be_jpeg() -> None:
    file, turned = Stored(at_quality(85)), Stored(at_quality(90), 6)
    assert shares([file, None]) == ()
    found = shares([file, turned, turned])
    assert [(share.compression, share.images) for share in found] == [(at_quality(90), 2), (at_quality(85), 1)]
    assert jpeg_of([file, None]) is None
    known = jpeg_of([file, turned, None])
    assert known is not None
    assert known.of_images == [file, turned, None]


@pytest.mark.parametrize(("length", "side"), [(KEPT + 77, KEPT), (2001, 512), (512, 512), (40, 24), (30, 1024)])
def test_middles_begin_at_blocks_from_either_end(length: int, side: int) -> None:
    y, x, rows, columns = middle_of(length, 48, side)
    assert (x, columns) == middle_of(48, length, side)[::2]
    assert side - 16 < rows <= side or rows == length <= side
    before, after = y, length - y - rows
    assert before % 16 == after % 16 == 0
    assert before <= after <= before + 16


@pytest.mark.parametrize("orientation", [3, 6])
def test_noise_of_photographs_that_are_stored_turned(
    orientation: int, tmp_path: Path, photographs: list[Tensor]
) -> None:
    """Sides are no whole number of blocks, and only the middle is used: σ is that before compression all the same."""
    rng, exif = torch.Generator().manual_seed(0), Image.Exif()
    exif[0x0112] = orientation
    for number, shot in enumerate(photographs[:3]):
        smooth = torch.nn.functional.interpolate(shot[None], size=(KEPT + 45, KEPT + 31), mode="bicubic")[0]
        noisy = smooth + SIGMA / 255 * torch.randn(smooth.shape, generator=rng)
        pixels = images.quantise(noisy, np.dtype(np.uint8))
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg", quality=85, exif=exif)
    found, _ = inspect_folder(tmp_path, "LR", 32, Cache(2**30))
    jpeg = jpeg_of(read_files([found.path(index) for index in range(3)]))
    assert jpeg is not None
    noise = measured_noise.measure(Middles(found, 3, KEPT), 1 / 255, jpeg)
    assert noise is not None
    assert 255 * noise.median_sigma() == pytest.approx(SIGMA, rel=0.1)
    blocks_elsewhere = Jpeg([Stored(at_quality(85))] * 3, saved)
    wrong = measured_noise.measure(Middles(found, 3, KEPT), 1 / 255, blocks_elsewhere)
    assert wrong is None or abs(255 * wrong.median_sigma() / SIGMA - 1) > 0.1


def test_images_that_blur_is_learnt_from_are_compressed() -> None:
    how = at_quality(50)
    jpeg = Jpeg([None, Stored(how)], saved)
    noise = GroupNoise([], torch.ones(1), [], [], 1 / 255, Tone(), jpeg)
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    made = noise.add_to(image, torch.Generator().manual_seed(1))
    assert torch.equal(made, saved(image, how))


def test_training_sees_what_apply_writes(folder: Path, tmp_path: Path) -> None:
    """`sr` compresses made LR images like those of the fit."""
    model = learned(tmp_path / "m.pt", (at_quality(60), 1))
    hr = images.to_tensor(images.read(next((folder / "HR").iterdir())).pixels)
    lr = degrade_by(Degradation(model, Noise(False)))(hr, Identity(0, "a"))
    plain = model.degrader.degrade(hr[None], 0)[0]
    expected = compressed(images.quantise(plain, np.dtype(np.uint8)), at_quality(60))
    assert np.array_equal(images.quantise(lr, np.dtype(np.uint8)), expected)

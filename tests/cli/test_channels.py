"""16-bit TIFF images of 2, 4 and 5 channels, from a fit to a tested model, with one kernel for all or one for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.apply.manifest import Manifest
from degsynth.cli import evaluate
from degsynth.data import images, writing
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.reports.panels import Panel, sheet
from degsynth.reports.plots import as_picture
from tests.conftest import Run


def save(path: Path, image: Tensor) -> None:
    """Write a 16-bit TIFF of gray or RGB, and what lies behind as other channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = image.shape[0]
    meaning = images.Meaning(others=channels - (3 if channels > 3 else 1))
    path.write_bytes(writing.encode(images.Image(images.quantise(image, np.dtype(np.uint16)), meaning=meaning), ".tif"))


@pytest.mark.parametrize("channels", range(1, 6))
def test_pictures_show_the_first_channels(channels: int, tmp_path: Path) -> None:
    image = torch.rand(channels, 8, 10)
    shown = as_picture(image)
    assert shown.shape == ((8, 10) if channels < 3 else (8, 10, 3))
    assert np.array_equal(shown[..., 1] if channels > 2 else shown, image[1 if channels > 2 else 0].numpy())
    sheet(tmp_path / "a.png", [[Panel("LR", image), Panel("error", image - 0.5, error=True)]], "heading")
    sheet(tmp_path / "b.png", [[Panel("LR", image)]], "heading", 20, exact=True)
    assert all((tmp_path / name).stat().st_size > 0 for name in ("a.png", "b.png"))


def test_means_are_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the table has them; where it goes to a file, a line on stderr has them, too."""
    figures = dict.fromkeys(("psnr_y", "ssim_y", "l1_y", "psnr_rgb", "ssim_rgb", "l1_rgb"), 1.0)
    scores = {"images": [], "mean": {"model": figures, "bicubic": figures}}
    evaluate._print_tables(scores, "linear", 8)
    assert "mean of 0 images: linear 1.00 dB" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    evaluate._print_tables(scores, "linear", 8)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "sigmas"),
    [(2, (0.9, 1.6)), (4, (0.9, 1.2, 1.6, 1.9)), (5, (1.3,) * 5)],
)
def test_many_channels(
    channels: int, sigmas: tuple[float, ...], cli: Run, photographs: list[Tensor], tmp_path: Path
) -> None:
    for number, shot in enumerate(photographs[:3]):
        hr = torch.cat([shot, 0.8 * shot.flip(0) + 0.1])[:channels, :128, :128]
        kernels = torch.stack([gaussian(8, sigma, sigma) for sigma in sigmas]).float()
        lr = blur_decimate(hr[None], kernels, 2)[0]
        save(tmp_path / f"HR/{number}.tif", hr)
        save(tmp_path / f"LR/{number}.tif", lr)
    run, model, out = (tmp_path / name for name in ("run", "m.pt", "out"))
    sides = ("--hr", tmp_path / "HR", "--lr", tmp_path / "LR")
    each = ("--set", "per_channel=true") if len(set(sigmas)) > 1 else ()
    for arguments in (
        ("fit", "--method", "linear", *sides, "--out", run, *each),
        ("export", run, "-o", model),
        ("apply", model, tmp_path / "HR", out, "--layout", "hdf5", "--noise", "none"),
        ("verify", out, "--hr", tmp_path / "HR"),
        ("selftest", model),
        ("apply", model, tmp_path / "HR", out, "--preview", tmp_path / "p.png"),
        ("inspect", model, "-o", tmp_path / "i.png"),
    ):
        code, _, stderr = cli(*arguments)
        assert code == 0, (arguments, stderr)
    code, stdout, _ = cli("evaluate", model, *sides, "--json")
    assert code == 0
    assert json.loads(stdout)["mean"]["model"]["psnr_rgb"] > 50
    for row in Manifest(out).read():
        made, real = images.read(out / str(row.lr)), images.read(tmp_path / "LR" / row.source)
        assert (row.channels, row.dtype, made.meaning.others) == (channels, "uint16", real.meaning.others)
        assert np.abs(made.pixels.astype(float) - real.pixels)[8:-8, 8:-8].mean() < 60

"""The whole workflow on photographs that come with scikit-image, and a simulated camera: no data is needed.

The simulated camera has scale 2. Its blur is an anisotropic Gaussian, as that of a tilted lens: from the left edge to
the right edge, σ grows from 0.8 px to 1.9 px along the rows and from 0.8 px to 1.2 px along the columns, and the axes
turn by 30°. Decimation is at the centred phase. The noise has variance ``3·10⁻⁵ + 2·10⁻⁴ · level`` (read and shot
noise), and the files have 8 bits. A single kernel cannot follow a blur that varies, and is a compromise; `dml`, whose
network is given the position of a pixel, can follow it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degsynth import apply
from degsynth.config import Interval, OnProgress, OnText, ignore_progress, ignore_text
from degsynth.data import images, writing
from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.data.pairs import PairSet
from degsynth.errors import ConfigError
from degsynth.evaluation import selftest
from degsynth.evaluation.paired import evaluate
from degsynth.fit import Events, FitOptions
from degsynth.fit import run as run_fit
from degsynth.model import checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.reports import panels, previews
from degsynth.reports.panels import Panel, sheet
from degsynth.seeds import derive

SCALE = 2
TAPS = 20
"""Side of the simulated kernels, HR px."""
COLUMNS = 9
"""Number of columns, from edge to edge, at which the simulated kernel is computed; LR between them is interpolated."""
FIT = ("chelsea", "coffee", "rocket", "immunohistochemistry", "hubble_deep_field")
"""Photographs of scikit-image that the model is fitted to."""
TEST = ("astronaut", "stereo_motorcycle")
"""Photographs that the model is tested on."""
METHOD = "dml"
OPTIONS = {"coordinates": True, "steps": 800}
"""Options of the method."""


def camera_kernel(across: float) -> Tensor:
    """Return the simulated camera's kernel (20, 20) at a horizontal position from 0 (left edge) to 1 (right edge)."""
    return gaussian(TAPS, sigma_y=0.8 + 0.4 * across, sigma_x=0.8 + 1.1 * across, angle=math.pi / 6 * across)


def camera(hr: Tensor, seed: int) -> Tensor:
    """Degrade hr (C, 2·h, 2·w) in [0, 1] as the simulated camera does: lr (C, h, w), before it is rounded to 8 bits."""
    width = hr.shape[2] // SCALE
    lr = torch.zeros(hr.shape[0], hr.shape[1] // SCALE, width)
    position = torch.linspace(0, COLUMNS - 1, width)
    for column in range(COLUMNS):
        weight = (1 - (position - column).abs()).clamp(min=0)
        kernel = camera_kernel(column / (COLUMNS - 1))
        lr += weight * blur_decimate(hr[None], kernel[None].float(), SCALE)[0]
    generator = torch.Generator().manual_seed(seed)
    return lr + (3e-5 + 2e-4 * lr).sqrt() * torch.randn(lr.shape, generator=generator)


@dataclass(frozen=True)
class Result:
    """What `run` has written, and the figures."""

    method: str
    test_images: list[str]
    means: dict[str, dict[str, float]]
    """Mean figures on the test images, of ``model``, ``linear`` and ``bicubic``."""
    picture: Path
    dataset: Path
    checkpoint: Path


def photographs() -> dict[str, images.Array]:
    """Return the bundled photographs, (H, W, 3) uint8, by name."""
    try:
        from skimage import data
    except ImportError:
        raise ConfigError(
            "the demo's photographs come with scikit-image", "install it with pip install 'degsynth[demo]'"
        ) from None
    arrays = {}
    for name in FIT + TEST:
        loaded = getattr(data, name)()
        arrays[name] = np.asarray(loaded[0] if isinstance(loaded, tuple) else loaded)[..., :3]
    return arrays


def run(out: Path, seed: int = 0, on_progress: OnProgress = ignore_progress, on_note: OnText = ignore_text) -> Result:
    """Simulate pairs, fit, run the self-test, apply, evaluate and draw.

    Everything is written to the folder ``out``; ConfigError where it exists already.
    """
    if out.exists():
        raise ConfigError(f"{out} exists", "give a new folder")
    simulate(out, seed)
    on_note(f"simulated camera: {len(FIT)} pairs to fit, {len(TEST)} to test")

    options = FitOptions(method=METHOD, hr=str(out / "pairs/HR"), lr=str(out / "pairs/LR_x2"), seed=seed)
    record = run_fit(options, OPTIONS, out / "run", Events(on_progress, on_note, on_note))
    model = checkpoint.load(out / "run" / "checkpoint.pt")
    results = selftest.require(model)
    checkpoint.copy(model, out / "camera.pt")
    on_note(f"trained for {record['seconds']['train']:.0f} s; {len(results)} of {len(results)} checks passed")

    awgn = Noise(awgn=Interval(1.0, 3.0))  # beside the noise of the model
    summary = apply.run(model, out / "test/HR", out / "trainset", apply.Options(seed=seed, noise=awgn))
    on_note(f"applied to {summary.done} photographs, with the model's noise and AWGN of σ 1 to 3")

    run_fit(options.model_copy(update={"method": "linear"}), {}, out / "run_linear", Events(on_progress))
    linear = checkpoint.load(out / "run_linear" / "checkpoint.pt")
    test = open_for_model(out / "test/HR", out / "test/LR_x2", ScoringOptions(SCALE), on_progress)
    scores = evaluate(Degradation(model, Noise(learned=False)), test, beside={"linear": linear})
    _draw(out / "demo.png", model, test, scores["mean"])
    figures = {"seed": seed, "evaluation": scores, "fit": record["report"]}
    (out / "demo.json").write_text(json.dumps(figures, indent=2) + "\n")
    return Result(METHOD, list(TEST), scores["mean"], out / "demo.png", out / "trainset", out / "camera.pt")


def simulate(out: Path, seed: int) -> None:
    """Write every photograph and its simulated LR: ``pairs`` to fit to, and ``test``."""
    for name, photograph in photographs().items():
        folder = out / ("pairs" if name in FIT else "test")
        height, width = (length // SCALE * SCALE for length in photograph.shape[:2])
        hr = np.ascontiguousarray(photograph[:height, :width])
        lr = camera(images.to_tensor(hr), derive(seed, name, 0, 0, "camera"))
        for side, pixels in (("HR", hr), ("LR_x2", images.quantise(lr, np.dtype(np.uint8)))):
            path = folder / side / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(writing.encode(images.Image(pixels), ".png"))


def _draw(path: Path, model: checkpoint.Checkpoint, test: PairSet, means: dict[str, dict[str, float]]) -> None:
    """Draw the test images, and the kernels of the camera beside those of the model."""
    places = {"left edge": 0.0, "middle": 0.5, "right edge": 1.0}
    kernels = [Panel(f"camera, {place}", camera_kernel(across)) for place, across in places.items()]
    pixels = {place: (0.5, across) for place, across in places.items()}
    fitted = panels.kernels_at(model.degrader, test.tensors(0)[0], pixels, "fitted")
    pictures = previews.rows(previews.by_checkpoint(model, noise=False), test, len(test), "camera")
    heading = (
        f"luma PSNR against the simulated camera's LR: {METHOD} {means['model']['psnr_y']:.2f} dB, "
        f"linear {means['linear']['psnr_y']:.2f} dB, bicubic {means['bicubic']['psnr_y']:.2f} dB"
    )
    sheet(path, [*pictures, [*kernels, *fitted]], heading)

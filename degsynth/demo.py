"""The whole line on photographs that come with scikit-image and a camera made up here: no data needed.

The simulated camera, scale 2: an anisotropic Gaussian whose σ along the rows grows from 0.8 px at the left edge to
1.9 px at the right (0.8 → 1.2 px along the columns), turning by 30°, as of a tilted lens; decimation at the centred
phase; noise of variance ``3·10⁻⁵ + 2·10⁻⁴ · level`` (read and shot noise); 8 bit. One kernel cannot follow a blur
that varies, it finds the best compromise; `dml`, told where a pixel lies, can.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degsynth import apply
from degsynth.config import Interval
from degsynth.data import images
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
COLUMNS = 9
"""Columns at which the simulated kernel is evaluated; in between, responses are interpolated."""
FIT = ("chelsea", "coffee", "rocket", "immunohistochemistry", "hubble_deep_field")
TEST = ("astronaut", "stereo_motorcycle")
METHOD = "dml"
OPTIONS = {"coordinates": True, "steps": 800}


def camera_kernel(across: float) -> Tensor:
    """The simulated camera's kernel (20, 20) at a relative horizontal position 0 (left) … 1 (right)."""
    return gaussian(TAPS, sigma_y=0.8 + 0.4 * across, sigma_x=0.8 + 1.1 * across, angle=math.pi / 6 * across)


def camera(hr: Tensor, seed: int) -> Tensor:
    """What the simulated camera makes of hr (C, 2·h, 2·w) in [0, 1]: lr (C, h, w), before rounding to 8 bit."""
    width = hr.shape[2] // SCALE
    lr = torch.zeros(hr.shape[0], hr.shape[1] // SCALE, width)
    place = torch.linspace(0, COLUMNS - 1, width)
    for column in range(COLUMNS):
        weight = (1 - (place - column).abs()).clamp(min=0)
        kernel = camera_kernel(column / (COLUMNS - 1))
        lr += weight * blur_decimate(hr[None], kernel[None].float(), SCALE)[0]
    generator = torch.Generator().manual_seed(seed)
    return lr + (3e-5 + 2e-4 * lr).sqrt() * torch.randn(lr.shape, generator=generator)


@dataclass(frozen=True)
class Result:
    """Where things are, and the figures."""

    method: str
    test_images: list[str]
    means: dict[str, dict[str, float]]
    picture: Path
    dataset: Path
    checkpoint: Path


def photographs() -> dict[str, images.Array]:
    """The bundled photographs, (H, W, 3) uint8."""
    try:
        from skimage import data
    except ImportError:
        raise ConfigError("the demo's photographs come with scikit-image: pip install 'degsynth[demo]'") from None
    found = {}
    for name in FIT + TEST:
        loaded = getattr(data, name)()
        found[name] = np.asarray(loaded[0] if isinstance(loaded, tuple) else loaded)[..., :3]
    return found


def run(
    out: Path,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Result:
    """Simulate pairs, fit, self-test, apply, evaluate, draw; everything lands below ``out``, which must be new."""
    if out.exists():
        raise ConfigError(f"OUT {out} exists; give a new folder")
    shots = photographs()
    for name, pixels in shots.items():
        side = "pairs" if name in FIT else "test"
        height, width = (n // SCALE * SCALE for n in pixels.shape[:2])
        hr_pixels = np.ascontiguousarray(pixels[:height, :width])
        lr = camera(images.to_tensor(hr_pixels), derive(seed, name, 0, 0, "camera"))
        for folder, array in (("HR", hr_pixels), ("LR_x2", images.quantise(lr, np.dtype(np.uint8)))):
            target = out / side / folder / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(images.encode(images.Image(array), ".png"))
    on_note(f"simulated camera: {len(FIT)} pairs to fit, {len(TEST)} to test")

    options = FitOptions(method=METHOD, hr=str(out / "pairs/HR"), lr=str(out / "pairs/LR_x2"), seed=seed)
    events = Events(on_progress, on_note, on_note)
    record = run_fit(options, OPTIONS, out / "run", events)
    model = checkpoint.load(out / "run" / "checkpoint.pt")
    results = selftest.require(model)
    checkpoint.copy(model, out / "camera.pt")
    on_note(f"trained for {record['seconds']['train']:.0f} s; {len(results)} of {len(results)} known answers given")

    summary = apply.run(
        model, out / "test/HR", out / "trainset", apply.Options(seed=seed, noise=Noise(awgn=Interval(1.0, 3.0)))
    )
    on_note(f"applied to {summary.done} photographs with AWGN of σ 1 to 3")
    test = open_for_model(out / "test/HR", out / "test/LR_x2", ScoringOptions(SCALE), on_progress)
    one_kernel = options.model_copy(update={"method": "linear"})
    run_fit(one_kernel, {}, out / "run_linear", Events(on_progress))
    scores = evaluate(
        Degradation(model), test, beside={"linear": checkpoint.load(out / "run_linear" / "checkpoint.pt")}
    )
    _draw(out / "demo.png", model, test, scores["mean"])
    (out / "demo.json").write_text(
        json.dumps({"seed": seed, "evaluation": scores, "fit": record["report"]}, indent=2) + "\n"
    )
    return Result(METHOD, list(TEST), scores["mean"], out / "demo.png", out / "trainset", out / "camera.pt")


def _draw(path: Path, model: checkpoint.Checkpoint, test: PairSet, means: dict[str, dict[str, float]]) -> None:
    places = {"left edge": 0.0, "middle": 0.5, "right edge": 1.0}
    kernels = [Panel(f"camera, {place}", camera_kernel(across)) for place, across in places.items()]
    fitted = panels.kernels_at(
        model.degrader, test.tensors(0)[0], {place: (0.5, across) for place, across in places.items()}, "fitted"
    )
    rows = [*previews.rows(previews.by_checkpoint(model), test, len(test), "camera"), [*kernels, *fitted]]
    heading = (
        f"luma PSNR against the simulated camera's LR: {METHOD} {means['model']['psnr_y']:.2f} dB, "
        f"linear {means['linear']['psnr_y']:.2f} dB, bicubic {means['bicubic']['psnr_y']:.2f} dB"
    )
    sheet(path, rows, heading)

"""What benchmarks use: photographs of a megapixel, a model of every method, and a floor to compare with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from skimage import data

from degsynth import apply, fit, methods
from degsynth.data import images, writing
from degsynth.kernel_pool import analytic
from degsynth.model import checkpoint, pool_file, pool_model
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian

SIDE = 1024
"""Side of the photographs, px."""
POOL = "pool"
"""Name of the model that is no method: a pool of kernels from a formula, which is applied directly."""
MODELS = [POOL, *methods.METHODS]
"""Names of all models that are measured."""
SHORT = {"steps": 2, "imitation": 20, "discriminator_first": 0, "prior": "gradient", "least_texture": 0.0, "patches": 1}
"""Options that make a fit short, but leave the model as large as it is by default."""


def write_photographs(folder: Path, count: int) -> None:
    """Write photographs of SIDE² px into a new folder.

    Each consists of four parts of bundled photographs, turned, with a little noise, so that the files are as large as
    those of usual photographs.
    """
    shots = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    half, rng = SIDE // 2, np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        quarters = []
        for index in rng.integers(len(shots), size=4):
            missing = [max(0, half - length) for length in shots[index].shape[:2]]
            shot = np.pad(shots[index], [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
            y, x = (rng.integers(length - half + 1) for length in shot.shape[:2])
            quarters.append(np.rot90(shot[y : y + half, x : x + half], rng.integers(4)))
        whole = np.vstack([np.hstack(quarters[:2]), np.hstack(quarters[2:])]).astype(float)
        noisy = (whole + rng.normal(0, 0.6, whole.shape)).clip(0, 255).round().astype(np.uint8)
        (folder / f"{number:03}.png").write_bytes(writing.encode(images.Image(noisy), ".png"))


def make_pairs(scale: int, folder: Path) -> Path:
    """Return a folder of pairs, made from the first photographs by a known kernel; make it if needed."""
    pairs = folder / f"pairs_x{scale}"
    if pairs.exists():
        return pairs
    kernel = gaussian(20 if scale % 2 == 0 else 21, 1.6, 2.2, 0.4)[None].float()
    for shot in sorted((folder / "HR").iterdir())[:12]:
        hr = images.to_tensor(images.read(shot).pixels[: 480 // scale * scale, : 480 // scale * scale])
        lr = blur_decimate(hr[None], kernel, scale)[0]
        for side, image in (("HR", hr), ("LR", lr)):
            path = pairs / side / shot.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(writing.encode(images.Image(images.quantise(image, np.dtype(np.uint8))), ".png"))
    return pairs


def fit_options(name: str, scale: int, pairs: Path) -> fit.FitOptions:
    """Return the options of a fit to pairs; an unpaired method takes them as two folders."""
    kind = methods.get(name).Method.data
    return fit.FitOptions(
        method=name,
        hr=None if kind == "lr" else str(pairs / "HR"),
        lr=str(pairs / "LR"),
        scale=None if kind == "paired" else scale,
    )


def make_model(name: str, scale: int, folder: Path) -> Path:
    """Return the file of a model, and make it if needed.

    It is the model of a method with default options after a few steps, as more steps make it neither slower nor faster;
    or a kernel pool.
    """
    path = folder / f"{name}_x{scale}.pt"
    if path.exists():
        return path
    if name == POOL:
        pool_file.write(analytic.gaussians(0.8, 2.4, True, 200, 25, 0), folder / "pool.h5")
        pool_model.export(folder / "pool.h5", scale, path)
        return path
    known, run = methods.get(name).Config.model_fields, folder / f"run_{name}_x{scale}"
    values = {key: value for key, value in SHORT.items() if key in known}
    fit.run(fit_options(name, scale, make_pairs(scale, folder)), values, run)
    checkpoint.copy(checkpoint.load(run / "checkpoint.pt"), path)
    return path


def run_floor(hr: Path, out: Path, scale: int, workers: int) -> None:
    """Decode, area-resize and encode all images of a folder by OpenCV; no tool that degrades images can do less."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(_resize, out, scale), sorted(hr.iterdir())))


def _resize(out: Path, scale: int, path: Path) -> None:
    image = cv2.imread(str(path))
    size = image.shape[1] // scale, image.shape[0] // scale
    cv2.imwrite(str(out / path.name), cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def apply_model(model: checkpoint.Checkpoint, hr: Path, out: Path, **options: Any) -> None:
    """Apply a model to a folder, write into a new folder, and assert that no image failed."""
    shutil.rmtree(out, ignore_errors=True)
    summary = apply.run(model, hr, out, apply.Options(**options))
    assert summary.done == len(list(hr.iterdir())) * options.get("draws", 1)
    assert summary.failed == 0


@dataclass
class Cost:
    """The seconds that a piece of work took, run by run. The first run is a warm-up."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, work: Callable[[], Any]) -> None:
        """Do the work, and note how long it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def relative_to(self, other: Cost) -> tuple[float, float]:
        """Return wall time and CPU time as multiples of another cost: medians over the runs, which alternate."""
        wall, cpu = (
            median(a / b for a, b in zip(own[1:], others[1:], strict=True))
            for own, others in ((self.wall, other.wall), (self.cpu, other.cpu))
        )
        return wall, cpu

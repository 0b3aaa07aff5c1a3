"""What benchmarks work on: photographs of a megapixel, a model of every method, and the floor they stand on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from skimage import data

from degsynth import apply, fit, methods
from degsynth.data import images
from degsynth.kernel_pool import analytic
from degsynth.model import checkpoint, pool_file, pool_model
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian

SIDE = 1024
"""Of the photographs, px."""
POOL = "pool"
"""Beside the methods: kernels from a formula, applied directly."""
NAMES = [POOL, *methods.METHODS]
SHORT = {"steps": 2, "imitation": 20, "discriminator_first": 0, "prior": "gradient", "least_texture": 0.0, "patches": 1}
"""What makes a fit short and leaves the model as large as it is by default."""


def photographs(folder: Path, count: int) -> Path:
    """Photographs of SIDE² px: quarters of bundled ones, turned, with a little noise: files as large as usual."""
    shots = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    half, rng = SIDE // 2, np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        quarters = []
        for which in rng.integers(len(shots), size=4):
            missing = [max(0, half - length) for length in shots[which].shape[:2]]
            shot = np.pad(shots[which], [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
            y, x = (rng.integers(length - half + 1) for length in shot.shape[:2])
            quarters.append(np.rot90(shot[y : y + half, x : x + half], rng.integers(4)))
        whole = np.vstack([np.hstack(quarters[:2]), np.hstack(quarters[2:])]).astype(float)
        noisy = (whole + rng.normal(0, 0.6, whole.shape)).clip(0, 255).round().astype(np.uint8)
        (folder / f"{number:03}.png").write_bytes(images.encode(images.Image(noisy), ".png"))
    return folder


def fitted(name: str, scale: int, folder: Path) -> Path:
    """A model of a method with default options, after a few steps (more make it no slower or faster), or a pool."""
    made = folder / f"{name}_x{scale}.pt"
    if made.exists():
        return made
    if name == POOL:
        pool_file.write(analytic.gaussians(0.8, 2.4, True, 200, 25, 0), folder / "pool.h5")
        pool_model.export(folder / "pool.h5", scale, made)
        return made
    sides = folder / f"pairs_x{scale}"
    if not sides.exists():
        kernel = gaussian(20 if scale % 2 == 0 else 21, 1.6, 2.2, 0.4)[None].float()
        for shot in sorted((folder / "HR").iterdir())[:12]:
            hr = images.to_tensor(images.read(shot).pixels[: 480 // scale * scale, : 480 // scale * scale])
            lr = blur_decimate(hr[None], kernel, scale)[0]
            for side, image in (("HR", hr), ("LR", lr)):
                path = sides / side / shot.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(images.encode(images.Image(images.quantise(image, np.dtype(np.uint8))), ".png"))
    kind = methods.get(name).Method.data
    options = fit.FitOptions(
        method=name,
        hr=None if kind == "lr" else str(sides / "HR"),
        lr=str(sides / "LR"),
        scale=None if kind == "paired" else scale,
    )
    known = methods.get(name).Config.model_fields
    fit.run(options, {key: value for key, value in SHORT.items() if key in known}, folder / f"run_{name}_x{scale}")
    checkpoint.copy(checkpoint.load(folder / f"run_{name}_x{scale}" / "checkpoint.pt"), made)
    return made


def floor(hr: Path, out: Path, scale: int, workers: int) -> None:
    """Decode, area-resize, encode, by OpenCV, so many images at a time: less than that no tool can do."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def one(path: Path) -> None:
        image = cv2.imread(str(path))
        size = image.shape[1] // scale, image.shape[0] // scale
        cv2.imwrite(str(out / path.name), cv2.resize(image, size, interpolation=cv2.INTER_AREA))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, sorted(hr.iterdir())))


def applied(loaded: checkpoint.Checkpoint, hr: Path, out: Path, **options: Any) -> None:
    """A run into a new folder, in which nothing fails."""
    shutil.rmtree(out, ignore_errors=True)
    summary = apply.run(loaded, hr, out, apply.Options(**options))
    assert summary.done == len(list(hr.iterdir())) * options.get("draws", 1)
    assert summary.failed == 0


@dataclass
class Cost:
    """Seconds that something took, run by run."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def of(self, work: Callable[[], Any]) -> None:
        """Do it, and note how long it took."""
        begun = time.perf_counter(), time.process_time()
        work()
        self.wall.append(time.perf_counter() - begun[0])
        self.cpu.append(time.process_time() - begun[1])

    def times(self, other: Cost) -> tuple[float, float]:
        """Wall and CPU as multiples of another's, by the median of runs in turn; the first of each is a warm-up."""
        return tuple(  # type: ignore[return-value]
            median(a / b for a, b in zip(mine[1:], theirs[1:], strict=True))
            for mine, theirs in ((self.wall, other.wall), (self.cpu, other.cpu))
        )

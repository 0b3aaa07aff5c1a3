"""Do the kernels and the noise that `pdm` draws have the distribution that was put in?

Usage: python examples/unpaired/distributions.py PHOTOS OUT [--cases two,...] [--noises none,...] [--seeds 0,1,2]

Splits the photographs of a folder (sub-folders included), shuffled by the seed, into two halves without a common scene.
One half is the HR set. The other is the LR set: each image is blurred by the next of the case's kernels, decimated,
made noisy, and rounded to 8 bits. A model is fitted, 500 kernels are drawn from it, and these are compared with the
kernels that were put in. Widths are in HR px at scale 2; at other scales they are larger by scale / 2. The case
``motion`` takes its kernels from the .npy files in --kernels.

The noise has σ² = (3/255)² + 0.0012 · level. It is ``white``, or ``tied``: correlated with that of its 8 neighbours.
"""

import argparse
import json
import math
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import torch
from experiment import begin, fit, markdown
from synthetic import find_photographs, known_kernel, read_cropped, write

from degsynth.evaluation import kernel_sets
from degsynth.model import checkpoint
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity

DRAWS = 500
"""Number of kernels that are drawn from a model."""
COMPARED = 100
"""Number of drawn kernels that are compared with the true ones one by one."""
CASES = {
    "two": [(0.8, 0.8, 0), (2.2, 2.2, 0)],
    "80:20": [(0.8, 0.8, 0)] * 4 + [(2.2, 2.2, 0)],
    "one 0.8": [(0.8, 0.8, 0)],
    "one 1.4": [(1.4, 1.4, 0)],
    "one 2.2": [(2.2, 2.2, 0)],
    "one 2.4:1.0": [(1.0, 2.4, 35)],
}
"""The kernels of each case: σ across and along (HR px at scale 2), and the angle of the long axis (degrees)."""
LOW, HIGH = 1.15, 1.75
"""The cases with two kernels have no width between these two."""
LEVELS = {"dark": 20, "mid": 128, "bright": 235}
"""Levels (0-255) at which the noise is compared."""


@dataclass(frozen=True)
class Case:
    """The kernels and the noise that are put into the LR images, and the folder of one fit."""

    name: str
    noise: str
    """``none``, ``white`` or ``tied``."""
    seed: int
    scale: int
    kernels: list[torch.Tensor]
    """Kernels (K, K) float64, which the LR images get in turn."""
    folder: Path

    def kernel(self, number: int) -> torch.Tensor:
        """Return the kernel of the LR image with a number."""
        return self.kernels[number // 2 % len(self.kernels)]


def kernels_of(name: str, scale: int, folder: Path | None) -> list[torch.Tensor]:
    """Return the kernels of a case; ``folder`` has those of ``motion``."""
    if name == "motion":
        if folder is None:
            sys.exit("the case motion reads its kernels from files; give --kernels, the folder of them")
        return [known_kernel(path.stem, scale, folder) for path in sorted(folder.glob("dpsr_motion_*.npy"))[:6]]
    size, enlarged = 10 * scale, scale / 2
    shapes = CASES[name]
    return [gaussian(size, across * enlarged, along * enlarged, math.radians(angle)) for across, along, angle in shapes]


def sigma_at(level: torch.Tensor) -> torch.Tensor:
    """Return the σ of the noise that is put in, at a level in [0, 1]."""
    return torch.sqrt((3 / 255) ** 2 + 0.0012 * level)


def draw_noise(lr: torch.Tensor, kind: str, rng: torch.Generator) -> torch.Tensor:
    """Draw noise of a kind for an lr (C, h, w)."""
    white = torch.randn(lr.shape[0], 1, lr.shape[1] + 2, lr.shape[2] + 2, generator=rng)
    row = torch.tensor([1.0, 2.0, 1.0]) if kind == "tied" else torch.tensor([0.0, 1.0, 0.0])
    taps = torch.outer(row, row)
    filtered = torch.nn.functional.conv2d(white, (taps / taps.norm())[None, None])[:, 0]
    return filtered * sigma_at(lr) * (kind != "none")


def prepare(photographs: Path, case: Case) -> None:
    """Make the HR and LR images of a case, unless they exist."""
    if (case.folder / "ready").exists():
        return
    paths = find_photographs(photographs)
    random.Random(case.seed).shuffle(paths)
    rng = torch.Generator().manual_seed(case.seed)
    for side in ("HR", "LR"):
        (case.folder / side).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        hr = read_cropped(path, case.scale)
        if number % 2 == 0:
            write(hr, case.folder / f"HR/{number:03d}.png")
            continue
        lr = blur_decimate(hr[None], case.kernel(number)[None].float(), case.scale)[0].clamp(0, 1)
        write((lr + draw_noise(lr, case.noise, rng)).clamp(0, 1), case.folder / f"LR/{number:03d}.png")
    (case.folder / "ready").touch()


def compare_kernels(model: checkpoint.Checkpoint, case: Case) -> dict[str, float]:
    """Compare kernels that a model draws with those that were put in."""
    with torch.inference_mode():
        codes = torch.cat([model.degrader.draw(seed) for seed in range(DRAWS)])
        drawn = model.degrader.optics.image_kernels(codes).double()
    enlarged = case.scale / 2
    widths = (kernel_sets.shapes(drawn)[:, 0] / enlarged).sort().values
    numbers = [int(path.stem) for path in sorted((case.folder / "LR").iterdir())]
    put_in = torch.cat([kernel_sets.shapes(case.kernel(number)[None])[:, 0] for number in numbers]) / enlarged
    true_widths = put_in.sort().values[torch.arange(DRAWS) * len(put_in) // DRAWS]
    similarities = [max(similarity(true, kernel) for true in case.kernels) for kernel in drawn[:COMPARED]]
    return {
        "low": float((widths <= LOW).double().mean()),
        "between": float(((widths > LOW) & (widths < HIGH)).double().mean()),
        **{f"p{percent}": float(torch.quantile(widths, percent / 100)) for percent in (10, 50, 90)},
        "W1": float((widths - true_widths).abs().mean()),
        "sd": float(widths.std()),
        "sd true": float(true_widths.std()),
        "similarity": sum(similarities) / COMPARED,
        "of mean": max(similarity(true, drawn.mean(0)) for true in case.kernels),
        "centroid": max(math.hypot(*centroid(kernel)) for kernel in drawn[:COMPARED]),
    }


def compare_noise(model: checkpoint.Checkpoint, kind: str) -> dict[str, float]:
    """Compare noise that a model draws for flat images with the noise that was put in."""
    figures: dict[str, float] = {}
    for name, level in LEVELS.items():
        flat = torch.full((1, 3, 128, 128), level / 255)
        with torch.inference_mode():
            noise = model.degrader.noise(flat, model.degrader.draw(0), model.degrader.field(0, 0, 0, 128, 128, 3))
        figures[f"σ {name}"] = float(noise.std()) / float(sigma_at(torch.tensor(level / 255)))
        figures["mean/255"] = max(figures.get("mean/255", 0.0), abs(255 * float(noise.mean())))
        lag_1 = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean().clamp(min=1e-12)
    return {**figures, "lag 1": float(lag_1), "lag 1 true": 2 / 3 if kind == "tied" else 0.0}


def measure(case: Case, arguments: argparse.Namespace) -> dict[str, float]:
    """Make the images of a case, fit a model, draw from it, and return the figures."""
    prepare(arguments.photos, case)
    options = [part for value in arguments.set for part in ("--set", value)]
    folders = case.folder / "HR", case.folder / "LR"
    made = "--scale", case.scale, "--left-out", 0, "--tone", "none"  # by a program, which blurred levels
    run = fit(case.folder / "run", folders, "pdm", *made, "--seed", case.seed, *options)
    model = checkpoint.load(run / "checkpoint.pt")
    figures = compare_kernels(model, case)
    if case.noise != "none":
        figures |= compare_noise(model, case.noise)
    figures["s"] = sum(json.loads((run / "fit.json").read_text())["seconds"].values())
    print(f"x{case.scale} {case.name} {case.noise} {case.seed}: {figures}", file=sys.stderr, flush=True)
    return figures


def case_of(name: str, noise: str, seed: int, arguments: argparse.Namespace) -> Case:
    """Return the case with this name, noise and seed."""
    folder = arguments.out / f"x{arguments.scale}_{name.replace(' ', '_').replace(':', '-')}_{noise}_{seed}"
    kernels = kernels_of(name, arguments.scale, arguments.kernels)
    return Case(name, noise, seed, arguments.scale, kernels, folder)


def table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Return a row for each case: the mean of its figures over the seeds."""
    columns = list(next(iter(figures.values()))[0])
    rows = [
        [name, *(f"{sum(run[column] for run in runs) / len(runs):.3g}" for column in columns)]
        for name, runs in figures.items()
    ]
    return markdown(["", *columns], rows)


def main() -> None:
    """Make the images, fit the models, draw from them, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of sharp photographs")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--kernels", type=Path, help="folder of .npy kernels, for the case motion")
    parser.add_argument("--scale", type=int, default=2, help="HR size / LR size (default: 2)")
    parser.add_argument("--cases", default=",".join(CASES), help=f"some of {', '.join(CASES)}, motion")
    parser.add_argument("--noises", default="none,white", help="some of none, white, tied (default: none,white)")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, each for one way to halve the photographs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="option of pdm")
    parser.add_argument("--jobs", type=int, default=2, help="number of fits at a time, one thread each (default: 2)")
    arguments = parser.parse_args()
    begin(arguments.out, photos=arguments.photos, kernels=arguments.kernels, set=arguments.set)
    torch.set_num_threads(1)
    names, noises = arguments.cases.split(","), arguments.noises.split(",")
    seeds = [int(text) for text in arguments.seeds.split(",")]
    keys = [(name, noise, seed) for noise in noises for name in names for seed in seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        tasks = {key: pool.submit(measure, case_of(*key, arguments), arguments) for key in keys}
        figures = {key: task.result() for key, task in tasks.items()}
    for noise in noises:
        print(f"\n×{arguments.scale}, noise: {noise}; mean over seeds {arguments.seeds}\n")
        print(table({name: [figures[name, noise, seed] for seed in seeds] for name in names}))


if __name__ == "__main__":
    main()

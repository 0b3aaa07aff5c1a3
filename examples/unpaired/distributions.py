"""Do draws of `pdm` have the distribution that was put in: blurs, and noise that follows the level.

Usage: python examples/unpaired/distributions.py PHOTOS OUT [--cases two,...] [--noises none,...] [--seeds 0,1,2]

Splits the photographs of a folder (sub-folders included), shuffled by the seed, into two halves without a common scene:
one is the HR set, the other is the LR set, each image blurred by the next of the case's kernels, decimated, made noisy
and rounded to 8 bits. Then 500 kernels are drawn from what was fitted, and compared with those that went in. Widths
are of scale 2, HR px; at other scales they are larger by scale / 2. ``motion`` takes the .npy files of --kernels.

Noise has σ² = (3/255)² + 0.0012 · level: ``white``, or ``tied`` to its 8 neighbours.
"""

import argparse
import json
import math
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import torch
from experiment import begin, fit, markdown
from synthetic import truth, write

from degsynth.data import images
from degsynth.data.images import to_tensor
from degsynth.evaluation import kernel_sets
from degsynth.model import checkpoint
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, similarity

DRAWS = 500
CASES = {
    "two": [(0.8, 0.8, 0), (2.2, 2.2, 0)],
    "80:20": [(0.8, 0.8, 0)] * 4 + [(2.2, 2.2, 0)],
    "one 0.8": [(0.8, 0.8, 0)],
    "one 1.4": [(1.4, 1.4, 0)],
    "one 2.2": [(2.2, 2.2, 0)],
    "one 2.4:1.0": [(1.0, 2.4, 35)],
}
"""σ across and along (HR px at scale 2), angle of along (degrees)."""
LOW, HIGH = 1.15, 1.75
"""Between these two widths there is nothing in the cases of two kernels."""
LEVELS = {"dark": 20, "mid": 128, "bright": 235}


def kernels(case: str, scale: int, folder: Path | None) -> list[torch.Tensor]:
    """What went in."""
    if case == "motion":
        if folder is None:
            sys.exit("motion takes kernels of files: give --kernels")
        return [truth(path.stem, scale, folder) for path in sorted(folder.glob("dpsr_motion_*.npy"))[:6]]
    size, grown = 10 * scale, scale / 2
    return [gaussian(size, a * grown, b * grown, math.radians(angle)) for a, b, angle in CASES[case]]


def sigma(level: torch.Tensor) -> torch.Tensor:
    """Of the noise that goes in."""
    return torch.sqrt((3 / 255) ** 2 + 0.0012 * level)


def noise(lr: torch.Tensor, kind: str, rng: torch.Generator) -> torch.Tensor:
    """Of that kind, for lr (C, h, w)."""
    white = torch.randn(lr.shape[0], 1, lr.shape[1] + 2, lr.shape[2] + 2, generator=rng)
    row = torch.tensor([1.0, 2.0, 1.0]) if kind == "tied" else torch.tensor([0.0, 1.0, 0.0])
    taps = torch.outer(row, row)
    made = torch.nn.functional.conv2d(white, (taps / taps.norm())[None, None])[:, 0]
    return made * sigma(lr) * (kind != "none")


def prepare(photos: Path, scale: int, case: str, kind: str, seed: int, ks: list[torch.Tensor], folder: Path) -> None:
    """HR and LR folders."""
    if (folder / "ready").exists():
        return
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    random.Random(seed).shuffle(found)
    rng = torch.Generator().manual_seed(seed)
    for place in ("HR", "LR"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(found):
        hr = to_tensor(images.read(path).pixels)
        hr = hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]
        if number % 2 == 0:
            write(hr, folder / f"HR/{number:03d}.png")
            continue
        kernel = ks[number // 2 % len(ks)]
        lr = blur_decimate(hr[None], kernel[None].float(), scale)[0].clamp(0, 1)
        write((lr + noise(lr, kind, rng)).clamp(0, 1), folder / f"LR/{number:03d}.png")
    (folder / "ready").touch()


def drawn_noise(model: checkpoint.Checkpoint, level: float) -> tuple[float, float, float]:
    """σ, mean and correlation of neighbours of what is drawn for a flat image."""
    flat = torch.full((1, 3, 128, 128), level)
    with torch.inference_mode():
        made = model.degrader.noise(flat, model.degrader.draw(0), model.degrader.field(0, 0, 0, 128, 128, 3))
    beside = (made[..., 1:] * made[..., :-1]).mean() / made.square().mean().clamp(min=1e-12)
    return float(made.std()), float(made.mean()), float(beside)


def row(case: str, kind: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    """Fit, draw, and measure."""
    scale, ks = given.scale, kernels(case, given.scale, given.kernels)
    folder = given.out / f"x{scale}_{case.replace(' ', '_').replace(':', '-')}_{kind}_{seed}"
    prepare(given.photos, scale, case, kind, seed, ks, folder)
    sets = [part for value in given.set for part in ("--set", value)]
    run = folder / "run"
    fit(run, (folder / "HR", folder / "LR"), "pdm", "--scale", scale, "--seed", seed, *sets)
    model = checkpoint.load(run / "checkpoint.pt")
    with torch.inference_mode():
        codes = torch.cat([model.degrader.draw(number) for number in range(DRAWS)])
        drawn = model.degrader.optics.image_kernels(codes).double()
    grown = scale / 2
    widths = (kernel_sets.shapes(drawn)[:, 0] / grown).sort().values
    turns = [int(path.stem) // 2 % len(ks) for path in sorted((folder / "LR").iterdir())]
    put_in = (torch.cat([kernel_sets.shapes(k[None])[:, 0] for k in ks]) / grown)[turns].sort().values
    wanted = put_in[torch.arange(DRAWS) * len(put_in) // DRAWS]
    p10, p50, p90 = (float(torch.quantile(widths, at)) for at in (0.1, 0.5, 0.9))
    found = {
        "low": float((widths <= LOW).double().mean()),
        "between": float(((widths > LOW) & (widths < HIGH)).double().mean()),
        "p10": p10,
        "p50": p50,
        "p90": p90,
        "W1": float((widths - wanted).abs().mean()),
        "sd": float(widths.std()),
        "sd true": float(wanted.std()),
        "similarity": sum(max(similarity(k, one) for k in ks) for one in drawn[:100]) / 100,
        "of mean": max(similarity(k, drawn.mean(0)) for k in ks),
        "centroid": max(math.hypot(*centroid(one)) for one in drawn[:100]),
    }
    if kind != "none":
        for name, level in LEVELS.items():
            std, mean, beside = drawn_noise(model, level / 255)
            found[f"σ {name}"] = std / float(sigma(torch.tensor(level / 255)))
            found["mean/255"] = max(found.get("mean/255", 0.0), abs(255 * mean))
        found["lag 1"] = beside
        found["lag 1 true"] = 2 / 3 if kind == "tied" else 0.0
    found["s"] = sum(json.loads((run / "fit.json").read_text())["seconds"].values())
    print(f"x{scale} {case} {kind} {seed}: {found}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Make, fit, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--kernels", type=Path, help="folder of .npy kernels")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--noises", default="none,white")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--set", action="append", default=[], help="option of the method")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    given = parser.parse_args()
    begin(given.out, photos=given.photos, kernels=given.kernels, set=given.set)
    torch.set_num_threads(1)
    groups = [(case, kind) for kind in given.noises.split(",") for case in given.cases.split(",")]
    seeds = [int(text) for text in given.seeds.split(",")]
    with ThreadPoolExecutor(given.jobs) as pool:
        tasks = {(*group, seed): pool.submit(row, *group, seed, given) for group in groups for seed in seeds}
        rows = {key: task.result() for key, task in tasks.items()}
    for kind in given.noises.split(","):
        own = {case: [rows[case, kind, seed] for seed in seeds] for case in given.cases.split(",")}
        names = list(next(iter(own.values()))[0])
        means = {case: [sum(found[name] for found in some) / len(some) for name in names] for case, some in own.items()}
        print(f"\n×{given.scale}, noise: {kind}; mean over seeds {given.seeds}\n")
        print(markdown(["", *names], [[case, *(f"{value:.3g}" for value in values)] for case, values in means.items()]))


if __name__ == "__main__":
    main()

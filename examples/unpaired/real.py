"""Unpaired methods on real cameras: pairs are taken apart for the fits, and used again to score the models.

Usage: python examples/unpaired/real.py HR LR OUT [--scale S] [--methods a,b,c] [--jobs N]

HR and LR are folders of aligned pairs. The methods get the HR images of the first half of the scenes, by name, and the
LR images of the second half; then the other way round. They are scored, with the true pairs, on the half whose HR
images they have not seen. The table also has bicubic, and ``linear``: one kernel fitted *with* the pairs of the half
that gave the HR images. What ``linear`` is better than bicubic by counts as 100 %; the table says what share of it each
method reaches without pairs.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import begin, degsynth, fit, linked, markdown

from degsynth.data.matching import match

METHODS = {
    "spectral": ("spectral",),
    "spectral-auto": ("spectral", "family=auto"),
    "lfl": ("lfl",),
    "adl": ("adl",),
    "pdm": ("pdm",),
    "pdm-signed": ("pdm", "signed=true"),
}
"""What can be fitted, by the name in the table: a method and its options."""
DIRECTIONS = {"first → second": (0, 1), "second → first": (1, 0)}
"""The half that gives the HR images, and the half that gives the LR images."""
Folders = tuple[Path, Path]
"""A folder of HR images and a folder of LR images."""


def split_in_halves(hr: Path, lr: Path, folder: Path) -> tuple[Folders, Folders]:
    """Return folders with links to the pairs of the first and of the second half of the scenes, by name."""
    pairs = sorted(match(hr, lr)[0], key=lambda pair: pair.name)
    middle = len(pairs) // 2
    return linked(pairs[:middle], folder / "first"), linked(pairs[middle:], folder / "second")


def score(model: Path, pairs: Folders) -> tuple[float, float]:
    """Return the luma PSNR of a model and of bicubic."""
    mean = json.loads(degsynth("evaluate", model, "--hr", pairs[0], "--lr", pairs[1], "--json"))["mean"]
    return mean["model"]["psnr_y"], mean["bicubic"]["psnr_y"]


class Experiment:
    """The fits of all methods in both directions, which are kept in a folder."""

    def __init__(self, out: Path, scale: int, halves: tuple[Folders, Folders]) -> None:
        self.out, self.scale, self.halves = out, scale, halves

    def run(self, task: tuple[str, str]) -> tuple[float, float, float]:
        """Fit a method in a direction; return its luma PSNR, that of bicubic, and the seconds of the fit."""
        name, direction = task
        seen, other = (self.halves[index] for index in DIRECTIONS[direction])
        run = self.out / f"{name}_{direction[0]}"
        if name == "linear":
            fit(run, seen, "linear")
        else:
            base, *values = METHODS[name]
            options = [part for value in values for part in ("--set", value)]
            fit(run, (seen[0], other[1]), base, "--scale", self.scale, *options)
        seconds = sum(json.loads((run / "fit.json").read_text())["seconds"].values())
        print(f"{name}, {direction}: fitted", file=sys.stderr, flush=True)
        return *score(run / "checkpoint.pt", other), seconds


def main() -> None:
    """Fit the methods, score them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hr", type=Path, help="folder of HR images")
    parser.add_argument("lr", type=Path, help="folder of LR images")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--scale", type=int, default=2, help="HR size / LR size (default: 2)")
    parser.add_argument("--methods", default="spectral,spectral-auto,lfl,adl", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--jobs", type=int, default=2, help="number of fits at a time, one thread each (default: 2)")
    arguments = parser.parse_args()
    begin(arguments.out, hr=arguments.hr, lr=arguments.lr, scale=arguments.scale)
    halves = split_in_halves(arguments.hr, arguments.lr, arguments.out / "pairs")
    experiment = Experiment(arguments.out, arguments.scale, halves)
    names = arguments.methods.split(",")
    tasks = [(name, direction) for name in ("linear", *names) for direction in DIRECTIONS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = dict(zip(tasks, pool.map(experiment.run, tasks), strict=True))
    rows = []
    for direction in DIRECTIONS:
        linear, bicubic, _ = results["linear", direction]
        rows.append([direction, "bicubic", f"{bicubic:.2f}", "0 %", ""])
        for name in names:
            psnr, _, seconds = results[name, direction]
            share = f"{100 * (psnr - bicubic) / (linear - bicubic):.0f} %"
            rows.append([direction, name, f"{psnr:.2f}", share, f"{seconds:.0f}"])
        rows.append([direction, "linear, with pairs", f"{linear:.2f}", "100 %", ""])
    print(markdown(["HR → LR", "method", "LR PSNR, dB", "share", "s"], rows))


if __name__ == "__main__":
    main()

"""Unpaired methods on real cameras: pairs taken apart, and put together again to score what was learnt without them.

Usage: python examples/unpaired/real.py HR LR OUT [--scale S] [--methods a,b,c] [--jobs N]

HR and LR are folders of aligned pairs. HR of the first half of the scenes, by name, and LR of the second half are what
the methods get; then the other way round. They are scored, with the true pairs, on the half whose HR they never saw.
Beside them: bicubic, and ``linear``, one kernel fitted *with* the pairs of the half that gave the HR. Its lead over
bicubic is the whole way; the table says which share of it a method goes without pairs.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import begin, degsynth, fit, linked, markdown

from degsynth.data.pairs import match

METHODS = {
    "spectral": ("spectral",),
    "spectral-auto": ("spectral", "family=auto"),
    "lfl": ("lfl",),
    "adl": ("adl",),
    "pdm": ("pdm",),
    "pdm-signed": ("pdm", "signed=true"),
}


def halves(hr: Path, lr: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Folders of links to HR and LR of the first half of the scenes, and of the second."""
    pairs = sorted(match(hr, lr)[0], key=lambda pair: pair.name)
    middle = len(pairs) // 2
    return [linked(pairs[:middle], folder / "first"), linked(pairs[middle:], folder / "second")]


def score(model: Path, pairs: tuple[Path, Path]) -> tuple[float, float]:
    """Luma PSNR of a model and of bicubic."""
    mean = json.loads(degsynth("evaluate", model, "--hr", pairs[0], "--lr", pairs[1], "--json"))["mean"]
    return mean["model"]["psnr_y"], mean["bicubic"]["psnr_y"]


def main() -> None:
    """Fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("hr", "lr", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--methods", default="spectral,spectral-auto,lfl,adl")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    given = parser.parse_args()
    begin(given.out, hr=given.hr, lr=given.lr, scale=given.scale)
    sides = halves(given.hr, given.lr, given.out / "pairs")
    ways = {"first → second": (sides[0], sides[1]), "second → first": (sides[1], sides[0])}
    names = given.methods.split(",")

    def learnt(task: tuple[str, str]) -> tuple[float, float, float]:
        name, way = task
        seen, other = ways[way]
        run = given.out / f"{name}_{way[0]}"
        if name == "linear":
            fit(run, seen, "linear")
        else:
            base, *values = METHODS[name]
            sets = [part for value in values for part in ("--set", value)]
            fit(run, (seen[0], other[1]), base, "--scale", given.scale, *sets)
        seconds = sum(json.loads((run / "fit.json").read_text())["seconds"].values())
        print(f"{name}, {way}: fitted", file=sys.stderr, flush=True)
        return *score(run / "checkpoint.pt", other), seconds

    tasks = [(name, way) for name in ("linear", *names) for way in ways]
    with ThreadPoolExecutor(given.jobs) as pool:
        found = dict(zip(tasks, pool.map(learnt, tasks), strict=True))
    rows = []
    for way in ways:
        most, least, _ = found["linear", way]
        rows.append([way, "bicubic", f"{least:.2f}", "0 %", ""])
        for name in names:
            psnr, _, seconds = found[name, way]
            rows.append([way, name, f"{psnr:.2f}", f"{100 * (psnr - least) / (most - least):.0f} %", f"{seconds:.0f}"])
        rows.append([way, "linear, with pairs", f"{most:.2f}", "100 %", ""])
    print(markdown(["HR → LR", "method", "LR PSNR, dB", "share", "s"], rows))


if __name__ == "__main__":
    main()

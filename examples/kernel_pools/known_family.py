"""Does the generator of `kernel-pool train` draw from the family that it has learnt from?

Usage: python examples/kernel_pools/known_family.py OUT [--kernels 300] [--steps 1500]

Anisotropic Gaussians of σ 0.8 to 2.4 px (uniform in logarithm, either axis) at any angle are learnt, and 1000 kernels
drawn: how many are inside the family's range ± 15 %, how the spread of log σ compares, how new they are.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import degsynth

from degsynth.evaluation.kernel_sets import coverage, energy_distance, shapes
from degsynth.model import pool_file

LOW, HIGH = 0.8, 2.4


def main() -> None:
    """Make the family, learn it, draw from it, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kernels", type=int, default=300)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    family, made, run = given.out / "family.h5", given.out / "made.h5", given.out / "run"
    degsynth("kernel-pool", "generate", "--gaussian", f"{LOW}:{HIGH}", "--anisotropic", "-n", given.kernels,
             "-o", family, "--overwrite")  # fmt: skip
    begun = time.perf_counter()
    if not (run / "fit.json").is_file():
        degsynth("kernel-pool", "train", family, "--out", run, "--scale", 2, "--steps", given.steps, "--device", "cpu")
    seconds = time.perf_counter() - begun
    degsynth("kernel-pool", "generate", run, "-n", 1000, "-o", made, "--overwrite")
    real, drawn = (pool_file.read(path).kernels for path in (family, made))
    sigma = shapes(drawn)[:, 0]
    inside = ((sigma >= LOW / 1.15) & (sigma <= HIGH * 1.15)).double().mean()
    facts = {
        "seconds": seconds,
        "inside_range": float(inside),
        "log_sigma_sd": [float(shapes(kernels)[:, 0].log().std(correction=0)) for kernels in (drawn, real)],
        "axes_ratio_p90": [float(shapes(kernels)[:, 1].quantile(0.9)) for kernels in (drawn, real)],
        "energy_distance": energy_distance(drawn, real),
        "least_tap": float(drawn.min()),
        "sum_off_by": float((drawn.sum((1, 2)) - 1).abs().max()),
        **coverage(drawn, real),
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()

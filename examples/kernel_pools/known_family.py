"""Does the generator of `kernel-pool train` draw from the family of kernels that it has learnt from?

Usage: python examples/kernel_pools/known_family.py OUT [--kernels 300] [--steps 1500]

The family are anisotropic Gaussians with σ of 0.8 to 2.4 px (uniform in log σ on either axis) at any angle. The script
makes a pool of them, trains the generator on it, and draws 1000 kernels. It prints how many of these lie in the range
of the family ± 15 %, how their spread of log σ compares with that of the family, and how new they are.
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
"""Range of σ in the family, px."""
DRAWS = 1000
"""Number of kernels that are drawn from the generator."""


def main() -> None:
    """Make the family, train the generator on it, draw from the generator, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--kernels", type=int, default=300, help="number of kernels in the family (default: 300)")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of the generator (default: 1500)")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    family, generated, run = out / "family.h5", out / "generated.h5", out / "run"
    degsynth("kernel-pool", "generate", "--gaussian", f"{LOW}:{HIGH}", "--anisotropic", "-n", arguments.kernels,
             "-o", family, "--overwrite")  # fmt: skip
    begun = time.perf_counter()
    if not (run / "fit.json").is_file():
        degsynth("kernel-pool", "train", family, "--out", run, "--scale", 2, "--steps", arguments.steps,
                 "--device", "cpu")  # fmt: skip
    seconds = time.perf_counter() - begun
    degsynth("kernel-pool", "generate", run, "-n", DRAWS, "-o", generated, "--overwrite")
    real, drawn = (pool_file.read(path).kernels for path in (family, generated))
    sigma = shapes(drawn)[:, 0]
    inside = ((sigma >= LOW / 1.15) & (sigma <= HIGH * 1.15)).double().mean()
    figures = {
        "seconds": seconds,
        "inside_range": float(inside),
        "log_sigma_sd": [float(shapes(kernels)[:, 0].log().std(correction=0)) for kernels in (drawn, real)],
        "axes_ratio_p90": [float(shapes(kernels)[:, 1].quantile(0.9)) for kernels in (drawn, real)],
        "energy_distance": energy_distance(drawn, real),
        "least_tap": float(drawn.min()),
        "sum_off_by": float((drawn.sum((1, 2)) - 1).abs().max()),
        **coverage(drawn, real),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

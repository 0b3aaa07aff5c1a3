"""Are the kernels that `kernel-pool estimate` finds those that blurred the photographs?

Usage: python examples/kernel_pools/known_kernels.py HR KERNEL.npy... --out OUT [--prior gradient] [--scale 2]

Photographs are blurred by a known kernel, decimated by the scale (1: not at all), written with 8 bits, and estimated
from, as a user would, one window of each. At a scale above 1 the truth is the kernel with the blur of the interpolation
that enlarges the photographs again (Keys' cubic). Of each kernel: similarity (the largest normalised cross-correlation
over whole-pixel shifts), widths, centroid and seconds a window.
"""

import argparse
import math
import shutil
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from experiment import markdown

from degsynth.data import images
from degsynth.kernel_pool import estimate
from degsynth.methods.kmsr import Config
from degsynth.model.pool_file import Pool
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernel_families import keys
from degsynth.ops.kernels import centroid, gaussian_shape, similarity
from degsynth.ops.resample import luma
from degsynth.ops.subpixel import suited


def blurred(source: Path, kernel: torch.Tensor, scale: int, out: Path) -> None:
    """Every photograph of a folder, blurred and decimated, gray, in 8 bits; what a border may have touched is cut."""
    out.mkdir(parents=True)
    taps = suited(odd(kernel)[None], scale).float()
    for name in images.find(source)[0]:
        gray = luma(images.to_tensor(images.read(source / name).pixels))
        height, width = (length // scale * scale for length in gray.shape[1:])
        made = blur_decimate(gray[None, :, :height, :width], taps, scale)[0, 0]
        rim = taps.shape[-1] // 2 // scale
        made = made[rim : made.shape[0] - rim, rim : made.shape[1] - rim].clamp(0, 1)
        cv2.imwrite(
            str(out / f"{Path(name).stem}_{len(list(out.iterdir()))}.png"),
            (255 * made).round().numpy().astype(np.uint8),
        )


def odd(kernel: torch.Tensor) -> torch.Tensor:
    """Of an odd size: a row and a column of zeros more where it is even."""
    gap = 1 - kernel.shape[-1] % 2
    return F.pad(kernel, (0, gap, 0, gap))


def expected(kernel: torch.Tensor, scale: int) -> torch.Tensor:
    """The kernel as the enlarged photograph shows it."""
    if scale == 1:
        return kernel
    row = keys(torch.arange(-2 * scale, 2 * scale + 1, dtype=torch.float64) / scale)
    there = torch.outer(row, row) / row.sum() ** 2
    wide = F.pad(kernel, (4 * scale,) * 4)[None, None]
    return F.conv2d(wide, there[None, None])[0, 0]


def mean_sigma(kernel: torch.Tensor) -> float:
    """Geometric mean of both axes' σ."""
    along, across, _ = gaussian_shape(kernel)
    return math.sqrt(max(along, 0.05) * max(across, 0.05))


def row(path: Path, pool: Pool, windows: int, failed: int, seconds: float, scale: int) -> list[str]:
    """A line of the table: over the kernels without a flag."""
    truth = expected(torch.from_numpy(np.load(path)).double(), scale)
    kernels = pool.kernels[pool.usable()]
    likeness = torch.tensor([similarity(kernel, truth) for kernel in kernels])
    everything = torch.tensor([similarity(kernel, truth) for kernel in pool.kernels])
    sigma = torch.tensor([mean_sigma(kernel) for kernel in kernels]).median()
    wanted = mean_sigma(truth)
    apart = max(max(map(abs, centroid(kernel))) for kernel in kernels)
    return [
        path.stem,
        f"{len(kernels)} of {windows}" + (f", {failed} failed" if failed else ""),
        f"{likeness.median():.3f}",
        f"{likeness.quantile(0.25):.3f}",
        f"{everything.median():.3f}",
        f"{sigma:.2f}",
        f"{wanted:.2f}",
        f"{float(sigma) / wanted:.2f}",
        f"{apart:.0e}",
        f"{seconds / max(1, windows):.1f}",
    ]


def main() -> None:
    """Blur, estimate, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hr", type=Path)
    parser.add_argument("kernels", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prior", default="dark")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--windows", type=int, default=24)
    given = parser.parse_args()
    lines = []
    header = ["kernel", "kernels", "similarity, median", "lower quarter", "with flagged", "σ", "true σ", "ratio", "off"]
    header.append("s")
    torch.set_num_threads(1)
    for path in given.kernels:
        folder = given.out / f"{path.stem}_x{given.scale}"
        shutil.rmtree(folder, ignore_errors=True)
        blurred(given.hr, torch.from_numpy(np.load(path)).double(), given.scale, folder)
        config = Config(prior=given.prior, patches=1, max_patches=given.windows)
        begun = time.perf_counter()
        found = estimate.estimate(folder, given.scale, config)
        seconds = time.perf_counter() - begun
        lines.append(row(path, found.pool, found.windows, sum(found.failed.values()), seconds, given.scale))
        print(" | ".join(lines[-1]), flush=True)
    print(markdown(header, lines))


if __name__ == "__main__":
    main()

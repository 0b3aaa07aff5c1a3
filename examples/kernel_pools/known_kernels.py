"""How near are the kernels of `kernel-pool estimate` to the kernels that blurred the photographs?

Usage: python examples/kernel_pools/known_kernels.py HR KERNEL.npy... --out OUT [--prior gradient] [--scale 2]

The photographs in HR are blurred by each known kernel, decimated by the scale (1: not at all) and written with 8 bits.
Kernels are then estimated from them, one window of each photograph, as a user would do it. A row
of the table has, for one known kernel: the similarity (the largest normalised cross-correlation over whole-pixel
shifts), the widths, the centroid and the seconds for a window.
"""

import argparse
import math
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from experiment import markdown

from degsynth.data import images, listing
from degsynth.kernel_pool import estimate
from degsynth.methods.kmsr import Config
from degsynth.model.pool_file import Pool
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian_shape, similarity
from degsynth.ops.resample import luma
from degsynth.ops.subpixel import suited

HEADER = [
    "kernel",
    "kernels",
    "similarity, median",
    "lower quarter",
    "with flagged",
    "σ",
    "true σ",
    "ratio",
    "off",
    "s",
]


@dataclass(frozen=True)
class Estimation:
    """The kernels that were estimated from photographs with a known blur."""

    pool: Pool
    windows: int
    """Number of windows, with an estimate or without."""
    failed: int
    """Number of windows without an estimate."""
    seconds: float
    """Time for all windows."""


def load_kernel(path: Path) -> torch.Tensor:
    """Read a kernel (K, K) float64."""
    return torch.from_numpy(np.load(path)).double()


def write_blurred(photographs: Path, kernel: torch.Tensor, scale: int, out: Path) -> None:
    """Write every photograph of a folder blurred and decimated, in gray with 8 bits, without the kernel's border."""
    out.mkdir(parents=True)
    taps = suited(with_odd_size(kernel)[None], scale).float()
    border = taps.shape[-1] // 2 // scale
    for name in listing.find(photographs)[0]:
        gray = luma(images.to_tensor(images.read(photographs / name).pixels))
        height, width = (length // scale * scale for length in gray.shape[1:])
        lr = blur_decimate(gray[None, :, :height, :width], taps, scale)[0, 0]
        lr = lr[border : lr.shape[0] - border, border : lr.shape[1] - border].clamp(0, 1)
        cv2.imwrite(
            str(out / f"{Path(name).stem}_{len(list(out.iterdir()))}.png"),
            (255 * lr).round().numpy().astype(np.uint8),
        )


def with_odd_size(kernel: torch.Tensor) -> torch.Tensor:
    """Append a row and a column of zeros to a kernel of even size."""
    missing = 1 - kernel.shape[-1] % 2
    return F.pad(kernel, (0, missing, 0, missing))


def mean_sigma(kernel: torch.Tensor) -> float:
    """Return the geometric mean of the widths σ along both axes."""
    along, across, _ = gaussian_shape(kernel)
    return math.sqrt(max(along, 0.05) * max(across, 0.05))


def estimate_kernels(folder: Path, scale: int, prior: str, windows: int) -> Estimation:
    """Estimate a kernel from one window of each photograph in a folder."""
    config = Config(prior=prior, patches=1, max_patches=windows)
    begun = time.perf_counter()
    result = estimate.estimate(folder, scale, config)
    seconds = time.perf_counter() - begun
    return Estimation(result.pool, result.windows, sum(result.failed.values()), seconds)


def row(name: str, true_kernel: torch.Tensor, estimation: Estimation) -> list[str]:
    """Return the row of a known kernel; its figures are over the estimates without a flag, except `with flagged`."""
    pool, windows = estimation.pool, estimation.windows
    kernels = pool.kernels[pool.usable()]
    similarities = torch.tensor([similarity(kernel, true_kernel) for kernel in kernels])
    with_flagged = torch.tensor([similarity(kernel, true_kernel) for kernel in pool.kernels])
    sigma = torch.tensor([mean_sigma(kernel) for kernel in kernels]).median()
    true_sigma = mean_sigma(true_kernel)
    off_centre = max(max(map(abs, centroid(kernel))) for kernel in kernels)
    return [
        name,
        f"{len(kernels)} of {windows}" + (f", {estimation.failed} failed" if estimation.failed else ""),
        f"{similarities.median():.3f}",
        f"{similarities.quantile(0.25):.3f}",
        f"{with_flagged.median():.3f}",
        f"{sigma:.2f}",
        f"{true_sigma:.2f}",
        f"{float(sigma) / true_sigma:.2f}",
        f"{off_centre:.0e}",
        f"{estimation.seconds / max(1, windows):.1f}",
    ]


def main() -> None:
    """Blur the photographs, estimate kernels from them, and compare these with the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hr", type=Path, help="folder of sharp photographs")
    parser.add_argument("kernels", type=Path, nargs="+", help="kernels as .npy files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the blurred photographs")
    parser.add_argument("--prior", default="dark", help="prior of the estimation: dark (default) or gradient")
    parser.add_argument("--scale", type=int, default=1, help="scale by which photographs are decimated (default: 1)")
    parser.add_argument("--windows", type=int, default=24, help="largest number of windows (default: 24)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for path in arguments.kernels:
        kernel, folder = load_kernel(path), arguments.out / f"{path.stem}_x{arguments.scale}"
        shutil.rmtree(folder, ignore_errors=True)
        write_blurred(arguments.hr, kernel, arguments.scale, folder)
        estimation = estimate_kernels(folder, arguments.scale, arguments.prior, arguments.windows)
        rows.append(row(path.stem, kernel, estimation))
        print(" | ".join(rows[-1]), flush=True)
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()

"""Unpaired methods on known blurs: how near is the learnt kernel to the one that blurred the LR images?

Usage: python examples/unpaired/synthetic.py PHOTOS OUT [--kernels DIR] [--scales 2,4] [--truths k0,k1,...] [--jobs N]

Splits the photographs of a folder (sub-folders included) by name into two halves without a common scene. One half is
the HR set; the other is blurred, decimated and rounded to 8 bits, and is the LR set. Every method is scored on the
second half, whose HR images no fit sees: PSNR of LR, similarity of the kernels, their widths, angle and centroid.

The known kernels are: k0, bicubic; k1 and k2, isotropic Gaussians; k3 and k4, anisotropic Gaussians (adl, Table 1),
all twice as large at scale 4; ``disk``, of radius 2.5 HR px at scale 2; and the ``.npy`` files in --kernels, named by
their stems. The disk and the files are not in the default family of `spectral`.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import numpy as np
import scipy.ndimage
import torch
from experiment import begin, fit, markdown

from degsynth.data import images, listing, writing
from degsynth.data.images import quantise, to_tensor
from degsynth.evaluation import metrics
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.model import checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.render import render
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernel_families import keys
from degsynth.ops.kernels import centroid, gaussian, gaussian_shape, similarity
from degsynth.ops.resample import crop_border, luma
from degsynth.seeds import Identity

METHODS = {
    "bicubic-guided": ("lfl", "data=bicubic", "start=bicubic", "spectra=0", "alpha=100"),
    "lfl": ("lfl",),
    "adl": ("adl",),
    "spectral": ("spectral",),
    "spectral-auto": ("spectral", "family=auto"),
}
"""What is fitted, by the name in the table: a method and its options."""
GAUSSIANS = {"k1": (1.0, 1.0, 0.0), "k2": (1.6, 1.6, 0.0), "k3": (0.8, 1.6, 0.6), "k4": (1.0, 2.4, 2.2)}
"""σ across and along (HR px at scale 2) and the angle of the long axis (radians) of the Gaussians, by name."""
SUBPIXELS = 16
"""Number of parts of a pixel, along each axis, by which a disk is drawn."""
HEADER = [
    "",
    "method",
    "LR PSNR, dB",
    "similarity",
    "σ along, across: error, %",
    "angle: error, °",
    "centroid, px",
    "s",
]


@dataclass(frozen=True)
class Case:
    """A known kernel, and the images that it made."""

    name: str
    scale: int
    kernel: torch.Tensor
    """(K, K) float64."""
    folder: Path

    @property
    def hr(self) -> Path:
        """Folder of the HR images that methods see."""
        return self.folder / "HR"

    @property
    def lr(self) -> Path:
        """Folder of the LR images, of other scenes."""
        return self.folder / "LR"

    @property
    def withheld(self) -> Path:
        """Folder of the HR images of the LR images' scenes."""
        return self.folder / "withheld"


def known_kernel(name: str, scale: int, kernels: Path | None) -> torch.Tensor:
    """Return a known kernel (K, K) float64, which is centred and sums to 1; ``kernels`` is a folder of .npy files."""
    size, enlarged = 20 * scale // 2, scale / 2
    if name == "k0":
        taps = keys((torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / scale)
        return torch.outer(taps, taps) / taps.sum() ** 2
    if name in GAUSSIANS:
        across, along, angle = GAUSSIANS[name]
        return gaussian(size, across * enlarged, along * enlarged, angle)
    if name == "disk":
        return disk(2.5 * enlarged, size)
    if kernels is None:
        sys.exit(f"the kernel {name} is read from a file; give --kernels, the folder of it")
    return kernel_of_file(kernels / f"{name}.npy")


def disk(radius: float, size: int) -> torch.Tensor:
    """Return the kernel (size, size) of a lens out of focus."""
    offsets = (torch.arange(size * SUBPIXELS, dtype=torch.float64) + 0.5) / SUBPIXELS - size / 2
    inside = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).double()
    kernel = inside.view(size, SUBPIXELS, size, SUBPIXELS).sum((1, 3))
    return kernel / kernel.sum()


def kernel_of_file(path: Path) -> torch.Tensor:
    """Read a kernel, and return it centred, with an even size and the sum 1."""
    kernel = np.pad(np.load(path).astype(float), 4)
    odd_size = kernel.shape[0] + 1 - kernel.shape[0] % 2
    kernel = np.pad(kernel, ((0, odd_size + 1 - kernel.shape[0]),) * 2)
    middle = (kernel.shape[0] - 1) / 2
    centred = scipy.ndimage.shift(kernel, middle - np.array(scipy.ndimage.center_of_mass(kernel)), order=1)
    return torch.from_numpy(centred / centred.sum())


def find_photographs(folder: Path) -> list[Path]:
    """Return the image files of a folder and its sub-folders, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in listing.SUFFIXES)


def read_cropped(path: Path, scale: int) -> torch.Tensor:
    """Read an image (C, H, W) in [0, 1], cropped at the bottom and right to multiples of the scale."""
    hr = to_tensor(images.read(path).pixels)
    return hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]


def write(image: torch.Tensor, path: Path) -> None:
    """Write an image (C, H, W) in [0, 1] as an 8-bit PNG file."""
    path.write_bytes(writing.encode(images.Image(quantise(image, np.dtype(np.uint8))), ".png"))


def prepare(photographs: Path, case: Case) -> None:
    """Make the images of a case, unless they exist."""
    if (case.folder / "ready").exists():
        return
    for side in (case.hr, case.lr, case.withheld):
        side.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(find_photographs(photographs)):
        hr = read_cropped(path, case.scale)
        file = f"{number:03d}_{path.stem}.png"
        if number % 2 == 0:
            write(hr, case.hr / file)
            continue
        lr = blur_decimate(hr[None], case.kernel[None].float(), case.scale)[0].clamp(0, 1)
        write(hr, case.withheld / file)
        write(lr, case.lr / file)
    (case.folder / "ready").touch()


def score(model: checkpoint.Checkpoint, hr: Path, lr: Path) -> float:
    """Return the mean luma PSNR, with 8 LR px left out at each edge.

    `degsynth evaluate` cannot be used here, because it takes strong motion blur for a misalignment.
    """
    values = []
    with torch.inference_mode():
        for path in sorted(lr.iterdir()):
            sharp, real = (to_tensor(images.read(side / path.name).pixels) for side in (hr, lr))
            degraded = render(Degradation(model, Noise(learned=False)), sharp, Identity(0, path.name))
            values.append(metrics.psnr(*(crop_border(luma(image), 8) for image in (degraded, real))))
    return sum(values) / len(values)


def row(task: tuple[Case, str]) -> list[str]:
    """Fit a method to the images of a case, and return its row of the table."""
    case, method = task
    base, *values = METHODS[method]
    options = [part for value in values for part in ("--set", value)]
    made = "--scale", case.scale, "--left-out", 0, "--tone", "none"  # by a program, which blurred levels
    run = fit(case.folder / method, (case.hr, case.lr), base, *made, *options)
    model = checkpoint.load(run / "checkpoint.pt")
    psnr = score(model, case.withheld, case.lr)
    record = json.loads((run / "fit.json").read_text())
    with torch.inference_mode():
        kernel = effective_kernel(model).kernel
    along, across, angle = gaussian_shape(kernel)
    true_along, true_across, true_angle = gaussian_shape(case.kernel)
    angle_error = math.degrees(abs((angle - true_angle + math.pi / 2) % math.pi - math.pi / 2))
    is_gaussian = case.name in GAUSSIANS
    width_errors = f"{100 * (along / true_along - 1):+.0f}, {100 * (across / true_across - 1):+.0f}"
    print(f"x{case.scale} {case.name} {method}: done", file=sys.stderr, flush=True)
    return [
        f"×{case.scale} {case.name}",
        method,
        f"{psnr:.2f}",
        f"{similarity(case.kernel, kernel):.4f}",
        width_errors if is_gaussian else "",
        f"{angle_error:.0f}" if is_gaussian and true_along > 1.2 * true_across else "",
        f"{math.hypot(*centroid(kernel)):.3f}",
        f"{sum(record['seconds'].values()):.0f}",
    ]


def prepared_cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Yield all cases, with their images made."""
    for scale in (int(text) for text in arguments.scales.split(",")):
        for name in arguments.truths.split(","):
            kernel = known_kernel(name, scale, arguments.kernels)
            case = Case(name, scale, kernel, arguments.out / f"x{scale}_{name}")
            prepare(arguments.photos, case)
            yield case


def main() -> None:
    """Make the images, fit the methods, score them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of sharp photographs")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--kernels", type=Path, help="folder of .npy kernels")
    parser.add_argument("--scales", default="2,4", help="scales (default: 2,4)")
    parser.add_argument("--truths", default="k0,k1,k2,k3,k4", help="known kernels (default: k0,k1,k2,k3,k4)")
    parser.add_argument("--methods", default="bicubic-guided,lfl,adl,spectral", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--jobs", type=int, default=2, help="number of fits at a time, one thread each (default: 2)")
    arguments = parser.parse_args()
    begin(arguments.out, photos=arguments.photos)
    torch.set_num_threads(1)
    tasks = [(case, method) for case in prepared_cases(arguments) for method in arguments.methods.split(",")]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(row, tasks))
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()

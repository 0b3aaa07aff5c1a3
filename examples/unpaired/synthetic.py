"""Unpaired methods on blurs that are known: how near is the kernel that comes out to the one that went in.

Usage: python examples/unpaired/synthetic.py PHOTOS OUT [--kernels DIR] [--scales 2,4] [--truths k0,k1,...] [--jobs N]

Splits the photographs of a folder (sub-folders included) by name into two halves without a common scene: one is the HR
set, the other is blurred, decimated and rounded to 8 bits, and is the LR set. Scores every method on the second half,
whose HR no fit sees: PSNR of LR, similarity of kernels, widths, angle and centroid. k0 is bicubic, k1 and k2 are
isotropic, k3 and k4 anisotropic Gaussians (adl, Table 1); at scale 4 they are twice as large. ``disk`` (radius 2.5 HR
px) and the kernels of --kernels, ``.npy`` files named by their stem, are not in the default family of `spectral`.
"""

import argparse
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import numpy as np
import scipy.ndimage
import torch
from experiment import begin, fit, markdown

from degsynth.data import images
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
GAUSSIANS = {"k1": (1.0, 1.0, 0.0), "k2": (1.6, 1.6, 0.0), "k3": (0.8, 1.6, 0.6), "k4": (1.0, 2.4, 2.2)}
"""σ across and along (HR px at scale 2), angle of along (radians)."""
FINE = 16
"""Parts of a pixel that a disk is drawn by."""


def truth(name: str, scale: int, kernels: Path | None) -> torch.Tensor:
    """A kernel (K, K), centred, of sum 1."""
    size, grown = 20 * scale // 2, scale / 2
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    if name == "k0":
        taps = keys(at / scale)
        return torch.outer(taps, taps) / taps.sum() ** 2
    if name in GAUSSIANS:
        across, along, angle = GAUSSIANS[name]
        return gaussian(size, across * grown, along * grown, angle)
    if name == "disk":
        fine = (torch.arange(size * FINE, dtype=torch.float64) + 0.5) / FINE - size / 2
        inside = (fine[:, None] ** 2 + fine[None, :] ** 2 <= (2.5 * grown) ** 2).double()
        disk = inside.view(size, FINE, size, FINE).sum((1, 3))
        return disk / disk.sum()
    if kernels is None:
        sys.exit(f"{name} is a kernel of a file: give --kernels")
    kernel = np.pad(np.load(kernels / f"{name}.npy").astype(float), 4)
    wide = kernel.shape[0] + 1 - kernel.shape[0] % 2  # odd, so that one more row makes it even
    kernel = np.pad(kernel, ((0, wide + 1 - kernel.shape[0]),) * 2)
    middle = (kernel.shape[0] - 1) / 2
    moved = scipy.ndimage.shift(kernel, middle - np.array(scipy.ndimage.center_of_mass(kernel)), order=1)
    return torch.from_numpy(moved / moved.sum())


def write(image: torch.Tensor, path: Path) -> None:
    """An 8-bit PNG of an image (C, H, W) in [0, 1]."""
    path.write_bytes(images.encode(images.Image(quantise(image, np.dtype(np.uint8))), ".png"))


def prepare(photos: Path, scale: int, name: str, kernel: torch.Tensor, folder: Path) -> tuple[Path, Path, Path]:
    """Folders of HR, of LR of other scenes, and of these scenes' HR."""
    places = folder / "HR", folder / "LR", folder / "withheld"
    if (folder / "ready").exists():
        return places
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    for number, path in enumerate(found):
        hr = to_tensor(images.read(path).pixels)
        hr = hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]
        stem = f"{number:03d}_{path.stem}"
        if number % 2 == 0:
            write(hr, places[0] / f"{stem}.png")
            continue
        lr = blur_decimate(hr[None], kernel[None].float(), scale)[0].clamp(0, 1)
        write(hr, places[2] / f"{stem}.png")
        write(lr, places[1] / f"{stem}.png")
    (folder / "ready").touch()
    return places


def score(model: checkpoint.Checkpoint, hr: Path, lr: Path) -> float:
    """Mean luma PSNR, 8 LR px left out at each edge. (`evaluate` takes what motion blur does for a misalignment.)"""
    found = []
    with torch.inference_mode():
        for path in sorted(lr.iterdir()):
            sharp, real = (to_tensor(images.read(side / path.name).pixels) for side in (hr, lr))
            made = render(Degradation(model, Noise(learned=False)), sharp, Identity(0, path.name))
            found.append(metrics.psnr(*(crop_border(luma(image), 8) for image in (made, real))))
    return sum(found) / len(found)


def row(
    scale: int, name: str, method: str, kernel: torch.Tensor, places: tuple[Path, Path, Path], run: Path
) -> list[str]:
    """Fit, and what is told of it."""
    base, *values = METHODS[method]
    sets = [part for value in values for part in ("--set", value)]
    fit(run, (places[0], places[1]), base, "--scale", scale, *sets)
    model = run / "checkpoint.pt"
    loaded = checkpoint.load(model)
    psnr = score(loaded, places[2], places[1])
    record = json.loads((run / "fit.json").read_text())
    with torch.inference_mode():
        made = effective_kernel(loaded).kernel
    along, across, angle = gaussian_shape(made)
    wanted = gaussian_shape(kernel)
    turned = math.degrees(abs((angle - wanted[2] + math.pi / 2) % math.pi - math.pi / 2))
    has_angle = wanted[0] > 1.2 * wanted[1] and name in GAUSSIANS
    y, x = centroid(made)
    print(f"x{scale} {name} {method}: done", file=sys.stderr, flush=True)
    return [
        f"×{scale} {name}",
        method,
        f"{psnr:.2f}",
        f"{similarity(kernel, made):.4f}",
        f"{100 * (along / wanted[0] - 1):+.0f}, {100 * (across / wanted[1] - 1):+.0f}" if name in GAUSSIANS else "",
        f"{turned:.0f}" if has_angle else "",
        f"{math.hypot(y, x):.3f}",
        f"{sum(record['seconds'].values()):.0f}",
    ]


def main() -> None:
    """Make, fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--kernels", type=Path, help="folder of .npy kernels")
    parser.add_argument("--scales", default="2,4")
    parser.add_argument("--truths", default="k0,k1,k2,k3,k4")
    parser.add_argument("--methods", default="bicubic-guided,lfl,adl,spectral")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    given = parser.parse_args()
    begin(given.out, photos=given.photos)
    methods = given.methods.split(",")
    torch.set_num_threads(1)
    work = []
    for scale in (int(text) for text in given.scales.split(",")):
        for name in given.truths.split(","):
            kernel = truth(name, scale, given.kernels)
            places = prepare(given.photos, scale, name, kernel, given.out / f"x{scale}_{name}")
            for method in methods:
                run = given.out / f"x{scale}_{name}" / method
                work.append((scale, name, method, kernel, places, run))
    with ThreadPoolExecutor(given.jobs) as pool:
        rows = list(pool.map(lambda task: row(*task), work))
    header = [
        "",
        "method",
        "LR PSNR, dB",
        "similarity",
        "σ along, across: error, %",
        "angle: error, °",
        "centroid, px",
        "s",
    ]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()

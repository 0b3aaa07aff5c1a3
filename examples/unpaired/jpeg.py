"""Unpaired methods on LR images that are JPEG files: does what they make have the same noise, blocks and quality?

Usage: python examples/unpaired/jpeg.py PHOTOS OUT [--methods spectral,pdm] [--sigma 4] [--quality 85]

Splits the photographs of a folder (sub-folders included) by name into two halves without a common scene. One half is
the HR set; the other is blurred by a Gaussian of σ 1.6 HR px, decimated by 2, gets white noise and is saved as JPEG
files (4:2:0), and is the LR set. The model is then applied, with its defaults, to the HR images of the LR set, which no
fit sees.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import numpy as np
import torch
from experiment import begin, degsynth, fit, markdown
from synthetic import find_photographs, read_cropped, write

from degsynth.data import compression, images
from degsynth.data.images import quantise, to_tensor
from degsynth.ops.blockiness import blockiness
from degsynth.ops.blur import blur_decimate
from degsynth.ops.compression import at_quality
from degsynth.ops.kernels import gaussian
from degsynth.ops.resample import luma

BLUR = gaussian(20, 1.6, 1.6, 0.0)[None].float()
BLOCK = 8
"""Side of the blocks in which noise is measured, LR px."""
FLATTEST = 0.05
"""Share of the blocks in which it is: those whose clean LR varies least."""
HEADER = ["", "σ in flat places, of 255", "blockiness", "quality in the files"]


def prepare(arguments: argparse.Namespace) -> None:
    """Make the images, unless they exist."""
    folders = [arguments.out / name for name in ("HR", "LR", "withheld")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    for number, path in enumerate(find_photographs(arguments.photos)):
        hr = read_cropped(path, 2)
        if number % 2 == 0:
            write(hr, folders[0] / f"{number:03d}.png")
            continue
        noise = torch.randn(hr.shape[0], hr.shape[1] // 2, hr.shape[2] // 2, generator=torch.manual_seed(number))
        lr = quantise(blur_decimate(hr[None], BLUR, 2)[0] + arguments.sigma / 255 * noise, np.dtype(np.uint8))
        (folders[1] / f"{number:03d}.jpg").write_bytes(compression.encode(lr, at_quality(arguments.quality)))
        write(hr, folders[2] / f"{number:03d}.png")


def row(name: str, lr: Path, withheld: Path) -> list[str]:
    """Return the figures of the LR images in a folder, given the HR images of their scenes.

    σ is that of RGB without the mean of each block. The blocks are chosen by the clean LR, so that they are the same
    for all LR images.
    """
    paths = sorted(lr.iterdir())
    spread, variances = [], []
    for path in paths:
        clean = blur_decimate(to_tensor(images.read(withheld / f"{path.stem}.png").pixels)[None], BLUR, 2)[0]
        spread.append(in_blocks(clean).var((0, 2)))
        variances.append(in_blocks(to_tensor(images.read(path).pixels)).var(2).mean(0))
    flat = torch.cat(spread).argsort()[: int(FLATTEST * sum(map(len, spread)))]
    sigma = 255 * float(torch.cat(variances)[flat].mean()) ** 0.5
    blocks = [blockiness(luma(to_tensor(images.read(path).pixels))[0]) for path in paths]
    qualities = [stored.compression.quality() for stored in compression.read_files(paths) if stored is not None]
    figures = (sigma, sum(blocks) / len(blocks), sum(qualities) / len(qualities))
    return [name, *(f"{figure:.2f}" for figure in figures)]


def in_blocks(image: torch.Tensor) -> torch.Tensor:
    """Cut an image (C, H, W) into blocks (C, N, pixels)."""
    blocks = image.unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK)
    return blocks.reshape(len(image), -1, BLOCK * BLOCK)


def made(method: str, out: Path) -> list[str]:
    """Fit a method, apply the model with its defaults, and return the figures of what it makes."""
    made_by_a_program = "--tone", "none", "--left-out", 0  # which blurred levels, and left nothing out
    run = fit(out / method, (out / "HR", out / "LR"), method, "--scale", 2, *made_by_a_program)
    trainset = out / f"{method}_set"
    if not (trainset / "manifest.jsonl").is_file():
        degsynth("apply", run, out / "withheld", trainset, "--jpeg-files")
    return row(method, trainset / "lr", out / "withheld")


def main() -> None:
    """Make the images, fit the methods, and print the figures of real LR images and of those that models make."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of sharp photographs")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--methods", default="spectral,pdm", help="what is fitted (default: spectral,pdm)")
    parser.add_argument("--sigma", type=float, default=4.0, help="σ of the noise, of 255 (default: 4)")
    parser.add_argument("--quality", type=int, default=85, help="quality of libjpeg (default: 85)")
    arguments = parser.parse_args()
    begin(arguments.out, photos=arguments.photos, sigma=arguments.sigma, quality=arguments.quality)
    torch.set_num_threads(1)
    prepare(arguments)
    real = row("real", arguments.out / "LR", arguments.out / "withheld")
    print(markdown(HEADER, [real, *(made(method, arguments.out) for method in arguments.methods.split(","))]))


if __name__ == "__main__":
    main()

"""Is the noise that `pdm` learns from noisy photographs alone the camera's: held against means of many shots.

Usage: python examples/unpaired/real_noise.py HR NOISY MEAN OUT

NOISY and MEAN have images of the same names: one shot, and the mean of many, which no fit sees. Names are
``CAMERA_..._NUMBER``; images of one camera and setting, what stands before the last underscore, are fitted together,
against any folder of HR images; cut into quarters, so that what a fit holds out is not one of very few. In blocks of 12
px without mean and slopes, what a shot differs from the mean by is compared with what the model draws for the mean:
σ in ten ranges of brightness, and correlation of neighbours.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import torch
from experiment import begin, fit, markdown
from synthetic import write

from degsynth.data import images
from degsynth.data.images import to_tensor
from degsynth.model import checkpoint
from degsynth.ops.grain import BLOCK, plane_free

RANGES = 10
RARE = 0.01
"""Ranges of brightness with a smaller share of the pixels are left out."""
CLOSE = 0.25


def statistics(noise: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of noise (C, H, W) on a mean image: Σ of variances and count by brightness, (RANGES,); products and squares."""
    step = BLOCK // 2
    blocks, levels = (image.unfold(1, BLOCK, step).unfold(2, BLOCK, step) for image in (noise, mean))
    flat = blocks.reshape(-1, BLOCK**2) @ plane_free().float()
    level = levels.reshape(-1, BLOCK**2).mean(1)
    which = (level * RANGES).long().clamp(0, RANGES - 1)
    energy = torch.zeros(RANGES).index_add(0, which, flat.square().sum(1) / (BLOCK**2 - 3))
    square = flat.view(-1, BLOCK, BLOCK)
    beside = (square[:, :, 1:] * square[:, :, :-1]).mean() / 2 + (square[:, 1:] * square[:, :-1]).mean() / 2
    return energy, torch.bincount(which, minlength=RANGES).float(), torch.stack([beside, square.square().mean()])


def row(name: str, paths: list[Path], given: argparse.Namespace) -> list[str]:
    """Fit one camera and setting, and compare."""
    folder = given.out / name
    (folder / "LR").mkdir(parents=True, exist_ok=True)
    for path in paths:
        image = to_tensor(images.read(path).pixels)
        halves = [half for strip in image.tensor_split(2, 1) for half in strip.tensor_split(2, 2)]
        for number, part in enumerate(halves):
            write(part, folder / "LR" / f"{path.stem}_{number}.png")
    fit(folder / "run", (given.hr, folder / "LR"), "pdm", "--scale", 2, "--set", "imitation=50")
    model = checkpoint.load(folder / "run" / "checkpoint.pt")
    if not model.spec.has_noise:
        return [name, str(len(paths)), "none found", "", "", "", ""]
    sums = []
    for whose in ("real", "drawn"):
        found = []
        for number, path in enumerate(paths):
            shot, mean = (to_tensor(images.read(side / path.name).pixels) for side in (given.noisy, given.mean))
            if whose == "drawn":
                height, width = mean.shape[1:]
                field = model.degrader.field(number, 0, 0, height, width, 3)
                with torch.inference_mode():
                    noise = model.degrader.noise(mean[None], model.degrader.draw(number), field)[0]
                shot = (255 * (mean + noise).clamp(0, 1)).round() / 255
            found.append(statistics(shot - mean, mean))
        sums.append([sum(column) for column in zip(*found, strict=True)])
    (energy, count, lags), (made, _, made_lags) = sums
    used = count > RARE * count.sum()
    ratio = (made / energy)[used].sqrt()
    close = float(count[used][(ratio - 1).abs() <= CLOSE].sum() / count[used].sum())
    sigma = 255 * (energy / count)[used].sqrt()
    return [
        name,
        str(len(paths)),
        f"{float(sigma.min()):.1f}-{float(sigma.max()):.1f}",
        " ".join(f"{float(value):.2f}" for value in ratio),
        f"{100 * close:.0f} %",
        f"{float(made_lags[0] / made_lags[1]):.2f}",
        f"{float(lags[0] / lags[1]):.2f}",
    ]


def main() -> None:
    """Fit, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("hr", "noisy", "mean", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    begin(given.out, hr=given.hr, noisy=given.noisy, mean=given.mean)
    torch.set_num_threads(1)
    groups: dict[str, list[Path]] = {}
    for path in sorted(given.noisy.iterdir()):
        if path.suffix.lower() in images.SUFFIXES:
            groups.setdefault(path.stem.rpartition("_")[0], []).append(path)
    rows = [row(name, paths, given) for name, paths in groups.items() if len(paths) > 1]
    header = ["", "images", "real σ", "drawn σ / real σ, dark to bright", "within 25 %", "lag 1, drawn", "lag 1, real"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()

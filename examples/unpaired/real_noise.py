"""Is the noise that `pdm` learns from noisy photographs the noise of the camera? A comparison with means of many shots.

Usage: python examples/unpaired/real_noise.py HR NOISY MEAN OUT

NOISY and MEAN have images of the same names: single shots, and the means of many shots, which no fit sees. Names are
``CAMERA_..._NUMBER``. Images of one camera and setting, which is the part before the last underscore, are fitted
together, against any folder of HR images. They are cut into quarters, so that the images that a fit holds out are not
a large part of all.

The noise of a shot is its difference from the mean. It is compared with the noise that the model draws for the mean,
in blocks of 12×12 px without their means and slopes: by σ in ten ranges of brightness, and by the correlation of
neighbouring pixels.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

import torch
from experiment import begin, fit, markdown
from synthetic import write

from degsynth.data import images, listing
from degsynth.data.images import to_tensor
from degsynth.model import checkpoint
from degsynth.ops.grain_measurement import BLOCK, plane_projection

RANGES = 10
"""Number of ranges of brightness."""
RARE = 0.01
"""Ranges of brightness with a smaller share of the pixels than this are left out."""
CLOSE = 0.25
"""A drawn σ counts as close if it differs from the real one by at most this share."""
HEADER = ["", "images", "real σ", "drawn σ / real σ, dark to bright", "within 25 %", "lag 1, drawn", "lag 1, real"]


@dataclass(frozen=True)
class Statistics:
    """Sums over blocks of noise, from which σ and correlations follow."""

    variances: torch.Tensor
    """(RANGES,) the sum of the variances of the blocks in each range of brightness."""
    counts: torch.Tensor
    """(RANGES,) the number of blocks in each range of brightness."""
    products: torch.Tensor
    """Mean product of neighbouring pixels."""
    squares: torch.Tensor
    """Mean square of the pixels."""

    def __add__(self, other: "Statistics") -> "Statistics":
        """Return the statistics of both together."""
        return Statistics(
            self.variances + other.variances,
            self.counts + other.counts,
            self.products + other.products,
            self.squares + other.squares,
        )

    def lag_1(self) -> float:
        """Return the correlation of neighbouring pixels."""
        return float(self.products / self.squares)


NOTHING = Statistics(torch.zeros(RANGES), torch.zeros(RANGES), torch.zeros(()), torch.zeros(()))


def measure(noise: torch.Tensor, mean: torch.Tensor) -> Statistics:
    """Measure the noise (C, H, W) of an image whose mean over many shots is ``mean``."""
    step = BLOCK // 2
    blocks, levels = (image.unfold(1, BLOCK, step).unfold(2, BLOCK, step) for image in (noise, mean))
    flat = blocks.reshape(-1, BLOCK**2) @ plane_projection().float()
    level = levels.reshape(-1, BLOCK**2).mean(1)
    brightness = (level * RANGES).long().clamp(0, RANGES - 1)
    variances = torch.zeros(RANGES).index_add(0, brightness, flat.square().sum(1) / (BLOCK**2 - 3))
    counts = torch.bincount(brightness, minlength=RANGES).float()
    square = flat.view(-1, BLOCK, BLOCK)
    products = (square[:, :, 1:] * square[:, :, :-1]).mean() / 2 + (square[:, 1:] * square[:, :-1]).mean() / 2
    return Statistics(variances, counts, products, square.square().mean())


def with_drawn_noise(model: checkpoint.Checkpoint, mean: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the mean (C, H, W) with noise that the model draws, rounded to 8 bits."""
    _, height, width = mean.shape
    field = model.degrader.field(seed, 0, 0, height, width, 3)
    with torch.inference_mode():
        noise = model.degrader.noise(mean[None], model.degrader.draw(seed), field)[0]
    return (255 * (mean + noise).clamp(0, 1)).round() / 255


def write_quarters(paths: list[Path], folder: Path) -> None:
    """Write the four quarters of every image into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        image = to_tensor(images.read(path).pixels)
        quarters = [quarter for half in image.tensor_split(2, 1) for quarter in half.tensor_split(2, 2)]
        for number, quarter in enumerate(quarters):
            write(quarter, folder / f"{path.stem}_{number}.png")


def row(name: str, paths: list[Path], arguments: argparse.Namespace) -> list[str]:
    """Fit a model to the shots of one camera and setting, and return the row of its noise."""
    folder = arguments.out / name
    write_quarters(paths, folder / "LR")
    fit(folder / "run", (arguments.hr, folder / "LR"), "pdm", "--scale", 2, "--left-out", 0, "--set", "imitation=50")
    model = checkpoint.load(folder / "run" / "checkpoint.pt")
    if not model.spec.has_noise:
        return [name, str(len(paths)), "no noise learnt", "", "", "", ""]
    real, drawn = NOTHING, NOTHING
    for number, path in enumerate(paths):
        shot, mean = (to_tensor(images.read(side / path.name).pixels) for side in (arguments.noisy, arguments.mean))
        real += measure(shot - mean, mean)
        drawn += measure(with_drawn_noise(model, mean, number) - mean, mean)
    used = real.counts > RARE * real.counts.sum()
    ratio = (drawn.variances / real.variances)[used].sqrt()
    close = float(real.counts[used][(ratio - 1).abs() <= CLOSE].sum() / real.counts[used].sum())
    sigma = 255 * (real.variances / real.counts)[used].sqrt()
    return [
        name,
        str(len(paths)),
        f"{float(sigma.min()):.1f}-{float(sigma.max()):.1f}",
        " ".join(f"{float(value):.2f}" for value in ratio),
        f"{100 * close:.0f} %",
        f"{drawn.lag_1():.2f}",
        f"{real.lag_1():.2f}",
    ]


def main() -> None:
    """Fit a model to each camera and setting, compare its noise with the real one, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hr", type=Path, help="folder of sharp photographs")
    parser.add_argument("noisy", type=Path, help="folder of single shots")
    parser.add_argument("mean", type=Path, help="folder of the means of many shots, under the same names")
    parser.add_argument("out", type=Path, help="folder to write into")
    arguments = parser.parse_args()
    begin(arguments.out, hr=arguments.hr, noisy=arguments.noisy, mean=arguments.mean)
    torch.set_num_threads(1)
    groups: dict[str, list[Path]] = {}
    for path in sorted(arguments.noisy.iterdir()):
        if path.suffix.lower() in listing.SUFFIXES:
            groups.setdefault(path.stem.rpartition("_")[0], []).append(path)
    print(markdown(HEADER, [row(name, paths, arguments) for name, paths in groups.items() if len(paths) > 1]))


if __name__ == "__main__":
    main()

"""From pairs to a training set, in Python: fit a model, test it, apply it.

Usage: python examples/paired_quickstart.py OUT

The pairs are made from one photograph and a known blur, so that the script runs without any data. For your own pairs,
give `hr` and `lr` of the options as two folders whose files have the same names.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from skimage import data

import degsynth
from degsynth import apply, fit
from degsynth.data import images, writing
from degsynth.evaluation import selftest
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian, similarity


def make_pairs(folder: Path, kernel: torch.Tensor) -> None:
    """Write six tiles of a photograph as HR images, and what a camera with this blur would make of them at scale 2."""
    photograph = data.astronaut()
    for number in range(6):
        top, left = 170 * (number // 3), 170 * (number % 3)
        hr = images.to_tensor(np.ascontiguousarray(photograph[top : top + 170, left : left + 170]))
        lr = blur_decimate(hr[None], kernel[None].float(), scale=2)[0]
        for side, image in (("HR", hr), ("LR", lr)):
            path = folder / side / f"tile{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(writing.encode(images.Image(images.quantise(image, np.dtype(np.uint8))), ".png"))


def main() -> None:
    """Make pairs, fit a model to them, test it, and apply it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make")
    out = parser.parse_args().out
    true_kernel = gaussian(size=12, sigma_y=0.9, sigma_x=1.4, angle=0.5)
    make_pairs(out / "pairs", true_kernel)

    options = fit.FitOptions(method="linear", hr=str(out / "pairs/HR"), lr=str(out / "pairs/LR"))
    record = fit.run(options, {"kernel_size": 12}, out / "run")
    model = degsynth.load(str(out / "run"))
    kernel = model.degrader.optics.kernels[0]
    print(f"similarity of the fitted kernel to the true one: {similarity(kernel, true_kernel):.4f}")
    scores = record["held_out"]["mean"]
    print(f"held-out PSNR: {scores['model']['psnr_y']:.1f} dB, bicubic {scores['bicubic']['psnr_y']:.1f} dB")

    checks = selftest.require(model)
    print(f"self-test: all {len(checks)} checks passed")

    noise = degsynth.Noise(awgn=degsynth.Interval(2.0, 5.0))
    summary = apply.run(model, out / "pairs/HR", out / "trainset", apply.Options(noise=noise))
    print(f"training set: {summary.done} pairs in {out / 'trainset'}")


if __name__ == "__main__":
    main()

"""The line from pairs to a training set, from Python: fit, prove, apply.

Usage: python examples/paired_quickstart.py OUT

The pairs are made here from one photograph and one known blur, so that the script runs anywhere; with your own, point
`hr` and `lr` at two folders whose files have the same names.
"""

import sys
from pathlib import Path

import numpy as np
from skimage import data

from degsynth import apply, fit
from degsynth.config import Interval
from degsynth.data import images
from degsynth.evaluation import selftest
from degsynth.model import checkpoint
from degsynth.model.degradation import Noise
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian, similarity

out = Path(sys.argv[1])
truth = gaussian(size=12, sigma_y=0.9, sigma_x=1.4, angle=0.5)

# Six tiles of a photograph, and what a camera with this blur would make of them at half the size.
photo = data.astronaut()
for number in range(6):
    top, left = 170 * (number // 3), 170 * (number % 3)
    hr = images.to_tensor(np.ascontiguousarray(photo[top : top + 170, left : left + 170]))
    lr = blur_decimate(hr[None], truth[None].float(), scale=2)[0]
    for side, picture in (("HR", hr), ("LR", lr)):
        path = out / "pairs" / side / f"tile{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode(images.Image(images.quantise(picture, np.dtype(np.uint8))), ".png"))

options = fit.FitOptions(method="linear", hr=str(out / "pairs/HR"), lr=str(out / "pairs/LR"))
record = fit.run(options, {"kernel_size": 12}, out / "run")
model = checkpoint.load(out / "run/checkpoint.pt")
found = model.degrader.optics.kernels[0]
print(f"similarity of the fitted kernel to the true one: {similarity(found, truth):.4f}")
print(
    f"held-out PSNR: {record['held_out']['mean']['model']['psnr_y']:.1f} dB, "
    f"bicubic {record['held_out']['mean']['bicubic']['psnr_y']:.1f} dB"
)

results = selftest.require(model)
print(f"self-test: {len(results)} of {len(results)} known answers given")

summary = apply.run(model, out / "pairs/HR", out / "trainset", apply.Options(noise=Noise(awgn=Interval(2.0, 5.0))))
print(f"training set: {summary.done} pairs in {out / 'trainset'}")

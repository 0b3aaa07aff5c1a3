"""All paired methods on the same pairs: how near they come, how long they take, how large they are.

Usage: python examples/paired_methods/run.py HR LR OUT [--steps N] [--held-out N] [--jobs N] [--methods a,b,c]

Fits every method, with its default preset, to all scenes but the last by name, scores it on those, and prints the
result as Markdown. With --steps, all methods that learn by steps get this number of them; without it, as many as their
presets have. Every fit uses one thread. Run again after an interruption, the script goes on where it stopped.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import begin, degsynth, fit, markdown, split

METHODS = ("dml", "directkpn", "directnet", "abl", "linear")
HEADER = ["", "PSNR Y, dB", "SSIM Y", "L1 Y", "fit, min", "parameters", "CPU ms per HR megapixel"]


def milliseconds(model: Path, hr: Path) -> float:
    """Measure the CPU milliseconds of a model for an HR megapixel: all channels, one thread, the best of two passes."""
    import torch

    from degsynth import Degradation, Identity, Noise, render
    from degsynth.data import images
    from degsynth.model import checkpoint

    torch.set_num_threads(1)
    degradation = Degradation(checkpoint.load(model), Noise(learned=False))
    scale = degradation.model.spec.scale
    shots = [images.to_tensor(images.read(path).pixels) for path in sorted(hr.iterdir())[:4]]
    seconds = []
    with torch.inference_mode():
        for _ in range(3):  # the first pass compiles the model
            begun = time.process_time()
            for shot in shots:
                render(degradation, shot[:, : shot.shape[1] // scale * scale, :], Identity(0, ""))
            seconds.append(time.process_time() - begun)
    return 1000 * min(seconds[1:]) / (sum(shot.shape[1] * shot.shape[2] for shot in shots) / 1e6)


def row(name: str, run: Path, scores: dict[str, dict[str, float]], hr: Path) -> list[str]:
    """Return the row of one method."""
    record = json.loads((run / "fit.json").read_text())
    figures, report = scores["model"], record["report"]
    parameters = report.get("parameters", report["kernel_size"] ** 2 if "kernel_size" in report else 0)
    return [
        f"`{name}`",
        f"{figures['psnr_y']:.2f}",
        f"{figures['ssim_y']:.4f}",
        f"{figures['l1_y']:.4f}",
        f"{sum(record['seconds'].values()) / 60:.1f}",
        f"{parameters:,}".replace(",", " "),
        f"{milliseconds(run / 'checkpoint.pt', hr):.0f}",
    ]


def fit_method(out: Path, pairs: tuple[Path, Path], steps: int | None, name: str) -> None:
    """Fit one method; ``steps`` None is the number of its preset."""
    budget = [] if steps is None or name == "linear" else ["--steps", steps]
    fit(out / name, pairs, name, *budget)
    print(f"{name}: fitted", file=sys.stderr)


def main() -> None:
    """Fit the methods, score them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hr", type=Path, help="folder of HR images")
    parser.add_argument("lr", type=Path, help="folder of LR images")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--steps", type=int, help="training steps of every method that learns by steps; unset: its own")
    parser.add_argument("--held-out", type=int, default=8, help="number of scenes to score on, the last by name")
    parser.add_argument("--jobs", type=int, default=2, help="number of fits at a time, one thread each (default: 2)")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"methods to fit (default: {','.join(METHODS)})")
    arguments = parser.parse_args()
    out, steps = arguments.out, arguments.steps
    begin(out, hr=arguments.hr, lr=arguments.lr, steps=steps, held_out=arguments.held_out)
    pairs = split(arguments.hr, arguments.lr, arguments.held_out, out / "pairs")
    names = arguments.methods.split(",")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(partial(fit_method, out, pairs["fit"], steps), names))
    rows = []
    hr, lr = pairs["test"]
    for name in names:
        scores = json.loads(degsynth("evaluate", out / name, "--hr", hr, "--lr", lr, "--json"))["mean"]
        rows.append(row(name, out / name, scores, hr))
    bicubic = scores["bicubic"]
    rows.append(
        ["bicubic", f"{bicubic['psnr_y']:.2f}", f"{bicubic['ssim_y']:.4f}", f"{bicubic['l1_y']:.4f}", "", "", ""]
    )
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()

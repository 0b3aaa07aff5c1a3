"""All paired methods on the same pairs: how near they come, how long they take, how large they are.

Usage: python examples/paired_methods/run.py HR LR OUT [--steps N] [--held-out N] [--jobs N] [--methods a,b,c]

Fits every method, with its default preset, to all scenes but the last by name, scores it on those, and prints Markdown.
Methods that learn by steps all have --steps of them; without it, as many as their presets say. Fits use one thread
each. A stopped experiment goes on where it was.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import begin, degsynth, fit, markdown, split

METHODS = ("dml", "directkpn", "directnet", "abl", "linear")


def milliseconds(model: Path, hr: Path) -> float:
    """CPU milliseconds that a model takes for a megapixel of HR, all channels, one thread; the least of two passes."""
    import torch

    from degsynth.data import images
    from degsynth.model import checkpoint
    from degsynth.model.degradation import Degradation, Noise
from degsynth.model.render import render
from degsynth.seeds import Identity

    torch.set_num_threads(1)
    loaded = checkpoint.load(model)
    shots = [images.to_tensor(images.read(path).pixels) for path in sorted(hr.iterdir())[:4]]
    taken = []
    with torch.inference_mode():
        for _ in range(3):  # the first of them compiles
            begun = time.process_time()
            for shot in shots:
                scale = loaded.spec.scale
                render(Degradation(loaded), shot[:, : shot.shape[1] // scale * scale, :], Identity(0, ""))
            taken.append(time.process_time() - begun)
    return 1000 * min(taken[1:]) / (sum(shot.shape[1] * shot.shape[2] for shot in shots) / 1e6)


def row(name: str, run: Path, scores: dict[str, dict[str, float]], hr: Path) -> list[str]:
    """What is told of one method."""
    record = json.loads((run / "fit.json").read_text())
    figures, report = scores["model"], record["report"]
    size = report.get("parameters", report["kernel_size"] ** 2 if "kernel_size" in report else 0)
    return [
        f"`{name}`",
        f"{figures['psnr_y']:.2f}",
        f"{figures['ssim_y']:.4f}",
        f"{figures['l1_y']:.4f}",
        f"{sum(record['seconds'].values()) / 60:.1f}",
        f"{size:,}".replace(",", " "),
        f"{milliseconds(run / 'checkpoint.pt', hr):.0f}",
    ]


def main() -> None:
    """Fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("hr", "lr", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, help="of every method that learns by steps; unset: their own")
    parser.add_argument("--held-out", type=int, default=8, help="scenes to score on, the last by name")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    begin(given.out, hr=given.hr, lr=given.lr, steps=given.steps, held_out=given.held_out)
    pairs = split(given.hr, given.lr, given.held_out, given.out / "pairs")
    names = given.methods.split(",")

    def learnt(name: str) -> None:
        budget = [] if given.steps is None or name == "linear" else ["--steps", given.steps]
        fit(given.out / name, pairs["fit"], name, *budget)
        print(f"{name}: fitted", file=sys.stderr)

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(learnt, names))
    rows = []
    for name in names:
        told = degsynth("evaluate", given.out / name, "--hr", pairs["test"][0], "--lr", pairs["test"][1], "--json")
        scores = json.loads(told)["mean"]
        rows.append(row(name, given.out / name, scores, pairs["test"][0]))
    usual = scores["bicubic"]
    rows.append(["bicubic", f"{usual['psnr_y']:.2f}", f"{usual['ssim_y']:.4f}", f"{usual['l1_y']:.4f}", "", "", ""])
    header = ["", "PSNR Y, dB", "SSIM Y", "L1 Y", "fit, min", "parameters", "CPU ms per HR megapixel"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()

"""How near the speed of `apply` on a GPU comes to the limit that decoding and encoding set, for every method.

Usage: python -m tests.benchmarks.gpu OUT [--scale 4] [--photographs 512] [--device cuda] [--workers N] [NAME...]

The limit is the speed at which the same workers decode, area-resize and encode the images (`material.run_floor`). Of
each model it prints the images a second, their share of the limit (goal: 90 %, or 80 % for models that draw random
numbers), how busy the device was, the most memory that was allocated on it, and by how much the images differ from
those of the CPU. The model and the floor run in turn.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from degsynth.apply.allocator import keep_freed_memory
from degsynth.data import images
from degsynth.model import checkpoint
from degsynth.parallel import usable_cores
from tests.benchmarks.material import MODELS, Cost, apply_model, make_model, run_floor, write_photographs

ROUNDS = 3
COMPARED = 4
"""Number of photographs that are also degraded on the CPU."""


class Utilisation:
    """Context manager that asks nvidia-smi ten times a second how busy a GPU is."""

    def __init__(self, device: str) -> None:
        self.output, self.process = "", None
        self.index = device.partition(":")[2] or "0"
        self.available = device != "cpu" and shutil.which("nvidia-smi") is not None

    def __enter__(self) -> Utilisation:
        if self.available:
            query = ["nvidia-smi", f"--id={self.index}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self.process = subprocess.Popen([*query, "--loop-ms=100"], stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.output = self.process.communicate()[0]

    @property
    def percent(self) -> float:
        """The mean utilisation of the last measured round; NaN where nvidia-smi did not report any."""
        values = [float(line) for line in self.output.split() if line.isdigit()]
        return float(np.mean(values)) if values else float("nan")


def largest_difference(name: str, arguments: argparse.Namespace) -> int:
    """Return the largest difference, in levels, between images of the device and images of the CPU."""
    few, path = arguments.out / "few", make_model(name, arguments.scale, arguments.out)
    on_device, on_cpu = arguments.out / "on_device", arguments.out / "on_cpu"
    model = checkpoint.load(path, arguments.device)
    apply_model(model, few, on_device, workers=arguments.workers, device=arguments.device)
    apply_model(checkpoint.load(path), few, on_cpu, workers=arguments.workers)
    files = (sorted((side / "lr").iterdir()) for side in (on_device, on_cpu))
    return max(
        int(np.abs(images.read(a).pixels.astype(int) - images.read(b).pixels.astype(int)).max())
        for a, b in zip(*files, strict=True)
    )


def measure(name: str, arguments: argparse.Namespace) -> str:
    """Measure one model, and return its line of the table."""
    hr, out, device, workers = arguments.out / "HR", arguments.out / "set", arguments.device, arguments.workers
    model = checkpoint.load(make_model(name, arguments.scale, arguments.out), device)
    count = len(list(hr.iterdir()))
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    apply_cost, floor_cost, utilisation = Cost(), Cost(), Utilisation(device)
    for number in range(1 + ROUNDS):
        floor_cost.measure(lambda: run_floor(hr, arguments.out / "floor", arguments.scale, workers))
        with utilisation if number else Utilisation("cpu"):
            apply_cost.measure(lambda: apply_model(model, hr, out, workers=workers, device=device))
    share = 1 / apply_cost.relative_to(floor_cost)[0]
    memory = 0 if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20
    levels = largest_difference(name, arguments)
    goal = 0.8 if model.spec.stochastic else 0.9
    return (
        f"{name:10} ×{arguments.scale}: {count / min(apply_cost.wall[1:]):7.1f} images/s, {100 * share:5.1f} % of the "
        f"limit {count / min(floor_cost.wall[1:]):7.1f} (goal {100 * goal:.0f} %); busy {utilisation.percent:3.0f} %; "
        f"{memory:6.0f} MiB; ± {levels} levels from the CPU"
    )


def main() -> None:
    """Make photographs and models, and measure the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("names", nargs="*", default=MODELS, help=f"models to measure (default: {' '.join(MODELS)})")
    parser.add_argument("--scale", type=int, default=4, help="HR size / LR size (default: 4)")
    parser.add_argument("--photographs", type=int, default=512, help="number of photographs (default: 512)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda[:N]")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="images at a time (default: the cores)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()
    if not (arguments.out / "HR").exists():
        write_photographs(arguments.out / "HR", arguments.photographs)
        (arguments.out / "few").mkdir()
        for path in sorted((arguments.out / "HR").iterdir())[:COMPARED]:
            (arguments.out / "few" / path.name).hardlink_to(path)
    device = "no GPU" if arguments.device == "cpu" else torch.cuda.get_device_name(arguments.device)
    print(f"{device}, torch {torch.__version__}, {arguments.workers} workers, {time.strftime('%Y-%m-%d')}", flush=True)
    for name in arguments.names:
        print(measure(name, arguments), flush=True)


if __name__ == "__main__":
    main()

"""How near `apply` on a GPU comes to what decoding and encoding alone allow, for every method.

Usage: python -m tests.benchmarks.gpu OUT [--scale 4] [--photographs 512] [--device cuda] [--workers N] [NAME...]

The ceiling is what the same workers decode and encode, with an area-resize between (`material.floor`). Of each method:
images a second, the share of the ceiling (to reach: 90 %, of methods that draw 80 %), how busy the device was, the most
memory it had allocated, and by how much its images differ from the CPU's. Rounds are taken in turn.
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
from degsynth.cli.options import usable_cores
from degsynth.data import images
from degsynth.model import checkpoint
from tests.benchmarks.material import NAMES, Cost, applied, fitted, floor, photographs

ROUNDS = 3
COMPARED = 4
"""Photographs that the CPU degrades, too."""


class Busy:
    """Within it, how busy the GPU is, as nvidia-smi tells it ten times a second."""

    def __init__(self, device: str) -> None:
        self.told, self.process = "", None
        self.index = device.partition(":")[2] or "0"
        self.asked = device != "cpu" and shutil.which("nvidia-smi") is not None

    def __enter__(self) -> Busy:
        if self.asked:
            query = ["nvidia-smi", f"--id={self.index}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self.process = subprocess.Popen([*query, "--loop-ms=100"], stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.told = self.process.communicate()[0]

    @property
    def percent(self) -> float:
        """Mean; NaN where nobody told."""
        values = [float(line) for line in self.told.split() if line.isdigit()]
        return float(np.mean(values)) if values else float("nan")


def measure(name: str, given: argparse.Namespace) -> str:
    """A line of the table."""
    hr, out, few = given.out / "HR", given.out / "made", given.out / "few"
    model = fitted(name, given.scale, given.out)
    loaded = checkpoint.load(model, given.device)
    count = len(list(hr.iterdir()))
    if given.device != "cpu":
        torch.cuda.reset_peak_memory_stats(given.device)
    ours, ceiling, busy = Cost(), Cost(), Busy(given.device)
    for number in range(1 + ROUNDS):
        ceiling.of(lambda: floor(hr, given.out / "floor", given.scale, given.workers))
        with busy if number else Busy("cpu"):
            ours.of(lambda: applied(loaded, hr, out, workers=given.workers, device=given.device))
    share = 1 / ours.times(ceiling)[0]
    memory = 0 if given.device == "cpu" else torch.cuda.max_memory_allocated(given.device) / 2**20

    applied(loaded, few, given.out / "here", workers=given.workers, device=given.device)
    applied(checkpoint.load(model), few, given.out / "there", workers=given.workers)
    here, there = (sorted((given.out / side / "lr").iterdir()) for side in ("here", "there"))
    apart = max(
        int(np.abs(images.read(a).pixels.astype(int) - images.read(b).pixels.astype(int)).max())
        for a, b in zip(here, there, strict=True)
    )
    goal = 0.8 if loaded.spec.stochastic else 0.9
    return (
        f"{name:10} ×{given.scale}: {count / min(ours.wall[1:]):7.1f} images/s, {100 * share:5.1f} % of the ceiling "
        f"{count / min(ceiling.wall[1:]):7.1f} (goal {100 * goal:.0f} %); busy {busy.percent:3.0f} %; "
        f"{memory:6.0f} MiB; ± {apart} levels from the CPU"
    )


def main() -> None:
    """Make photographs and models, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--photographs", type=int, default=512)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=usable_cores())
    given = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()
    if not (given.out / "HR").exists():
        photographs(given.out / "HR", given.photographs)
        (given.out / "few").mkdir()
        for path in sorted((given.out / "HR").iterdir())[:COMPARED]:
            (given.out / "few" / path.name).hardlink_to(path)
    what = torch.cuda.get_device_name(given.device) if given.device != "cpu" else "no GPU"
    print(f"{what}, torch {torch.__version__}, {given.workers} workers, {time.strftime('%Y-%m-%d')}", flush=True)
    for name in given.names:
        print(measure(name, given), flush=True)


if __name__ == "__main__":
    main()

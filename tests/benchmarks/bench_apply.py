"""The speed of `apply` beside a floor: decode, area-resize and encode the same files.

Both run in turn, and the CPU time and the wall time of `apply` are given as multiples of those of the floor.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from degsynth.config import Interval
from degsynth.model import checkpoint
from degsynth.model.degradation import Noise
from tests.benchmarks.conftest import TABLE
from tests.benchmarks.material import MODELS, SIDE, Cost, apply_model, make_model, run_floor

FAST = {"pool", "linear", "pdm", "spectral", "kmsr"}
"""Models that get all photographs; the others are so slow that a few photographs suffice."""
ROUNDS = 5
"""Number of measured rounds of a fast model."""
PRINT_PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
"""Program that runs a command and prints its peak memory, kB. A process begins as a copy of the one that starts it, so
a small process in between keeps the memory of this one out of the figure."""


def peak_mb(*arguments: str) -> float:
    """Return the largest resident memory of ``python ARGUMENTS``, MB, including the pages of libraries."""
    command = [sys.executable, "-c", PRINT_PEAK, sys.executable, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1]) / 1024


@pytest.mark.parametrize("scale", [4, 2])
@pytest.mark.parametrize("name", MODELS)
def test_beside_the_floor(name: str, scale: int, folder: Path, few: Path, workers: int, benchmark: Any) -> None:
    hr = folder / "HR" if name in FAST else few
    path = make_model(name, scale, folder)
    model, out = checkpoint.load(path), folder / "out"
    apply_cost, floor_cost = Cost(), Cost()
    benchmark.pedantic(
        lambda: apply_cost.measure(lambda: apply_model(model, hr, out, workers=workers)),
        setup=lambda: floor_cost.measure(lambda: run_floor(hr, folder / "floor", scale, workers)),
        rounds=ROUNDS if name in FAST else 2,
        warmup_rounds=1,
    )
    wall, cpu = apply_cost.relative_to(floor_cost)
    count = len(list(hr.iterdir()))
    megapixels = count * SIDE**2 / 1e6
    peak = peak_mb("-m", "degsynth", "apply", str(path), str(hr), str(out), "--overwrite")
    benchmark.extra_info.update(wall_of_floor=wall, cpu_of_floor=cpu, peak_mb=peak)
    costs = (apply_cost, floor_cost)
    speed, floor_speed = (megapixels / min(cost.wall[1:]) for cost in costs)
    milliseconds, floor_milliseconds = (1e3 * min(cost.cpu[1:]) / megapixels for cost in costs)
    TABLE.append(
        f"{name:10} ×{scale}: {speed:6.1f} MP/s, CPU {milliseconds:6.1f} ms/MP; floor {floor_speed:5.1f} MP/s, "
        f"{floor_milliseconds:4.1f} ms/MP; wall {wall:5.2f} ×, CPU {cpu:5.2f} ×; peak {peak:.0f} MB "
        f"({count} photographs, {workers} workers)"
    )


@pytest.mark.parametrize("what", ["awgn", "two draws"])
def test_what_options_cost(what: str, folder: Path, workers: int, benchmark: Any) -> None:
    model, out = checkpoint.load(make_model("linear", 4, folder)), folder / "out"
    options: dict[str, Any] = {"noise": Noise(awgn=Interval(5.0, 5.0))} if what == "awgn" else {"draws": 2}
    plain_cost, option_cost = Cost(), Cost()
    benchmark.pedantic(
        lambda: option_cost.measure(lambda: apply_model(model, folder / "HR", out, workers=workers, **options)),
        setup=lambda: plain_cost.measure(lambda: apply_model(model, folder / "HR", out, workers=workers)),
        rounds=3,
        warmup_rounds=1,
    )
    wall, cpu = option_cost.relative_to(plain_cost)
    TABLE.append(f"linear ×4 with {what}: wall {wall:.2f} ×, CPU {cpu:.2f} × that without")


def test_memory_before_any_work(benchmark: Any) -> None:
    """This much of the peaks above is torch, OpenCV and the other libraries."""
    torch_mb, apply_mb = peak_mb("-c", "import torch"), peak_mb("-c", "import degsynth.apply")
    benchmark.extra_info.update(torch_mb=torch_mb, apply_mb=apply_mb)
    benchmark.pedantic(lambda: peak_mb("-m", "degsynth", "--help"), rounds=3)
    TABLE.append(
        f"peak of a process that imports torch {torch_mb:.0f} MB, of one that imports degsynth.apply {apply_mb:.0f} MB"
    )

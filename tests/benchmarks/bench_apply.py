"""`apply` beside the floor (decode, area-resize, encode), both in turn, as multiples of its CPU and wall time."""

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
from tests.benchmarks.material import NAMES, SIDE, Cost, applied, fitted, floor

FAST = {"pool", "linear", "pdm", "spectral", "kmsr"}
"""Methods that get all photographs; the others are slow enough for few."""
ROUNDS = 5


RUN = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); " + (
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
"""Through a small process: before it becomes another program, a new one is as large as who starts it."""


def peak_mb(*command: str) -> float:
    """Most memory that ``python COMMAND`` has resident, MB; pages of libraries included."""
    told = subprocess.run([sys.executable, "-c", RUN, sys.executable, *command], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return int(told.stdout.split()[-1]) / 1024


@pytest.mark.parametrize("scale", [4, 2])
@pytest.mark.parametrize("name", NAMES)
def test_beside_the_floor(name: str, scale: int, folder: Path, few: Path, workers: int, benchmark: Any) -> None:
    hr = folder / "HR" if name in FAST else few
    model = fitted(name, scale, folder)
    loaded, out = checkpoint.load(model), folder / "out"
    ours, least = Cost(), Cost()
    benchmark.pedantic(
        lambda: ours.of(lambda: applied(loaded, hr, out, workers=workers)),
        setup=lambda: least.of(lambda: floor(hr, folder / "floor", scale, workers)),
        rounds=ROUNDS if name in FAST else 2,
        warmup_rounds=1,
    )
    wall, cpu = ours.times(least)
    count = len(list(hr.iterdir()))
    megapixels = count * SIDE**2 / 1e6
    peak = peak_mb("-m", "degsynth", "apply", str(model), str(hr), str(out), "--overwrite")
    benchmark.extra_info.update(wall_of_floor=wall, cpu_of_floor=cpu, peak_mb=peak)
    speed, floor_speed = (megapixels / min(cost.wall[1:]) for cost in (ours, least))
    each, floor_each = (1e3 * min(cost.cpu[1:]) / megapixels for cost in (ours, least))
    TABLE.append(
        f"{name:10} ×{scale}: {speed:6.1f} MP/s, CPU {each:6.1f} ms/MP; floor {floor_speed:5.1f} MP/s, "
        f"{floor_each:4.1f} ms/MP; wall {wall:5.2f} ×, CPU {cpu:5.2f} ×; peak {peak:.0f} MB "
        f"({count} photographs, {workers} workers)"
    )


@pytest.mark.parametrize("what", ["awgn", "two draws"])
def test_what_options_cost(what: str, folder: Path, workers: int, benchmark: Any) -> None:
    loaded, out = checkpoint.load(fitted("linear", 4, folder)), folder / "out"
    options: dict[str, Any] = {"noise": Noise(awgn=Interval(5.0, 5.0))} if what == "awgn" else {"draws": 2}
    plain, more = Cost(), Cost()
    benchmark.pedantic(
        lambda: more.of(lambda: applied(loaded, folder / "HR", out, workers=workers, **options)),
        setup=lambda: plain.of(lambda: applied(loaded, folder / "HR", out, workers=workers)),
        rounds=3,
        warmup_rounds=1,
    )
    wall, cpu = more.times(plain)
    TABLE.append(f"linear ×4 with {what}: wall {wall:.2f} ×, CPU {cpu:.2f} × that without")


def test_what_a_process_has_before_it_does_anything(benchmark: Any) -> None:
    """Of the peaks above so much is torch, OpenCV and the rest."""
    torch, ours = peak_mb("-c", "import torch"), peak_mb("-c", "import degsynth.apply")
    benchmark.extra_info.update(torch_mb=torch, apply_mb=ours)
    benchmark.pedantic(lambda: peak_mb("-m", "degsynth", "--help"), rounds=3)
    TABLE.append(
        f"peak of a process that imports torch {torch:.0f} MB, of one that imports degsynth.apply {ours:.0f} MB"
    )

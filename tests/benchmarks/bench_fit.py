"""Steps a second of every method that learns by steps, default options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from degsynth import fit, methods
from degsynth.config import Training
from tests.benchmarks.conftest import TABLE
from tests.benchmarks.material import SHORT, fitted

STEPS = 24
LEARNED = [name for name in methods.METHODS if issubclass(methods.get(name).Config, Training)]


@pytest.mark.parametrize("name", LEARNED)
def test_steps_a_second(name: str, folder: Path, benchmark: Any) -> None:
    fitted("linear", 2, folder)  # makes the pairs
    sides, run = folder / "pairs_x2", folder / f"timed_{name}"
    kind, known = methods.get(name).Method.data, methods.get(name).Config.model_fields
    options = fit.FitOptions(
        method=name,
        hr=None if kind == "lr" else str(sides / "HR"),
        lr=str(sides / "LR"),
        scale=None if kind == "paired" else 2,
    )
    given = {key: value for key, value in {**SHORT, "steps": STEPS}.items() if key in known}
    benchmark.pedantic(lambda: fit.run(options, given, run), rounds=1)
    training = json.loads((run / "fit.json").read_text())["training"]
    rate = training["steps"] / training["seconds"]
    benchmark.extra_info.update(steps_a_second=rate)
    TABLE.append(f"fit {name:10}: {rate:6.2f} steps/s ({training['steps']} steps in {training['seconds']:.1f} s)")

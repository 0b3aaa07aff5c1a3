"""The speed of every method that learns by steps, with its default options: steps a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from degsynth import fit, methods
from degsynth.methods.protocol import Training
from tests.benchmarks.conftest import TABLE
from tests.benchmarks.material import SHORT, fit_options, make_pairs

STEPS = 24
LEARNED = [name for name in methods.METHODS if issubclass(methods.get(name).Config, Training)]


@pytest.mark.parametrize("name", LEARNED)
def test_steps_a_second(name: str, folder: Path, benchmark: Any) -> None:
    run, known = folder / f"timed_{name}", methods.get(name).Config.model_fields
    options = fit_options(name, 2, make_pairs(2, folder))
    values = {key: value for key, value in {**SHORT, "steps": STEPS}.items() if key in known}
    benchmark.pedantic(lambda: fit.run(options, values, run), rounds=1)
    training = json.loads((run / "fit.json").read_text())["training"]
    rate = training["steps"] / training["seconds"]
    benchmark.extra_info.update(steps_a_second=rate)
    TABLE.append(f"fit {name:10}: {rate:6.2f} steps/s ({training['steps']} steps in {training['seconds']:.1f} s)")

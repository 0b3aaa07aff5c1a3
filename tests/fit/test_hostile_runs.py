"""Run directories that are damaged, or were made to do harm: every fault is one line, and nothing else happens."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from degsynth import fit
from degsynth.config import build
from degsynth.errors import ConfigError, DegsynthError
from degsynth.fit import loop
from degsynth.fit.run_directory import RunDirectory
from degsynth.methods import dml
from tests.model.test_hostile_files import NESTED, outcome

CONTENTS: dict[str, Any] = {
    "data_fingerprint": "f",
    "channels": 3,
    "step": 5,
    "modules": {"optics": {"w": torch.ones(9)}},
    "optimizers": {},
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    folder.make()
    folder.describe({"fit": {"method": "dml"}, "method": {"width": 3}})
    folder.save_snapshot(5, CONTENTS)
    return folder


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_in_a_snapshot_is_noticed_or_harmless(seed: int, run: RunDirectory) -> None:
    path = run.snapshots / "step_0000005.pt"
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    message, contents = outcome(run.load_snapshot)
    if contents is None:
        assert "step_0000005.pt" in message
    else:
        assert torch.equal(contents["modules"]["optics"]["w"], torch.ones(9))


@pytest.mark.parametrize(
    "contents", [{}, {**CONTENTS, "step": "5"}, {**CONTENTS, "modules": 3}, {**CONTENTS, "data_fingerprint": None}]
)
def test_a_snapshot_without_its_parts_is_refused(contents: dict[str, Any], run: RunDirectory) -> None:
    run.save_snapshot(6, contents)
    with pytest.raises(ConfigError, match=r"step_0000006.*no usable"):
        run.load_snapshot()


def test_a_snapshot_that_is_a_program_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({**CONTENTS, "format": 2, "best": Program()}, run.snapshots / "step_0000007.pt")
    with pytest.raises(ConfigError, match="step_0000007"):
        run.load_snapshot()
    assert not (tmp_path / "made").exists()


def test_other_files_among_the_snapshots_are_left_alone(run: RunDirectory) -> None:
    for name in ("step_12abc.pt", "step_.pt", "step_99999999999999999999.pt"):
        (run.snapshots / name).touch()
    (run.snapshots / "step_0000009.pt").mkdir()
    assert run.steps() == [5]


@pytest.mark.parametrize("text", ["", "[1]", "3", NESTED, '{"a": ', "\0"])
def test_a_record_or_configuration_of_nonsense(text: str, run: RunDirectory) -> None:
    (run.out / "fit.json").write_text(text)
    with pytest.raises(ConfigError, match=r"fit\.json"):
        run.record()
    (run.out / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        run.description()


def test_a_log_of_nonsense_is_dropped(run: RunDirectory) -> None:
    rows = ['{"step": 1}', "3", "[]", '{"step": "x"}', "{}", NESTED, '{"step": 9}', '{"st']
    (run.out / "log.jsonl").write_text("\n".join(rows))
    run.forget_after(5)
    assert (run.out / "log.jsonl").read_text() == '{"step": 1}\n'


# --- snapshots that do not fit ----------------------------------------------------------------------------------------

FIT = {"method": "dml", "lr": "lr", "hr": "hr", "scale": 2}
WEIGHTS = {"average": None, "best": {}, "seconds": 0.0, "best_score": 0.0, "best_step": 0, "scored_step": 0}


@pytest.mark.parametrize(
    "contents",
    [
        CONTENTS,
        {**CONTENTS, **WEIGHTS, "start_score": 0.0},
        {**CONTENTS, **WEIGHTS, "start_score": 0.0, "modules": {"optics": {"w": 3}}},
        {**CONTENTS, **WEIGHTS, "start_score": 0.0, "modules": {"optics": 3}},
        {**CONTENTS, "channels": 10**9},
        {name: value for name, value in CONTENTS.items() if name != "channels"},
    ],
)
def test_a_snapshot_of_another_method_is_not_exported(contents: dict[str, Any], tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path / "run")
    folder.make()
    folder.describe({"fit": FIT, "method": {"width": 4}})
    folder.save_snapshot(5, contents)
    with pytest.raises(ConfigError, match=r"run.* snapshot|snapshot of .*run"):
        fit.open_snapshot(folder.out, 5, tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("best", [{}, {"w": torch.ones(3)}, {"w": 3}])
def test_a_snapshot_of_another_generator_makes_no_kernels(best: dict[str, Any], tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path / "run")
    folder.make()
    folder.describe({"fit": {**FIT, "method": "kmsr"}, "method": {}})
    folder.save_snapshot(5, {**CONTENTS, "best": best})
    with pytest.raises(ConfigError, match="does not fit its method"):
        fit.generated_kernels(folder.out, 3, 0)
    with pytest.raises(DegsynthError, match=r"number=1000000000`: 1000000000 kernels are more than"):
        fit.generated_kernels(folder.out, 10**9, 0)


@pytest.mark.parametrize(("name", "value"), [("step", -1), ("best", 3), ("best_score", "x"), ("best_step", None)])
def test_counters_of_nonsense_are_refused(name: str, value: object) -> None:
    state = loop.State.__new__(loop.State)
    loop.Counters.__init__(state)
    state.method = SimpleNamespace(weights_version=1)  # type: ignore[assignment]
    state.restore = lambda contents: vars(state).update(contents)  # type: ignore[method-assign]
    loop.restore(state, {"step": 3, "best_score": 1}, "run")
    with pytest.raises(ConfigError, match=f"run does not fit.*{name}"):
        loop.restore(state, {name: value}, "run")


def test_a_snapshot_whose_weights_meant_something_else_is_refused() -> None:
    """Its weights would fit, and make another model."""
    method = dml.Method(build(dml.Config, {"width": 4}, "dml"), 2, 3)
    state = loop.State(method)
    contents = state.contents()
    loop.restore(state, contents, "run")
    del contents["weights_version"]  # as in snapshots of earlier versions
    with pytest.raises(ConfigError, match="run was written by another version of degsynth; fit anew"):
        loop.restore(state, contents, "run")

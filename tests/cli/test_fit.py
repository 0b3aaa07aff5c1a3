"""Learned fits from the command line: budgets, interruption, resumption, snapshots, pictures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from degsynth.ops.kernels import gaussian
from tests.conftest import run_cli

Folders = Callable[..., tuple[Path, Path]]
pytestmark = pytest.mark.slow
SMALL = ("--set", "width=4", "--set", "basis_kernels=2", "--set", "batch=2", "--set", "kernel_size=8")


@pytest.fixture
def pairs(pair_folders: Folders) -> tuple[str, ...]:
    hr, lr = pair_folders(gaussian(8, 1.0, 1.3), 2, side=120)
    return ("fit", "--method", "dml", "--hr", str(hr), "--lr", str(lr), *SMALL)


def interrupted(command: tuple[str, ...], run: Path, number: int) -> tuple[int, str]:
    """Start a fit and send it the signal once there is a snapshot; return the exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "degsynth", *command, "--out", str(run)], stderr=subprocess.PIPE, text=True
    )
    while not list(run.glob("snapshots/step_*.pt")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    os.kill(process.pid, number)
    return process.wait(60), process.communicate()[1]


def test_sigterm_leaves_a_snapshot(pairs: tuple[str, ...], tmp_path: Path) -> None:
    code, stderr = interrupted((*pairs, "--steps", "5000"), tmp_path / "run", signal.SIGTERM)
    assert code == 143, stderr
    assert "--resume goes on from there" in stderr


def test_interrupted_resumed_exported(pairs: tuple[str, ...], tmp_path: Path) -> None:
    """Ctrl-C leaves a snapshot between two steps; resumed, the fit ends in the file of one that nobody disturbed."""
    run = tmp_path / "run"
    code, stderr = interrupted((*pairs, "--steps", "150"), run, signal.SIGINT)
    assert code == 130, stderr
    assert "--resume goes on from there" in stderr
    assert "Traceback" not in stderr
    assert not (run / "fit.json").exists()

    unfinished = run_cli("apply", run, tmp_path, tmp_path / "out")
    assert unfinished.returncode == 2
    assert f"degsynth fit --resume --out {run}" in unfinished.stderr
    step = max(int(path.stem[5:]) for path in run.glob("snapshots/step_*.pt"))
    exported = run_cli("export", run, "-o", tmp_path / "early.pt", "--snapshot", str(step))
    assert exported.returncode == 0, exported.stderr
    missing = run_cli("export", run, "-o", tmp_path / "none.pt", "--snapshot", "149")
    assert missing.returncode == 2
    assert "no snapshot of step 149; there are" in missing.stderr

    resumed = run_cli("fit", "--resume", "--out", run)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step" in resumed.stderr
    assert run_cli(*pairs, "--steps", "150", "--out", tmp_path / "straight").returncode == 0
    assert (run / "checkpoint.pt").read_bytes() == (tmp_path / "straight/checkpoint.pt").read_bytes()
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()[:-1]]
    assert steps == list(range(1, 151))


def test_budgets_and_their_errors(pairs: tuple[str, ...], tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = run_cli(*pairs, "--steps", "20", "--out", run)
    assert made.returncode == 0, made.stderr
    for words in ("linear", "bicubic", "dml"):
        assert words in made.stderr
    more = run_cli("fit", "--resume", "--out", run, "--steps", "30")
    assert more.returncode == 0, more.stderr
    assert json.loads((run / "fit.json").read_text())["training"]["steps"] == 30
    other = run_cli("fit", "--resume", "--out", run, "--set", "width=5")
    assert other.returncode == 2
    assert "was begun with width = 4, not 5" in other.stderr
    nothing = run_cli("fit", "--resume", "--out", tmp_path / "nothing")
    assert nothing.returncode == 2
    assert "no run to go on with" in nothing.stderr
    linear = run_cli(*[word.replace("dml", "linear") for word in pairs[:7]], "--steps", "9", "--out", tmp_path / "l")
    assert linear.returncode == 2
    assert "method linear has no option 'steps'" in linear.stderr

    drawn = run_cli("inspect", run, "-o", tmp_path / "kernels.png", "--html", tmp_path / "page.html")
    assert drawn.returncode == 0, drawn.stderr
    assert "clean_halo" in drawn.stdout
    picture = cv2.imread(str(tmp_path / "kernels.png"))
    assert picture.shape[0] > 500
    assert picture.std() > 20
    page = (tmp_path / "page.html").read_text()
    assert "data:image/png;base64," in page
    assert "basis_kernels" in page
    assert run_cli("inspect", run, "-o", tmp_path / "no/where.png").returncode == 2

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
from tests.conftest import Run, checkpoint_contents

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
    assert f"interrupted; go on with 'degsynth fit --resume --out {tmp_path / 'run'}'" in stderr


def test_interrupted_resumed_exported(pairs: tuple[str, ...], cli: Run, tmp_path: Path) -> None:
    """Ctrl-C leaves a snapshot between two steps; resumed, the fit ends in the model of one that nobody disturbed."""
    run, steps = tmp_path / "run", 100
    code, stderr = interrupted((*pairs, "--steps", str(steps)), run, signal.SIGINT)
    assert code == 130, stderr
    assert "--resume goes on from there" in stderr
    assert "Traceback" not in stderr
    assert not (run / "fit.json").exists()

    code, _, stderr = cli("apply", run, tmp_path, tmp_path / "out")
    assert code == 2
    assert f"degsynth fit --resume --out {run}" in stderr
    step = max(int(path.stem[5:]) for path in run.glob("snapshots/step_*.pt"))
    code, _, stderr = cli("export", run, "-o", tmp_path / "early.pt", "--snapshot", step)
    assert code == 0, stderr
    code, _, stderr = cli("export", run, "-o", tmp_path / "none.pt", "--snapshot", steps - 1)
    assert code == 2
    assert "no snapshot of step 99; there are" in stderr

    code, _, stderr = cli("fit", "--resume", "--out", run)
    assert code == 0, stderr
    assert "going on from step" in stderr
    assert cli(*pairs, "--steps", steps, "--out", tmp_path / "straight")[0] == 0
    resumed, straight = (checkpoint_contents(path / "checkpoint.pt") for path in (run, tmp_path / "straight"))
    assert resumed == straight
    logged = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()[:-1]]
    assert logged == list(range(1, steps + 1))


def test_budgets_and_their_errors(pairs: tuple[str, ...], cli: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, _, stderr = cli(*pairs, "--steps", "10", "--out", run)
    assert code == 0, stderr
    for words in ("linear", "bicubic", "dml"):
        assert words in stderr
    code, _, stderr = cli("fit", "--resume", "--out", run, "--steps", "15")
    assert code == 0, stderr
    assert json.loads((run / "fit.json").read_text())["training"]["steps"] == 15
    code, _, stderr = cli("fit", "--resume", "--out", run, "--set", "width=5")
    assert code == 2
    assert "was begun with width = 4, not 5" in stderr
    code, _, stderr = cli("fit", "--resume", "--out", tmp_path / "nothing")
    assert code == 2
    assert "no run to go on with" in stderr
    linear = [word.replace("dml", "linear") for word in pairs[:7]]
    code, _, stderr = cli(*linear, "--steps", "9", "--out", tmp_path / "l")
    assert code == 2
    assert "method linear has no option 'steps'" in stderr

    code, stdout, stderr = cli("inspect", run, "-o", tmp_path / "kernels.png", "--html", tmp_path / "page.html")
    assert code == 0, stderr
    assert "clean_halo" in stdout
    picture = cv2.imread(str(tmp_path / "kernels.png"))
    assert picture.shape[0] > 500
    assert picture.std() > 20
    page = (tmp_path / "page.html").read_text()
    assert "data:image/png;base64," in page
    assert "basis_kernels" in page
    assert cli("inspect", run, "-o", tmp_path / "no/where.png")[0] == 2

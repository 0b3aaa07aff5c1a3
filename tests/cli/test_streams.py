"""Standard output and standard error that are closed, full or left by their reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor

from degsynth import apply
from degsynth.model.checkpoint import Checkpoint
from tests.apply.test_apply import contents
from tests.conftest import save_png
from tests.doubles import stochastic

PROGRAM = f'"{sys.executable}" -m degsynth'


def shell(command: str) -> subprocess.CompletedProcess[str]:
    command = f"set -o pipefail; {command.replace('degsynth', PROGRAM)}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("degsynth methods | head -1", 1, ""),
        ("degsynth methods > /dev/full", 1, "degsynth: standard output: No space left on device\n"),
        ("degsynth methods >&-", 1, "degsynth: standard output: Bad file descriptor\n"),
        ("degsynth methods nosuch 2> /dev/full", 2, ""),
        ("degsynth methods nosuch 2>&-", 2, ""),
        ("degsynth methods linear 2>&- <&-", 0, ""),
    ],
)
def test_where_nothing_can_be_written(command: str, code: int, message: str) -> None:
    result = shell(command)
    assert (result.returncode, result.stderr) == (code, message)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&- <&-", "2>/dev/full", "--json >/dev/full", "--json | head -1"])
def test_a_data_set_holds_no_messages(
    streams: str, model: Checkpoint, photographs: list[Tensor], tmp_path: Path
) -> None:
    """A file of the data set that gets the number of a closed stream would hold what libraries print."""
    for number in range(6):
        save_png(tmp_path / f"HR/{number}.png", photographs[number % 4][:, :120, : 110 + number])
    (tmp_path / "HR/bad.png").write_bytes((tmp_path / "HR/1.png").read_bytes()[:900])  # libpng has something to say
    apply.run(model, tmp_path / "HR", tmp_path / "straight")
    command = f'degsynth apply "{model.path}" "{tmp_path}/HR" "{tmp_path}/out"'
    result = shell(f"{command} --workers 1 {streams}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    again = shell(f"{command} --resume")
    assert again.returncode == 1, "one image is bad"
    assert "6 LR images" in again.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")

"""What shells need: lists of files on standard input, a row for each output as it is finished, and completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from degsynth.apply.manifest import Manifest
from tests.conftest import run_cli, save_png
from tests.data.formats import PHOTO
from tests.doubles import stochastic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stochastic(tmp_path / "model.pt", 2)
    for number, name in enumerate(("a.png", "with space.png", "sub/c.png")):
        save_png(tmp_path / "HR" / name, np.roll(PHOTO[:40, :60], 5 * number, 1))
    return tmp_path / "HR"


def listed(folder: Path, files: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
    model, out = folder.parent / "model.pt", folder.parent / "listed"
    command = [sys.executable, "-m", "degsynth", "apply", str(model), "-", str(out), *more]
    return subprocess.run(command, input=files, capture_output=True, check=False)


@pytest.mark.parametrize(("separator", "more"), [(b"\n", ()), (b"\0", ("-0",))])
def test_a_list_is_applied_to_as_the_folder(separator: bytes, more: tuple[str, ...], folder: Path) -> None:
    files = separator.join(str(path).encode() for path in sorted(folder.rglob("*.png"))) + separator
    result = listed(folder, files, "--json", *more)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(row["source"] for row in rows) == ["a.png", "sub/c.png", "with space.png"]
    assert run_cli("apply", folder.parent / "model.pt", folder, folder.parent / "whole").returncode == 0
    whole = {row.source: row.lr_sha256 for row in Manifest(folder.parent / "whole").read()}
    assert {row["source"]: row["lr_sha256"] for row in rows} == whole


def test_a_file_that_is_missing_is_a_failed_row(folder: Path) -> None:
    files = f"{folder / 'a.png'}\n{folder / 'gone.png'}\n".encode()
    result = listed(folder, files)
    assert result.returncode == 1
    assert b"failed: gone.png" in result.stderr
    assert b"1 LR images, 1 failed" in result.stderr


def test_a_list_of_nothing_is_an_error(folder: Path) -> None:
    result = listed(folder, b"")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"names no image" in result.stderr
    assert not (folder.parent / "listed").exists()


@pytest.mark.parametrize(("words", "found"), [("degsynth app", "apply"), ("degsynth apply --lay", "--layout")])
def test_shells_complete_commands_and_options(words: str, found: str) -> None:
    program = "import sys; sys.argv[0] = 'degsynth'; from degsynth.cli.app import program; program()"
    asked = {"_DEGSYNTH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert result.stdout.split() == [found]

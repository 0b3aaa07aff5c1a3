"""Pictures from scikit-image's bundle or from a seed; nothing here needs data from elsewhere."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from hypothesis import settings
from skimage import data
from torch import Tensor

import degsynth
from degsynth.cli import app
from degsynth.data import images, writing
from degsynth.model.archive import SUMS_NAME
from degsynth.ops.blur import blur_decimate

settings.register_profile("degsynth", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("degsynth")
# One process a core runs the tests; threads of their own, or of programs that they start, would be in each other's way.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def photographs() -> list[Tensor]:
    """Four real photographs (3, H, W) in [0, 1], sizes that are multiples of 12."""
    shots = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    return [images.to_tensor(np.ascontiguousarray(a[: a.shape[0] // 12 * 12, : a.shape[1] // 12 * 12])) for a in shots]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real camera pairs, where the machine has it."""
    folder = os.environ.get("DEGSYNTH_DATA")
    if not folder:
        pytest.skip("DEGSYNTH_DATA is unset: no real camera pairs on this machine")
    return Path(folder)


def save_png(path: Path, image: Tensor | np.ndarray, dtype: type = np.uint8) -> Path:
    """Write (C, H, W) in [0, 1] or pixels (H, W, C) as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = images.quantise(image, np.dtype(dtype)) if isinstance(image, Tensor) else image
    path.write_bytes(writing.encode(images.Image(pixels), ".png"))
    return path


def write_pairs(
    folder: Path, shots: list[Tensor], kernel: Tensor, scale: int, dtype: type = np.uint8, side: int = 240
) -> tuple[Path, Path]:
    """Write HR and LR of photographs into the folders HR and LR: LR by a kernel, a scale and rounding."""
    for number, shot in enumerate(shots):
        hr = shot[:, :side, :side]
        lr = blur_decimate(hr[None], kernel[None].float(), scale)[0]
        save_png(folder / "HR" / f"shot{number}.png", hr, dtype)
        save_png(folder / "LR" / f"shot{number}.png", lr, dtype)
    return folder / "HR", folder / "LR"


@pytest.fixture
def pair_folders(tmp_path: Path, photographs: list[Tensor]) -> Callable[..., tuple[Path, Path]]:
    """Make folders HR and LR of the photographs (see `write_pairs`)."""
    return functools.partial(write_pairs, tmp_path, photographs)


LEFT_OUT = (".debug_pkl", "serialization_id", SUMS_NAME)
"""Endings of the members of a checkpoint that depend on what its process compiled before."""


def checkpoint_contents(path: Path) -> list[tuple[str, bytes]]:
    """Everything that a checkpoint holds, without what depends on the modules that its process compiled before.

    These are the numbers that TorchScript gives to classes of one name, and the hashes of its members and of the file.
    """
    mangled = re.compile(rb"[./]___torch_mangle_\d+")
    with zipfile.ZipFile(path) as archive:
        kept = [name for name in archive.namelist() if not name.endswith(LEFT_OUT)]
        parts = [(mangled.sub(b"", name.encode()).decode(), mangled.sub(b"", archive.read(name))) for name in kept]
    return sorted(parts)


Run = Callable[..., tuple[int, str, str]]
"""The command line in this process: (exit code, stdout, stderr) of arguments."""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `main` in this process."""

    def run(*arguments: str | Path | int) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["degsynth", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda number, handler: None)
        with pytest.raises(SystemExit) as caught:
            app.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def import_everything() -> None:
    """Import all modules: one that is first imported while a test has replaced a function would keep that."""
    for module in pkgutil.walk_packages(degsynth.__path__, "degsynth."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def flags_by_command() -> dict[str, set[str]]:
    """The flags of every command, by its name; a sub-command's is ``kernel-pool show``."""

    def visit(group: Any, prefix: str) -> dict[str, set[str]]:
        flags: dict[str, set[str]] = {}
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                flags |= visit(command, f"{prefix}{name} ")
            else:
                options = (parameter for parameter in command.params if parameter.param_type_name == "option")
                flags[prefix + name] = {flag for option in options for flag in option.opts} | {"--help", "-h"}
        return flags

    return visit(typer.main.get_command(app.app), "")


def run_cli(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, in a process of its own."""
    command = [sys.executable, "-m", "degsynth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)

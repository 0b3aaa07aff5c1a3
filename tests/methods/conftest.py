"""Fits that several tests look at: each is made once, whichever process needs it first."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from torch import Tensor

from degsynth import fit, methods
from degsynth.ops.kernels import gaussian
from tests.conftest import write_pairs


def options_for(name: str, hr: Path, lr: Path, scale: int, seed: int = 0) -> fit.FitOptions:
    """Options for folders of pairs. Unpaired methods get the scale, and do not know that the scenes are the same."""
    data = methods.get(name).Method.data
    return fit.FitOptions(
        method=name,
        hr=None if data == "lr" else str(hr),
        lr=str(lr),
        scale=None if data == "paired" else scale,
        seed=seed,
    )


def stopping_after(steps: int) -> fit.Events:
    """Events of a fit that is asked to stop once it has done a number of steps."""

    @contextlib.contextmanager
    def stop_soon() -> Iterator[Callable[[], bool]]:
        asked = iter([False] * steps + [True])
        yield lambda: next(asked)

    return fit.Events(deferred_stop=stop_soon)


class SharedFits:
    """Fits of methods to four small pairs, with the options `QUICK` of each and seed 0."""

    def __init__(self, folder: Path, photographs: list[Tensor]) -> None:
        self.folder, self.photographs = folder, photographs

    def options(self, name: str, scale: int) -> fit.FitOptions:
        """Return options for the pairs."""
        pairs = self._once(f"pairs-x{scale}", lambda out: self._write_pairs(out, scale))
        return options_for(name, pairs / "HR", pairs / "LR", scale)

    def run(self, name: str, scale: int) -> Path:
        """Return the run directory of the fit of a method; nobody may write into it."""
        options = self.options(name, scale)
        return self._once(f"{name}-x{scale}", lambda out: fit.run(options, methods.get(name).QUICK, out))

    def _write_pairs(self, out: Path, scale: int) -> None:
        kernel = gaussian(10 if scale % 2 == 0 else 11, 0.8, 1.1)
        write_pairs(out, self.photographs, kernel, scale, side=180)

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder of that name; the first process that asks for it makes it, the others wait."""
        path, part = self.folder / name, self.folder / f"{name}.part"
        with FileLock(self.folder / f"{name}.lock"):
            if not path.exists():
                shutil.rmtree(part, ignore_errors=True)  # an attempt that failed
                make(part)
                part.rename(path)
        return path


@pytest.fixture(scope="session")
def shared_fits(tmp_path_factory: pytest.TempPathFactory, photographs: list[Tensor]) -> SharedFits:
    """The fits of this run of the tests. Processes of pytest-xdist have a folder each, below that of the run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared_fits"
    folder.mkdir(exist_ok=True)
    return SharedFits(folder, photographs)

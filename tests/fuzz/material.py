"""What the inputs are made from, and what they are run with: models, pools, pairs, a data set. degsynth makes them."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer.main
from skimage import data

OPTIONS = ("--seed", "3", "--awgn", "1:4", "--link", "copy", "--workers", "2", "--draws", "2")
"""Options with which the data set is made that inputs damage."""
CONFIGURED = {"linear": {}, "dml": {"steps": 1, "width": 4, "basis_kernels": 2, "batch": 2, "kernel_size": 8}}
"""Methods whose fits are configured, with options of theirs."""
SECRETS = ("precious.png", "b.png", "precious.txt")
"""Files in a folder beside OUT that nothing may touch."""


@dataclass(frozen=True)
class Material:
    """Files below one folder. They are made once, and read only."""

    root: Path

    @property
    def models(self) -> list[Path]:
        """Checkpoints of scale 2: one kernel, and random kernels with noise."""
        return [self.root / "linear.pt", self.root / "stochastic.pt"]

    @property
    def pool(self) -> Path:
        """A pool of kernels."""
        return self.root / "pool.h5"

    @property
    def hr(self) -> Path:
        """Three HR images: in a sub-folder, plain, and of a size that must be cropped."""
        return self.root / "HR"

    @property
    def pairs(self) -> Path:
        """A folder with the folders HR and LR of three pairs."""
        return self.root / "pairs"

    @property
    def photographs(self) -> Path:
        """24 HR images, PNG and TIFF, of which some must be cropped."""
        return self.root / "photographs"

    @property
    def dataset(self) -> Path:
        """What ``apply`` made of `hr` with the first model and `OPTIONS`."""
        return self.root / "set"

    @property
    def laid_out(self) -> Path:
        """The same with the layouts basicsr and hdf5."""
        return self.root / "laid_out"

    def configurations(self) -> list[str]:
        """Return the configurations of two fits, with relative paths: of ``linear`` and of ``dml``."""
        paths = [self.root / name / "config.toml" for name in ("run_linear", "run_dml")]
        return [path.read_text("utf-8").replace(f'"{self.pairs}/', '"pairs/') for path in paths]


def prepare(root: Path) -> Material:
    """Make all of it in an empty folder. It computes, so it runs in a process of its own."""
    from degsynth.cli import app

    material = Material(root)
    parser(app.app)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _make(material)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the material for the inputs could not be made; what degsynth said stands above")
    return material


parser = functools.cache(typer.main.get_command)
"""Returns the parser of the command line; to build it takes most of the time of a short command."""


def command(*arguments: object) -> int:
    """Run the command line in this process; return its exit code."""
    from degsynth.cli import app

    typer.main.get_command = parser
    sys.argv = ["degsynth", *map(str, arguments)]
    try:
        app.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    return 0


def _make(material: Material) -> None:
    from degsynth.data import images, writing
    from degsynth.ops.kernels import gaussian
    from tests import doubles
    from tests.conftest import save_png, write_pairs

    root = material.root
    log = os.open(root / "log.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    photographs = (data.astronaut(), data.coffee(), data.chelsea())
    shots = [images.to_tensor(np.ascontiguousarray(shot)) for shot in photographs]
    doubles.linear_double(material.models[0], 2)
    doubles.stochastic(material.models[1], 2)
    for name, height in (("a.png", 32), ("sub/b.png", 32), ("odd.png", 33)):
        save_png(material.hr / name, shots[0][:, 100 : 100 + height, 200:232])
    for number in range(24):
        part = shots[number % 3][:, : 150 + number % 4, : 200 + number % 3]
        save_png(material.photographs / f"{number:02}.png", part)
        if number % 3 == 0:
            pixels = images.quantise(part, np.dtype(np.uint16))
            (material.photographs / f"{number:02}.png").unlink()
            (material.photographs / f"{number:02}.tif").write_bytes(writing.encode(images.Image(pixels), ".tif"))
    write_pairs(material.pairs, shots, gaussian(8, 1.0, 1.3), 2, side=96)
    layouts = ("--layout", "basicsr", "--layout", "hdf5")
    commands = (
        ("kernel-pool", "generate", "--gaussian", "0.8:2", "-n", 5, "-o", material.pool),
        ("apply", material.models[0], material.hr, material.dataset, *OPTIONS),
        ("apply", material.models[0], material.hr, material.laid_out, *OPTIONS, *layouts),
    )
    for arguments in commands:
        if command(*arguments) != 0:
            raise RuntimeError(f"degsynth {' '.join(map(str, arguments))} failed: {(root / 'log.txt').read_text()}")
    for method, values in CONFIGURED.items():
        _configure(material, method, values)


def _configure(material: Material, method: str, values: dict[str, int]) -> None:
    """Write the configuration that a fit would leave in its run directory, without the fit."""
    from degsynth.config import Events, to_toml
    from degsynth.fit import stages
    from degsynth.fit.options import FitOptions

    options = FitOptions(method=method, hr=str(material.pairs / "HR"), lr=str(material.pairs / "LR"))
    run = material.root / f"run_{method}"
    tables = stages.read(options, values, run, Events(), resume=False).tables
    run.mkdir()
    (run / "config.toml").write_text(to_toml(tables), "utf-8")

"""What the experiments share: degsynth commands as functions, and folders of pairs that are split by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from degsynth.data.matching import Pair, match


def degsynth(*arguments: object, log: Path | None = None) -> str:
    """Run a degsynth command in one thread and return its standard output.

    Standard error is written to ``log``, if a file is given. If the command fails, the experiment ends.
    """
    command = [sys.executable, "-m", "degsynth", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if log is not None:
        log.write_text(finished.stderr)
    if finished.returncode:
        sys.exit(finished.stderr)
    return finished.stdout


def begin(out: Path, **given: object) -> None:
    """Make the folder ``out``, or go on in it; the experiment ends if the folder was begun with other arguments."""
    out.mkdir(parents=True, exist_ok=True)
    arguments, stored = {key: str(value) for key, value in given.items()}, out / "arguments.json"
    if stored.is_file() and json.loads(stored.read_text()) != arguments:
        sys.exit(f"{out} was begun with other arguments ({stored.read_text()}); give another folder")
    stored.write_text(json.dumps(arguments))


def fit(run: Path, folders: tuple[Path, Path], method: str, *options: object) -> Path:
    """Fit a method to an HR and an LR folder, unless it was done before, and return the run directory.

    A fit that was interrupted is resumed if it left a snapshot, and begun anew otherwise.
    """
    if not (run / "fit.json").is_file():
        where = ["--hr", folders[0], "--lr", folders[1], "--out", run, "--device", "cpu"]
        resume = ["--resume"] if any(run.glob("snapshots/*")) else []
        if run.exists() and not resume:
            shutil.rmtree(run)
        degsynth("fit", "--method", method, *where, *options, *resume, log=run.with_suffix(run.suffix + ".log"))
    return run


def split(hr: Path, lr: Path, held_out: int, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Split pairs by name, and return a pair of folders (HR, LR) with links to the files of each part.

    ``test`` has the last ``held_out`` pairs, ``fit`` all others. Three of the pairs of ``fit`` are in ``three``, and
    every second one is in ``one half`` or ``other half``, which therefore have no scene in common.
    """
    pairs = sorted(match(hr, lr)[0], key=lambda pair: pair.name)
    count = len(pairs) - held_out
    if count < 4:
        sys.exit(f"{hr} and {lr} have {len(pairs)} pairs, which are too few; give at least {held_out + 4}")
    parts = {
        "fit": pairs[:count],
        "three": [pairs[0], pairs[count // 2], pairs[count - 1]],
        "one half": pairs[:count:2],
        "other half": pairs[1:count:2],
        "test": pairs[count:],
    }
    return {name: linked(part, folder / name) for name, part in parts.items()}


def linked(pairs: list[Pair], folder: Path) -> tuple[Path, Path]:
    """Make the folders ``HR`` and ``LR`` in a folder, with links to the files of the pairs, and return both."""
    sides = folder / "HR", folder / "LR"
    for side, files in zip(sides, ([pair.hr for pair in pairs], [pair.lr for pair in pairs]), strict=True):
        side.mkdir(parents=True, exist_ok=True)
        for source in (file.resolve() for file in files):
            if not (side / source.name).is_symlink():
                (side / source.name).symlink_to(source)
    return sides


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])

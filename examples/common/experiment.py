"""What the experiments share: the command line as a function, and folders of pairs that are split by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from degsynth.data.pairs import Pair, match


def degsynth(*arguments: object, log: Path | None = None) -> str:
    """Run a command in one thread; its standard output. Ends the experiment where the command fails."""
    command = [sys.executable, "-m", "degsynth", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if log is not None:
        log.write_text(done.stderr)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def begin(out: Path, **given: object) -> None:
    """Make OUT, or go on in it; ends the experiment where it was begun with something else."""
    out.mkdir(parents=True, exist_ok=True)
    told, stored = {key: str(value) for key, value in given.items()}, out / "arguments.json"
    if stored.is_file() and json.loads(stored.read_text()) != told:
        sys.exit(f"{out} was begun with {stored.read_text()}; give another folder")
    stored.write_text(json.dumps(told))


def fit(run: Path, pairs: tuple[Path, Path], method: str, *options: object) -> Path:
    """The run of a fit, done or gone on with where it is not finished yet."""
    if not (run / "fit.json").is_file():
        where = ["--hr", pairs[0], "--lr", pairs[1], "--out", run, "--device", "cpu"]
        again = ["--resume"] if any(run.glob("snapshots/*")) else []
        if run.exists() and not again:
            shutil.rmtree(run)
        degsynth("fit", "--method", method, *where, *options, *again, log=run.with_suffix(run.suffix + ".log"))
    return run


def split(hr: Path, lr: Path, held_out: int, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of links to pairs, by name: all but the last to fit, three of these, and the last to test on.

    Of those to fit, ``one half`` and ``other half`` have no scene in common.
    """
    pairs = sorted(match(hr, lr)[0], key=lambda pair: pair.name)
    count = len(pairs) - held_out
    if count < 4:
        sys.exit(f"{hr} and {lr}: {len(pairs)} pairs are too few, give at least {held_out + 4}")
    which = {
        "fit": pairs[:count],
        "three": [pairs[0], pairs[count // 2], pairs[count - 1]],
        "one half": pairs[:count:2],
        "other half": pairs[1:count:2],
        "test": pairs[count:],
    }
    return {role: linked(chosen, folder / role) for role, chosen in which.items()}


def linked(pairs: list[Pair], folder: Path) -> tuple[Path, Path]:
    """Folders of links to the HR and LR files of pairs, in a folder."""
    places = folder / "HR", folder / "LR"
    for place, files in zip(places, ([pair.hr for pair in pairs], [pair.lr for pair in pairs]), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        for source in (file.resolve() for file in files):
            if not (place / source.name).is_symlink():
                (place / source.name).symlink_to(source)
    return places


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])

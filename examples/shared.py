"""What the experiments share: the command line as a function, and folders of pairs that are split by name."""

import os
import subprocess
import sys
from pathlib import Path


def degsynth(*arguments: object, log: Path | None = None) -> str:
    """Run a command in one thread; its standard output. Ends the experiment where the command fails."""
    command = [sys.executable, "-m", "degsynth", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if log is not None:
        log.write_text(done.stderr)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def split(hr: Path, lr: Path, held_out: int, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of links to pairs: to fit, to calibrate with (three, evenly spread over the former), to test on."""
    sides = [sorted(p.name for p in side.iterdir() if p.is_file()) for side in (hr, lr)]
    count = len(sides[0]) - held_out
    if len(sides[0]) != len(sides[1]) or count < 3:
        sys.exit(f"{hr} and {lr}: give equal numbers of files, at least {held_out + 3}")
    which = {"fit": range(count), "three": [0, count // 2, count - 1], "test": range(count, count + held_out)}
    made = {}
    for role, numbers in which.items():
        for source, names, side in ((hr, sides[0], "HR"), (lr, sides[1], "LR")):
            place = folder / role / side
            place.mkdir(parents=True, exist_ok=True)
            for name in (names[n] for n in numbers):
                if not (place / name).is_symlink():
                    (place / name).symlink_to((source / name).resolve())
        made[role] = (folder / role / "HR", folder / role / "LR")
    return made


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])

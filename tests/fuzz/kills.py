"""``python -m tests.fuzz.kills --seed 1 --applies 100 --fits 20``: runs that are ended at random moments, and resumed.

What a resumed run leaves must be, byte by byte, what an undisturbed one leaves. Runs are ended by SIGKILL, by other
signals, and by a reader that closes stdout; and two runs are started at once on one folder. The exit code is 1 where
one ended differently.
"""

from __future__ import annotations

import argparse
import importlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.conftest import checkpoint_contents
from tests.fuzz.__main__ import IMPORTED
from tests.fuzz.forked import Run
from tests.fuzz.material import Material, prepare

OPTIONS = ("--workers", "2", "--draws", "2", "--awgn", "1:4", "--seed", "5")
"""Options of every ``apply``."""
FIT = ("--method", "dml", "--steps", "40", "--set", "width=4", "--set", "basis_kernels=2", "--set", "batch=2",
       "--set", "kernel_size=8")  # fmt: skip
"""Options of every ``fit``."""
ENDINGS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""Signals that end a run, besides SIGKILL. The exit code is 128 + the signal, or the signal itself."""


class Applies:
    """Runs of ``apply`` on one folder of HR images, compared with one that nobody disturbed."""

    def __init__(self, material: Material, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.log = folder, rng, folder / "log.txt"
        self.command = ("apply", material.models[1], material.photographs)
        self.counts = Counter[str]()
        self.faults: list[str] = []
        straight = self._start(folder / "straight")
        if straight.wait() != 0:
            raise RuntimeError(f"the undisturbed run failed: {straight.said()}")
        self.expected = contents(folder / "straight")
        self.rows = self.expected["manifest.jsonl"].count(b"\n")

    def _start(self, out: Path, *more: str, stdout: bool = False) -> Run:
        return Run(self.log, *self.command, out, *OPTIONS, *more, stdout=stdout)

    def disturbed(self, name: str, disturb: Callable[[Run, Path], None], codes: set[int]) -> None:
        """Start a run, disturb it, resume it, once in four times after a kill of that too, and compare."""
        out = self.folder / "out"
        self._ended(name, self._start(out, stdout=name == "reader left"), out, disturb, codes)
        if self.rng.random() < 0.25:
            self._ended("kill -9 of a resumed run", self._start(out, "--resume"), out, self.kill, {-signal.SIGKILL})
        existing = ["--resume"] if out.exists() else []
        if (code := self._start(out, *existing).wait()) != 0:
            self.faults.append(f"{name}: the resumed run ends with exit code {code}")
        elif (found := contents(out)) != self.expected:
            self.faults.append(f"{name}: {different(found, self.expected)}")
        shutil.rmtree(out)

    def _ended(self, name: str, run: Run, out: Path, disturb: Callable[[Run, Path], None], codes: set[int]) -> None:
        """Disturb a run, and note whether it came to its end all the same."""
        rows_before = (out / "manifest.jsonl").exists()
        disturb(run, out)
        code = run.wait()
        writing = (out / ".partial").exists() or (out / "manifest.jsonl").exists() > rows_before
        self.counts[name] += 1
        self.counts[f"{name}: ended while outputs were written"] += code != 0 and writing
        if code not in {0, *codes} or "Traceback" in run.said():
            self.faults.append(f"{name}: exit code {code}: {run.said()[-300:]}")

    def kill(self, run: Run, out: Path, number: int = signal.SIGKILL) -> None:
        """Send a signal at a random moment while outputs are written: so many rows, and a few milliseconds more."""

        def rows() -> int:
            manifest = out / "manifest.jsonl"
            return manifest.read_bytes().count(b"\n") if manifest.exists() else 0

        moment = self.rng.randint(rows(), self.rows)
        run.wait_until(lambda: (out / ".partial").exists() and rows() >= moment)
        until = time.monotonic() + self.rng.uniform(0.0, 0.02)
        if run.wait_until(lambda: time.monotonic() >= until):
            run.signal(number)

    def leave(self, run: Run, out: Path) -> None:
        """Read some rows from stdout and close it."""
        run.read_lines(self.rng.randint(1, 30))

    def two_at_once(self, later: bool) -> None:
        """Start two runs on one folder, the second when the first writes or at once: one says why it does not run."""
        out, other = self.folder / "out", self.folder / "log2.txt"
        first = self._start(out)
        if later:
            first.wait_until((out / ".partial/lock").exists)
        runs = [first, Run(other, *self.command, out, *OPTIONS, *(["--resume"] if later else []))]
        codes = [run.wait() for run in reversed(runs)][::-1]
        said = next((run.said() for run, code in zip(runs, codes, strict=True) if code == 2), "")
        self.counts["two at once"] += 1
        self.counts["two at once: told that another run is writing"] += "another run" in said
        if sorted(codes) != [0, 2] or len(said.splitlines()) != 1 or str(out) not in said:
            self.faults.append(f"two at once: exit codes {codes}, {said!r}")
        elif later and "another run" not in said:
            self.faults.append(f"two at once: it is not said that another run is writing: {said!r}")
        elif (found := contents(out)) != self.expected:
            self.faults.append(f"two at once: {different(found, self.expected)}")
        shutil.rmtree(out)


def fits(count: int, material: Material, folder: Path, rng: random.Random) -> Iterator[str]:
    """Kill fits at random moments, resume them, and compare the checkpoints; yield what is wrong."""
    command = ("fit", "--hr", material.pairs / "HR", "--lr", material.pairs / "LR", *FIT, "--out")
    straight, out, log = folder / "straight_fit", folder / "fit", folder / "log.txt"
    run = Run(log, *command, straight)
    begun = time.monotonic()
    if run.wait() != 0:
        raise RuntimeError(f"the undisturbed fit failed: {run.said()}")
    seconds = time.monotonic() - begun
    expected = checkpoint_contents(straight / "checkpoint.pt")
    for _ in range(count):
        run = Run(log, *command, out)
        until = run.begun + rng.uniform(0.1, 1.0) * seconds
        if run.wait_until(lambda until=until: time.monotonic() >= until):  # type: ignore[misc]
            run.signal(signal.SIGKILL)
        run.wait()
        if out.exists() and not list(out.glob("snapshots/step_*.pt")):
            shutil.rmtree(out)  # as the command says where there is nothing to go on from
        run = Run(log, "fit", "--resume", "--out", out) if out.exists() else Run(log, *command, out)
        if (code := run.wait()) != 0:
            yield f"fit: resumed, it ends with exit code {code}: {run.said()[-300:]}"
        elif checkpoint_contents(out / "checkpoint.pt") != expected:
            yield "fit: the checkpoint is another one"
        shutil.rmtree(out, ignore_errors=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def different(found: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """Say in which files two folders differ."""
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return f"{len(names)} files differ, e.g. {', '.join(names[:3])}"


def main() -> int:
    """Run what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the moments and of what is done (default: 1)")
    parser.add_argument("--applies", type=int, default=100, help="kills of apply; of each other ending a tenth")
    parser.add_argument("--fits", type=int, default=20, help="kills of a fit (default: 20)")
    asked = parser.parse_args()
    for module in IMPORTED:
        importlib.import_module(module)
    rng, begun = random.Random(asked.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        (folder / "material").mkdir()
        material = prepare(folder / "material")
        before = contents(material.root)
        applies = Applies(material, folder, rng)
        _disturb(applies, asked.applies)
        for what, count in applies.counts.items():
            print(f"{what:55}{count:6}", flush=True)
        faults = applies.faults + list(fits(asked.fits, material, folder, rng))
        print(f"{'kill -9 of a fit':55}{asked.fits:6}")
        if contents(material.root) != before:
            faults.append("files outside OUT were touched")
    for fault in faults:
        print(f"    {fault}")
    print(f"seed {asked.seed}: {len(faults)} failures, {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


def _disturb(applies: Applies, count: int) -> None:
    """Kill so many runs, and end a tenth as many in each of the other ways."""
    for _ in range(count):
        applies.disturbed("kill -9", applies.kill, {-signal.SIGKILL})
    for turn in range(-(-count // 10)):
        for number in ENDINGS:
            applies.disturbed(number.name, partial(applies.kill, number=number), {-number, 128 + number})
        applies.disturbed("reader left", applies.leave, {1, 128 + signal.SIGPIPE, -signal.SIGPIPE})
        applies.two_at_once(later=turn % 2 == 0)


if __name__ == "__main__":
    sys.exit(main())

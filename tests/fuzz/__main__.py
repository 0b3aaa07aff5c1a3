"""``python -m tests.fuzz --seed 1 --count 500``: hostile and damaged input, in child processes; a table of outcomes.

Every input follows from the seed, its kind and its number. The exit code is 1 where a rule was broken: no crash, no
traceback, no hang over 10 s, no more than 1 GB of resident memory, every refused file named in one line, nothing
touched outside OUT, no damaged output or image taken for a sound one.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from degsynth.fit import stages
from tests.fuzz import runner
from tests.fuzz.inputs import SHARES, Input, generate, is_network, plan, sound
from tests.fuzz.material import Material, prepare
from tests.fuzz.runner import Result

IMPORTED = (
    "degsynth.cli.app", "degsynth.apply", "degsynth.apply.stages", "degsynth.evaluation.selftest", "degsynth.fit",
    "degsynth.fit.stages", "degsynth.kernel_pool.importing", "degsynth.methods.linear", "degsynth.methods.dml",
    "degsynth.model.resolve", "degsynth.reports.panels", "h5py", "scipy.io",
)  # fmt: skip
"""Modules that every child would import anew otherwise."""


def main() -> int:
    """Run what is asked for; return the exit code."""
    asked = _arguments()
    for module in IMPORTED:
        importlib.import_module(module)
    if asked.quick:
        stages.report = lambda fit, scorer, measured: None
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder) / "material"
        root.mkdir()
        material = prepare(root)
        planned = _planned(asked)
        broken = 0
        print(f"{'':22}{'inputs':>8}{'accepted':>10}{'refused':>9}{'violations':>12}{'slowest':>10}{'peak':>10}")
        items = [item for item in sound(material) if not (asked.quick and is_network(item))]
        broken += _report("undamaged files", items, _must_be_accepted(items, material, asked.slowest), None)
        for kind in SHARES:
            items = [generate(kind, number, asked.seed, material) for name, number in planned if name == kind]
            if not items:
                continue
            broken += _report(kind, items, runner.run_alone(items, material, asked.slowest), asked.keep)
            if kind == "images":
                results = runner.run_together(items, material, asked.slowest)
                broken += _report("images, in folders", items, results, asked.keep)
    print(f"seed {asked.seed}: {len(planned)} inputs, {broken} violations, {time.monotonic() - begun:.0f} s")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it (default: 1)")
    parser.add_argument("--count", type=int, default=500, help="number of inputs (default: 500)")
    parser.add_argument("--kind", choices=[*SHARES, "all"], default="all", help="inputs of one kind (default: all)")
    parser.add_argument("--only", metavar="KIND-NUMBER", nargs="*", help="only these inputs, e.g. images-17")
    parser.add_argument("--slowest", type=float, default=10.0, metavar="S", help="limit for an input (default: 10 s)")
    parser.add_argument("--quick", action="store_true", help="draw no pictures of fits, and fit no undamaged network")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="store inputs that break a rule in this folder")
    return parser.parse_args()


def _planned(asked: argparse.Namespace) -> list[tuple[str, int]]:
    if asked.only:
        return [(kind, int(number)) for kind, _, number in (text.rpartition("-") for text in asked.only)]
    return plan(asked.kind, asked.count)


def _must_be_accepted(items: Sequence[Input], material: Material, limit: float) -> Iterable[Result]:
    for result in runner.run_alone(items, material, limit):
        if result.outcome == "refused":
            result.faults.append("a sound file is refused")
        yield result


def _report(title: str, items: Sequence[Input], results: Iterable[Result], keep: Path | None) -> int:
    """Print a line about inputs of a kind, and one for each that broke a rule; return the number of these."""
    by_name = {str(item): item for item in items}
    done = list(results)
    broken = [result for result in done if result.faults]
    slowest = max(done, key=lambda result: result.seconds)
    counts = [sum(result.outcome == outcome for result in done) for outcome in ("accepted", "refused")]
    peak = max(result.peak_mb for result in done)
    numbers = f"{len(done):8}{counts[0]:10}{counts[1]:9}{len(broken):12}"
    print(f"{title:22}{numbers}{slowest.seconds:8.1f} s{peak:7.0f} MB", flush=True)
    for result in broken:
        item = by_name.get(result.about)
        print(f"    {result.about}{f' ({item.how})' if item else ''}: {'; '.join(result.faults)}", flush=True)
        if item is not None and keep is not None:
            _store(item, result, keep / result.about)
    return len(broken)


def _store(item: Input, result: Result, folder: Path) -> None:
    """Write an input, and why it is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(item.content, bytes):
        (folder / f"input{Path(item.name).suffix}").write_bytes(item.content)
    flags = " ".join(item.flags)
    text = f"{result.about}: {item.how}, {item.name!a} {flags}\n" + "\n".join(result.faults) + "\n"
    (folder / "why.txt").write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())

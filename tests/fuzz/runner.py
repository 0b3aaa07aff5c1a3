"""Runs inputs in child processes, so that a crash, a hang or a memory hog is seen and ends nothing else.

A child is forked from a process that has imported everything and computed nothing yet. It takes a batch of inputs one
after another and sends a line of JSON when it begins one and when it has a verdict. If it dies or keeps silent, the
input that it had begun is to blame, and another child goes on with the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.inputs import Input
from tests.fuzz.material import Material
from tests.fuzz.targets import ALONE, Place, Verdict, images_together

LARGEST_MB = 1000.0
"""Most resident memory that a process may have, MB."""
WAITING = 6
"""How many times the limit of an input may pass while its process does not compute for so long: others do."""
ADDRESS_SPACE = 12 * 10**9
"""Most memory that a child can reserve, bytes, so that a bomb harms no other process."""
BATCH = 40
"""Inputs for each child."""


@dataclass
class Result:
    """What became of an input, or of a folder of inputs."""

    about: str
    """How reports call it."""
    outcome: str
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float = 0.0


Step = tuple[str, Callable[[], Verdict]]
"""A name and what is to be run."""


def run_alone(items: Sequence[Input], material: Material, limit: float) -> Iterator[Result]:
    """Run inputs, each by itself and for at most ``limit`` seconds; yield the result of each."""
    for first in range(0, len(items), BATCH):
        left = list(items[first : first + BATCH])
        while left:
            results = _child(left, material, _steps_alone, limit)
            yield from results
            left = left[len(results) :]


def run_together(items: Sequence[Input], material: Material, limit: float) -> Iterator[Result]:
    """Run folders of images, at most ``limit`` seconds an image; where one breaks a rule, find the image to blame."""
    for first in range(0, len(items), BATCH):
        yield from _halved(list(items[first : first + BATCH]), material, limit)


def _halved(items: list[Input], material: Material, limit: float) -> list[Result]:
    (result,) = _child(items, material, _steps_together, limit * len(items))
    if not result.faults or len(items) == 1:
        return [result]
    middle = len(items) // 2
    parts = _halved(items[:middle], material, limit) + _halved(items[middle:], material, limit)
    return parts if any(part.faults for part in parts) else [result]


def _steps_alone(items: list[Input], place: Place) -> list[Step]:
    return [(str(item), lambda item=item: ALONE[item.kind](item, place)) for item in items]  # type: ignore[misc]


def _steps_together(items: list[Input], place: Place) -> list[Step]:
    name = str(items[0]) if len(items) == 1 else f"{items[0]} … {items[-1]}"
    return [(name, lambda: images_together(items, place))]


# --- the parent -----------------------------------------------------------------------------------------------------


def _child(
    items: list[Input], material: Material, steps: Callable[[list[Input], Place], list[Step]], limit: float
) -> list[Result]:
    """Run steps in one child; return the results, of which the last is of the step that ended the child, if one did."""
    work = Path(tempfile.mkdtemp(prefix="work-", dir=material.root.parent))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_child(Place(work, material), lambda place: steps(items, place), writing)
    os.close(writing)
    try:
        return list(_listen(pid, reading, limit))
    finally:
        os.close(reading)
        shutil.rmtree(work, ignore_errors=True)


def _listen(pid: int, reading: int, limit: float) -> Iterator[Result]:
    """Yield the results that a child sends; after one that it did not send, the child has ended."""
    buffer, begun, since, used = b"", "", time.monotonic(), 0.0
    while True:
        if not select.select([reading], [], [], 0.5)[0]:
            if _cpu_s(pid) - used > limit or time.monotonic() - since > WAITING * limit:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                yield Result(begun, "hang", [f"hang: no end after {limit:g} s"], limit)
                return
            continue
        part = os.read(reading, 2**16)
        if not part:
            break
        *lines, buffer = (buffer + part).split(b"\n")
        for line in map(json.loads, lines):
            since, used = time.monotonic(), _cpu_s(pid)
            begun = line.get("begun", "")
            if not begun:
                yield Result(**line)
    status = os.waitpid(pid, 0)[1]
    if begun or status != 0:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        yield Result(begun, "crash", [f"crash: the process ended by {how}"])


def _cpu_s(pid: int) -> float:
    """Return how long a process has computed, in seconds; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        figures = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(figures[11]) + int(figures[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


# --- the child ------------------------------------------------------------------------------------------------------


def _be_child(place: Place, steps: Callable[[Place], list[Step]], writing: int) -> None:
    """Run the steps and end the process."""
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        place.make()
        for name, step in steps(place):
            _send(writing, {"begun": name})
            _send(writing, _measured(name, step, place))
        code = 0
    finally:
        os._exit(code)


def _measured(name: str, step: Callable[[], Verdict], place: Place) -> dict[str, Any]:
    """Run one step; return its verdict with time, memory, and what it touched outside ``out``."""
    place.clear()
    before = place.fingerprint()
    _forget_peak()
    begun = time.monotonic()
    verdict = step()
    seconds, peak = time.monotonic() - begun, _peak_mb()
    shutil.rmtree(place.given)
    place.given.mkdir()
    faults = verdict.faults
    if changed := sorted(path for path, _ in before.items() ^ place.fingerprint().items()):
        faults.append(f"touched outside OUT: {changed[:3]!a}")
    if peak > LARGEST_MB:
        faults.append(f"memory: {peak:.0f} MB")
    return {"about": name, "outcome": verdict.outcome, "faults": faults, "seconds": seconds, "peak_mb": peak}


def _send(writing: int, message: dict[str, Any]) -> None:
    os.write(writing, json.dumps(message).encode() + b"\n")


def _forget_peak() -> None:
    """Let the peak memory of this process be measured from now on, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Return the peak of resident memory, in MB, since `_forget_peak`; or else since the process began."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

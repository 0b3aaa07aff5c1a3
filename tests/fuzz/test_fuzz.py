"""The two programs of this folder at work, and that they notice every kind of fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.inputs import SHARES, generate, plan
from tests.fuzz.material import Material

ROOT = Path(__file__).resolve().parents[2]

BROKEN = """
import os, signal, sys, tempfile, time
from pathlib import Path
from tests.fuzz import runner, targets
from tests.fuzz import targets
from tests.fuzz.inputs import Input
from tests.fuzz.material import Material
from tests.fuzz.targets import Verdict

def touch(item, place):
    (place.work / "victim/precious.png").write_text("changed")
    return Verdict("accepted")

def fill(item, place):
    bytearray(1_200_000_000)
    return Verdict("accepted")

WAYS = {
    "abort": lambda item, place: os.kill(os.getpid(), signal.SIGABRT),
    "hang": lambda item, place: time.sleep(600),
    "touch": touch,
    "memory": fill,
    "harness": lambda item, place: sys.exit(3),
}
root = Path(tempfile.mkdtemp(dir=sys.argv[1])) / "material"
for name in ("HR", "pairs"):
    (root / name).mkdir(parents=True)
targets.ALONE.update(WAYS, sound=lambda item, place: Verdict("accepted"))
for way in WAYS:
    items = [Input(kind, 0, "", "x", b"") for kind in ("sound", way, "sound")]
    for result in runner.run_alone(items, Material(root), 1.0 if way == "hang" else 60.0):
        print(result.about, result.outcome, result.faults)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own: these programs fork, which a process with threads must not do."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)


def test_some_inputs_of_every_kind_break_no_rule() -> None:
    """The limit for an input is longer than by hand, because other tests run at the same time."""
    result = run("-m", "tests.fuzz", "--seed", "1", "--count", "150", "--slowest", "60", "--quick")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "150 inputs, 0 violations" in result.stdout
    assert all(f"\n{kind} " in result.stdout for kind in SHARES)


WAYS = {"abort": "SIGABRT", "hang": "no end after", "touch": "precious.png", "memory": "memory: ", "harness": "crash"}


@pytest.mark.parametrize("way", WAYS)
def test_faults_are_noticed(way: str, faults: list[str]) -> None:
    """A crash, a hang, a memory hog and a touched file are blamed on their input, and the next one is run."""
    at = faults.index(next(line for line in faults if line.startswith(f"{way}-0 ")))
    assert WAYS[way] in faults[at]
    assert faults[at + 1].startswith("sound-0 accepted []")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    result = run("-c", BROKEN, str(tmp_path_factory.mktemp("broken")))
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


SAID = {
    "": (0, []),
    "degsynth: x.png is damaged\n": (2, []),
    "degsynth: it is damaged\n": (2, ["does not name the file"]),
    "x.png is damaged\n": (2, ["0 lines"]),
    "degsynth: x.png \x1b[2J\n": (2, ["cannot be printed"]),
    "Traceback (most recent call last)\n": (1, ["prints a traceback"]),
    "libpng warning: too much\n": (0, ["a library prints"]),
    "warning: a note of degsynth\n": (0, []),
    "killed\n": (7, ["exit code 7"]),
}


@pytest.mark.parametrize("said", SAID)
def test_what_a_command_says_is_judged(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, faults = SAID[said]

    def command(*arguments: object) -> int:
        os.write(2, said.encode())
        return code

    monkeypatch.setattr(targets, "command", command)
    verdict = targets.called("apply", named=["x.png"])[1]
    assert len(verdict.faults) == len(faults)
    assert all(words in fault for words, fault in zip(faults, verdict.faults, strict=True))


def test_what_leaves_a_command_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "command", lambda *arguments: {}["inside"])
    assert targets.called("apply")[1].faults == ["traceback: KeyError: 'inside'"]


@pytest.mark.parametrize("kind", ["images", "mat", "npy"])  # the others are made from files that degsynth writes
def test_inputs_follow_from_the_seed(kind: str) -> None:
    def contents(seed: int) -> list[object]:
        return [generate(kind, number, seed, Material(Path())) for number in range(20)]

    assert contents(1) == contents(1)
    assert contents(1) != contents(2)


@pytest.mark.parametrize("count", [1, 99, 500])
def test_all_kinds_have_their_share(count: int) -> None:
    planned = plan("all", count)
    assert len(planned) == len(set(planned)) == count
    if count >= 100:
        assert {kind for kind, _ in planned} == set(SHARES)


@pytest.mark.slow
def test_some_kills() -> None:
    result = run("-m", "tests.fuzz.kills", "--seed", "1", "--applies", "3", "--fits", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 failures" in result.stdout

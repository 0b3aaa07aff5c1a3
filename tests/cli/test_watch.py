"""A process that dies or hangs: the one that watches it names what was in hand, and goes on or ends in an exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import Tensor

from degsynth import apply
from degsynth.apply.manifest import Manifest
from degsynth.model.checkpoint import Checkpoint
from tests.apply.test_apply import contents
from tests.conftest import save_png
from tests.doubles import stochastic

COMMAND = """
import ctypes, os, signal, sys, time
from degsynth.cli import signals, watch
from degsynth import watching
from degsynth.watching import board
watch.TICK_S = 0.05
watching.PULSE_S, watch.LONGEST_SILENCE_S = 0.05, 1.5
watch.watched()
board, history = board(), board().history
print("process", history.deaths, history.failed, history.suspects, flush=True)
"""
"""A command that is watched, without torch and typer, so that it takes a tenth of a second."""

IMAGES = """
import contextlib, ctypes, os, sys, time
from degsynth import watching
from degsynth.cli import watch
bad, how = sys.argv.pop(1), sys.argv.pop(1)
before = watching.Board.in_hand

@contextlib.contextmanager
def in_hand(board, name):
    with before(board, name):
        if name == bad:
            exec(how)
        yield

watching.Board.in_hand = in_hand
from degsynth.__main__ import main
main()
"""
"""The command line, which does something to itself while an image is in hand."""

ENDINGS = {
    "a crash": ("os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
    "an abort of C++": ("os.abort()", "ended by SIGABRT"),
    "the system": ("os.kill(os.getpid(), 9)", "was killed"),
    "exit() in a library": ("os._exit(0)", "a library ended the process"),
}


def run(body: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", COMMAND + body + lines], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 1, 2, 77, 130])
def test_the_exit_code_of_a_command_is_that_of_the_program(code: int) -> None:
    assert run(f"board.end({code}); sys.exit({code})").returncode == code
    assert run(f"board.end({code}); os.abort()").returncode == code, "it had ended before Python was taken down"


@pytest.mark.parametrize("how", ENDINGS)
def test_a_death_before_anything_is_written(how: str) -> None:
    """There is nothing to go on with."""
    body, reason = ENDINGS[how]
    result = run(body)
    assert result.returncode == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout.count("process") == 1


@pytest.mark.parametrize("how", ENDINGS)
def test_what_was_alone_in_hand_is_given_up_and_the_rest_goes_on(how: str) -> None:
    body, reason = ENDINGS[how]
    result = run(f"board.open()\nif not history.deaths:\n with board.in_hand('a.png'):\n  {body}\n", "board.end(1)")
    assert result.returncode == 1
    first, second = result.stdout.splitlines()
    assert first == "process 0 {} []"
    assert second.startswith("process 1 {'a.png': ")
    assert reason in second


def test_of_two_in_hand_nobody_knows_the_cause() -> None:
    """Both are tried again, one at a time."""
    body = "board.open()\nif not history.deaths:\n with board.in_hand('a'), board.in_hand('b'):\n  os.abort()\n"
    assert run(body, "board.end(0)").stdout.splitlines()[1] == "process 1 {} ['a', 'b']"


def test_deaths_are_bounded() -> None:
    result = run("board.open()\nwith board.in_hand('a.png'):\n os.abort()\n")
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 10
    assert "a.png" in result.stderr
    assert "--resume" in result.stderr


@pytest.mark.parametrize("how", ["time.sleep(100)", "ctypes.PyDLL(None).sleep(100)"], ids=["waits", "holds the GIL"])
def test_what_takes_too_long_is_given_up(how: str) -> None:
    """Only that, and not what other threads have in hand."""
    body = f"board.open(); board.set_longest(0.3)\nif not history.deaths:\n with board.in_hand('a.png'):\n  {how}\n"
    result = run(body, "board.end(1)")
    assert result.returncode == 1
    assert "took longer than 0.3 s" in result.stdout.splitlines()[1]


def test_a_library_that_keeps_the_interpreter_to_itself() -> None:
    """As some do while they are loaded, where they are refused memory."""
    result = run("ctypes.PyDLL(None).sleep(100)")
    assert result.returncode == 2
    assert "did not answer" in result.stderr
    assert result.stderr.count("\n") == 1


def test_one_that_lets_the_interpreter_run_may_take_long() -> None:
    assert run("time.sleep(2.5)\nboard.end(0)").returncode == 0


def test_without_a_limit_nothing_takes_too_long() -> None:
    result = run("board.open()\nwith board.in_hand('a.png'):\n time.sleep(0.5)\nboard.end(0)")
    assert result.returncode == 0
    assert result.stdout.count("process") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("to_all", [False, True], ids=["to the program", "to its group"])
def test_a_signal_arrives_once(number: signal.Signals, to_all: bool) -> None:
    """A shell sends it to one process, a terminal to all of them; the first lets a command finish what it has begun."""
    body = "with signals.GracefulStop() as stop:\n for _ in range(60): time.sleep(0.01)\n"
    lines = "print(board.signals); board.end(stop.exit_code)"
    command = [sys.executable, "-c", COMMAND + "print('ready', flush=True)\n" + body + lines]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        pass
    time.sleep(0.1)
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.communicate()[0] == "1\n"
    assert process.returncode == 128 + number


def test_a_command_dies_with_the_process_that_watches_it() -> None:
    command = [sys.executable, "-c", COMMAND + "print(os.getpid(), flush=True); time.sleep(100)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert process.stdout.read() == "", "the other process holds the pipe until it is gone"
    assert not Path(f"/proc/{pid}/exe").exists()
    process.stdout.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["an abort of C++", "a wait"])
def test_an_image_that_ends_the_process(how: str, model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    """It becomes a failed row; all others are written, and --resume ends in the same bytes as an undisturbed run."""
    for number in range(6):
        save_png(tmp_path / f"HR/{number}.png", photographs[number % 4][:, :120, : 110 + number])
    body, reason = ENDINGS.get(how, ("time.sleep(100)", "took longer than 1 s"))
    arguments = ["apply", model.path, tmp_path / "HR", tmp_path / "out", "--workers", 2, "--timeout", 1]
    command = [sys.executable, "-c", IMAGES, "2.png", body, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    rows = {row.source: row for row in Manifest(tmp_path / "out").read()}
    assert len(rows) == 6
    assert [name for name, row in rows.items() if row.status == "failed"] == ["2.png"]
    assert reason in str(rows["2.png"].error)
    assert "failed: 2.png" in result.stderr
    again = apply.run(model, tmp_path / "HR", tmp_path / "out", apply.Options(existing="resume"))
    assert (again.done, again.resumed) == (6, 5)
    apply.run(model, tmp_path / "HR", tmp_path / "straight")
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")

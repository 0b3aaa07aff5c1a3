"""What is said where a command is interrupted: how to go on, or that nothing is kept."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degsynth.cli import signals
from degsynth.kernel_pool.journal import journal_of
from tests.conftest import Run, import_everything
from tests.doubles import linear_double

NOTHING = "nothing is kept, give the command again"
Interrupt = Callable[..., None]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Interrupt:
    """Let a function of the package leave a file, where one is given, and be interrupted then."""
    import_everything()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signals, "_stopped_by", [])
    (tmp_path / "l").mkdir()
    (tmp_path / "l/photo.png").touch()  # photographs are looked for before anything is begun

    def put(function: str, left: str = "") -> None:
        def interrupted(*_: Any, **__: Any) -> None:
            if left:
                Path(left).parent.mkdir(parents=True, exist_ok=True)
                Path(left).touch()
            signals._stop(signal.SIGINT, None)

        monkeypatch.setattr(function, interrupted)

    return put


SNAPSHOT = "run/snapshots/step_0000003.pt"
FIT = ("--hr", "h", "--lr", "l", "--out", "run")
TEST = ("--test-hr", "h", "--test-lr", "l", "--out", "o")


@pytest.mark.parametrize(
    ("arguments", "function", "left", "said"),
    [
        (["fit", "--method", "pdm", "--scale", "2", *FIT], "degsynth.fit.run", "", NOTHING),
        (["fit", "--method", "dml", *FIT], "degsynth.fit.run", SNAPSHOT,
         "go on with 'degsynth fit --resume --out run'"),
        (["kernel-pool", "estimate", "l", "--scale", "2", "-o", "p.h5"], "degsynth.kernel_pool.estimate.estimate",
         str(journal_of(Path("p.h5"))), "go on with the same command and --resume"),
        (["kernel-pool", "generate", "l", "-o", "p.h5"], "degsynth.kernel_pool.estimate.estimate",
         str(journal_of(Path("p.h5"))), "go on with the same command and --resume"),
        (["kernel-pool", "generate", "l", "-o", "p.h5"], "degsynth.kernel_pool.estimate.estimate", "", NOTHING),
        (["sr", "train", "--hr", "h", "--lr", "l", "--out", "r"], "degsynth.sr.training.run", "r/config.json",
         "go on with 'degsynth sr train --resume --out r'"),
        (["sr", "train", "--hr", "h", "--lr", "l", "--out", "r"], "degsynth.sr.training.run", "", NOTHING),
        (["sr", "compare", "--hr", "h", *TEST], "degsynth.sr.compare.run", "",
         "the same command goes on from there"),
        (["gap", "s", "r"], "degsynth.evaluation.gap.measurement.run", "", NOTHING),
        (["evaluate", "m.pt", "--hr", "h", "--lr", "l"], "degsynth.data.opening.open_for_model", "", NOTHING),
        (["apply", "m.pt", ".", "o"], "degsynth.apply.run", "", "go on with --resume"),
        (["demo", "o"], "degsynth.demo.run", "o/file", "to begin anew, remove o first"),
    ],
    ids=str,
)  # fmt: skip
def test_an_interruption_says_how_to_go_on(
    arguments: list[str], function: str, left: str, said: str, cli: Run, interrupt: Interrupt, tmp_path: Path
) -> None:
    linear_double(tmp_path / "m.pt", 2)
    (tmp_path / "l.png").touch()
    interrupt(function, left)
    code, stdout, stderr = cli(*arguments)
    assert (code, stdout) == (130, "")
    assert stderr.splitlines()[-1] == f"degsynth: interrupted; {said}"


def test_it_is_said_once(capsys: pytest.CaptureFixture[str], interrupt: Interrupt) -> None:
    """What an impatient user does while everything is taken down, when the way on is known no more."""
    for _ in range(2):
        with pytest.raises(SystemExit):
            signals._stop(signal.SIGINT, None)
    assert capsys.readouterr().err == f"degsynth: interrupted; {NOTHING}\ndegsynth: interrupted\n"

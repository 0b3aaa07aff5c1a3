"""What can be known at once is said at once: no command works for minutes before it refuses an output or an option."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from degsynth import files
from degsynth.errors import ConfigError
from degsynth.ops.kernels import gaussian
from tests.conftest import Run, import_everything, write_pairs
from tests.doubles import linear_double


@pytest.fixture(scope="module")
def place(photographs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs in HR and LR, a model m.pt, a file taken.pt and another one taken.h5."""
    import_everything()
    folder = tmp_path_factory.mktemp("place")
    write_pairs(folder, photographs, gaussian(12, 1.0, 1.3, 0.4), 2, side=60)
    linear_double(folder / "m.pt", 2)
    for name in ("taken.pt", "taken.h5"):
        (folder / name).write_text("mine")
    return folder


PAIRS = ("--hr", "HR", "--lr", "LR")
SR_TEST = ("--test-hr", "HR", "--test-lr", "LR")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "m.pt", "-o", "taken.pt"], "taken.pt exists; give another name, or --overwrite"),
        (["export", "m.pt", "-o", "no/new.pt"], "no/new.pt: there is no folder no"),
        (["calibrate", "m.pt", *PAIRS, "-o", "taken.pt"], "taken.pt exists; give another name, or --overwrite"),
        (["inspect", "m.pt", "-o", "no/p.png"], "no/p.png: there is no folder no"),
        (["inspect", "m.pt", "--html", "no/p.html"], "no/p.html: there is no folder no"),
        (["gap", "LR", "HR", "-o", "no/p.png"], "no/p.png: there is no folder no"),
        (["kernel-pool", "generate", "LR", "-o", "taken.h5"], "taken.h5 exists; give another name, or --overwrite"),
        (["kernel-pool", "estimate", "LR", "-o", "taken.h5", "--scale", "2"], "taken.h5 exists"),
        (["kernel-pool", "generate", "LR", "-o", "no/new.h5"], "there is no folder no"),
        (["kernel-pool", "generate", "LR", "-n", "1000000", "-o", "new.h5"], "-n 1000000: "),
        (["sr", "train", *PAIRS, "--out", "HR"], "--out HR exists; give another name, or go on with --resume"),
        (["sr", "train", *PAIRS, "--out", "m.pt/new"], "m.pt is no folder; give another name"),
        (["sr", "compare", "--hr", "HR", *SR_TEST, "--out", "m.pt/new"], "m.pt is no folder; give another name"),
        (["fit", "--method", "linear", *PAIRS, "--out", "m.pt/new"], "m.pt is no folder; give another name"),
        (["fit", "--method", "linear", *PAIRS, "--out", "HR"], "--out HR exists"),
        (["demo", "HR"], "HR exists; give a new folder"),
    ],
    ids=str,
)
def test_an_output_that_cannot_be_written_is_refused_first(
    arguments: list[str], said: str, cli: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an image nor a model is looked at before that."""

    def early(*_: object, **__: object) -> None:
        raise AssertionError("this takes long")

    monkeypatch.chdir(place)
    for slow in ("degsynth.data.images.read", "degsynth.data.images.declared_size", "degsynth.model.checkpoint.load",
                 "degsynth.evaluation.selftest.require", "degsynth.kernel_pool.estimate.estimate"):  # fmt: skip
        monkeypatch.setattr(slow, early)
    code, stdout, stderr = cli(*arguments)
    assert (code, stdout) == (2, "")
    assert said in stderr
    assert stderr.count("\n") == 1
    assert (place / "taken.pt").read_text() == (place / "taken.h5").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.check_makeable(tmp_path / "a/b/c")
    monkeypatch.chdir(tmp_path)
    files.check_makeable(Path("a"))
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path} may not be written to"):
        files.check_makeable(Path("a/b"))
    Path("gone").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="gone is no folder"):
        files.check_makeable(Path("gone/b"))

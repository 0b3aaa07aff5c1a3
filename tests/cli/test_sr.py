"""``degsynth sr`` on the command line: the whole way, and errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from degsynth.data import images
from degsynth.ops.kernels import gaussian
from tests.conftest import Run, write_pairs
from tests.doubles import linear_double

Folders = Callable[..., tuple[Path, Path]]
QUICK = ("--steps", "3", "--batch", "2", "--patch", "12", "--device", "cpu")


@pytest.fixture
def folders(pair_folders: Folders) -> tuple[Path, Path]:
    return pair_folders(gaussian(12, 1.0, 1.3, 0.4), 2, side=120)


def test_the_whole_way(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    hr, lr = folders
    run = tmp_path / "run"
    code, stdout, stderr = cli("sr", "train", "--hr", hr, "--lr", lr, "--out", run, *QUICK)
    assert (code, stdout) == (0, ""), stderr
    assert "157825 parameters; 3 steps" in stderr
    code, stdout, stderr = cli("sr", "test", run, "--hr", hr, "--lr", lr, "--border", "8", "--json")
    document = json.loads(stdout)
    assert code == 0
    assert set(document["mean"]) == {"network", "bicubic"}
    assert (document["net"], document["scale"], document["border"]) == ("default", 2, 8)
    code, stdout, _ = cli("sr", "test", run, "--hr", hr, "--lr", lr)
    assert code == 0
    assert [line.split()[0] for line in stdout.splitlines()[2:]] == ["network", "bicubic"]
    assert cli("sr", "apply", run, lr, tmp_path / "large", "--tile", "32")[0] == 0
    assert images.read(tmp_path / "large/shot0.png").pixels.shape == (120, 120, 3)
    assert cli("sr", "train", "--resume", "--out", run)[0] == 0


@pytest.fixture
def listed(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """A table of the pairs, whose names say nothing of who belongs to whom."""
    lines = []
    for number, path in enumerate(sorted(folders[0].iterdir())):
        (folders[1] / path.name).rename(folders[1] / f"other{number}.png")
        lines.append(f"HR/{path.name},LR/other{number}.png")
    (tmp_path / "pairs.csv").write_text("\n".join(["hr,lr", *lines]))
    return tmp_path / "pairs.csv"


def test_a_table_of_pairs_is_trained_on_and_tested_with(cli: Run, listed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, _, said = cli("sr", "train", "--pairs", listed, "--out", run, *QUICK)
    assert code == 0, said
    assert json.loads((run / "config.json").read_text())["pairs"][0]["pairs"] == str(listed)
    code, stdout, said = cli("sr", "test", run, "--pairs", listed, "--border", "8", "--json")
    assert code == 0, said
    assert len(json.loads(stdout)["images"]) == len(listed.read_text().splitlines()) - 1
    code, _, said = cli("sr", "test", run, "--pairs", listed, "--hr", tmp_path / "HR")
    assert (code, "leave --hr and --lr out, or --pairs" in said) == (2, True)
    mixed = ("--hr", tmp_path / "HR", "--scale", "2", "--real-pairs", listed)
    code, _, said = cli("sr", "train", *mixed, "--out", tmp_path / "mixed", *QUICK)
    assert code == 0, said
    real, made = json.loads((tmp_path / "mixed/config.json").read_text())["pairs"]
    assert (real["pairs"], made["hr"], made["pairs"]) == (str(listed), str(tmp_path / "HR"), None)


def test_tables_of_pairs_are_compared_with(cli: Run, listed: Path, tmp_path: Path) -> None:
    arguments = ("--hr", tmp_path / "HR", "--real-pairs", listed, "--test-pairs", listed, "--seeds", "1", *QUICK)
    code, stdout, said = cli("sr", "compare", *arguments, "--out", tmp_path / "out", "--json")
    assert code == 0, said
    table = json.loads(stdout)
    assert [row["train"] for row in table["rows"]] == ["bicubic", "real"]
    assert table["test_images"] == len(listed.read_text().splitlines()) - 1
    listed.write_text("\n".join(listed.read_text().splitlines()[:-1]))  # other pairs are trained on anew
    code, again, said = cli("sr", "compare", *arguments, "--out", tmp_path / "out", "--json")
    assert code == 0, said
    networks = [[row["networks"][0] for row in document["rows"]] for document in (table, json.loads(again))]
    assert (networks[0][0] == networks[1][0], networks[0][1] == networks[1][1]) == (True, False)


@pytest.mark.slow
def test_the_table(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    hr, lr = folders
    model = linear_double(tmp_path / "m.pt", 2).path
    out = tmp_path / "out"
    arguments = ["--hr", hr, "--real-lr", lr, "--test-hr", hr, "--test-lr", lr, "--train", f"{model}:noise=none"]
    code, stdout, stderr = cli("sr", "compare", *arguments, "--out", out, "--seeds", "1", *QUICK, "--json")
    assert code == 0, stderr
    assert [row["train"] for row in json.loads(stdout)["rows"]] == ["bicubic", f"{model}:noise=none", "real"]
    assert images.read(out / "crops.png").width > 500
    assert str(out / "compare.json") in stderr
    code, stdout, stderr = cli("sr", "compare", *arguments, "--out", out, "--seeds", "1", *QUICK)
    assert code == 0, stderr
    assert "of the way" in stdout.splitlines()[1]


@pytest.fixture(scope="module")
def place(photographs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs in HR and LR, and a model m.pt, which no command below may change."""
    folder = tmp_path_factory.mktemp("place")
    write_pairs(folder, photographs, gaussian(12, 1.0, 1.3, 0.4), 2, side=60)
    linear_double(folder / "m.pt", 2)
    return folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--hr", "HR", "--lr", "LR"], "--out is missing"),
        (["train", "--out", "new"], "nothing to learn from"),
        (["train", "HR", "--out", "new"], "no folders hr and lr"),
        (["train", "HR", "--hr", "HR", "--out", "new"], "excludes --hr"),
        (["train", "--hr", "HR", "--lr", "LR", "--model", "m.pt", "--out", "new"], "exclude each other"),
        (
            ["train", "--pairs", "t.csv", "--hr", "HR", "--out", "new"],
            "lists both sides of all pairs; leave --hr HR out",
        ),
        (["train", "--pairs", "t.csv", "HR", "--out", "new"], "leave DATASET HR out"),
        (["train", "--pairs", "t.csv", "--model", "m.pt", "--out", "new"], "leave --model m.pt out"),
        (["train", "--pairs", "none.csv", "--out", "new"], "--pairs none.csv: No such file or directory"),
        (["train", "--hr", "HR", "--real-pairs", "t.csv", "--real-lr", "LR", "--out", "new"], "--real-lr out"),
        (["test", "m.pt"], "holds no degsynth_sr.json"),
        (["compare", "--hr", "HR", "--test-hr", "HR", "--out", "new"], "--test-lr is missing"),
        (["compare", "--hr", "HR", "--test-lr", "LR", "--out", "new"], "--test-hr is missing"),
        (["compare", "--hr", "HR", "--test-pairs", "t.csv", "--test-lr", "LR", "--out", "new"], "and --test-lr out"),
        (
            ["compare", "--hr", "HR", "--test-pairs", "t.csv", "--real-pairs", "t.csv", "--real-lr", "LR", "-o", "new"],
            "--real-pairs t.csv lists both sides",
        ),
        (["train", "--hr", "HR", "--awgn", "5", "--out", "new"], "give --model"),
        (["train", "--hr", "HR", "--out", "new"], "give HR size / LR size"),
        (["train", "--hr", "HR", "--lr", "LR", "--real-hr", "HR", "--out", "new"], "belong together"),
        (["train", "--hr", "HR", "--lr", "LR", "--net", "esdr", "--out", "new"], "did you mean 'edsr'?"),
        (["train", "--hr", "HR", "--lr", "LR", "--channels", "cmyk", "--out", "new"], "give luma or rgb"),
        (["train", "--hr", "HR", "--model", "none.pt", "--out", "new"], "model none.pt: no such file"),
        (["train", "--hr", "nowhere", "--scale", "2", "--out", "new"], "nowhere: no such folder"),
        (["train", "--hr", "HR", "--lr", "LR", "--out", "HR"], "exists; give another name"),
        (["train", "--resume", "--out", "new"], "no training to go on with"),
        (["test", "HR", "--hr", "HR", "--lr", "LR"], "holds no network.pt"),
        (["test", "m.pt", "--hr", "HR", "--lr", "LR"], "holds no degsynth_sr.json"),
        (["apply", "nowhere.pt", "LR", "new"], "nowhere.pt"),
        (
            ["compare", "--hr", "HR", "--test-hr", "HR", "--test-lr", "LR", "--out", "new", "--train", "none.pt"],
            "model none.pt: no such file",
        ),
        (
            ["compare", "--hr", "HR", "--test-hr", "HR", "--test-lr", "LR", "--out", "new", "--train", "real"],
            "give --real-lr",
        ),
        (
            ["compare", "--hr", "HR", "--test-hr", "HR", "--test-lr", "LR", "--out", "new", "--real-hr", "HR"],
            "give --real-lr",
        ),
    ],
    ids=str,
)
def test_errors_are_one_line_and_leave_nothing(
    arguments: list[str],
    said: str,
    cli: Run,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    code, stdout, stderr = cli("sr", *arguments)
    assert (code, stdout) == (2, "")
    assert said in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not (place / "new").exists()

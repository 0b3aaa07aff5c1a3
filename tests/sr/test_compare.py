"""Comparisons: what is trained on, the table, and what is not done twice."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from degsynth.config import Events
from degsynth.errors import ConfigError, FitStoppedError
from degsynth.sr import compare, crops, networks, training
from degsynth.sr.compare import Comparison
from degsynth.sr.contestants import Folders, contestants, parse, short_names
from degsynth.sr.options import Pairs, Training, parse_model
from tests.doubles import linear_double


@pytest.fixture
def folders(pair: Pairs) -> Folders:
    return Folders(Path(pair.hr), Path(pair.hr), Path(str(pair.lr)), None, Path(str(pair.lr)))


def comparison(folders: Folders, **values: object) -> Comparison:
    training = Training(pairs=(Pairs(hr=str(folders.hr)),), steps=3, batch=2, patch=12, draws=1)
    return Comparison(folders, training, border=8, shift=2, **{"seeds": 2, **values})  # type: ignore[arg-type]


def test_models_carry_their_noise() -> None:
    assert parse_model("runs/a.pt", "HR") == Pairs(hr="HR", model="runs/a.pt")
    assert parse_model("a.pt:noise=none", "HR") == Pairs(hr="HR", model="a.pt", noise="none")
    assert parse_model("a.pt:awgn=1:5", "HR") == Pairs(hr="HR", model="a.pt", awgn="1:5")
    assert parse_model("C:a.pt:noise=b.pt,awgn=5", "HR") == Pairs(hr="HR", model="C:a.pt", noise="b.pt", awgn="5")


@pytest.mark.parametrize("text", ["a.pt:awgn=", "a.pt:noise=none,tile=3", "a.pt:awgn=loud"])
def test_bad_choices_of_noise_are_named(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_model(text, "HR")


def test_both_ends_of_the_way_are_always_there(folders: Folders) -> None:
    found = contestants(["real+a.pt", "real", "a.pt", "a.pt"], folders)
    assert [one.label for one in found] == ["bicubic", "real+a.pt", "a.pt", "real"]
    assert found[1].pairs == (found[3].pairs[0], found[2].pairs[0])
    without = Folders(folders.hr, folders.test_hr, folders.test_lr)
    assert [one.label for one in contestants(["a.pt"], without)] == ["bicubic", "a.pt"]
    for text in ("real", "real+a.pt"):
        with pytest.raises(ConfigError, match="give `real_lr`"):
            contestants([text], without)


@pytest.mark.parametrize("text", ["real+real", "real+real+a.pt"])
def test_real_pairs_are_mixed_in_once(text: str, folders: Folders) -> None:
    with pytest.raises(ConfigError, match="once"):
        parse(text, folders)


def test_names_leave_out_folders_where_they_stay_different() -> None:
    texts = ["bicubic", "/runs/nikon/checkpoint.pt", "real+/a/b.pt:noise=none", "/a/c.pt", "/b/c.pt", "sets/m", "real"]
    assert short_names(texts) == ["bicubic", "nikon", "real+b.pt:noise=none", "/a/c.pt", "/b/c.pt", "m", "real"]


def test_a_data_set_is_read(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "set/hr").mkdir(parents=True)
    (tmp_path / "set/lr").mkdir()
    (pairs,) = parse(str(tmp_path / "set"), folders).pairs
    assert (pairs.hr, pairs.lr) == (str(tmp_path / "set/hr"), str(tmp_path / "set/lr"))


def test_the_table(folders: Folders, tmp_path: Path) -> None:
    model = str(linear_double(tmp_path / "m.pt", 2).path)
    entrants = contestants([model, f"real+{model}:awgn=20"], folders)
    table = compare.run(entrants, comparison(folders), tmp_path / "out")
    assert [row["train"] for row in table["rows"]] == ["bicubic", model, f"real+{model}:awgn=20", "real"]
    assert json.loads((tmp_path / "out/compare.json").read_text()) == table
    for row in table["rows"]:
        assert len(row["psnr_y"]) == len(set(row["psnr_y"])) == 2
        assert row["mean"]["psnr_y"] == pytest.approx(np.mean(row["psnr_y"]))
        assert row["spread"] == pytest.approx(abs(np.subtract(*row["psnr_y"])) / np.sqrt(2))
        assert all((tmp_path / "out" / name).is_file() for name in row["networks"])
    bicubic, linear, noisy, real = table["rows"]
    assert real["lr_psnr_y"] is None
    assert linear["lr_psnr_y"] > bicubic["lr_psnr_y"]
    assert linear["lr_psnr_y"] > noisy["lr_psnr_y"]
    shown = crops.of_comparison(table, folders, tmp_path / "out")
    assert [title.split("\n")[0] for title, _ in shown[0]][1:-1] == [row["name"] for row in table["rows"]]


def test_shares_are_of_the_way_from_bicubic_to_real() -> None:
    def rows(*values: float) -> list[dict[str, object]]:
        names = ["bicubic", "a", "real"]
        return [{"train": name, "mean": {"psnr_y": value}} for name, value in zip(names, values, strict=False)]

    table = rows(26.0, 27.0, 28.0)
    compare._add_shares(table)
    assert [row["share"] for row in table] == [0.0, 0.5, 1.0]
    for hopeless in (rows(26.0, 27.0), rows(26.0, 27.0, 25.0)):
        compare._add_shares(hopeless)
        assert {row["share"] for row in hopeless} == {None}


def test_finished_trainings_are_not_repeated(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compare.run(contestants([], folders), comparison(folders, seeds=1), tmp_path / "out")

    def never(*_: object) -> None:
        raise AssertionError("a training was repeated")

    monkeypatch.setattr(training, "_train", never)
    assert compare.run(contestants([], folders), comparison(folders, seeds=1), tmp_path / "out") == first
    with pytest.raises(AssertionError, match="repeated"):  # a second seed is new
        compare.run(contestants([], folders), comparison(folders, seeds=2), tmp_path / "out")


def test_changed_images_are_trained_on_anew(folders: Folders, tmp_path: Path) -> None:
    def trained() -> list[Path]:
        table = compare.run(contestants([], folders), comparison(folders, seeds=1), tmp_path / "out")
        return [(tmp_path / "out" / row["networks"][0]).parent for row in table["rows"]]

    before = trained()
    path = folders.hr / "0.png"
    path.write_bytes((folders.hr / "1.png").read_bytes())
    (Path(str(folders.real_lr)) / "0.png").write_bytes((Path(str(folders.real_lr)) / "1.png").read_bytes())
    assert not set(before) & set(trained())


@pytest.mark.slow
def test_processes_give_what_one_process_gives(folders: Folders, tmp_path: Path) -> None:
    one = compare.run(contestants([], folders), comparison(folders, seeds=1), tmp_path / "one")
    heard: list[tuple[int, int]] = []
    events = Events(lambda stage, count, total: heard.append((count, total)) if stage == "training" else None)
    two = compare.run(contestants([], folders), comparison(folders, seeds=1, workers=2), tmp_path / "two", events)
    assert heard[-1] == (6, 6)
    for first, second in zip(one["rows"], two["rows"], strict=True):
        assert first["psnr_y"] == second["psnr_y"]
        assert (tmp_path / "one" / first["networks"][0]).with_name(networks.WEIGHTS).read_bytes() == (
            tmp_path / "two" / second["networks"][0]
        ).with_name(networks.WEIGHTS).read_bytes()


@pytest.mark.slow
def test_processes_are_stopped_and_go_on(folders: Folders, tmp_path: Path) -> None:
    long = comparison(folders, seeds=1, workers=2)
    long = Comparison(folders, long.training.model_copy(update={"steps": 5000}), 1, 8, 2, 2)
    heard: list[int] = []

    @contextlib.contextmanager
    def stop() -> Iterator[Callable[[], bool]]:
        yield lambda: bool(heard) and heard[-1] > 0

    events = Events(
        lambda stage, count, total: heard.append(count) if stage == "training" else None, deferred_stop=stop
    )
    with pytest.raises(FitStoppedError, match="goes on"):
        compare.run(contestants([], folders), long, tmp_path / "out", events)
    snapshots = list((tmp_path / "out").rglob("snapshot.pt"))
    assert snapshots
    assert not list((tmp_path / "out").rglob("train.json"))


@pytest.mark.slow
def test_an_error_in_a_process_names_the_training(folders: Folders, tmp_path: Path) -> None:
    wild = comparison(folders, seeds=1, workers=2)
    wild = Comparison(folders, wild.training.model_copy(update={"learning_rate": 1e30}), 1, 8, 2, 2)
    with pytest.raises(Exception, match=re.compile(r"^(bicubic|real): step \d+: the loss is")):
        compare.run(contestants([], folders), wild, tmp_path / "out")

"""Several models with weights: one is drawn for each LR image, by its identity alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options, Replay
from degsynth.apply.manifest import Manifest
from degsynth.config import Interval
from degsynth.data import images
from degsynth.errors import ConfigError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise
from degsynth.model.mixture import Mixture
from degsynth.model.resolve import mixture_parts, open_mixture
from degsynth.seeds import Identity
from tests.apply.test_apply import contents
from tests.conftest import Run, save_png
from tests.doubles import StochasticOptics, linear_double, save_double, stochastic


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    """A random kernel and noise; and one kernel without noise. Scale 2."""
    folder = tmp_path_factory.mktemp("models")
    return stochastic(folder / "a.pt", 2), linear_double(folder / "b.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    for number in range(5):
        save_png(tmp_path / "HR" / f"{number}.png", photographs[number % 4][:, :32, 8 * number : 8 * number + 36])
    return tmp_path / "HR"


def test_weights_are_shares(models: tuple[Checkpoint, Checkpoint]) -> None:
    """Of 4000 images, a model with the weight 3 of 4 makes three quarters, ± 5 standard deviations."""
    mixture = Mixture.weighted(models, (3, 1))
    share = np.mean([mixture.models[mixture.pick(Identity(1, f"{n}.png"))] is models[0] for n in range(4000)])
    assert abs(share - 0.75) < 5 * (0.75 * 0.25 / 4000) ** 0.5
    assert sorted(mixture.weights) == [0.25, 0.75]
    assert Mixture.weighted(models[::-1], (0.1, 0.3)) == mixture
    draws = {mixture.pick(Identity(0, "a.png", 0, draw)) for draw in range(20)}
    assert draws == {0, 1}


def test_an_image_is_that_of_the_model_which_was_drawn(
    models: tuple[Checkpoint, Checkpoint], hr: Path, tmp_path: Path
) -> None:
    options = Options(draws=6, noise=Noise(awgn=Interval(1, 5)))
    mixture = Mixture.weighted(models, (0.5, 0.5))
    apply.run(mixture, hr, tmp_path / "mixed", options)
    alone = {}
    for number, model in enumerate(models):
        apply.run(model, hr, tmp_path / f"{number}", options)
        alone[model.sha256] = {row.lr: row for row in Manifest(tmp_path / f"{number}").read()}
    rows = Manifest(tmp_path / "mixed").read()
    assert {row.model_sha256 for row in rows} == set(alone)
    for row in rows:
        same = alone[str(row.model_sha256)][row.lr]
        assert same.lr_sha256 == row.lr_sha256
        assert same.model_copy(update={"model_sha256": row.model_sha256}) == row
    made_by = json.loads((tmp_path / "mixed/dataset.json").read_text())["made_by"]
    assert [(one["sha256"], one["weight"]) for one in made_by["models"]] == [(sha, 0.5) for sha in sorted(alone)]
    assert apply.verify(tmp_path / "mixed", hr).problems == []


@pytest.mark.parametrize("options", [{}, {"draws": 2, "seed": 4, "layouts": ("basicsr",)}])
def test_resumed_and_replayed(
    options: dict[str, Any], models: tuple[Checkpoint, Checkpoint], hr: Path, tmp_path: Path
) -> None:
    mixture = Mixture.weighted(models, (0.3, 0.7))
    apply.run(mixture, hr, tmp_path / "whole", Options(**options))
    apply.run(mixture, hr, tmp_path / "parts", Options(**options, limit=2))
    apply.run(mixture, hr, tmp_path / "parts", Options(**options, existing="resume", workers=1))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    settings = Replay.read(tmp_path / "whole").settings()
    summary = apply.run(mixture, hr, tmp_path / "again", Options(**settings, layouts=options.get("layouts", ())))
    assert (summary.differing, summary.failed) == (0, 0)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    with pytest.raises(ConfigError, match="was made with models "):
        apply.run(Mixture.weighted(models, (1, 1)), hr, tmp_path / "whole", Options(**options, existing="resume"))
    with pytest.raises(ConfigError, match="was made with model_sha256 None"):
        apply.run(models[0], hr, tmp_path / "whole", Options(**options, existing="resume"))
    for other in (Mixture.weighted(models, (1, 1)), models[0]):
        with pytest.raises(ConfigError, match=r"was made with a mixture: 0\.\d of .*; give the same as MODEL"):
            apply.run(other, hr, tmp_path / "no", Options(**settings))


def test_a_data_set_of_one_model_stays_as_it_is(
    models: tuple[Checkpoint, Checkpoint], hr: Path, tmp_path: Path
) -> None:
    apply.run(models[0], hr, tmp_path / "out")
    made_by = json.loads((tmp_path / "out/dataset.json").read_text())["made_by"]
    assert list(made_by)[:3] == ["model_sha256", "method", "scale"]
    assert "models" not in made_by
    assert "random" not in made_by
    with pytest.raises(ConfigError, match="was made with one model, of SHA-256"):
        Replay.read(tmp_path / "out").check_model(Mixture.weighted(models, (1, 1)))


def test_models_that_do_not_mix(models: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    other = linear_double(tmp_path / "four.pt", 4)
    with pytest.raises(ConfigError, match=r"have one scale, but .*a.pt has 2 and .*four.pt has 4"):
        Mixture.weighted((models[0], other), (1, 1))
    with pytest.raises(ConfigError, match=r"b.pt is in the mixture twice; add up its weights"):
        Mixture.weighted((*models, models[1]), (1, 1, 1))
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="give a number above 0"):
            Mixture.weighted(models, (weight, 1.0))
    with pytest.raises(ConfigError, match="is too small beside the others; leave it out"):
        Mixture.weighted(models, (1e-12, 1.0))
    gray = save_double(tmp_path / "gray.pt", StochasticOptics(2, 10), 2, channels=[1])
    colour = save_double(tmp_path / "rgb.pt", StochasticOptics(2, 8), 2, channels=[3])
    with pytest.raises(ConfigError, match=r"is for gray images, .*rgb.pt for RGB; mix models for the same kind"):
        Mixture.weighted((gray, colour), (1, 1))


def test_ranges_of_levels_must_agree(
    models: tuple[Checkpoint, Checkpoint], hr: Path, tmp_path: Path, photographs: list[Tensor]
) -> None:
    save_png(hr / "0.png", photographs[0][:, :32, :32] / 20, np.uint16)
    camera = save_double(tmp_path / "12.pt", StochasticOptics(2, 10), 2, data_range=Interval(0.0, 4095.0))
    mixture = Mixture.weighted((models[1], camera), (1, 1))
    with pytest.raises(ConfigError, match=r"have different ranges of levels, .*give the range of the images as"):
        apply.run(mixture, hr / "0.png", tmp_path / "out")
    apply.run(mixture, hr / "0.png", tmp_path / "out", Options(data_range=Interval(0, 4095)))
    assert images.read(tmp_path / "out/lr/0.png").dtype == np.uint16


def test_names_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "b.pt", "x,y.pt", "c:1", "odd:2,b.pt"):
        Path(name).write_bytes(b"")
    for text, parts in {
        "a.pt": [("a.pt", 1.0)],
        "x,y.pt": [("x,y.pt", 1.0)],
        "c:1": [("c:1", 1.0)],
        "nowhere.pt": [("nowhere.pt", 1.0)],
        "C:/nowhere.pt": [("C:/nowhere.pt", 1.0)],
        "a.pt:0.7,b.pt:0.3": [("a.pt", 0.7), ("b.pt", 0.3)],
        "x,y.pt:7,c:1:3": [("x,y.pt", 7.0), ("c:1", 3.0)],
        "odd:2,b.pt:1,a.pt:1": [("odd:2,b.pt", 1.0), ("a.pt", 1.0)],
        "a.pt:1,gone.pt:1e-1": [("a.pt", 1.0), ("gone.pt", 0.1)],
    }.items():
        assert mixture_parts(text) == parts
    for text, said in {
        "a.pt,b.pt": "have weights; write a.pt:0.7,b.pt:0.3",
        "a.pt:1,b.pt": "b.pt has no weight",
        "a.pt:1,b.pt:2,": "b.pt:2, has no weight",
        "a.pt:0.5": "a single model has no weight; give a.pt",
        "a.pt:-1,b.pt:1": "the weight '-1' of a.pt must be a number above 0",
        "a.pt:much,b.pt:1": "the weight 'much' of a.pt must be",
        "a.pt:inf,b.pt:1": "the weight 'inf' of a.pt must be",
    }.items():
        with pytest.raises(ConfigError, match=said):
            mixture_parts(text)


def test_a_command_line(cli: Run, models: tuple[Checkpoint, Checkpoint], hr: Path, tmp_path: Path) -> None:
    both = f"{models[0].path}:2,{models[1].path}:1"
    code, stdout, _ = cli("apply", both, hr, tmp_path / "out", "--json", "--draws", 8)
    assert code == 0
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert {row["model_sha256"] for row in rows} == {model.sha256 for model in models}
    assert {row["noise"] for row in rows} == {"learned", "none"}
    assert cli("apply", both, hr, tmp_path / "again", "--replay", tmp_path / "out")[0] == 0
    code, _, stderr = cli("apply", both, hr, tmp_path / "x", "--noise", "learned")
    assert code == 2
    assert f"--noise learned: the model {models[1].path} (double) has none" in stderr
    code, _, stderr = cli("apply", f"{models[0].path}:2,gone.pt:1", hr, tmp_path / "x")
    assert code == 2
    assert "model gone.pt: no such file or run" in stderr
    assert len(open_mixture(both).models) == 2

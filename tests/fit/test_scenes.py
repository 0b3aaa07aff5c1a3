"""Paired fits hold out whole scenes, choose the weights on some of them, and report the others."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.data.scenes import scene_of
from degsynth.errors import ConfigError, DataError, FitStoppedError
from degsynth.fit.run_directory import RunDirectory
from degsynth.fit.sources import pairs as pair_source
from degsynth.model import checkpoint
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import Run, checkpoint_contents, save_png

SMALL = {"width": 4, "batch": 2, "kernel_size": 8, "basis_kernels": 2, "steps": 20}
LINEAR = {"kernel_size": 8}


def write(folder: Path, photographs: list[Tensor], scenes: int, parts: int = 2) -> dict[str, Any]:
    """Write pairs of several sub-images a scene, and return the options to fit dml to them."""
    for number in range(scenes * parts):
        y, x = number // 4 * 16 % 144, number % 3 * 60
        hr = photographs[number % len(photographs)][:, y : y + 96, x : x + 96]
        lr = blur_decimate(hr[None], gaussian(8, 1.0, 1.2)[None].float(), 2)[0]
        for side, image in (("HR", hr), ("LR", lr)):
            save_png(folder / side / f"{number // parts:04}_s{number % parts + 1:03}.png", image)
    return {"method": "dml", "hr": str(folder / "HR"), "lr": str(folder / "LR")}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, photographs: list[Tensor]) -> dict[str, Any]:
    """Pairs of 8 scenes, which no test may change."""
    return write(tmp_path_factory.mktemp("scenes"), photographs, 8)


@pytest.fixture(scope="module")
def run(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of dml to them."""
    out = tmp_path_factory.mktemp("fitted") / "run"
    fit.run(fit.FitOptions(**options), SMALL, out)
    return out


def scenes(record: dict[str, Any], part: str) -> set[str]:
    return {scene_of(name) for name in record["pairs"][part]}


def test_no_scene_is_in_two_parts(run: Path) -> None:
    record = json.loads((run / "fit.json").read_text())
    parts = [scenes(record, part) for part in ("fitted", "choosing", "reported")]
    assert [len(part) for part in parts] == [6, 1, 1]
    assert len(set.union(*parts)) == record["pairs"]["scenes"] == 8
    assert record["pairs"]["held_out"] == sorted(record["pairs"]["choosing"] + record["pairs"]["reported"])
    assert len(record["pairs"]["fitted"] + record["pairs"]["held_out"]) == 16


def test_all_scores_are_of_what_is_reported(run: Path) -> None:
    record = json.loads((run / "fit.json").read_text())
    held_out = record["held_out"]
    assert [row["name"] for row in held_out["images"]] == record["pairs"]["reported"]
    assert held_out["chose_the_weights"] is False
    assert checkpoint.load(run / "checkpoint.pt").spec.held_out == held_out["mean"]


def test_a_method_that_chooses_nothing_reports_all_that_it_holds_out(options: dict[str, Any], tmp_path: Path) -> None:
    record = fit.run(fit.FitOptions(**{**options, "method": "linear"}), LINEAR, tmp_path / "run")
    assert record["pairs"]["choosing"] == []
    assert record["pairs"]["reported"] == record["pairs"]["held_out"]
    assert not scenes(record, "reported") & scenes(record, "fitted")
    assert record["held_out"]["chose_the_weights"] is False


def learnt(run: Path) -> dict[str, Any]:
    """Everything in the newest snapshot, weights, optimisers and scores, but the digest of the images and the time."""
    contents = RunDirectory(run).load_snapshot()
    return {name: value for name, value in contents.items() if name not in ("data_fingerprint", "seconds")}


def spoil(options: dict[str, Any], folder: Path, names: list[str]) -> dict[str, Any]:
    """Copy the pairs, and add noise to the LR of some."""
    for side in ("hr", "lr"):
        for path in Path(options[side]).iterdir():
            pixels = cv2.imread(str(path)).astype(np.float32)
            if side == "lr" and path.stem in names:
                pixels = 0.8 * pixels + np.random.default_rng(1).normal(0, 12, pixels.shape)
            save_png(folder / side / path.name, pixels[..., ::-1].clip(0, 255).round().astype(np.uint8))
    return {**options, "hr": str(folder / "hr"), "lr": str(folder / "lr")}


@pytest.mark.parametrize("part", ["reported", "choosing"])
def test_what_is_reported_does_not_enter(part: str, run: Path, options: dict[str, Any], tmp_path: Path) -> None:
    """Noise in the LR of the reported pairs changes their scores and nothing that was learnt or chosen."""
    before = json.loads((run / "fit.json").read_text())
    spoilt = spoil(options, tmp_path, before["pairs"][part])
    after = fit.run(fit.FitOptions(**spoilt), SMALL, tmp_path / "run")
    assert {**after["pairs"], "shift_lr_px": 0, "median_shift_lr_px": 0} == {
        **before["pairs"], "shift_lr_px": 0, "median_shift_lr_px": 0,
    }  # fmt: skip
    old, new = learnt(run), learnt(tmp_path / "run")
    changed = {name for name in old if repr_of(old[name]) != repr_of(new[name])}
    models = [checkpoint.load(path / "checkpoint.pt").degrader for path in (run, tmp_path / "run")]
    hr = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    clean = [model.clean(hr, model.draw(0, 32, 32), model.field(0, 0, 0, 32, 32, 3)) for model in models]
    scores = [record["held_out"]["mean"]["model"]["psnr_y"] for record in (before, after)]
    if part == "reported":
        assert changed == set()
        assert torch.equal(*clean)
        assert scores[1] < scores[0] - 3
    else:
        assert "best_score" in changed
        assert not changed & {"modules", "optimizers", "average"}, "held-out pairs never enter what is learnt"


def repr_of(value: Any) -> Any:
    """A value of a snapshot as something that can be compared: tensors to the bit."""
    if isinstance(value, Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: repr_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [repr_of(inner) for inner in value]
    return repr(value)


def test_what_the_model_leaves_out_is_measured_on_all_held_out_pairs(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    measure = pair_source.measure_left_out

    def counted(model: Any, parts: Any, level_step: float) -> Any:
        counts.append(len(parts))
        return measure(model, parts, level_step)

    monkeypatch.setattr(pair_source, "measure_left_out", counted)
    record = fit.run(fit.FitOptions(**options), {**SMALL, "steps": 1}, tmp_path / "run")
    assert counts == [len(record["pairs"]["held_out"])] == [4]


def test_few_scenes_choose_and_are_reported(photographs: list[Tensor], cli: Run, tmp_path: Path) -> None:
    few = write(tmp_path, photographs, 5)
    command = ["fit", "--method", "dml", "--hr", few["hr"], "--lr", few["lr"], "--out", tmp_path / "run"]
    code, _, err = cli(*command, *(word for name in SMALL for word in ("--set", f"{name}={SMALL[name]}")))
    assert code == 0, err
    assert "8 pairs to fit; held out: 2 to choose the weights and to report (fewer than 6 scenes); 5 scenes" in err
    assert "held-out pairs (2), which also chose the weights, scale 2" in err
    record = json.loads((tmp_path / "run/fit.json").read_text())
    assert record["pairs"]["choosing"] == record["pairs"]["reported"] == record["pairs"]["held_out"]
    assert record["held_out"]["chose_the_weights"] is True


def test_the_lines_for_the_user(options: dict[str, Any], cli: Run, tmp_path: Path) -> None:
    command = ["fit", "--method", "dml", "--hr", options["hr"], "--lr", options["lr"], "--out", tmp_path / "run"]
    code, _, err = cli(*command, *(word for name in SMALL for word in ("--set", f"{name}={SMALL[name]}")))
    assert code == 0, err
    assert "12 pairs to fit; held out: 2 to choose the weights, 2 to report; 8 scenes" in err
    assert "held-out pairs (2), others than those that chose the weights, scale 2" in err


# --- resuming -----------------------------------------------------------------------------------------------------


def test_a_resumed_fit_ends_where_an_uninterrupted_one_does(run: Path, options: dict[str, Any], tmp_path: Path) -> None:
    done = 0

    def count(stage: str, step: int, total: int) -> None:
        nonlocal done
        done = step if stage == "fitting" else done

    @contextlib.contextmanager
    def stop_at_seven() -> Iterator[Callable[[], bool]]:
        yield lambda: done == 7

    with pytest.raises(FitStoppedError):
        fit.run(
            fit.FitOptions(**options), SMALL, tmp_path / "run", fit.Events(count, deferred_stop=stop_at_seven)
        )  # fmt: skip
    resumed = fit.run(fit.FitOptions(**options), SMALL, tmp_path / "run", resume=True)
    assert resumed["held_out"] == json.loads((run / "fit.json").read_text())["held_out"]
    assert checkpoint_contents(tmp_path / "run/checkpoint.pt") == checkpoint_contents(run / "checkpoint.pt")


def test_a_run_with_another_split_is_not_resumed_but_exported(options: dict[str, Any], tmp_path: Path) -> None:
    """Snapshots of earlier versions say nothing of their split."""
    out = tmp_path / "run"
    fit.run(fit.FitOptions(**options), SMALL, out)
    folder = RunDirectory(out)
    contents = folder.load_snapshot()
    for number, split in enumerate([None, "", "0" * 64]):
        other = {name: value for name, value in contents.items() if name != "split"}
        folder.save_snapshot(21 + number, other if split is None else {**other, "split": split})
        with pytest.raises(ConfigError, match="held out other pairs; fit anew, or export") as caught:
            fit.run(fit.FitOptions(**options), SMALL, out, resume=True)
        assert "\n" not in str(caught.value)
        assert fit.open_snapshot(out, 21 + number, tmp_path / f"{number}.pt").spec.method == "dml"
    folder.save_snapshot(30, {**contents, "split": 3})
    with pytest.raises(ConfigError, match="no usable split"):
        fit.run(fit.FitOptions(**options), SMALL, out, resume=True)


# --- the option ---------------------------------------------------------------------------------------------------


def test_a_pattern_groups_scenes(options: dict[str, Any], cli: Run, tmp_path: Path) -> None:
    """From the command line, and from the config.toml that it writes. Scenes 0000 and 0001 are one by this pattern."""
    command = ["fit", "--method", "linear", "--hr", options["hr"], "--lr", options["lr"], "--set", "kernel_size=8"]
    pattern = "^000([01](?=_)|[2-9])"
    code, _, err = cli(*command, "--group-scene", "^(?:000[01]|(000[2-9]))", "--out", tmp_path / "a")
    assert code == 0, err
    code, _, err = cli(*command, "--group-scene", "^(00)", "--out", tmp_path / "b")
    assert code == 2
    assert "16 pairs of 1 scene are too few" in err
    code, _, err = cli(*command, "--group-scene", pattern, "--out", tmp_path / "c")
    assert code == 0, err
    assert tomllib.loads((tmp_path / "c/config.toml").read_text())["fit"]["group_scene"] == pattern
    code, _, err = cli("fit", "--config", tmp_path / "c/config.toml", "--out", tmp_path / "d")
    assert code == 0, err
    first, second = (json.loads((tmp_path / run / "fit.json").read_text())["pairs"] for run in "cd")
    assert first == second
    assert first["scenes"] == 8
    code, _, err = cli(*command, "--group-scene", "^000([01])_", "--out", tmp_path / "e")
    assert code == 0, err
    assert "--group-scene ^000([01])_ is not found in 12 of 16 names (0002_s001, …)" in err


def test_all_pairs_of_a_group_are_on_one_side(options: dict[str, Any], tmp_path: Path) -> None:
    """The pattern takes scenes 0 to 4 together, and the others alone."""
    for seed in range(4):
        grouped = fit.FitOptions(**{**options, "method": "linear"}, group_scene="^000(?=[0-4])|^000[5-9]", seed=seed)
        record = fit.run(grouped, LINEAR, tmp_path / str(seed))
        assert record["pairs"]["scenes"] == 4
        sides = [{name[:4] in ("0000", "0001", "0002", "0003", "0004") for name in record["pairs"]["reported"]}]
        assert sides[0] == {False}, "the large one is never held out"
        assert len(record["pairs"]["reported"]) == 2


def test_resuming_needs_the_same_pattern(run: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="begun with group_scene = None"):
        fit.run(fit.FitOptions(**options, group_scene="^(0+)"), SMALL, run, resume=True)


@pytest.mark.parametrize(
    ("method", "pattern", "message"),
    [
        ("linear", "(", r"`group_scene=\(` is no regular expression"),
        ("dml", "", "is empty"),
        ("spectral", "^(.)", r"`group_scene=\^\(\.\)` is for pairs; method spectral has none"),
        ("adl", "(", "is for pairs; method adl has none"),
        ("kmsr", "^(.)", "is for pairs; method kmsr has none"),
    ],
)
def test_a_pattern_is_refused_before_anything_is_read(method: str, pattern: str, message: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    hr = None if method == "kmsr" else missing
    options = fit.FitOptions(method=method, hr=hr, lr=missing, scale=2, group_scene=pattern)
    with pytest.raises(ConfigError, match=message):
        fit.run(options, {}, tmp_path / "run")
    with pytest.raises(DataError, match="missing"):
        fit.run(options.model_copy(update={"group_scene": None}), {}, tmp_path / "run")

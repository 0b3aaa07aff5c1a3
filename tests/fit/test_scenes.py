"""Paired fits hold out whole scenes, choose the weights on some of them, and report the others."""

from __future__ import annotations

import contextlib
import json
import shutil
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
from degsynth.cli import fit as cli_fit
from degsynth.data.scenes import scene_of
from degsynth.errors import ConfigError, DataError, FitStoppedError
from degsynth.fit.export import measured_checkpoint
from degsynth.fit.run_directory import RunDirectory
from degsynth.fit.sources import pairs as pair_source
from degsynth.methods import linear
from degsynth.model import checkpoint
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import Run, checkpoint_contents, save_png

SMALL = {"width": 4, "batch": 2, "kernel_size": 8, "basis_kernels": 2, "steps": 6}
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


@pytest.fixture(autouse=True, scope="module")
def no_pictures() -> Iterator[None]:
    """Drawing takes longer than these fits, and other tests look at the pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("degsynth.reports.panels.sheet", lambda *arguments: None)
        patch.setattr("degsynth.fit.stages.draw_residual", lambda *arguments: None)
        yield


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


@pytest.fixture
def record(run: Path) -> dict[str, Any]:
    """What its fit.json holds."""
    return dict(json.loads((run / "fit.json").read_text()))


def opened(options: dict[str, Any], chooses: bool = True, **more: Any) -> tuple[pair_source.Pairs, list[str]]:
    """Return the pairs as a fit opens them, and its warnings."""
    warnings: list[str] = []
    chosen = fit.FitOptions(**{**options, **more})
    return pair_source.Pairs(chosen, fit.Events(on_warning=warnings.append), chooses), warnings


def scenes(record: dict[str, Any], part: str) -> set[str]:
    return {scene_of(name) for name in record["pairs"][part]}


def test_no_scene_is_in_two_parts(record: dict[str, Any]) -> None:
    parts = [scenes(record, part) for part in ("fitted", "choosing", "reported")]
    assert [len(part) for part in parts] == [6, 1, 1]
    assert len(set.union(*parts)) == record["pairs"]["scenes"] == 8
    assert record["pairs"]["held_out"] == sorted(record["pairs"]["choosing"] + record["pairs"]["reported"])
    assert len(record["pairs"]["fitted"] + record["pairs"]["held_out"]) == 16


def test_all_scores_are_of_what_is_reported(run: Path, record: dict[str, Any]) -> None:
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


def test_what_is_reported_does_not_enter(
    run: Path, record: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    """Noise in the LR of the reported pairs changes their scores and nothing that was learnt or chosen."""
    spoilt = spoil(options, tmp_path, record["pairs"]["reported"])
    after = fit.run(fit.FitOptions(**spoilt), SMALL, tmp_path / "run")
    for part in ("fitted", "choosing", "reported"):
        assert after["pairs"][part] == record["pairs"][part]
    old, new = learnt(run), learnt(tmp_path / "run")
    assert {name for name in old if comparable(old[name]) != comparable(new[name])} == set()
    models = [checkpoint.load(path / "checkpoint.pt").degrader for path in (run, tmp_path / "run")]
    hr = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    clean = [model.clean(hr, model.draw(0, 32, 32), model.field(0, 0, 0, 32, 32, 3)) for model in models]
    assert torch.equal(*clean)
    assert after["held_out"]["mean"]["model"]["psnr_y"] < record["held_out"]["mean"]["model"]["psnr_y"] - 3


def comparable(value: Any) -> Any:
    """A value of a snapshot as something that can be compared: tensors to the bit."""
    if isinstance(value, Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: comparable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    return repr(value)


class OnGrid:
    """What a scorer asks of a method and of its model."""

    multiple_of, has_noise = 2, False

    @property
    def spec(self) -> OnGrid:
        return self


def test_each_part_is_used_for_what_it_is_there(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One part chooses the weights, the other is shown; what the model leaves out is measured on all."""
    source, _ = opened(options)
    scorer = pair_source.PairScorer(source, {}, "")
    measured: list[Any] = []
    monkeypatch.setattr(pair_source, "measure_left_out", lambda model, *parts: measured.extend(parts))
    method: Any = OnGrid()
    assert scorer.left_out(method, method) is None
    for parts, pairs in (
        (scorer.judge(method, "cpu").parts, source.parts.choosing),  # type: ignore[attr-defined]
        (measured[0], source.parts.held_out),
        (measured[1], source.parts.fitted.subset(source.parts.fitted.spread(pair_source.MEASURED_PAIRS))),
    ):
        assert [part.lr.tolist() for part in parts] == [lr.tolist() for _, lr in pairs]
    assert len(measured[0]) == 4
    shown = [hr.tolist() for hr in source.samples(9)]
    assert shown == [hr.tolist() for hr, _ in source.parts.reported]


def test_few_scenes_choose_and_are_reported(
    photographs: list[Tensor], record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = opened(write(tmp_path, photographs, 5))
    held_out = "2 to choose the weights and to report (fewer than 6 scenes)"
    assert source.notes == [f"scale 2; 8 pairs to fit; held out: {held_out}; 5 scenes"]
    names = source.facts()["pairs"]
    assert names["choosing"] == names["reported"] == names["held_out"]
    method = linear.Method(linear.Config(kernel_size=8), 2, 3)
    source.prepare(method)
    model = measured_checkpoint("linear", method, source)
    scorer = pair_source.PairScorer(source, {}, "")
    scores = scorer.evaluate(method, model, lambda *progress: None)
    assert scores["chose_the_weights"] is True
    assert scorer.summary(scores["mean"]).startswith("held-out pairs, which also chose the weights, luma")
    cli_fit._report({**record, "pairs": names, "held_out": scores}, tmp_path)
    assert "held-out pairs (2), which also chose the weights, scale 2" in capsys.readouterr().err


def test_the_lines_for_the_user(
    options: dict[str, Any], record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = opened(options)
    assert source.notes[0] == (
        "scale 2; 12 pairs to fit; held out: 2 to choose the weights, 2 to report; 8 scenes"
    )  # fmt: skip
    cli_fit._report(record, tmp_path / "run")
    assert "held-out pairs (2), others than those that chose the weights, scale 2" in capsys.readouterr().err


# --- resuming -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resumed_fit_ends_where_an_uninterrupted_one_does(run: Path, options: dict[str, Any], tmp_path: Path) -> None:
    done = 0

    def count(stage: str, step: int, total: int) -> None:
        nonlocal done
        done = step if stage == "fitting" else done

    @contextlib.contextmanager
    def stop_at_three() -> Iterator[Callable[[], bool]]:
        yield lambda: done == 3

    with pytest.raises(FitStoppedError):
        fit.run(
            fit.FitOptions(**options), SMALL, tmp_path / "run", fit.Events(count, deferred_stop=stop_at_three)
        )  # fmt: skip
    resumed = fit.run(fit.FitOptions(**options), SMALL, tmp_path / "run", resume=True)
    assert resumed["held_out"] == json.loads((run / "fit.json").read_text())["held_out"]
    assert checkpoint_contents(tmp_path / "run/checkpoint.pt") == checkpoint_contents(run / "checkpoint.pt")


def test_a_run_with_another_split_is_not_resumed_but_exported(
    run: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    """Snapshots of earlier versions say nothing of their split."""
    out = tmp_path / "run"
    shutil.copytree(run, out)
    folder = RunDirectory(out)
    folder.reopen()
    contents = folder.load_snapshot()
    for number, split in enumerate([None, "", "0" * 64]):
        other = {name: value for name, value in contents.items() if name != "split"}
        folder.save_snapshot(21 + number, other if split is None else {**other, "split": split})
        with pytest.raises(
            ConfigError, match="held out other pairs or did not blur in light; fit anew, or export"
        ) as caught:
            fit.run(fit.FitOptions(**options), SMALL, out, resume=True)
        assert "\n" not in str(caught.value)
    assert fit.open_snapshot(out, 21, tmp_path / "early.pt").spec.method == "dml"
    folder.save_snapshot(30, {**contents, "split": 3})
    with pytest.raises(ConfigError, match="no usable split"):
        fit.run(fit.FitOptions(**options), SMALL, out, resume=True)


# --- the option ---------------------------------------------------------------------------------------------------


def test_a_pattern_groups_scenes(options: dict[str, Any]) -> None:
    """Scenes 0 to 4 are one by this pattern, which is too large to be held out; the others remain alone."""
    for seed in range(5):
        source, warnings = opened(options, group_scene="^000(?=[0-4])|^000[5-9]", seed=seed)
        assert source.parts.scenes == 4
        assert {pair.name[:4] for pair in source.parts.fitted.pairs} > {"0000", "0001", "0002", "0003", "0004"}
        assert len(source.parts.held_out) == 2
        assert warnings == []
    _, warnings = opened(options, group_scene="^000([01])_")
    assert "is not found in 12 of 16 names (0002_s001, …)" in warnings[0]
    with pytest.raises(DataError, match="16 pairs of 1 scene are too few"):
        opened(options, group_scene="^(00)")


def test_a_pattern_from_the_command_line_and_from_its_file(options: dict[str, Any], cli: Run, tmp_path: Path) -> None:
    command = ["fit", "--method", "linear", "--hr", options["hr"], "--lr", options["lr"], "--set", "kernel_size=8"]
    pattern = r"^(\d+)_s00[12]$"
    code, _, err = cli(*command, "--group-scene", "^(00)", "--out", tmp_path / "a")
    assert (code, err.count("\n")) == (2, 1)
    assert "16 pairs of 1 scene are too few" in err
    code, _, err = cli(*command, "--group-scene", "(", "--out", tmp_path / "a")
    assert (code, err.count("\n")) == (2, 1)
    assert "--group-scene ( is no regular expression" in err
    code, _, err = cli(*command, "--group-scene", pattern, "--out", tmp_path / "a")
    assert code == 0, err
    assert tomllib.loads((tmp_path / "a/config.toml").read_text())["fit"]["group_scene"] == pattern
    code, _, err = cli("fit", "--config", tmp_path / "a/config.toml", "--out", tmp_path / "b")
    assert code == 0, err
    first, second = (json.loads((tmp_path / run / "fit.json").read_text())["pairs"] for run in "ab")
    assert first == second
    assert first["scenes"] == 8


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
    hr = None if method == "kmsr" else str(tmp_path / "missing HR")
    options = fit.FitOptions(method=method, hr=hr, lr=str(tmp_path / "missing LR"), scale=2, group_scene=pattern)
    with pytest.raises(ConfigError, match=message):
        fit.run(options, {}, tmp_path / "run")
    with pytest.raises(DataError, match="missing"):
        fit.run(options.model_copy(update={"group_scene": None}), {}, tmp_path / "run")

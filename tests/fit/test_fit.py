from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth import fit
from degsynth.data import images, writing
from degsynth.errors import ConfigError, DataError, FitError, OutputError
from degsynth.model import checkpoint
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png

Folders = Callable[..., tuple[Path, Path]]
SMALL = {"kernel_size": 8}
SMALL_DML = {"width": 4, "batch": 2, "kernel_size": 8, "basis_kernels": 2}


@pytest.fixture
def folders(pair_folders: Folders) -> dict[str, str]:
    hr, lr = pair_folders(gaussian(8, 1.0, 1.2), 2, side=120)
    return {"method": "linear", "hr": str(hr), "lr": str(lr)}


def test_the_run_directory(folders: dict[str, str], tmp_path: Path) -> None:
    record = fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "runs/a")
    assert {p.name for p in (tmp_path / "runs/a").iterdir()} == {
        "config.toml", "log.jsonl", "previews", "checkpoint.pt", "fit.json",
    }  # fmt: skip
    config = tomllib.loads((tmp_path / "runs/a/config.toml").read_text())
    assert set(config["method"]) == {"kernel_size", "ridge", "per_channel", "gain", "offset", "border"}
    assert config["fit"]["scale"] == 2
    written = json.loads((tmp_path / "runs/a/fit.json").read_text())
    assert written["held_out"]["mean"] == record["held_out"]["mean"]
    assert len(written["pairs"]["fitted"]) == 3
    assert len(written["pairs"]["held_out"]) == 1
    spec = checkpoint.load(tmp_path / "runs/a/checkpoint.pt").spec
    assert spec.held_out == record["held_out"]["mean"]
    assert spec.data_fingerprint == written["data_fingerprint"]
    preview = cv2.imread(str(tmp_path / "runs/a/previews/held_out.png"))
    assert preview.shape[0] > 200
    assert preview.std() > 20


def test_the_held_out_pair_does_not_enter(folders: dict[str, str], tmp_path: Path) -> None:
    """Replacing its LR by a darker one changes the scores, not the kernel."""
    first = fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "a")
    held = first["pairs"]["held_out"][0]
    path = Path(folders["lr"]) / f"{held}.png"
    pixels = cv2.imread(str(path))
    cv2.imwrite(str(path), (0.9 * pixels).astype(np.uint8))
    second = fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "b")
    assert second["pairs"]["held_out"] == [held]
    assert second["report"] == first["report"]
    assert second["held_out"]["mean"]["model"]["psnr_y"] < first["held_out"]["mean"]["model"]["psnr_y"] - 3


def test_another_seed_holds_out_another_pair(folders: dict[str, str], tmp_path: Path) -> None:
    held = {
        fit.run(fit.FitOptions(**folders, seed=seed), SMALL, tmp_path / str(seed))["pairs"]["held_out"][0]
        for seed in range(6)
    }
    assert len(held) > 1


def write_deep(folder: Path, shots: list[Tensor], black: int, white: int) -> dict[str, str]:
    """16-bit pairs of a camera with its own black and white."""
    from degsynth.ops.blur import blur_decimate

    for number, shot in enumerate(shots):
        hr = shot[:, :120, :120]
        lr = blur_decimate(hr[None], gaussian(8, 1.0, 1.2)[None].float(), 2)[0]
        for side, image in (("HR", hr), ("LR", lr)):
            levels = (image.permute(1, 2, 0).numpy() * (white - black) + black).round().astype(np.uint16)
            save_png(folder / side / f"{number}.png", levels)
    return {"method": "linear", "hr": str(folder / "HR"), "lr": str(folder / "LR")}


@pytest.mark.parametrize(
    ("asked", "found"), [(None, (0.0, 4095.0)), ((100.0, 4095.0), (100.0, 4095.0)), ("dtype", None)]
)
def test_data_range(asked: object, found: object, photographs: list[Tensor], tmp_path: Path) -> None:
    options = write_deep(tmp_path, photographs, 100, 4000)
    record = fit.run(fit.FitOptions.model_validate({**options, "data_range": asked}), SMALL, tmp_path / "run")
    spec = checkpoint.load(tmp_path / "run/checkpoint.pt").spec
    assert spec.data_range == found
    assert record["data_range"] == list(found or (0.0, 65535.0))  # type: ignore[call-overload]


def test_the_same_fit_is_the_same_file(folders: dict[str, str], tmp_path: Path) -> None:
    for run in ("a", "b"):
        fit.run(fit.FitOptions(**folders), SMALL, tmp_path / run)
    assert (tmp_path / "a/checkpoint.pt").read_bytes() == (tmp_path / "b/checkpoint.pt").read_bytes()


def test_names_with_dollars_are_drawn_and_nothing_is_left_of_a_failed_fit(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in ("hr", "lr"):
        for path in list(Path(folders[side]).iterdir()):
            path.rename(path.with_name(f"a$x_$^{path.name}"))
    fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "run")

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("degsynth.reports.panels.sheet", refuse)
    with pytest.raises(OutputError, match="No space left"):
        fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "full")
    assert not (tmp_path / "full").exists()


def test_another_level_is_pointed_out(folders: dict[str, str], tmp_path: Path) -> None:
    for path in Path(folders["lr"]).iterdir():
        cv2.imwrite(str(path), (0.5 * cv2.imread(str(path))).round().astype(np.uint8))
    warnings: list[str] = []
    fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "run", fit.Events(on_warning=warnings.append))
    assert any("gain 0.50" in text and "`gain=apply`" in text for text in warnings)
    fit.run(
        fit.FitOptions(**folders), {**SMALL, "gain": "apply"}, tmp_path / "b", fit.Events(on_warning=warnings.append)
    )
    assert len(warnings) == 1


def test_a_run_among_the_images_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="lies inside"):
        fit.run(fit.FitOptions(**folders), SMALL, Path(folders["hr"]) / "run")


def test_one_pair_is_too_few(photographs: list[Tensor], tmp_path: Path) -> None:
    options = write_deep(tmp_path, photographs[:1], 0, 65535)
    with pytest.raises(DataError, match="1 pair is too few"):
        fit.run(fit.FitOptions(**options), SMALL, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_float_images_need_a_range(photographs: list[Tensor], tmp_path: Path) -> None:
    """Floats up to 255 are no mistake that could be guessed right every time: ask."""
    from degsynth.ops.blur import blur_decimate

    for number, shot in enumerate(photographs):
        hr = shot[:1, :120, :120]
        lr = blur_decimate(hr[None], gaussian(8, 1.0, 1.2)[None].float(), 2)[0]
        for side, image in (("HR", hr), ("LR", lr)):
            path = tmp_path / side / f"{number}.tif"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(writing.encode(images.Image(255 * image.permute(1, 2, 0).numpy()), ".tif"))
    options = {"method": "linear", "hr": str(tmp_path / "HR"), "lr": str(tmp_path / "LR")}
    with pytest.raises(DataError, match="`data_range=BLACK:WHITE`"):
        fit.run(fit.FitOptions(**options), SMALL, tmp_path / "run")
    record = fit.run(fit.FitOptions(**options, data_range=(0, 255)), SMALL, tmp_path / "run")
    assert record["dtype"] == "float32"
    assert record["report"]["kernels"][0]["centroid_px"] == pytest.approx((0, 0), abs=0.01)


def test_lr_too_small_to_score(photographs: list[Tensor], tmp_path: Path) -> None:
    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", shot[:, 100:120, 100:200])
        save_png(tmp_path / f"LR/{number}.png", shot[:, 100:120:2, 100:200:2])
    options = fit.FitOptions(method="linear", hr=str(tmp_path / "HR"), lr=str(tmp_path / "LR"))
    with pytest.raises(DataError, match="10 px high or wide"):
        fit.run(options, SMALL, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_left_alone(folders: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "run")


def test_files_without_a_partner_are_mentioned(folders: dict[str, str], tmp_path: Path) -> None:
    save_png(Path(folders["hr"]) / "lonely.png", torch.rand(3, 120, 120))
    warnings: list[str] = []
    fit.run(fit.FitOptions(**folders), SMALL, tmp_path / "run", fit.Events(on_warning=warnings.append))
    assert any("lonely.png" in text for text in warnings)


@pytest.mark.slow
def test_a_loss_that_is_not_finite(folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step and the term are named; what was learnt before stays, and can be exported."""
    from degsynth.methods import dml

    learn = dml.Method.training_step

    def spoilt(self: dml.Method, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        terms = learn(self, batch, step, rng)
        return {"l1": terms["l1"] * float("nan")} if step == 33 else terms

    monkeypatch.setattr(dml.Method, "training_step", spoilt)
    options = fit.FitOptions(**{**folders, "method": "dml"})
    values = {**SMALL_DML, "steps": 60}
    with pytest.raises(FitError, match="step 33: the loss term 'l1' is nan; lower `learning_rate=`") as caught:
        fit.run(options, values, tmp_path / "run")
    assert caught.value.exit_code == 1
    kept = sorted(int(path.stem[5:]) for path in (tmp_path / "run/snapshots").iterdir())
    assert kept[-1] <= 33
    model = fit.open_snapshot(tmp_path / "run", kept[-1], tmp_path / "kept.pt")
    assert bool(torch.isfinite(model.degrader.degrade(torch.rand(1, 3, 40, 40), 0)).all())

    monkeypatch.setattr("degsynth.fit.loop.VALIDATIONS", 1)
    with pytest.raises(FitError, match="step 33"):
        fit.run(options, values, tmp_path / "none")
    assert not (tmp_path / "none").exists(), "without a snapshot there is nothing to go on from"


def test_resuming_needs_the_same_pairs_and_options(folders: dict[str, str], tmp_path: Path) -> None:
    options = fit.FitOptions(**{**folders, "method": "dml"})
    values = {**SMALL_DML, "steps": 20}
    before = fit.run(options, values, tmp_path / "run")
    with pytest.raises(ConfigError, match="begun with batch = 2, not 3"):
        fit.run(options, {**values, "batch": 3}, tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="begun with seed = 0, not 1"):
        fit.run(options.model_copy(update={"seed": 1}), values, tmp_path / "run", resume=True)
    for path in Path(folders["lr"]).iterdir():
        path.rename(path.with_suffix(".kept"))
    said: list[str] = []
    again = fit.run(options, values, tmp_path / "run", fit.Events(on_note=said.append), resume=True)
    assert again == json.loads(json.dumps(before)), "nothing is left to be done, so no image is looked at"
    assert "has ended already" in said[0]
    for path in Path(folders["lr"]).iterdir():
        path.rename(path.with_suffix(".png"))
    longer = {**values, "steps": 21}
    path = next(Path(folders["lr"]).iterdir())
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    cv2.imwrite(str(Path(folders["hr"]) / path.name), 255 - cv2.imread(str(Path(folders["hr"]) / path.name)))
    with pytest.raises(ConfigError, match="the images are not those"):
        fit.run(options, longer, tmp_path / "run", resume=True)


def test_a_fit_without_steps_that_has_ended_is_not_repeated(folders: dict[str, str], tmp_path: Path) -> None:
    linear, run = fit.FitOptions(**folders), tmp_path / "linear"
    record = fit.run(linear, SMALL, run)
    for name in ("hr", "lr"):  # images that are looked at would be missed
        Path(folders[name]).rename(tmp_path / f"gone-{name}")
    assert fit.run(linear, SMALL, run, resume=True) == json.loads(json.dumps(record))
    (run / "fit.json").write_text('{"method": "linear", "held_out": 3}')
    with pytest.raises(ConfigError, match=r"fit\.json is not as a fit has written it; fit anew"):
        fit.run(linear, SMALL, run, resume=True)
    (run / "fit.json").unlink()
    with pytest.raises(ConfigError, match="no snapshot: there is nothing to go on from"):
        fit.run(linear, SMALL, run, resume=True)


@pytest.mark.slow
def test_dml_points_out_another_level_too(folders: dict[str, str], tmp_path: Path) -> None:
    for path in Path(folders["lr"]).iterdir():
        cv2.imwrite(str(path), (0.9 * cv2.imread(str(path))).round().astype(np.uint8))
    warnings: list[str] = []
    values = {**SMALL_DML, "steps": 3}
    fit.run(
        fit.FitOptions(**{**folders, "method": "dml"}), values, tmp_path / "run",
        fit.Events(on_warning=warnings.append),
    )  # fmt: skip
    assert any("gain 0.9" in text and "dml holds the level" in text for text in warnings)

"""The hardware factor from the command line to the manifest, on a model that is a Gaussian of that factor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from degsynth import apply
from degsynth.apply.manifest import Manifest
from degsynth.config import Interval
from degsynth.data import images
from degsynth.errors import ConfigError
from degsynth.evaluation import selftest
from degsynth.evaluation.paired import evaluate
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation
from degsynth.model.render import render
from degsynth.seeds import Identity
from tests.conftest import Run, save_png
from tests.doubles import factor_double, linear_double


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return factor_double(tmp_path_factory.mktemp("factor") / "model.pt")


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    for number in range(6):
        save_png(tmp_path / f"HR/{number}.png", photographs[number % 4][:, 10 * number : 80 + 10 * number, :96])
    return tmp_path / "HR"


def lr_of(out: Path, row: Any) -> Tensor:
    return images.to_tensor(images.read(out / row.lr).pixels)


def test_one_factor_for_all(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out", apply.Options(hardware_factor=Interval(2.0, 2.0)))
    apply.run(model, hr, tmp_path / "own")
    turned = checkpoint.load(model.path)
    turned.degrader.set_hardware_factor(2.0)
    for row, own in zip(Manifest(tmp_path / "out").read(), Manifest(tmp_path / "own").read(), strict=True):
        assert (row.hardware_factor, own.hardware_factor) == (2.0, 0.8)
        assert row.seed == own.seed, "another factor must not change any other random number"
        shot = images.to_tensor(images.read(hr / row.source).pixels)[None]
        assert row.seed is not None
        expected = turned.degrader.degrade(shot, row.seed)[0]
        assert float((lr_of(tmp_path / "out", row) - expected).abs().max()) <= 0.5001 / 255
        assert float((lr_of(tmp_path / "own", own) - expected).abs().max()) > 2 / 255


def test_a_factor_for_each_image(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    for out, workers in (("a", 1), ("b", 3)):
        apply.run(model, hr, tmp_path / out, apply.Options(hardware_factor=Interval(0.5, 2.0), workers=workers))
    rows = Manifest(tmp_path / "a").read()
    assert rows == Manifest(tmp_path / "b").read()
    drawn = [row.hardware_factor for row in rows]
    assert len(set(drawn)) == len(drawn)
    assert all(f is not None and 0.5 <= f <= 2.0 for f in drawn)
    turned = checkpoint.load(model.path)
    for row in rows:
        turned.degrader.set_hardware_factor(row.hardware_factor)
        assert row.seed is not None
        expected = turned.degrader.degrade(images.to_tensor(images.read(hr / row.source).pixels)[None], row.seed)[0]
        assert float((lr_of(tmp_path / "a", row) - expected).abs().max()) <= 0.5001 / 255
    assert json.loads((tmp_path / "a/dataset.json").read_text())["made_by"]["hardware_factor"] == [0.5, 2.0]


def test_a_run_is_not_resumed_with_another_factor(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out", apply.Options(hardware_factor=Interval(1.0, 1.0), limit=2))
    with pytest.raises(ConfigError, match="hardware_factor"):
        apply.run(model, hr, tmp_path / "out", apply.Options(hardware_factor=Interval(2.0, 2.0), existing="resume"))
    summary = apply.run(
        model, hr, tmp_path / "out", apply.Options(hardware_factor=Interval(1.0, 1.0), existing="resume")
    )
    assert (summary.done, summary.resumed) == (6, 2)


def test_tiles_have_the_factor_of_their_image(model: Checkpoint, photographs: list[Tensor]) -> None:
    hr, identity, factor = photographs[0][:, :120, :150], Identity(3, "x"), Interval(0.2, 3.0)
    degradation = Degradation(model, hardware_factor=factor)
    whole, tiled = render(degradation, hr, identity), render(degradation, hr, identity, tile=16)
    assert torch.allclose(whole, tiled, atol=2e-6)
    draws = [degradation.draw(identity, 3, 60, 75) for _ in range(2)]
    assert draws[0].hardware_factor == draws[1].hardware_factor


@pytest.mark.parametrize("text", ["5", "0.05", "2:1", "1:9", "soft", "nan"])
def test_factors_that_cannot_be_are_refused(text: str, model: Checkpoint, hr: Path, tmp_path: Path, cli: Run) -> None:
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "out", "--hardware-factor", text)
    assert code == 2
    assert len(stderr.strip().splitlines()) == 1
    assert "factor" in stderr
    assert text.split(":")[0] in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["apply", "evaluate", "calibrate"])
def test_a_model_without_a_factor(command: str, hr: Path, tmp_path: Path, cli: Run) -> None:
    plain = linear_double(tmp_path / "plain.pt", 2)
    arguments: dict[str, list[str | Path]] = {
        "apply": [hr, tmp_path / "out", "--hardware-factor", "0.5"],
        "evaluate": ["--hr", hr, "--lr", hr, "--hardware-factor", "0.5"],
        "calibrate": ["--hr", hr, "--lr", hr, "-o", tmp_path / "new.pt"],
    }
    before = sorted(tmp_path.rglob("*"))
    code, _, stderr = cli(command, plain.path, *arguments[command])
    assert code == 2
    assert "has no" in stderr or "has none" in stderr
    assert "abl" in stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_far_below_the_fit_is_a_warning(model: Checkpoint, hr: Path, tmp_path: Path, cli: Run) -> None:
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "out", "--hardware-factor", "0.3:1", "--workers", "1")
    assert code == 0
    assert "warning: hardware factor 0.3 is far below the 0.8 of the fit" in stderr
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "more", "--hardware-factor", "0.5", "--workers", "1")
    assert code == 0
    assert "warning" not in stderr


@pytest.fixture
def pairs(model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> tuple[Path, Path]:
    """Pairs of another camera, which has the same optics at a factor of 1.6."""
    for number, shot in enumerate(photographs):
        hr = shot[:, :240, :240]
        lr = render(Degradation(model, hardware_factor=Interval(1.6, 1.6)), hr, Identity(0, ""))
        save_png(tmp_path / f"pairs/HR/{number}.png", hr)
        save_png(tmp_path / f"pairs/LR/{number}.png", lr)
    return tmp_path / "pairs/HR", tmp_path / "pairs/LR"


def test_calibrate_prints_the_factor_and_writes_the_model(
    model: Checkpoint,
    pairs: tuple[Path, Path],
    tmp_path: Path,
    cli: Run,
) -> None:
    hr, lr = pairs
    new = tmp_path / "new.pt"
    code, stdout, stderr = cli("calibrate", model.path, "--hr", hr, "--lr", lr, "-o", new)
    assert code == 0
    assert float(stdout) == pytest.approx(1.6, rel=0.03)
    assert "fitted at 0.8" in stderr
    calibrated = checkpoint.load(new)
    assert calibrated.spec.hardware_factor is not None
    assert calibrated.spec.hardware_factor.default == float(stdout)
    assert float(calibrated.degrader.draw(0)[0, 1]) == pytest.approx(float(stdout))
    code, stdout, _ = cli("calibrate", model.path, "--hr", hr, "--lr", lr, "--unpaired", "--json")
    record = json.loads(stdout)
    assert (code, record["trained"], record["unpaired"]) == (0, 0.8, True)
    assert record["factor"] == pytest.approx(1.6, rel=0.2)
    assert len(record["tried"]) >= 13
    code, _, stderr = cli("calibrate", model.path, "--hr", hr, "--lr", lr, "-o", new)
    assert code == 2
    assert "exists" in stderr
    assert cli("calibrate", model.path, "--hr", hr, "--lr", lr, "-o", new, "--overwrite")[0] == 0
    assert not list(tmp_path.glob(".*"))


def test_unpaired_folders_may_differ_in_number_and_size(
    model: Checkpoint,
    pairs: tuple[Path, Path],
    tmp_path: Path,
    cli: Run,
) -> None:
    hr, lr = pairs
    (hr / "1.png").unlink()
    save_png(hr / "odd.png", torch.rand(1, 199, 333))
    assert cli("calibrate", model.path, "--hr", hr, "--lr", lr, "--unpaired")[0] == 0
    save_png(tmp_path / "tiny/a.png", torch.rand(3, 40, 40))
    code, _, stderr = cli("calibrate", model.path, "--hr", hr, "--lr", tmp_path / "tiny", "--unpaired")
    assert code == 2
    assert "64×64 px" in stderr
    save_png(tmp_path / "flat/a.png", torch.full((3, 90, 90), 0.5))
    code, _, stderr = cli("calibrate", model.path, "--hr", hr, "--lr", tmp_path / "flat", "--unpaired")
    assert code == 2
    assert "flat" in stderr


def test_evaluate_sets_the_factor_of_the_model_only(model: Checkpoint, pairs: tuple[Path, Path]) -> None:
    from degsynth.data.opening import ScoringOptions, open_for_model

    opened = open_for_model(*pairs, ScoringOptions(2))
    own = evaluate(Degradation(model), opened, beside={"other": model})["mean"]
    wider = Degradation(model, hardware_factor=Interval(1.6, 1.6))
    turned = evaluate(wider, opened, beside={"other": model})["mean"]
    assert turned["model"]["l1_y"] < 0.25 / 255 < own["model"]["l1_y"]
    assert turned["other"] == own["other"]


def test_evaluate_reports_the_factor_of_each_image(model: Checkpoint, pairs: tuple[Path, Path], cli: Run) -> None:
    hr, lr = pairs
    code, stdout, _ = cli("evaluate", model.path, "--hr", hr, "--lr", lr, "--hardware-factor", "0.5:2", "--json")
    record = json.loads(stdout)
    drawn = [image["hardware_factor"] for image in record["images"]]
    assert (code, record["hardware_factor"]) == (0, [0.5, 2.0])
    assert len(set(drawn)) == len(drawn)
    _, stdout, _ = cli("evaluate", model.path, "--hr", hr, "--lr", lr, "--json")
    assert [image["hardware_factor"] for image in json.loads(stdout)["images"]] == [0.8] * len(drawn)


def test_a_sharper_camera_causes_a_warning_at_every_step(
    model: Checkpoint,
    photographs: list[Tensor],
    tmp_path: Path,
    cli: Run,
) -> None:
    """A factor far below that of the fit causes a warning in calibrate, and in apply with the model that it wrote."""
    for number, shot in enumerate(photographs):
        hr = shot[:, :160, :160]
        save_png(tmp_path / f"HR/{number}.png", hr)
        lr = render(Degradation(model, hardware_factor=Interval(0.2, 0.2)), hr, Identity(0, ""))
        save_png(tmp_path / f"LR/{number}.png", lr)
    new = tmp_path / "new.pt"
    code, stdout, stderr = cli("calibrate", model.path, "--hr", tmp_path / "HR", "--lr", tmp_path / "LR", "-o", new)
    assert (code, float(stdout)) == (0, pytest.approx(0.2, rel=0.1))
    assert "far below the 0.8 of the fit" in stderr
    code, _, stderr = cli("apply", new, tmp_path / "HR", tmp_path / "out", "--workers", "1")
    assert code == 0
    assert "far below the 0.8 of the fit" in stderr
    assert {row.hardware_factor for row in Manifest(tmp_path / "out").read()} == {float(stdout)}


def test_shifted_pairs_cause_a_warning(model: Checkpoint, pairs: tuple[Path, Path], cli: Run) -> None:
    hr, lr = pairs
    for path in lr.iterdir():
        save_png(path, images.to_tensor(images.read(path).pixels).roll((1, 1), (1, 2)))
    code, _, stderr = cli("calibrate", model.path, "--hr", hr, "--lr", lr)
    assert code in (0, 2)
    assert "shift" in stderr


def test_the_factor_that_was_set_in_the_model_is_used(model: Checkpoint, photographs: list[Tensor]) -> None:
    turned = checkpoint.load(model.path)
    turned.degrader.set_hardware_factor(2.0)
    hr = photographs[0][:, :64, :64]
    assert Degradation(turned).draw(Identity(0, "x"), 3, 32, 32).hardware_factor == 2.0
    asked = Degradation(model, hardware_factor=Interval(2.0, 2.0))
    assert torch.equal(render(Degradation(turned), hr, Identity(0, "x")), render(asked, hr, Identity(0, "x")))


@pytest.mark.parametrize(
    ("sabotage", "caught"),
    [
        ("inert", "a larger factor blurs more"),
        ("level", "flat at any factor"),
        ("forgets", "draw writes the factor"),
        ("shares", "a batch mixes factors"),
    ],
)
def test_the_selftest_checks_the_hardware_factor(sabotage: str, caught: str, model: Checkpoint, tmp_path: Path) -> None:
    selftest.require(model)
    failed = [r.name for r in selftest.run(factor_double(tmp_path / "bad.pt", sabotage)) if not r.passed]
    assert caught in failed

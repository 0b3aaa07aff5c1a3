"""Crops of HR images: their LR images are crops of the LR image of the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options, Replay
from degsynth.apply.layouts.crops import places, starts
from degsynth.apply.layouts.names import plan_outputs
from degsynth.apply.manifest import Manifest
from degsynth.config import Interval
from degsynth.data import images
from degsynth.data.georeference import TIE_POINTS, TRANSFORMATION, Tag, cropped
from degsynth.errors import ConfigError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise
from tests.apply.test_apply import contents
from tests.conftest import Run, save_png
from tests.doubles import stochastic

NOISE = Noise(awgn=Interval(2.0, 6.0))
CROPPED = Options(crop=32, step=24, noise=NOISE, draws=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Scale 2; random kernel and noise."""
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Photographs of 65×80 and 32×46 px, and a stack of two planes of 40×33 px."""
    save_png(tmp_path / "HR/a.png", photographs[0][:, 100:165, 100:180])
    save_png(tmp_path / "HR/sub/b.v2.png", photographs[1][:, 100:132, 100:146])
    planes = (255 * photographs[2][0, 100:140, 100:166]).numpy().astype(np.uint8).reshape(40, 2, 33).swapaxes(0, 1)
    tifffile.imwrite(tmp_path / "HR/stack.tif", np.ascontiguousarray(planes), photometric="minisblack")
    return tmp_path / "HR"


def test_where_crops_lie() -> None:
    assert starts(100, 40, 30) == [0, 30, 60]
    assert starts(101, 40, 30) == [0, 30, 60, 61]
    assert starts(40, 40, 10) == [0]
    assert starts(39, 40, 10) == []
    assert starts(100, 40, 70) == [0, 60]
    assert places(65, 49, 32, 32, 2) == [(0, 0), (0, 16), (32, 0), (32, 16)]


def test_a_crop_of_lr_is_that_of_the_whole(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "whole", Options(noise=NOISE, draws=2))
    summary = apply.run(model, hr, tmp_path / "crops", CROPPED)
    whole = {row.key[:3]: row for row in Manifest(tmp_path / "whole").read()}
    rows = Manifest(tmp_path / "crops").read()
    assert (summary.done, summary.failed) == (2 * (9 + 2 + 2 * 2), 0)
    assert len({row.lr for row in rows}) == len(rows)
    covered = {key: np.zeros(row.hr_size or (0, 0), bool) for key, row in whole.items()}
    for row in rows:
        (top, left), before = row.crop or (0, 0), whole[row.key[:3]]
        covered[row.key[:3]][top : top + 32, left : left + 32] = True
        for side, scale in (("hr", 1), ("lr", 2)):
            part = images.read(tmp_path / "crops" / str(getattr(row, side)))
            uncut = images.read(tmp_path / "whole" / str(getattr(before, side)))
            window = uncut.window(top // scale, (top + 32) // scale, left // scale, (left + 32) // scale)
            assert np.array_equal(part.pixels, window.pixels)
        same = {"hr", "lr", "crop", "hr_size", "lr_size", "hr_kept", "hr_bytes", "hr_sha256", "lr_sha256"}
        assert row.model_dump(exclude=same) == before.model_dump(exclude=same)
    assert all(everywhere.all() for everywhere in covered.values())
    names = contents(tmp_path / "crops").keys()
    assert {"lr/a_0_y0000_x0000.png", "lr/sub/b.v2_1_y0000_x0014.png", "hr/stack_p0001_0_y0008_x0000.tif"} <= names
    assert apply.verify(tmp_path / "crops", hr).problems == []


def test_crops_are_resumed_and_replayed(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    options = {"noise": NOISE, "draws": 2, "crop": 32, "step": 24, "layouts": ("basicsr",)}
    apply.run(model, hr, tmp_path / "out", Options(**options))
    made = contents(tmp_path / "out")
    assert sum(name.startswith("basicsr/lr/") for name in made) == 30
    shutil.copytree(tmp_path / "out", tmp_path / "parts")
    (tmp_path / "parts/lr/a_0_y0024_x0024.png").unlink()
    (tmp_path / "parts/hr/a_1_y0000_x0048.png").write_bytes(b"")
    summary = apply.run(model, hr, tmp_path / "parts", Options(**options, existing="resume", tile=8))
    assert (summary.done, summary.resumed) == (30, 28)
    assert contents(tmp_path / "parts") == made
    settings = Replay.read(tmp_path / "out").settings()
    summary = apply.run(model, hr, tmp_path / "again", Options(**settings, layouts=("basicsr",)))
    assert (summary.failed, summary.differing) == (0, 0)
    assert contents(tmp_path / "again") == made
    with pytest.raises(ConfigError, match="was made with step 24, now it is 32"):
        apply.run(model, hr, tmp_path / "out", Options(**{**options, "step": None}, existing="resume"))
    with pytest.raises(ConfigError, match="was made with crop 32, now it is None"):
        apply.run(model, hr, tmp_path / "out", Options(noise=NOISE, draws=2, existing="resume"))


def test_images_without_a_crop_fail(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    (hr / "bad.png").write_bytes(b"no image")
    found = apply.forecast(model, hr, tmp_path / "out", Options(crop=36))
    summary = apply.run(model, hr, tmp_path / "out", Options(crop=36))
    failed = {row.source: row.error for row in Manifest(tmp_path / "out").read() if row.status == "failed"}
    assert "the image is 46×32, smaller than a crop of 36 px" in str(failed["sub/b.v2.png"])
    assert "smaller than a crop" in str(failed["stack.tif"])
    assert "cannot be decoded" in str(failed["bad.png"])
    assert summary.done == 6
    assert {name for name, _ in found.failing} == set(failed)
    assert found.outputs == 6
    assert found.hr_pixels == 6 * 36**2


def test_sizes_that_are_no_whole_lr_pixels(model: Checkpoint, hr: Path, tmp_path: Path, cli: Run) -> None:
    for flags, said in (
        (("--crop", 33), "--crop 33 is no multiple of the scale 2; give 32 or 34"),
        (("--crop", 1), "--crop 1 is no multiple of the scale 2; give 2"),
        (("--crop", 32, "--step", 5), "--step 5 is no multiple of the scale 2; give 4 or 6"),
        (("--step", 4), "--step 4 is the distance between crops; give their size as --crop N, too"),
        (("--crop", 0), "--crop 0 must be at least 1"),
    ):
        code, _, stderr = cli("apply", model.path, hr, tmp_path / "out", *flags)
        assert code == 2
        assert said in stderr
    assert not (tmp_path / "out").exists()
    assert cli("apply", model.path, hr, tmp_path / "out", "--crop", 32, "--preview", tmp_path / "p.png")[0] == 0
    assert not (tmp_path / "out").exists()


def test_names_of_crops_stay_distinct_and_short() -> None:
    """A file may have the name of a crop of another one; and a long name is cut so that the place still fits."""
    names = ["a.png", "a_y0000_x0000.png", "é" * 120 + ".png"]
    parts = {name: [[(0, 0), (123456, 7)]] for name in names}
    stems = [output.stem for outputs in plan_outputs(names, 1, [], parts=parts).values() for output in outputs]
    assert len(set(stems)) == 6
    assert stems[:3] == ["a_y0000_x0000", "a_y123456_x0007", "a_y0000_x0000_y0000_x0000"]
    assert max(len(stem.encode()) for stem in stems) <= 251
    assert stems[5].endswith("_y123456_x0007")


def test_a_georeference_is_that_of_the_crop() -> None:
    """Where pixel (0, 0) of the crop lies is where its corner lay in the whole."""
    tie, matrix = (0.0, 0.0, 0.0, 500.0, 900.0, 0.0), (2.0, 0.5, 0.0, 100.0, 0.25, -3.0, 0.0, 200.0, *8 * (0.0,))
    tags = (Tag(TIE_POINTS, 12, 6, tie), Tag(TRANSFORMATION, 12, 16, matrix))
    points, moved = (tag.value for tag in cropped(tags, top=10, left=20))
    assert points == (-20.0, -10.0, 0.0, 500.0, 900.0, 0.0)
    assert moved[3] == 100 + 2 * 20 + 0.5 * 10
    assert moved[7] == 200 + 0.25 * 20 - 3 * 10

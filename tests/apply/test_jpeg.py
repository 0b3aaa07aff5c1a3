"""`--jpeg`: LR images as they are read back from JPEG files; truth: the LR without it, compressed by Pillow."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options, Replay
from degsynth.apply.jpeg import parse, stage
from degsynth.config import Interval
from degsynth.data import images
from degsynth.data.compression import read_file
from degsynth.errors import ConfigError
from degsynth.methods.linear import LinearOptics
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.mixture import Mixture
from degsynth.ops.blur import half_width
from degsynth.ops.compression import Compression, at_quality
from degsynth.ops.kernels import gaussian
from tests.apply.test_apply import contents
from tests.conftest import Run, save_png
from tests.doubles import SIZES, save_double, stochastic


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    for number in range(3):
        save_png(tmp_path / "HR" / f"{number}.png", photographs[number][:, 100:164, 100:180])
    return tmp_path / "HR"


def lr_of(out: Path) -> list[np.ndarray]:
    return [images.read(path).pixels for path in sorted((out / "lr").iterdir())]


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def by_pillow(pixels: np.ndarray, **options: Any) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return np.asarray(Image.open(buffer))


def learned(path: Path, *shares: tuple[Compression, int]) -> Checkpoint:
    """A model that has learnt how LR images were compressed."""
    optics = LinearOptics(gaussian(SIZES[2], 1.1, 1.7, 0.5)[None], torch.ones(1), torch.zeros(1), 2)
    known = [{"compression": how, "images": number} for how, number in shares]
    return save_double(path, optics, 2, clean_halo=half_width(SIZES[2], 2), jpeg=known)


def test_it_is_the_last_thing_that_is_done(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "plain")
    apply.run(model, hr, tmp_path / "out", Options(jpeg=Interval(70, 70)))
    for before, after in zip(lr_of(tmp_path / "plain"), lr_of(tmp_path / "out"), strict=True):
        assert np.array_equal(after, by_pillow(before, quality=70))
    assert [row["jpeg_quality"] for row in rows_of(tmp_path / "out")] == [70] * 3
    assert "jpeg_quality" not in rows_of(tmp_path / "plain")[0]


def test_every_image_draws_its_quality(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "plain", Options(draws=4))
    apply.run(model, hr, tmp_path / "out", Options(draws=4, jpeg=Interval(60, 95), workers=1, tile=8))
    qualities = {row["lr"]: row["jpeg_quality"] for row in rows_of(tmp_path / "out")}
    assert len(set(qualities.values())) > 4
    assert all(60 <= quality <= 95 for quality in qualities.values())
    for name, quality in qualities.items():
        before = images.read(tmp_path / "plain" / name).pixels
        apart = images.read(tmp_path / "out" / name).pixels.astype(int) - by_pillow(before, quality=quality)
        assert np.abs(apart).max() <= 12, "tiles may round another way"
        assert np.abs(apart).mean() < 0.2


def test_what_was_learnt_is_the_default(hr: Path, tmp_path: Path) -> None:
    tables = Compression(tuple(range(2, 66)), tuple(range(10, 74)), "4:4:4")
    model = learned(tmp_path / "m.pt", (tables, 3))
    apply.run(model, hr, tmp_path / "plain", Options(jpeg="none"))
    apply.run(model, hr, tmp_path / "out")
    for before, after in zip(lr_of(tmp_path / "plain"), lr_of(tmp_path / "out"), strict=True):
        expected = by_pillow(before, qtables=[list(tables.luma), list(tables.chroma or ())], subsampling="4:4:4")
        assert np.array_equal(after, expected)


def test_ways_of_compression_are_as_frequent_as_in_the_fit(tmp_path: Path) -> None:
    known = stage(None, learned(tmp_path / "m.pt", (at_quality(90), 30), (at_quality(60), 10)).spec)
    assert known is not None
    drawn = [known.draw(seed).quality() for seed in range(400)]
    assert set(drawn) == {60, 90}
    assert drawn.count(90) == pytest.approx(300, abs=40)


def test_deep_files_keep_their_type(model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> None:
    save_png(tmp_path / "HR" / "a.png", photographs[0][:, 100:164, 100:180], np.uint16)
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(jpeg=Interval(90, 90)))
    (deep,) = lr_of(tmp_path / "out")
    assert deep.dtype == np.uint16
    assert (deep % 257 == 0).all(), "JPEG holds 256 levels"


def test_alpha_is_kept(model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> None:
    pixels = images.quantise(photographs[0][:, 100:164, 100:180], np.dtype(np.uint8))
    alpha = np.linspace(100, 255, pixels.shape[1]).astype(np.uint8)[None, :, None].repeat(len(pixels), 0)
    (tmp_path / "HR").mkdir()
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "HR" / "a.png")
    for name, choice in (("plain", "none"), ("out", Interval(50, 50))):
        apply.run(model, tmp_path / "HR", tmp_path / name, Options(jpeg=choice))
    before, after = (images.read(tmp_path / name / "lr/a.png") for name in ("plain", "out"))
    assert np.array_equal(before.alpha, after.alpha)
    assert np.array_equal(after.pixels, by_pillow(before.pixels, quality=50))


def test_a_mixture_of_which_one_model_has_learnt_it(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    both = Mixture.weighted([model, learned(tmp_path / "m.pt", (at_quality(60), 1))], [1, 1])
    apply.run(both, hr, tmp_path / "out", Options(draws=8))
    qualities = {row["model_sha256"]: row.get("jpeg_quality") for row in rows_of(tmp_path / "out")}
    assert set(qualities.values()) == {None, 60}
    apply.run(both, hr, tmp_path / "again", Options(**Replay.read(tmp_path / "out").settings()))
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_resumed_and_replayed_sets_are_the_same(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    options = Options(jpeg=Interval(60, 95))
    apply.run(model, hr, tmp_path / "out", options)
    settings = Replay.read(tmp_path / "out").settings()
    apply.run(model, hr, tmp_path / "again", Options(**settings, limit=1))
    apply.run(model, hr, tmp_path / "again", Options(**settings, existing="resume"))
    assert contents(tmp_path / "again") == contents(tmp_path / "out")
    with pytest.raises(ConfigError, match="jpeg"):
        apply.run(model, hr, tmp_path / "out", Options(existing="resume"))


def test_jpeg_files(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """The files hold the pixels that are written without them, and layouts take these."""
    options = {"jpeg": Interval(60, 95), "layouts": ("basicsr",)}
    apply.run(model, hr, tmp_path / "plain", Options(**options))
    apply.run(model, hr, tmp_path / "out", Options(**options, jpeg_files=True))
    for row, expected in zip(rows_of(tmp_path / "out"), lr_of(tmp_path / "plain"), strict=True):
        assert row["lr"].endswith(".jpg")
        assert np.array_equal(images.read(tmp_path / "out" / row["lr"]).pixels, expected)
        found = read_file(tmp_path / "out" / row["lr"])
        assert found is not None
        assert found.compression == at_quality(row["jpeg_quality"])
    for made, expected in zip(*(lr_of(tmp_path / name / "basicsr") for name in ("out", "plain")), strict=True):
        assert np.array_equal(made, expected)
    assert apply.verify(tmp_path / "out", hr).problems == []
    settings = Replay.read(tmp_path / "out").settings()
    apply.run(model, hr, tmp_path / "again", Options(**settings, layouts=("basicsr",)))
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_what_is_no_jpeg_file(model: Checkpoint, hr: Path, tmp_path: Path, photographs: list[Tensor]) -> None:
    with pytest.raises(ConfigError, match="`jpeg_files`: the LR images are not compressed; give `jpeg=QUALITY`, too"):
        apply.run(model, hr, tmp_path / "out", Options(jpeg_files=True))
    with pytest.raises(ConfigError, match="`jpeg_files` and `crop=32` exclude each other"):
        Options(jpeg_files=True, crop=32)
    save_png(hr / "0.png", photographs[0][:, :32, :32], np.uint16)
    summary = apply.run(model, hr, tmp_path / "out", Options(jpeg=Interval(90, 90), jpeg_files=True))
    assert (summary.done, summary.failed) == (2, 1)
    assert rows_of(tmp_path / "out")[0]["error"].startswith("a JPEG file cannot hold more than 8 bits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "`jpeg=0`: give a whole quality from 1 to 100"),
        ("90:80", "`jpeg=90:80`: give a whole quality"),
        ("84.5", "`jpeg=84.5`: give a whole quality"),
        ("101", "`jpeg=101`"),
        ("good", "`jpeg=good`: give learned, none, a quality from 1 to 100, or a range LO:HI"),
        ("learned", "`jpeg=learned`: the LR images of the fit of this model .* were no JPEG files; give a quality"),
    ],
)
def test_bad_choices(text: str, message: str, model: Checkpoint) -> None:
    with pytest.raises(ConfigError, match=message):
        stage(parse(text), model.spec)


def test_other_channels_are_refused_one_by_one(model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> None:
    import tifffile

    (tmp_path / "HR").mkdir()
    pixels = images.quantise(photographs[0][:, 100:164, 100:180], np.dtype(np.uint8))
    tifffile.imwrite(
        tmp_path / "HR/nir.tif", np.dstack([pixels, pixels[..., :1]]), photometric="rgb", extrasamples=["unspecified"]
    )
    save_png(tmp_path / "HR/a.png", photographs[0][:, :32, :32])
    summary = apply.run(model, tmp_path / "HR", tmp_path / "out", Options(jpeg=Interval(90, 90)))
    assert (summary.done, summary.failed) == (1, 1)
    (failed,) = (row for row in rows_of(tmp_path / "out") if row["status"] == "failed")
    assert failed["error"] == "an image of 4 channels cannot be compressed as JPEG; leave it out, or give `jpeg=none`"


def test_as_typed(model: Checkpoint, hr: Path, tmp_path: Path, cli: Run) -> None:
    assert cli("apply", model.path, hr, tmp_path / "out", "--jpeg", "80:90")[0] == 0
    assert {row["jpeg_quality"] for row in rows_of(tmp_path / "out")} <= set(range(80, 91))
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "no", "--jpeg", "200")
    assert code == 2
    assert "--jpeg 200: give a whole quality" in stderr

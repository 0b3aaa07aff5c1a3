from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.manifest import Manifest, Row
from degsynth.config import Interval
from degsynth.data import images, writing
from degsynth.errors import ConfigError, DataError, OutputError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise, ShotRead
from degsynth.seeds import derive
from tests.conftest import Run, save_png
from tests.doubles import PoolOptics, StochasticOptics, linear_double, save_double, stochastic


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Scale 2; random kernel and noise: everything that could go wrong with seeds, can."""
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Ten images in two folders, among them one odd size."""
    for number in range(10):
        shot = photographs[number % 4][:, : 130 - 3 * number, 10 * number : 10 * number + 100]
        save_png(tmp_path / "HR" / ("sub" if number % 3 == 0 else "") / f"shot {number}.png", shot)
    return tmp_path / "HR"


def contents(out: Path) -> dict[str, str]:
    """Hash of every file below ``out``, by name."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_the_tree_that_it_writes(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    summary = apply.run(model, hr, tmp_path / "out")
    assert (summary.done, summary.failed) == (10, 0)
    names = {p.relative_to(hr).as_posix() for p in hr.rglob("*.png")}
    for side in ("hr", "lr"):
        assert {
            p.relative_to(tmp_path / "out" / side).as_posix() for p in (tmp_path / "out" / side).rglob("*.png")
        } == names
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"hr", "lr", "manifest.jsonl", "dataset.json"}
    for row in Manifest(tmp_path / "out").read():
        high, low = images.read(tmp_path / "out" / str(row.hr)), images.read(tmp_path / "out" / str(row.lr))
        assert (high.height, high.width) == (2 * low.height, 2 * low.width) == row.hr_size
        assert row.lr_sha256 == contents(tmp_path / "out")[str(row.lr)]
        kept = (tmp_path / "out" / str(row.hr)).samefile(hr / row.source)
        assert kept == (row.hr_kept == "hard") == (not row.cropped)
        assert row.noise == "learned"
    described = json.loads((tmp_path / "out/dataset.json").read_text())
    assert described["made_by"]["model_sha256"] == model.sha256


def test_shot_and_read_noise_is_resumed_and_recorded(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    noise = Noise(shot_read=ShotRead.parse("0.2:0.6,4"))
    apply.run(model, hr, tmp_path / "whole", Options(noise=noise))
    apply.run(model, hr, tmp_path / "parts", Options(noise=noise, limit=4, tile=16))
    apply.run(model, hr, tmp_path / "parts", Options(noise=noise, existing="resume", workers=1))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    rows = Manifest(tmp_path / "whole").read()
    assert len({row.shot_read for row in rows}) == 10
    assert all(row.shot_read is not None and 0.2 <= row.shot_read[0] < 0.6 and row.shot_read[1] == 4 for row in rows)
    with pytest.raises(ConfigError, match="was made with shot_read"):
        apply.run(model, hr, tmp_path / "whole", Options(existing="resume"))


def test_lr_is_what_a_stranger_gets_from_the_seed(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """Row by row: degrade(hr, seed), rounded, is the file."""
    apply.run(model, hr, tmp_path / "out")
    for row in Manifest(tmp_path / "out").read():
        high = images.to_tensor(images.read(tmp_path / "out" / str(row.hr)).pixels)
        expected = images.quantise(model.degrader.degrade(high[None], row.seed)[0], np.dtype(np.uint8))
        assert np.array_equal(images.read(tmp_path / "out" / str(row.lr)).pixels, expected)


@pytest.mark.parametrize(
    "options",
    [
        Options(workers=1),
        Options(workers=5),
        Options(tile=16),
        Options(tile=37, workers=3),
        Options(memory=1e6),
    ],
)
def test_same_seed_same_bytes(options: Options, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """Workers, tiles, the absolute path and a limit change nothing; another seed does."""
    noise = Noise(awgn=Interval(2.0, 6.0))
    apply.run(model, hr, tmp_path / "a", Options(noise=noise))
    shutil.copytree(hr, tmp_path / "moved" / "elsewhere")
    apply.run(model, tmp_path / "moved" / "elsewhere", tmp_path / "b", replace(options, noise=noise))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    apply.run(model, hr, tmp_path / "few", Options(noise=noise, limit=3))
    few = contents(tmp_path / "few")
    assert sum(name.startswith("lr/") for name in few) == 3
    assert all(contents(tmp_path / "a")[name] == digest for name, digest in few.items() if name.startswith("lr/"))
    apply.run(model, hr, tmp_path / "other", Options(noise=noise, seed=1))
    other = contents(tmp_path / "other")
    assert all(other[name] != digest for name, digest in contents(tmp_path / "a").items() if name.startswith("lr/"))


def test_the_smallest_tiles(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """They are used where the memory is too small for any tile."""
    apply.run(model, hr, tmp_path / "a", Options(limit=1))
    apply.run(model, hr, tmp_path / "b", Options(limit=1, memory=1e4))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("kind", ["strips", "tiles", "alpha", "cropped"])
def test_tiff_by_bands(kind: str, model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> None:
    """A file that is read and written part by part becomes what the whole of it does, in the same bytes."""
    shot = images.quantise(photographs[0][:, :221, :187] if kind == "cropped" else photographs[0][:, :220, :186],
                           np.dtype(np.uint16))  # fmt: skip
    alpha = shot[..., 0] // 3 if kind == "alpha" else None
    (tmp_path / "HR").mkdir()
    samples = shot if alpha is None else np.dstack([shot, alpha])
    tifffile.imwrite(
        tmp_path / "HR/a.tif",
        samples,
        photometric="rgb",
        extrasamples=None if alpha is None else ["unassalpha"],
        compression="zlib",
        **({"tile": (64, 48)} if kind == "tiles" else {"rowsperstrip": 10}),
    )
    noise = Noise(awgn=Interval(2.0, 6.0))
    for out, memory in (("a", 1e9), ("b", 1e6), ("c", 1e5)):
        apply.run(model, tmp_path / "HR", tmp_path / out, Options(noise=noise, memory=memory, draws=2))
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    for row in Manifest(tmp_path / "a").read():
        low, high = (images.read(tmp_path / "a" / str(name)) for name in (row.lr, row.hr))
        assert low.pixels.shape == (110, 93, 3)
        assert low.dtype == np.uint16
        assert np.array_equal(high.pixels, shot[:220, :186])
        assert row.hr_kept == ("written" if kind == "cropped" else "hard")
        assert (row.hr_sha256 is None) == (kind != "cropped")
        if alpha is not None:
            assert low.alpha is not None
            means = alpha.astype(float).reshape(110, 2, 93, 2).mean((1, 3))
            assert np.abs(low.alpha - means).max() <= 0.51


def test_a_tiff_that_breaks_half_way_leaves_nothing(
    model: Checkpoint, tmp_path: Path, photographs: list[Tensor]
) -> None:
    pixels = images.quantise(photographs[0][:, :200, :200], np.dtype(np.uint8))
    (tmp_path / "HR").mkdir()
    for name in ("broken.tif", "whole.tif"):
        tifffile.imwrite(tmp_path / "HR" / name, pixels, photometric="rgb", rowsperstrip=8)
    content = (tmp_path / "HR/broken.tif").read_bytes()
    (tmp_path / "HR/broken.tif").write_bytes(content[: len(content) * 3 // 4])
    summary = apply.run(model, tmp_path / "HR", tmp_path / "out", Options(tile=16))
    assert (summary.done, summary.failed) == (1, 1)
    assert set(contents(tmp_path / "out")) == {"hr/whole.tif", "lr/whole.tif", "manifest.jsonl", "dataset.json"}


def test_awgn_does_not_change_the_rest(tmp_path: Path, photographs: list[Tensor]) -> None:
    """The difference of two runs is noise of the σ asked for: kernel and grain are the same. 16 bit, to see it well."""
    model = stochastic(tmp_path / "m.pt", 2)
    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", 0.6 * shot[:, :240, :240] + 0.2, np.uint16)
    apply.run(model, tmp_path / "HR", tmp_path / "without")
    apply.run(model, tmp_path / "HR", tmp_path / "with", Options(noise=Noise(awgn=Interval(2.0, 8.0))))
    sigmas = []
    for row in Manifest(tmp_path / "with").read():
        a, b = (images.read(tmp_path / side / str(row.lr)).pixels.astype(float) for side in ("with", "without"))
        assert row.awgn_sigma is not None
        assert np.std(a - b) / 257 == pytest.approx(row.awgn_sigma, rel=0.02)
        sigmas.append(row.awgn_sigma)
    assert len(set(sigmas)) == 4
    assert all(2 <= sigma <= 8 for sigma in sigmas)


@pytest.mark.parametrize(("sigma", "warned"), [((0.05, 0.05), True), ((0.0, 0.1), True), ((0.0, 5.0), False)])
def test_noise_on_a_scale_from_0_to_1_is_warned_of(sigma: tuple[float, float], warned: bool, model: Checkpoint) -> None:
    warnings = Options(noise=Noise(awgn=Interval(*sigma))).degradations(model).warnings()
    assert any("on the scale from 0 to 255" in text for text in warnings) == warned


def test_learned_noise_off_keeps_the_kernel(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "clean", Options(noise=Noise(learned=False)))
    for row in Manifest(tmp_path / "clean").read():
        high = images.to_tensor(images.read(tmp_path / "clean" / str(row.hr)).pixels)[None]
        code = model.degrader.draw(row.seed)
        field = model.degrader.field(row.seed, 0, 0, high.shape[2] // 2, high.shape[3] // 2, 3)
        expected = images.quantise(model.degrader.clean(high, code, field)[0], np.dtype(np.uint8))
        assert np.array_equal(images.read(tmp_path / "clean" / str(row.lr)).pixels, expected)
        assert row.noise == "none"


def test_draws_differ_and_do_not_depend_on_their_number(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "one")
    summary = apply.run(model, hr, tmp_path / "three", Options(draws=3))
    assert summary.done == 30
    one, three = contents(tmp_path / "one"), contents(tmp_path / "three")
    for row in Manifest(tmp_path / "one").read():
        stem = str(row.lr).removesuffix(".png")
        drawn = [three[f"{stem}_{draw}.png"] for draw in range(3)]
        assert drawn[0] == one[str(row.lr)]
        assert len(set(drawn)) == 3
    for row in Manifest(tmp_path / "three").read():
        assert str(row.hr).removeprefix("hr/") == str(row.lr).removeprefix("lr/")
        assert (tmp_path / "three" / str(row.hr)).exists()
        assert str(row.lr).endswith(f"_{row.draw}.png")


def test_one_of_several_draws_is_done_again(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out", Options(draws=2))
    before = contents(tmp_path / "out")
    (tmp_path / "out/lr/shot 1_1.png").unlink()
    with pytest.raises(ConfigError, match="made with draws 2, now it is 3"):
        apply.run(model, hr, tmp_path / "out", Options(draws=3, existing="resume"))
    summary = apply.run(model, hr, tmp_path / "out", Options(draws=2, existing="resume"))
    assert (summary.done, summary.resumed) == (20, 19)
    after = contents(tmp_path / "out")
    assert {k: v for k, v in after.items() if k[:3] in ("hr/", "lr/")} == {
        k: v for k, v in before.items() if k[:3] in ("hr/", "lr/")
    }
    assert after["manifest.jsonl"] == before["manifest.jsonl"]


@pytest.mark.parametrize("scale", [2, 3])
def test_noise_of_another_model(scale: int, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """The blur is unchanged; the noise is what the giver makes of that LR, from its own random field; tiles agree."""
    noise_model = stochastic(tmp_path / "giver.pt", scale)
    apply.run(model, hr, tmp_path / "out", Options(noise=Noise(noise_model=noise_model)))
    apply.run(model, hr, tmp_path / "tiles", Options(noise=Noise(noise_model=noise_model), tile=16))
    assert contents(tmp_path / "out") == contents(tmp_path / "tiles")
    for row in Manifest(tmp_path / "out").read():
        assert row.noise == "other"
        assert (row.warning is None) == (scale == 2)
        high = images.to_tensor(images.read(tmp_path / "out" / str(row.hr)).pixels)[None]
        place = 0, 0, high.shape[2] // 2, high.shape[3] // 2, 3
        clean = model.degrader.clean(high, model.degrader.draw(row.seed), model.degrader.field(row.seed, *place))
        seed = derive(0, row.source, 0, 0, "noise")
        added = noise_model.degrader.noise(
            clean.clamp(0, 1), noise_model.degrader.draw(seed), noise_model.degrader.field(seed, *place)
        )
        expected = images.quantise((clean + added)[0], np.dtype(np.uint8))
        assert np.array_equal(images.read(tmp_path / "out" / str(row.lr)).pixels, expected)
    named = json.loads((tmp_path / "out/dataset.json").read_text())["made_by"]["noise_model"]
    assert named == {"sha256": noise_model.sha256, "method": "double", "scale": scale}


def test_noise_that_cannot_be_had(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the model .*silent\.pt \(double\) has no learned noise to add"):
        Noise(noise_model=linear_double(tmp_path / "silent.pt", 2))
    facts = {"clean_halo": 8, "noise_halo": 1, "stochastic": True, "has_noise": True}
    gray, colour = (
        save_double(tmp_path / f"{count}.pt", StochasticOptics(2, 18), 2, channels=[count], **facts) for count in (1, 3)
    )
    with pytest.raises(ConfigError, match=r"1\.pt is for gray images, the model .*3\.pt for RGB ones"):
        apply.run(colour, hr, tmp_path / "out", Options(noise=Noise(noise_model=gray)))
    assert not (tmp_path / "out").exists()
    summary = apply.run(model, hr, tmp_path / "out", Options(noise=Noise(noise_model=gray)))
    assert summary.failed == 10
    assert "the noise's model takes gray" in str(Manifest(tmp_path / "out").read()[0].error)


def test_hostile_folder(cli: Run, tmp_path: Path, photographs: list[Tensor]) -> None:
    """Everything that a folder of photos may hold: each good file is written, each bad one is a row with its reason."""
    folder, shot = tmp_path / "HR", photographs[0][:, :128, :128]
    save_png(folder / "good.png", shot)
    save_png(folder / "gray.png", shot[:1])
    save_png(folder / "deep.png", shot, np.uint16)
    save_png(folder / "odd size ß 漢.png", shot[:, :125, :103])
    save_png(folder / "dup.png", shot)
    (folder / "dup.jpg").write_bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes())
    save_png(folder / "tiny.png", shot[:, :3, :3])
    save_png(folder / "sub/inner.png", shot)
    alpha = images.Image(
        images.quantise(shot, np.dtype(np.uint8)), np.tile(2 * np.arange(128, dtype=np.uint8), (128, 1))
    )
    (folder / "alpha.png").write_bytes(writing.encode(alpha, ".png"))
    deep = images.Image(images.quantise(shot[:1], np.dtype(np.uint16)))
    (folder / "scan.TIF").write_bytes(writing.encode(deep, ".tif"))
    whole = (folder / "good.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "renamed.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("hello")

    model = linear_double(tmp_path / "m.pt", 4)
    rows: list[Row] = []
    summary = apply.run(model, folder, tmp_path / "out", on_row=lambda row, total: rows.append(row))
    assert (summary.done, summary.failed, summary.ignored) == (9, 4, ["notes.txt"])
    failed = {row.source: str(row.error) for row in rows if row.status == "failed"}
    assert failed.keys() == {"tiny.png", "truncated.png", "empty.png", "renamed.jpg"}
    assert "smaller than one LR pixel" in failed["tiny.png"]
    assert "0 bytes" in failed["empty.png"]

    def made(name: str) -> tuple[images.Image, images.Image]:
        row = next(row for row in rows if row.source == name)
        return images.read(tmp_path / "out" / str(row.hr)), images.read(tmp_path / "out" / str(row.lr))

    assert made("gray.png")[1].channels == 1
    assert made("deep.png")[1].pixels.dtype == np.uint16
    assert made("scan.TIF")[1].pixels.dtype == np.uint16
    assert (tmp_path / "out/lr/scan.tif").is_file()
    high, low = made("odd size ß 漢.png")
    assert (high.height, high.width) == (124, 100) == (4 * low.height, 4 * low.width)
    assert (tmp_path / "out/lr/dup.png").is_file()
    assert (tmp_path / "out/lr/dup_jpg.png").is_file()
    assert (tmp_path / "out/hr/dup_jpg.jpg").is_file()
    carried = made("alpha.png")[1].alpha
    assert carried is not None
    assert carried[0].tolist() == [8 * i + 3 for i in range(32)]
    # Nothing but images in the two folders, and as many on either side.
    assert sum(p.is_file() for p in (tmp_path / "out/hr").rglob("*")) == 9
    assert sum(p.is_file() for p in (tmp_path / "out/lr").rglob("*")) == 9
    for row in rows:
        if row.status == "ok":
            source, (high, low) = images.read(folder / row.source), made(row.source)
            assert (high.height, high.width) == (4 * low.height, 4 * low.width)
            for image in (high, low):
                assert (image.channels, image.has_alpha) == (source.channels, source.has_alpha), row.source
                assert image.pixels.dtype == source.pixels.dtype, row.source
    code, _, stderr = cli("apply", model.path, folder, tmp_path / "again")
    assert code == 1
    assert all(f"failed: {name}: " in stderr for name in failed)
    assert cli("verify", tmp_path / "again", "--hr", folder)[0] == 0


def test_gray_into_a_colour_model_is_a_failed_row(tmp_path: Path, photographs: list[Tensor]) -> None:
    model = save_double(tmp_path / "m.pt", PoolOptics(2, 12), 2, clean_halo=5, stochastic=True, channels=[3])
    save_png(tmp_path / "HR/gray.png", photographs[0][:1])
    save_png(tmp_path / "HR/rgb.png", photographs[0])
    rows: list[Row] = []
    summary = apply.run(model, tmp_path / "HR", tmp_path / "out", on_row=lambda row, total: rows.append(row))
    assert (summary.done, summary.failed) == (1, 1)
    assert "the image is gray, the model takes RGB" in next(str(r.error) for r in rows if r.error)


@pytest.mark.parametrize("link", ["hard", "symlink", "copy"])
def test_hr_is_kept_not_encoded_again(link: str, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out", Options(link=link))  # type: ignore[arg-type]
    row = next(row for row in Manifest(tmp_path / "out").read() if not row.cropped)
    kept = tmp_path / "out" / str(row.hr)
    assert kept.read_bytes() == (hr / row.source).read_bytes()
    assert kept.is_symlink() == (link == "symlink")
    assert kept.stat().st_nlink == (2 if link == "hard" else 1) or link == "symlink"
    assert row.hr_kept == link


def test_rotated_photos_are_written_upright(model: Checkpoint, tmp_path: Path) -> None:
    picture = np.kron(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10, np.ones((8, 8), np.uint8))
    jpeg = cv2.imencode(".jpg", cv2.merge([picture] * 3))[1].tobytes()
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + bytes(4)
    (tmp_path / "HR").mkdir()
    (tmp_path / "HR/a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    apply.run(model, tmp_path / "HR", tmp_path / "out")
    assert images.read(tmp_path / "out/hr/a.jpg").pixels.shape == (48, 32, 3)
    assert images.read(tmp_path / "out/lr/a.png").pixels.shape == (24, 16, 3)


def test_one_file_as_hr(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """A single file has the seed that it has as a member of its folder."""
    apply.run(model, hr, tmp_path / "all")
    apply.run(model, hr / "shot 1.png", tmp_path / "one")
    assert contents(tmp_path / "one")["lr/shot 1.png"] == contents(tmp_path / "all")["lr/shot 1.png"]


def test_refusals_before_anything_is_written(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    cases = [
        (hr, hr, "inside each other"),
        (hr, hr / "out", "inside each other"),
        (hr, tmp_path, "inside each other"),
        (tmp_path / "nowhere", tmp_path / "out", "no such folder"),
    ]
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").touch()
    (tmp_path / "file").touch()
    cases += [(hr, tmp_path / "full", "not empty"), (hr, tmp_path / "file", "is a file")]
    before = contents(tmp_path)
    for source, out, message in cases:
        with pytest.raises((ConfigError, DataError), match=message):
            apply.run(model, source, out)
    for existing in ("resume", "overwrite"):
        with pytest.raises(ConfigError, match="not written by degsynth"):
            apply.run(model, hr, tmp_path / "full", Options(existing=existing))  # type: ignore[arg-type]
    assert contents(tmp_path) == before


def test_an_existing_data_set(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply.run(model, hr, out)
    before = contents(out)
    with pytest.raises(ConfigError, match="existing=resume"):
        apply.run(model, hr, out)
    assert apply.run(model, hr, out, Options(existing="resume")).resumed == 10
    with pytest.raises(ConfigError, match="was made with seed 0, now it is 7"):
        apply.run(model, hr, out, Options(existing="resume", seed=7))
    assert contents(out) == before
    (out / "lr/shot 1.png").unlink()
    assert apply.run(model, hr, out, Options(existing="resume")).resumed == 9
    assert contents(out) == before
    assert apply.run(model, hr, out, Options(existing="overwrite", seed=7)).resumed == 0
    assert contents(out) != before
    assert (hr / "shot 1.png").is_file()


def test_what_is_not_ours_is_not_deleted(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """A foreign dataset.json, a file of the user's among ours, and a linked folder are all left alone."""
    foreign = tmp_path / "foreign"
    (foreign / "hr").mkdir(parents=True)
    (foreign / "dataset.json").write_text('{"name": "my own"}')
    (foreign / "hr/only_copy.raw").write_text("precious")
    with pytest.raises(ConfigError, match="not written by degsynth"):
        apply.run(model, hr, foreign, Options(existing="overwrite"))
    assert (foreign / "hr/only_copy.raw").read_text() == "precious"
    out = tmp_path / "out"
    apply.run(model, hr, out)
    (out / "lr/notes.txt").write_text("mine")
    before = contents(out)
    with pytest.raises(ConfigError, match=r"1 files that its manifest does not name, e\.g\. lr/notes\.txt"):
        apply.run(model, hr, out, Options(existing="overwrite"))
    assert contents(out) == before
    shutil.rmtree(out / "lr")
    (out / "lr").symlink_to(hr)
    for existing in ("resume", "overwrite"):
        with pytest.raises(ConfigError, match="lr is a link"):
            apply.run(model, hr, out, Options(existing=existing))  # type: ignore[arg-type]


def test_resume_after_the_folder_grew(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """A newcomer with the stem of a finished image gets another name; the finished one keeps its own."""
    save_png(tmp_path / "grown/a.tif", images.read(hr / "shot 1.png").pixels)
    (tmp_path / "grown/a.tif").write_bytes(writing.encode(images.read(hr / "shot 1.png"), ".tif"))
    apply.run(model, tmp_path / "grown", tmp_path / "out")
    before = contents(tmp_path / "out")["lr/a.tif"]
    shutil.copy(hr / "shot 2.png", tmp_path / "grown/a.png")
    assert apply.run(model, tmp_path / "grown", tmp_path / "out", Options(existing="resume")).done == 2
    rows = {row.source: row for row in Manifest(tmp_path / "out").read()}
    assert (rows["a.tif"].lr, rows["a.png"].lr) == ("lr/a.tif", "lr/a_png.png")
    assert contents(tmp_path / "out")["lr/a.tif"] == before


def test_resume_redoes_what_is_damaged_or_another_image(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply.run(model, hr, out)
    (out / "lr/shot 1.png").write_bytes(b"")
    save_png(tmp_path / "new.png", torch.rand(3, 80, 60))
    (tmp_path / "new.png").replace(hr / "shot 2.png")
    (hr / "shot 5.png").unlink()  # HR sources may go: the data set has them
    assert apply.run(model, hr, out, Options(existing="resume")).resumed == 8
    for row in Manifest(out).read():
        assert contents(out)[str(row.lr)] == row.lr_sha256
        if row.source == "shot 2.png":
            assert row.source_size == (80, 60)
            assert (out / str(row.hr)).read_bytes() == (hr / "shot 2.png").read_bytes()
    assert (out / "lr/shot 5.png").is_file()


@pytest.mark.parametrize(("sigma", "warned"), [(0.05, True), (0.25, False), (5.0, False), (0.0, False)])
def test_white_noise_of_levels_from_0_to_1_is_warned_of(sigma: float, warned: bool, model: Checkpoint) -> None:
    warnings = Degradation(model, Noise(awgn=Interval(sigma, sigma))).warnings()
    assert (
        any("σ is on the scale from 0 to 255; for 0.05 of the range give 12.75" in text for text in warnings) == warned
    )


def test_a_run_in_which_every_image_failed_is_in_nobodys_way(model: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    assert apply.run(model, tmp_path / "broken.png", tmp_path / "out").failed == 1
    save_png(tmp_path / "whole.png", np.full((64, 64, 3), 90, np.uint8))
    assert apply.run(model, tmp_path / "whole.png", tmp_path / "out").done == 1
    assert [row.source for row in Manifest(tmp_path / "out").read()] == ["whole.png"]
    for side in ("hr", "lr"):  # what somebody moved away is no reason to begin anew without a word
        shutil.move(tmp_path / "out" / side / "whole.png", tmp_path / f"{side}.png")
    with pytest.raises(ConfigError, match="is not empty; use `existing=resume`"):
        apply.run(model, tmp_path / "whole.png", tmp_path / "out")


def test_resume_leaves_no_orphan_where_names_change(model: Checkpoint, tmp_path: Path) -> None:
    """A BMP that was linked is replaced by a gray one: its HR is a PNG now, and the old link goes."""
    for side, channels in (("first", 3), ("later", 1)):
        picture = np.full((64, 64, channels), 90, np.uint8)
        (tmp_path / f"{side}.bmp").write_bytes(cv2.imencode(".bmp", picture)[1].tobytes())
    (tmp_path / "HR").mkdir()
    shutil.copy(tmp_path / "first.bmp", tmp_path / "HR/a.bmp")
    apply.run(model, tmp_path / "HR", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/hr").iterdir()] == ["a.bmp"]
    (tmp_path / "later.bmp").replace(tmp_path / "HR/a.bmp")
    assert apply.run(model, tmp_path / "HR", tmp_path / "out", Options(existing="resume")).resumed == 0
    assert [p.name for p in (tmp_path / "out/hr").iterdir()] == ["a.png"]
    assert [p.name for p in (tmp_path / "out/lr").iterdir()] == ["a.png"]


def test_one_run_at_a_time(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def intrude(row: Row, total: int) -> None:
        try:
            apply.run(model, hr, tmp_path / "out", Options(existing="resume"))
        except ConfigError as error:
            refused.append(str(error))

    assert apply.run(model, hr, tmp_path / "out", Options(limit=2), intrude).done == 2
    assert len(refused) == 2
    assert "another run" in refused[0]


def test_values_beyond_white_are_not_clipped_in_silence(tmp_path: Path, photographs: list[Tensor]) -> None:
    """A model fitted to 12-bit files, an image of 16 bit: a failed row that says how to go on."""
    model = linear_double(tmp_path / "m.pt", 2)
    twelve = replace(model, spec=model.spec.model_copy(update={"data_range": (0.0, 4095.0)}))
    save_png(tmp_path / "HR/deep.png", photographs[0][:, :64, :64], np.uint16)
    rows: list[Row] = []
    apply.run(twelve, tmp_path / "HR", tmp_path / "a", on_row=lambda row, n: rows.append(row))
    assert "beyond white at 4095" in str(rows[0].error)
    assert "`data_range=BLACK:WHITE`" in str(rows[0].error)
    assert apply.run(twelve, tmp_path / "HR", tmp_path / "b", Options(data_range="dtype")).done == 1


def test_an_error_of_the_listener_is_its_own(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """`| head` closes stdout: that is no trouble of the manifest, and no thread goes on behind it."""

    def closed(row: Row, total: int) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        apply.run(model, hr, tmp_path / "out", on_row=closed)
    assert apply.run(model, hr, tmp_path / "out", Options(existing="resume")).done == 10


def test_killed_in_its_first_moment(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    (tmp_path / "out/.partial").mkdir(parents=True)
    assert apply.run(model, hr, tmp_path / "out", Options(existing="resume")).done == 10


def test_a_failure_mended_is_done_on_resume(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    good = (hr / "shot 1.png").read_bytes()
    (hr / "shot 1.png").write_bytes(b"")
    assert apply.run(model, hr, tmp_path / "out").failed == 1
    (hr / "shot 1.png").write_bytes(good)
    assert apply.run(model, hr, tmp_path / "out", Options(existing="resume")).failed == 0
    apply.run(model, hr, tmp_path / "straight")
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def start(model: Checkpoint, hr: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "degsynth", "apply", str(model.path), str(hr), str(out), "--workers", "1", *more]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_for_rows(out: Path, count: int) -> None:
    manifest = out / "manifest.jsonl"
    deadline = time.monotonic() + 60
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, "apply wrote nothing"
        time.sleep(0.005)


MANY = 40
"""Number of images of which some are left when a signal arrives."""


@pytest.fixture
def many(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Enough work to be interrupted in the middle of."""
    for number in range(MANY):
        save_png(tmp_path / f"many/{number:03}.png", photographs[number % 4][:, :, : 399 - number % 7])
    return tmp_path / "many"


def test_asked_to_stop(model: Checkpoint, many: Path, tmp_path: Path) -> None:
    """What has begun is finished, nothing else; resuming ends as if nobody had asked."""
    seen: list[Row] = []
    options = Options(workers=1)
    summary = apply.run(model, many, tmp_path / "out", options, lambda row, n: seen.append(row), lambda: len(seen) >= 2)
    assert summary.interrupted
    assert 2 <= summary.done == len(seen) < 20
    apply.run(model, many, tmp_path / "out", Options(existing="resume"))
    apply.run(model, many, tmp_path / "straight")
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def test_a_second_signal_ends_at_once(model: Checkpoint, many: Path, tmp_path: Path) -> None:
    process = start(model, many, tmp_path / "out")
    wait_for_rows(tmp_path / "out", 3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130


def test_a_reader_that_leaves(model: Checkpoint, many: Path, tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m degsynth apply "{model.path}" "{many}" "{tmp_path}/out" --json | head -1'
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert "Broken" not in result.stderr


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGTERM, signal.SIGINT))]
)
def test_killed_and_resumed(number: int, model: Checkpoint, many: Path, tmp_path: Path) -> None:
    """Whatever ends it, --resume ends in the same bytes as a run that nobody disturbed."""
    process = start(model, many, tmp_path / "out", "--awgn", "1:4")
    wait_for_rows(tmp_path / "out", 5)
    process.send_signal(number)
    code = process.wait()
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    done = len(Manifest(tmp_path / "out").read())
    assert 5 <= done < MANY, "it was not interrupted in the middle"
    assert start(model, many, tmp_path / "out", "--awgn", "1:4", "--resume").wait() == 0
    apply.run(model, many, tmp_path / "straight", Options(noise=Noise(awgn=Interval(1.0, 4.0))))
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def test_the_callers_threads_are_left_as_they_were(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        apply.run(model, hr, tmp_path / "out", Options(limit=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_disk_that_refuses_is_a_resumable_error(
    model: Checkpoint, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Manifest, row: Row) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Manifest, "append", full)
    with pytest.raises(OutputError, match=r"No space left .* `existing=resume`"):
        apply.run(model, hr, tmp_path / "out")
    monkeypatch.undo()
    assert apply.run(model, hr, tmp_path / "out", Options(existing="resume")).done == 10


def test_names_that_look_alike_do_not_meet(model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> None:
    """``a/b.png`` and ``a__b.png``, at the same time."""
    for number in range(8):
        save_png(tmp_path / f"HR/a/{number}.png", photographs[0][:, :64, :64])
        save_png(tmp_path / f"HR/a__{number}.png", photographs[1][:, :64, :64])
    assert apply.run(model, tmp_path / "HR", tmp_path / "out", Options(workers=8)).done == 16
    for row in Manifest(tmp_path / "out").read():
        assert (tmp_path / "out" / str(row.hr)).read_bytes() == (tmp_path / "HR" / row.source).read_bytes()

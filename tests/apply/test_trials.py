"""A forecast says what a run then does, a preview shows what it then writes, and neither writes a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.layouts.names import PlannedOutput
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.lock import locked
from degsynth.apply.manifest import Manifest, Row
from degsynth.apply.memory_files import MemoryFiles
from degsynth.apply.probe import Probe, Size
from degsynth.apply.root import PARTIAL, Root
from degsynth.config import Interval, ignore_text
from degsynth.data import images, writing
from degsynth.errors import ConfigError, DataError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise
from degsynth.reports.panels import Panel, sheet
from tests.apply.test_apply import contents
from tests.conftest import Run, save_png
from tests.doubles import stochastic


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Scale 2; random kernel and noise."""
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Four parts of a photograph, of 64×80 px, one of them of an odd height, and a file that is no image."""
    for number in range(4):
        part = photographs[2][:, 100 : 164 + (number == 3), 100 + 20 * number : 180 + 20 * number]
        save_png(tmp_path / "HR" / f"shot{number}.png", part)
    (tmp_path / "HR/notes.txt").write_text("none")
    return tmp_path / "HR"


@pytest.mark.parametrize("options", [Options(), Options(link="copy", draws=2, noise=Noise(awgn=Interval(0, 9)))])
def test_a_forecast_comes_true(options: Options, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    found = apply.forecast(model, hr, tmp_path / "deep/out", options)
    assert contents(tmp_path) == before
    assert not (tmp_path / "deep").exists()
    summary = apply.run(model, hr, tmp_path / "deep/out", options)
    rows = Manifest(tmp_path / "deep/out").read()
    assert (found.inputs, found.outputs, found.finished, found.failing) == (4, summary.done, 0, ())
    assert list(found.left_out) == summary.ignored == ["notes.txt"]
    assert found.hr_pixels == sum(row.source_size[0] * row.source_size[1] for row in rows if row.source_size)

    def size(side: str, kept: tuple[str, ...]) -> int:
        names = [row.hr if side == "hr" else row.lr for row in rows if row.hr_kept in kept]
        return sum((tmp_path / "deep/out" / str(name)).stat().st_size for name in names)

    everything = ("hard", "copy", "written")
    assert found.lr_bytes == pytest.approx(size("lr", everything), rel=0.2)
    assert found.hr_bytes == pytest.approx(size("hr", ("copy", "written")), rel=0.2)
    assert found.fits
    assert found.seconds is not None
    assert 0 < found.seconds < 10


def test_layouts_need_room(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    options = Options(layouts=("basicsr", "hdf5", "webdataset"))
    found = apply.forecast(model, hr, tmp_path / "out", options)
    apply.run(model, hr, tmp_path / "out", options)
    made = sum((tmp_path / "out" / name).stat().st_size for name in ("hdf5/train.h5", "webdataset/train-000000.tar"))
    assert found.layout_bytes == pytest.approx(made, rel=0.3)


@pytest.fixture
def many_kinds(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Twelve parts of a photograph: three that are evenly spread are RGB; others gray, with alpha, or 16 bits."""
    for number in range(12):
        part = photographs[2][:, 100 : 164 + number % 2, 100 + 10 * number : 180 + 10 * number]
        pixels = images.quantise(part, np.dtype(np.uint16 if number % 4 == 3 else np.uint8))
        if number % 4 == 1:
            pixels = pixels[..., :1]
        alpha = pixels[..., 0] if number % 4 == 2 else None
        path = tmp_path / "HR" / f"{number:02}{'.tif' if number % 4 == 3 else '.png'}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(writing.encode(images.Image(pixels, alpha), path.suffix))
    return tmp_path / "HR"


def sizes(out: Path, side: str) -> int:
    """Bytes of the files of a side that take room of their own."""
    rows = Manifest(out).read()
    names = [getattr(row, side) for row in rows if side == "lr" or row.hr_kept == "written"]
    return sum((out / name).stat().st_size for name in names)


def test_a_forecast_knows_channels_and_bits(model: Checkpoint, many_kinds: Path, tmp_path: Path) -> None:
    options = Options(layouts=("hdf5", "webdataset"))
    found = apply.forecast(model, many_kinds, tmp_path / "out", options)
    apply.run(model, many_kinds, tmp_path / "out", options)
    assert found.lr_bytes == pytest.approx(sizes(tmp_path / "out", "lr"), rel=0.1)
    assert found.hr_bytes == pytest.approx(sizes(tmp_path / "out", "hr"), rel=0.1)
    made = sum((tmp_path / "out" / name).stat().st_size for name in ("hdf5/train.h5", "webdataset/train-000000.tar"))
    assert found.layout_bytes == pytest.approx(made, rel=0.25)


def test_kinds_that_are_not_measured_count_by_their_bytes(
    model: Checkpoint, many_kinds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gray folder with three RGB images in it, where only these are measured."""
    for path in many_kinds.iterdir():
        if int(path.stem) % 4 > 1:
            path.unlink()
    monkeypatch.setattr("degsynth.apply.probe.MOST_KINDS", 0)
    monkeypatch.setattr("degsynth.apply.probe.evenly_spaced", lambda length, count: [0, 2, 4])
    found = apply.forecast(model, many_kinds, tmp_path / "out")
    apply.run(model, many_kinds, tmp_path / "out")
    assert found.lr_bytes == pytest.approx(sizes(tmp_path / "out", "lr"), rel=0.2)


def test_the_time_of_a_forecast_goes_by_the_kind(model: Checkpoint, many_kinds: Path, tmp_path: Path) -> None:
    """Where one kind takes ten times as long, the forecast says so."""
    writer = PairWriter(Options().degradations(model), Options(), many_kinds, MemoryFiles())
    declared = {path.name: images.declared(path)[0] for path in sorted(many_kinds.iterdir())}
    probe = Probe(writer, MemoryFiles())
    for name, seconds in (("00.png", 1.0), ("01.png", 0.1)):
        height, width = declared[name].height // 2 * 2, declared[name].width
        row = Row(source=name, status="ok", hr=f"hr/{name}", lr=f"lr/{name}", hr_size=(height, width))
        probe._files.written[str(row.lr)] = 1
        probe._made = lambda outputs, made=(seconds, [row]): made  # type: ignore[method-assign]
        assert probe.measure([PlannedOutput(name, 0, name)], [declared[name]]) == []
    of = {name: probe.seconds([Size.of(one, many_kinds / name, 2, None)]) for name, one in declared.items()}
    assert of["04.png"] == pytest.approx(of["00.png"])
    assert of["05.png"] == pytest.approx(of["01.png"]) == pytest.approx(of["00.png"] / 10, rel=0.05)
    assert of["02.png"] > of["00.png"]  # not measured: by its bytes


def test_a_forecast_names_what_will_fail(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    (hr / "bad.png").write_bytes(b"no image")
    save_png(hr / "tiny.png", np.zeros((1, 1, 3), np.uint8))
    found = apply.forecast(model, hr, tmp_path / "out", Options(limit=1))
    assert [name for name, _ in found.failing] == ["bad.png"]
    assert "cannot be decoded" in found.failing[0][1]
    assert (found.outputs, found.lr_bytes, found.seconds, found.needed_bytes) == (0, None, None, None)


def test_a_forecast_names_all_that_is_smaller_than_a_crop(
    model: Checkpoint, tmp_path: Path, photographs: list[Tensor]
) -> None:
    """The only large image lies where no probe is taken first."""
    for number in range(9):
        side = 64 if number == 5 else 32
        save_png(tmp_path / "HR" / f"{number}.png", photographs[0][:, :side, :side])
    options = Options(crop=48, workers=1)
    found = apply.forecast(model, tmp_path / "HR", tmp_path / "out", options)
    summary = apply.run(model, tmp_path / "HR", tmp_path / "out", options)
    assert (found.outputs, len(found.failing)) == (summary.done, summary.failed) == (4, 8)
    assert found.lr_bytes
    assert found.seconds


def test_a_forecast_of_a_resumed_run_changes_nothing(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply.run(model, hr, out, Options(limit=3))
    (out / "lr/shot1.png").write_bytes(b"damaged")
    before = contents(out)
    found = apply.forecast(model, hr, out, Options(existing="resume"))
    assert (found.finished, found.outputs) == (2, 2)
    assert apply.forecast(model, hr, out, Options(existing="overwrite")).outputs == 4
    assert contents(out) == before
    assert not (out / PARTIAL).exists()


def test_a_forecast_refuses_what_a_run_refuses(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply.run(model, hr, out)
    with pytest.raises(ConfigError, match="is not empty; use `existing=resume`"):
        apply.forecast(model, hr, out)
    with pytest.raises(ConfigError, match="was made with seed 0, now it is 1"):
        apply.forecast(model, hr, out, Options(seed=1, existing="resume"))
    (out / "lr/stray.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"that its manifest does not name, e.g. lr/stray.png"):
        apply.forecast(model, hr, out, Options(existing="overwrite"))
    with locked(Root(out), ignore_text), pytest.raises(ConfigError, match="is being written by another run"):
        apply.forecast(model, hr, out, Options(existing="resume"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        apply.forecast(model, hr, tmp_path / "file")
    with pytest.raises(ConfigError, match="file is no folder"):
        apply.forecast(model, hr, tmp_path / "file/out")


def test_a_data_set_with_more_settings_is_not_resumed_without_them(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out", Options(noise=Noise(awgn=Interval(3, 3), awgn_luma=True), limit=1))
    with pytest.raises(ConfigError, match="was made with awgn_luma True, now it is None"):
        apply.run(model, hr, tmp_path / "out", Options(noise=Noise(awgn=Interval(3, 3)), existing="resume"))


def test_a_preview_shows_what_is_written(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    (hr / "bad.png").write_bytes(b"no image")
    options, warnings = Options(noise=Noise(awgn=Interval(5, 5)), draws=2), []
    shown = apply.preview(model, hr, 16, options, warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("bad.png: cannot be decoded")
    apply.run(model, hr, tmp_path / "out", options)
    assert [example.rows[0].source for example in shown] == ["shot0.png", "shot1.png", "shot2.png"]
    for example in shown:
        assert [row.draw for row in example.rows] == [0, 1]
        for row, lr in zip(example.rows, example.lr, strict=True):
            written = images.to_tensor(images.read(tmp_path / "out" / str(row.lr)).pixels)
            assert lr.equal(written[:, 8:24, 12:28])
        assert example.hr.equal(images.to_tensor(images.read(hr / example.rows[0].source).pixels)[:, 16:48, 24:56])
        assert example.bicubic.shape == example.lr[0].shape
        assert float((example.bicubic - example.lr[0]).abs().mean()) < 0.1
    with pytest.raises(DataError, match=r"no image can be shown, e.g. bad.png: "):
        apply.preview(model, hr / "bad.png", 16)


def test_a_preview_is_no_hr_image(cli: Run, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    name = next(path for path in hr.rglob("*.png"))
    before = name.read_bytes()
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "out", "--preview", name)
    assert (code, name.read_bytes()) == (2, before)
    assert "that is an HR image" in stderr


def test_pixels_of_a_sheet_are_squares(tmp_path: Path) -> None:
    """Every pixel of the smaller image covers 8×8 px of the picture, of the larger one 4×4."""
    random = np.random.default_rng(0).integers(0, 256, (1, 10, 12)).astype(np.float32) / 255
    low, high = Tensor(random), Tensor(random).repeat_interleave(2, 1).repeat_interleave(2, 2)
    sheet(tmp_path / "sheet.png", [[Panel("HR", high), Panel("LR", low)]], "heading", 96, exact=True)
    picture = images.read(tmp_path / "sheet.png").pixels[..., 0]
    wanted = np.kron((255 * random[0]).round().astype(np.uint8), np.ones((8, 8), np.uint8))
    windows = np.lib.stride_tricks.sliding_window_view(picture, wanted.shape)
    off = np.abs(windows[:, :, ::8, ::8].astype(int) - wanted[::8, ::8]).max((2, 3))
    places = np.argwhere(off <= 1)
    exact = [tuple(place) for place in places if np.abs(windows[tuple(place)].astype(int) - wanted).max() <= 1]
    assert len(exact) == 2


def test_the_command_says_it(cli: Run, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    code, stdout, stderr = cli("apply", model.path, hr, tmp_path / "out", "--dry-run")
    assert (code, stdout) == (0, "")
    assert "4 LR images would be made of 4 HR files (0.0 megapixels in all)" in stderr
    assert "files without the name of an image are left out (1), e.g. notes.txt" in stderr
    assert "are free\ntime: about " in stderr
    assert stderr.endswith("nothing was written\n")
    (hr / "bad.png").write_bytes(b"no image")
    code, stdout, _ = cli("apply", model.path, hr, tmp_path / "out", "--dry-run", "--json", "--workers", 1)
    assert code == 1
    record = json.loads(stdout)
    assert (record["outputs"], record["workers"], record["failing"][0]["source"]) == (4, 1, "bad.png")
    assert record["needed_bytes"] == record["lr_bytes"] + record["hr_bytes"] + record["layout_bytes"]
    (hr / "bad.png").unlink()
    assert contents(tmp_path) == before
    code, stdout, stderr = cli("apply", model.path, hr, hr, "--preview", tmp_path / "p.png", "--awgn", "2:9")
    assert (code, stdout) == (0, "")
    assert "p.png: 3 images; nothing else was written" in stderr
    assert images.read(tmp_path / "p.png").width > 3 * 64
    assert contents(tmp_path).keys() - before.keys() == {"p.png"}
    for flags, said in (
        (("--dry-run", "--preview", "p.png"), "--dry-run and --preview exclude each other"),
        (("--preview", "p.jpg"), "--preview p.jpg: give the name of a PNG file"),
        (("--preview", tmp_path / "no/p.png"), "there is no folder"),
    ):
        code, _, stderr = cli("apply", model.path, hr, tmp_path / "out", *flags)
        assert code == 2
        assert said in stderr

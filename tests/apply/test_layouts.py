"""Layouts: the readers of trainers and libraries find every pair, whatever the images are called and hold."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage
from PIL import ImageCms
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options, layouts
from degsynth.apply.layouts import lmdb as lmdb_layout
from degsynth.apply.layouts import webdataset as webdataset_layout
from degsynth.apply.layouts.names import safe_stems
from degsynth.apply.layouts.place import Place, is_plain_png
from degsynth.apply.manifest import Manifest
from degsynth.data import images
from degsynth.errors import ConfigError, OutputError
from degsynth.model.checkpoint import Checkpoint
from tests.apply import readers
from tests.conftest import Run, save_png
from tests.doubles import linear_double

PNG_LAYOUTS = [name for name in layouts.LAYOUTS if name not in ("hdf5", "deepinv", "lmdb")]
STEMS = {
    "1": "1.png",
    "10": "10.png",
    "2": "2.png",
    "dup": "dup.png",
    "dup_jpg": "dup.jpg",
    "ete": "été.png",
    "keyed": "keyed.png",
    "my_photo_v2_final": "my photo.v2, final.png",
    "odd": "odd.png",
    "palette": "palette.png",
    "profile": "profile.png",
    "rgba": "rgba.png",
    "scan": "scan.tif",
    "sub_capital": "sub/capital.PNG",
}
"""The stem in a layout of every image that PNG can hold."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return linear_double(tmp_path_factory.mktemp("model") / "m.pt", 2)


def write_hr(folder: Path, photographs: list[Tensor]) -> Path:
    """Photographs of many kinds, names and sizes, and one that is damaged."""
    shots = {}
    for number, name in enumerate(STEMS.values()):
        shot = photographs[number % 4][:, : 40 + 2 * number, 10 * number : 10 * number + 36]
        shots[name] = images.quantise(shot, np.dtype(np.uint8))
    for name, pixels in shots.items():
        if name.lower().endswith(".png"):
            save_png(folder / name, pixels)
    PillowImage.fromarray(shots["dup.jpg"]).save(folder / "dup.jpg", quality=95)
    save_png(folder / "odd.png", shots["odd.png"][:-1])
    PillowImage.fromarray(shots["palette.png"]).quantize(16).save(folder / "palette.png")
    PillowImage.fromarray(shots["keyed.png"]).save(folder / "keyed.png", transparency=(1, 2, 3))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PillowImage.fromarray(shots["profile.png"]).save(folder / "profile.png", icc_profile=profile)
    PillowImage.fromarray(np.dstack([shots["rgba.png"], shots["rgba.png"][..., 0]])).save(folder / "rgba.png")
    tifffile.imwrite(folder / "scan.tif", shots["scan.tif"][..., 0].astype(np.uint16) * 257)
    tifffile.imwrite(folder / "float.tif", shots["scan.tif"].astype(np.float32) / 255, photometric="rgb")
    (folder / "broken.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def made(model: Checkpoint, photographs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in all layouts but lmdb."""
    work = tmp_path_factory.mktemp("made")
    hr = write_hr(work / "HR", photographs)
    names = (*PNG_LAYOUTS, "hdf5")
    warnings: list[str] = []
    summary = apply.run(model, hr, work / "out", Options(layouts=names), on_warning=warnings.append)
    assert (summary.done, summary.failed) == (len(STEMS) + 1, 1)
    assert len(warnings) == len(PNG_LAYOUTS)
    assert all("cannot hold 1 of the images, e.g. float.tif (float32, 3 channels)" in line for line in warnings)
    return work / "out"


def expected(out: Path, stem: str) -> list[np.ndarray]:
    """HR and LR of the data set, as 8-bit BGR, like a loader that knows no alpha and no 16 bits."""
    row = next(row for row in Manifest(out).read() if row.source == STEMS[stem])
    found = []
    for name in (row.hr, row.lr):
        pixels = images.read(out / str(name)).pixels
        if pixels.dtype == np.uint16:
            pixels = (pixels // 256).astype(np.uint8)
        found.append(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))[..., ::-1]))
    return found


def check_samples(out: Path, samples: list[readers.Sample], names: dict[str, str] | None = None) -> None:
    """Every pair is there once, and its images are those of the data set; ``names`` are other names of stems."""
    names = names or {}
    assert sorted(names.get(name, name) for name, _, _ in samples) == sorted(STEMS)
    for name, *both in samples:
        for image, truth in zip(both, expected(out, names.get(name, name)), strict=True):
            given = image if image.dtype != np.float32 else (255 * image).round()
            given = given // 256 if given.dtype == np.uint16 else given
            assert given.shape == truth.shape
            assert np.abs(given.astype(float) - truth).max() <= (1 if names.get(name, name) == "scan" else 0), name
        assert both[0].shape[:2] == tuple(2 * side for side in both[1].shape[:2])


@pytest.mark.parametrize(
    ("layout", "reader"),
    [
        ("basicsr", readers.basicsr),
        ("basicsr", readers.basicsr_meta_info),
        ("basicsr", readers.realesrgan),
        ("kair", readers.kair),
        ("neosr", readers.neosr),
        ("trainner", readers.trainner),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_trainers_that_read_folders(layout: str, reader: Callable[[Path], list[readers.Sample]], made: Path) -> None:
    check_samples(made, reader(made / layout))


def test_div2k(made: Path) -> None:
    numbers = {f"{number:04d}": stem for number, stem in enumerate(sorted(STEMS), 1)}
    check_samples(made, readers.edsr(made / "div2k", 2, len(STEMS)), numbers)


LOAD = """
import hashlib, json, sys
import datasets
import numpy as np

folder, cache = sys.argv[1:]
for arguments in ({"path": "imagefolder", "data_dir": folder}, {"path": folder}):
    loaded = datasets.load_dataset(**arguments, cache_dir=cache)
    assert set(loaded) == {"train"}, loaded
    for sample in loaded["train"]:
        images = [sample["hr"], sample["lr"]]
        hashes = [hashlib.sha256(np.asarray(image)[..., :3].tobytes()).hexdigest() for image in images]
        print(json.dumps([sample["source"], sample["scale"], [image.mode for image in images], hashes]))
"""
"""What a user of the library datasets does. It runs in a process of its own, as the library starts threads."""


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="the library datasets is not installed")
def test_hugging_face(made: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, made / "hf", tmp_path / "cache"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(line[0] for line in lines) == sorted(2 * list(STEMS.values()))  # once for each way to load
    for source, scale, modes, hashes in lines:
        stem = next(stem for stem, name in STEMS.items() if name == source)
        assert scale == 2
        assert modes[0] == modes[1]
        if modes[0].startswith("RGB"):
            truths = [np.ascontiguousarray(truth[..., ::-1]) for truth in expected(made, stem)]
            assert hashes == [hashlib.sha256(truth.tobytes()).hexdigest() for truth in truths]


def test_the_metadata_of_hugging_face_names_files(made: Path) -> None:
    lines = [json.loads(line) for line in (made / "hf/train/metadata.jsonl").read_text().splitlines()]
    assert len({frozenset(line) for line in lines}) == 1  # the same columns in every line
    for line in lines:
        assert (made / "hf/train" / line["hr_file_name"]).is_file()
        assert (made / "hf/train" / line["lr_file_name"]).is_file()
    assert {line["source"] for line in lines} == set(STEMS.values())


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves its files open
def test_webdataset(made: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="the library webdataset is not installed")
    samples = []
    for sample in webdataset.WebDataset([str(path) for path in shards(made / "webdataset")], shardshuffle=False):
        both = [cv2.imdecode(np.frombuffer(sample[key], np.uint8), cv2.IMREAD_COLOR) for key in ("hr.png", "lr.png")]
        assert json.loads(sample["json"])["source"] == STEMS[sample["__key__"]]
        samples.append((sample["__key__"], *both))
    check_samples(made, samples)


def test_shards_are_plain_tar_files_of_limited_size(
    model: Checkpoint, photographs: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as the library does: files of one key follow each other; the field is what comes after the first dot."""
    import tarfile

    monkeypatch.setattr(webdataset_layout, "SHARD_BYTES", 20_000)
    apply.run(model, write_hr(tmp_path / "HR", photographs), tmp_path / "out", Options(layouts=("webdataset",)))
    paths = shards(tmp_path / "out/webdataset")
    assert [path.name for path in paths] == [f"train-{number:06d}.tar" for number in range(len(paths))]
    assert len(paths) > 2
    samples = []
    for path in paths:
        with tarfile.open(path) as file:
            members = file.getmembers()
            assert sum(member.size for member in members) <= 20_000 or len(members) == 3
            for hr, lr, facts in zip(*(members[start::3] for start in range(3)), strict=True):
                key = hr.name.split(".")[0]
                assert [hr.name, lr.name, facts.name] == [f"{key}.hr.png", f"{key}.lr.png", f"{key}.json"]
                both = [file.extractfile(member).read() for member in (hr, lr)]  # type: ignore[union-attr]
                decoded = [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) for content in both]
                samples.append((key, *decoded))
    check_samples(tmp_path / "out", samples)  # type: ignore[arg-type]


def test_lmdb(made: Path, model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a database that has to grow, and in several transactions."""
    lmdb = pytest.importorskip("lmdb", reason="the library lmdb is not installed")
    monkeypatch.setattr(lmdb_layout, "FIRST_SIZE", 2**15)
    monkeypatch.setattr(lmdb_layout, "BATCH_BYTES", 20_000)
    shutil.copytree(made.parent, tmp_path / "copy")
    for out, workers in ((tmp_path / "copy/out", 1), (made, 3)):
        hr = out.parent / "HR"
        options = Options(layouts=("lmdb",), existing="resume", workers=workers)
        apply.run(model, hr, out, options)
        check_samples(out, readers.basicsr_lmdb(out / "lmdb", lmdb))
    first, second = (contents(out / "lmdb") for out in (tmp_path / "copy/out", made))
    assert first == second
    shutil.rmtree(made / "lmdb")


def test_lmdb_that_is_not_installed(cli: Run, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"needs the library lmdb, which is not installed; run: pip install 'degsynth"
    ):
        Options(layouts=("lmdb",))


def test_hdf5_of_images_of_many_sizes(made: Path) -> None:
    with h5py.File(made / "hdf5/train.h5") as store:
        assert store.attrs["scale"] == 2
        assert set(store["hr"]) == set(store["lr"]) == {*STEMS, "float"}
        for row in Manifest(made).read():
            if row.status != "ok":
                continue
            stem = next((stem for stem, name in STEMS.items() if name == row.source), "float")
            for side, name in (("hr", row.hr), ("lr", row.lr)):
                stored = store[side][stem][()]
                truth = images.read(made / str(name)).pixels
                assert stored.dtype == truth.dtype
                assert np.array_equal(stored, truth)


def test_hdf5_of_images_of_one_size(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    """Arrays that a loader indexes by the number of the pair."""
    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", shot[:, :32, :24], np.uint16)
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(layouts=("hdf5",)))
    with h5py.File(tmp_path / "out/hdf5/train.h5") as store:
        assert (store["hr"].shape, store["lr"].shape) == ((4, 32, 24, 3), (4, 16, 12, 3))
        assert store["hr"].dtype == np.uint16
        for number, name in enumerate(store["names"].asstr()[()]):
            assert np.array_equal(store["lr"][number], images.read(tmp_path / f"out/lr/{name}.png").pixels)
            assert np.array_equal(store["hr"][number], images.read(tmp_path / f"HR/{name}.png").pixels)


def test_deepinv(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    """What its loader gives: pairs (x, y) as it finds them, cast to float."""
    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", shot[:, :40, :32], np.uint16 if number % 2 else np.uint8)
    with pytest.raises(OutputError, match=r"layout deepinv: .*one size and type, and these differ"):
        apply.run(model, tmp_path / "HR", tmp_path / "mixed", Options(layouts=("deepinv",)))
    for number, shot in enumerate(photographs):
        save_png(tmp_path / f"HR/{number}.png", shot[:, :40, :32])
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(layouts=("deepinv",)))
    samples = readers.deepinv(tmp_path / "out/deepinv/train.h5")
    assert len(samples) == 4
    for number, (x, y) in enumerate(samples):
        for given, side in ((x, "hr"), (y, "lr")):
            assert torch.equal(given, images.to_tensor(images.read(tmp_path / f"out/{side}/{number}.png").pixels))
    assert apply.verify(tmp_path / "out").problems == []


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_number_of_workers_changes_no_byte(made: Path, model: Checkpoint, tmp_path: Path) -> None:
    apply.run(model, made.parent / "HR", tmp_path / "out", Options(layouts=(*PNG_LAYOUTS, "hdf5"), workers=3))
    for name in (*PNG_LAYOUTS, "hdf5"):
        assert contents(tmp_path / "out" / name) == contents(made / name), name


def test_pairs_are_mapped_to_their_sources(made: Path) -> None:
    for name in layouts.LAYOUTS:
        if name in ("lmdb", "deepinv"):
            continue
        rows = [json.loads(line) for line in (made / name / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
        assert {row["source"] for row in rows} == {*STEMS.values(), *(["float.tif"] if name == "hdf5" else [])}
        for row in rows:
            if "file" not in row:
                assert (made / name / row["hr"]).is_file()
                assert (made / name / row["lr"]).is_file()
            else:
                assert (made / name / row["file"]).is_file()


def test_png_files_are_linked_and_others_written(made: Path) -> None:
    """LR costs no room, and HR none where it is a PNG that every reader takes for the same samples."""
    out = made
    assert (out / "basicsr/lr/dup_jpg.png").samefile(out / "lr/dup_jpg.png")
    assert (out / "basicsr/hr/dup.png").samefile(out.parent / "HR/dup.png")
    assert (out / "basicsr/hr/sub_capital.png").samefile(out.parent / "HR/sub/capital.PNG")
    kept = {row.source: str(row.hr) for row in Manifest(out).read()}
    for stem in ("dup_jpg", "palette", "keyed", "profile", "scan"):
        written = (out / f"basicsr/hr/{stem}.png").read_bytes()
        assert is_plain_png(io.BytesIO(written)), stem
        original = images.read(out / kept[STEMS[stem]])
        decoded = images.read(out / f"basicsr/hr/{stem}.png")
        assert np.array_equal(decoded.pixels, original.pixels)
        assert decoded.dtype == original.dtype
        assert (decoded.alpha is None) == (original.alpha is None)


def test_symbolic_links_are_made_again(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    save_png(tmp_path / "HR/a.png", photographs[0][:, :32, :32])
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(layouts=("neosr",), link="symlink"))
    assert (tmp_path / "out/neosr/hr/a.png").is_symlink()
    assert (tmp_path / "out/neosr/hr/a.png").samefile(tmp_path / "HR/a.png")
    assert apply.verify(tmp_path / "out").problems == []


def test_where_there_are_no_hard_links_files_are_copied(
    model: Checkpoint, photographs: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    save_png(tmp_path / "HR/a.png", photographs[0][:, :32, :32])
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(layouts=("neosr",)))
    for side in ("hr", "lr"):
        copied = tmp_path / f"out/neosr/{side}/a.png"
        assert copied.read_bytes() == (tmp_path / f"out/{side}/a.png").read_bytes()
        assert copied.stat().st_nlink == 1


def few(folder: Path, photographs: list[Tensor], number: int = 3) -> Path:
    for index in range(number):
        save_png(folder / f"{index}.png", photographs[index % 4][:, :32, 8 * index : 8 * index + 32])
    return folder


BOTH = Options(layouts=("basicsr", "webdataset"))
AGAIN = replace(BOTH, existing="resume")


def test_a_finished_data_set_gets_a_layout_later(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    hr = few(tmp_path / "HR", photographs)
    apply.run(model, hr, tmp_path / "a", BOTH)
    apply.run(model, hr, tmp_path / "b")
    before = contents(tmp_path / "b")
    apply.run(model, hr, tmp_path / "b", AGAIN)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "b").items() >= before.items()


def test_a_layout_that_is_whole_stays(
    model: Checkpoint, photographs: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    inode = (out / "webdataset/train-000000.tar").stat().st_ino
    apply.run(model, hr, out, AGAIN)
    assert (out / "webdataset/train-000000.tar").stat().st_ino == inode
    whole = contents(out)
    (out / "webdataset/train-000000.tar").write_bytes(b"")
    apply.run(model, hr, out, AGAIN)
    assert contents(out) == whole


def test_a_data_set_that_grew(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    """The layout is outdated, which is said, and is made anew where that is asked for."""
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    few(hr, photographs, 5)
    warnings: list[str] = []
    apply.run(model, hr, out, Options(layouts=("basicsr",), existing="resume"), on_warning=warnings.append)
    assert len(list((out / "basicsr/hr").iterdir())) == 5
    assert warnings == [f"OUT {out}: webdataset was made before the data set changed; `layout=webdataset` renews it"]
    assert [(found.file, found.kind) for found in apply.verify(out).problems] == [("webdataset", "outdated")]
    apply.run(model, hr, out, AGAIN)
    assert apply.verify(out).problems == []


def test_an_interrupted_layout_is_made_again(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    """Nothing of it is to be seen before it is whole."""
    hr, out = few(tmp_path / "HR", photographs, 6), tmp_path / "out"
    apply.run(model, hr, tmp_path / "undisturbed", BOTH)
    rows: list[str] = []
    summary = apply.run(
        model,
        hr,
        out,
        replace(BOTH, workers=1),
        on_row=lambda row, total: rows.append(row.source),
        should_stop=lambda: len(rows) == 6,
    )
    assert summary.interrupted
    assert not (out / "basicsr").exists()
    assert [found.kind for found in apply.verify(out).problems] == ["unfinished"]
    apply.run(model, hr, out, AGAIN)
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_layout_that_cannot_be_written_leaves_the_one_before(
    model: Checkpoint, photographs: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    before = contents(out / "webdataset")
    few(hr, photographs, 4)

    def full(place: Place, name: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Place, "open", full)
        with pytest.raises(
            OutputError, match=r"layout webdataset: No space left on device; the data set itself is whole"
        ):
            apply.run(model, hr, out, Options(layouts=("webdataset",), existing="resume"))
    assert contents(out / "webdataset") == before
    apply.run(model, hr, out, AGAIN)
    assert apply.verify(out).problems == []


FULL = """
import resource, signal, sys
from pathlib import Path
from degsynth import apply
from degsynth.apply import Options
from degsynth.errors import OutputError
from degsynth.model import checkpoint

model, hr, out, layout = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    apply.run(checkpoint.load(Path(model)), Path(hr), Path(out), Options(layouts=(layout,), existing="resume"))
except OutputError as error:
    print(error)
"""
"""A run whose files cannot be longer than 100 kB."""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of the length of files")
@pytest.mark.parametrize("layout", ["webdataset", "hdf5", "deepinv", "lmdb"])
def test_a_disk_that_is_full(layout: str, model: Checkpoint, tmp_path: Path) -> None:
    """One line, nothing that a library prints, and nothing half-written."""
    if importlib.util.find_spec(layout) is None and layout in layouts.EXTRAS:
        pytest.skip(f"the library {layout} is not installed")
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (100, 100, 3))
        save_png(tmp_path / f"HR/{number}.png", noise.astype(np.uint8))
    out = tmp_path / "out"
    apply.run(model, tmp_path / "HR", out)
    command = [sys.executable, "-c", FULL, model.path, tmp_path / "HR", out, layout]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert re.fullmatch(rf"layout {layout}: .*; the data set itself is whole: mend that.*\n", result.stdout)
    assert not (out / layout).exists()
    apply.run(model, tmp_path / "HR", out, Options(layouts=(layout,), existing="resume"))
    assert apply.verify(out).problems == []


def test_a_layout_of_no_pairs_is_not_made(model: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "HR").mkdir()
    (tmp_path / "HR/broken.png").write_text("no image")
    warnings: list[str] = []
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(layouts=("hf",)), on_warning=warnings.append)
    assert warnings == ["layout hf is not made: there is no pair that it can hold"]
    assert not (tmp_path / "out/hf").exists()


@pytest.mark.parametrize("existing", ["resume", "overwrite"])
def test_files_of_others_are_not_removed(
    existing: Any, model: Checkpoint, photographs: list[Tensor], tmp_path: Path
) -> None:
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    (out / "basicsr/hr/mine.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"1 files of others, e.g. basicsr/hr/mine.txt; move them away"):
        apply.run(model, hr, out, replace(BOTH, existing=existing))
    assert contents(tmp_path) == before
    assert [(found.file, found.kind) for found in apply.verify(out).problems] == [("basicsr/hr/mine.txt", "stray")]
    shutil.rmtree(out / "basicsr")
    (out / "basicsr").mkdir()
    with pytest.raises(ConfigError, match="basicsr was not written by degsynth"):
        apply.run(model, hr, out, replace(BOTH, existing=existing))


def test_a_folder_that_is_a_link(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out)
    (tmp_path / "victim").mkdir()
    (out / "basicsr").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="its basicsr is a link"):
        apply.run(model, hr, out, AGAIN)
    assert list((tmp_path / "victim").iterdir()) == []


def test_overwrite_removes_layouts(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    apply.run(model, hr, out, Options(existing="overwrite"))
    assert {path.name for path in out.iterdir()} == {"hr", "lr", "manifest.jsonl", "dataset.json"}


def test_verify_looks_into_layouts(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    assert apply.verify(out, hr).problems == []
    with (out / "webdataset/train-000000.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"x")
    (out / "basicsr/lr/1.png").unlink()
    assert [(found.file, found.kind) for found in apply.verify(out).problems] == [
        ("basicsr/lr/1.png", "missing"),
        ("webdataset/train-000000.tar", "changed"),
    ]
    for name in ("basicsr", "webdataset"):
        (out / name / "layout.json").write_text("[" * 100_000)
    assert [(found.file, found.kind) for found in apply.verify(out).problems] == [
        ("basicsr", "damaged"),
        ("webdataset", "damaged"),
    ]


def test_hostile_records_lead_nowhere(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    """A record that names files elsewhere is none."""
    hr, out = few(tmp_path / "HR", photographs), tmp_path / "out"
    apply.run(model, hr, out, BOTH)
    record = out / "basicsr/layout.json"
    record.write_text(record.read_text().replace('"hr/0.png"', '"../../HR/0.png"'))
    with pytest.raises(ConfigError, match="basicsr was not written by degsynth"):
        apply.run(model, hr, out, replace(BOTH, existing="overwrite"))
    assert (hr / "0.png").is_file()


def test_draws(model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    hr = few(tmp_path / "HR", photographs, 2)
    apply.run(model, hr, tmp_path / "out", Options(layouts=("basicsr",), draws=2))
    names = sorted(name for name, _, _ in readers.basicsr(tmp_path / "out/basicsr"))
    assert names == ["0_0", "0_1", "1_0", "1_1"]


def test_safe_stems() -> None:
    names = [
        "lr/a b.png",
        "lr/a_b.png",
        "lr/A.b.png",
        "lr/sub/x.png",
        "lr/Ünï, code.tif",
        "lr/日本.png",
        "lr/日本語.png",
    ]
    stems = safe_stems(names)
    assert stems["lr/a_b.png"] == "a_b"
    assert stems["lr/sub/x.png"] == "sub_x"
    assert stems["lr/Ünï, code.tif"] == "Uni_code"
    assert {stems["lr/a b.png"], stems["lr/A.b.png"]} == {"a_b_3", "A_b_2"}
    assert {stems["lr/日本.png"], stems["lr/日本語.png"]} == {"image", "image_2"}
    long = [f"lr/{'x' * 200}{number}.png" for number in range(3)]
    cut = safe_stems(long)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", stem) for stem in [*stems.values(), *cut.values()])
    assert len(set(cut.values())) == 3
    assert safe_stems(names[::-1]) == stems


def test_the_command(cli: Run, model: Checkpoint, photographs: list[Tensor], tmp_path: Path) -> None:
    hr = few(tmp_path / "HR", photographs)
    out = tmp_path / "out"
    code, _, stderr = cli("apply", model.path, hr, out, "--layout", "kair", "--layout", "pairs", "--layout", "hdf5")
    assert code == 0
    assert f"layout kair: {out / 'kair'}" in stderr
    assert {path.name for path in out.iterdir()} == {"hr", "lr", "kair", "hdf5", "manifest.jsonl", "dataset.json"}
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "other", "--layout", "basicrs")
    assert code == 2
    assert "--layout basicrs: there is no such layout; did you mean 'basicsr'?" in stderr
    assert not (tmp_path / "other").exists()

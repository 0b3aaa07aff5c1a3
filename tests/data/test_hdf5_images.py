"""Images in HDF5 files: which axis is which, one image at a time, and files that are damaged or lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.manifest import Row
from degsynth.data import images, members, writing
from degsynth.data.sources import Choice, Sources, root_of
from degsynth.errors import ConfigError, DataError
from degsynth.model.checkpoint import Checkpoint
from tests.conftest import save_png
from tests.data.formats import PHOTO
from tests.doubles import stochastic

SHOTS = np.stack([np.roll(PHOTO[:24, :32], 5 * number, 1) for number in range(4)])
"""Four RGB images (N, H, W, C)."""
KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "NHWC": (SHOTS, {}),
    "NCHW": (np.moveaxis(SHOTS, 3, 1), {"compression": "gzip", "shuffle": True}),
    "NHW": (SHOTS[..., 0], {"chunks": (3, 10, 32), "compression": "gzip"}),
    "NHW1": (SHOTS[..., :1], {"compression": "lzf", "fletcher32": True}),
    "NCWH": (SHOTS.transpose(0, 3, 2, 1), {}),  # as MATLAB writes
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


def save(path: Path, values: np.ndarray, name: str = "data", axes: str = "", **how: Any) -> Path:
    with h5py.File(path, "a") as store:
        made = store.create_dataset(name, data=values, **how)
        if axes:
            made.attrs["axes"] = axes
    return path


def of(path: Path, rest: str = "/data") -> Path:
    return Path(f"{path}:{rest}")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_images_are_read_one_by_one(kind: str, dtype: Any, tmp_path: Path) -> None:
    values, how = KINDS[kind]
    path = save(tmp_path / "a.h5", values.astype(dtype), **how)
    axes = ":NCWH" if kind == "NCWH" else ""
    sources = Sources.of(of(path, f"/data{axes}"))
    assert (sources.root, sources.listed) == (tmp_path, True)
    assert sources.names == tuple(f"a.h5:/data{axes}[{number}]" for number in range(4))
    assert root_of(of(path)) == tmp_path
    shots = SHOTS if values.ndim == 4 and kind != "NHW1" else SHOTS[..., :1]
    for name, shot in zip(sources.names, shots, strict=True):
        image = images.read(tmp_path / name)
        assert np.array_equal(image.pixels, shot.astype(dtype))
        assert image.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.dtype(dtype).newbyteorder("="))
        assert image.remade


@pytest.mark.parametrize(
    ("shape", "attribute", "axes", "words"),
    [
        ((3, 16, 20), "", "", "it may be NHW or CHW; say which axis is which, e.g. a.h5:/data:NHW"),
        ((5, 3, 16, 3), "", "", "it may be NHWC or NCHW"),
        ((5, 4, 16, 20), "", "", "none of its axes is one of 1 or 3 channels"),
        ((2, 5, 3, 16, 20), "", "", "none of its axes"),
        ((5, 16, 20), "", ":NCHW", "the axes NCHW are not those of 5×16×20 uint8"),
        ((5, 16, 20), "", ":NXY", "the axes NXY are not those"),
        ((3, 16, 20), "N is what?", "", "it may be NHW or CHW"),
        ((), "", "", "holds no image, but one value uint8"),
        ((0, 16, 20), "", "", "holds no image"),
    ],
)
def test_axes_that_are_not_clear(shape: Any, attribute: str, axes: str, words: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", np.zeros(shape, np.uint8), axes=attribute)
    with pytest.raises(DataError) as caught:
        Sources.of(of(path, f"/data{axes}"))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(of(path, f"/data{axes}")))


@pytest.mark.parametrize(
    ("shape", "attribute", "axes", "size"),
    [
        ((3, 16, 20), "", ":chw", (16, 20, 3)),
        ((3, 16, 20), "ZYX", "", (16, 20, 1)),
        ((3, 16, 20), "CHW", "", (16, 20, 3)),
        ((3, 16, 20), "CHW", ":NHW", (16, 20, 1)),
        ((5, 4, 16, 20), "", ":NCHW", (16, 20, 4)),
        ((16, 20, 3), "", "", (16, 20, 3)),
        ((1, 16, 20), "", "", (16, 20, 1)),
        ((16, 20), "", "", (16, 20, 1)),
        ((1, 1, 16, 20), "", "", (16, 20, 1)),
    ],
)
def test_axes_are_taken_from_the_name_the_attribute_or_the_sizes(
    shape: Any, attribute: str, axes: str, size: Any, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.h5", np.zeros(shape, np.uint8), axes=attribute)
    sources = Sources.of(of(path, f"/data{axes}"))
    image = images.read(tmp_path / sources.names[0])
    assert image.pixels.shape == size
    assert image.meaning.others == max(0, size[2] - 3)


def test_the_data_sets_of_a_group(tmp_path: Path) -> None:
    for name, values in (("hr/b", SHOTS[0]), ("hr/a.tif", SHOTS[1, :20]), ("hr/deep/c", SHOTS), ("lr/a", SHOTS[0])):
        save(tmp_path / "a.h5", values, name)
    save(tmp_path / "a.h5", np.arange(5), "hr/ids")
    with h5py.File(tmp_path / "a.h5", "a") as store:
        store["hr/linked"] = h5py.SoftLink("/lr/a")
        store["hr/elsewhere"] = h5py.ExternalLink("b.h5", "/data")
    sources = Sources.of(of(tmp_path / "a.h5", "/hr"))
    deep = [f"a.h5:/hr/deep/c[{number}]" for number in range(4)]
    assert sources.names == ("a.h5:/hr/a.tif", "a.h5:/hr/b", *deep)
    assert sources.others == ("a.h5:/hr/ids",)
    assert np.array_equal(images.read(tmp_path / "a.h5:/hr/a.tif").pixels, SHOTS[1, :20])
    assert len(Sources.of(of(tmp_path / "a.h5", "/")).names) == 7
    for name, words in (
        ("/hr/linked", "is a link"),
        ("/none", "no such data set; it has a.h5:/hr/a.tif, "),
        ("/hr/b/x", "no such"),
    ):
        with pytest.raises(DataError, match=words):
            Sources.of(of(tmp_path / "a.h5", name))
    with pytest.raises(
        DataError, match=r"is an HDF5 file; name one of its data sets or groups: a\.h5:/hr/a\.tif \(20×32×3 uint8\)"
    ):
        Sources.of(tmp_path / "a.h5")


def test_an_unsuitable_data_set_of_a_group_can_be_left_out(tmp_path: Path) -> None:
    for name, values in (("hr/a", SHOTS[0]), ("hr/deep/c", SHOTS), ("hr/flow", np.zeros((24, 32, 2, 5), np.float32))):
        save(tmp_path / "a.h5", values, name)
    group = of(tmp_path / "a.h5", "/hr")
    with pytest.raises(DataError, match=r"/hr/flow: 24×32×2×5 float32: .*, or leave it out: `exclude=flow`"):
        Sources.of(group)
    with pytest.raises(DataError, match=r"/hr/flow: .*none of its axes"):  # itself it cannot be left out of
        Sources.of(of(tmp_path / "a.h5", "/hr/flow"))
    deep = tuple(f"a.h5:/hr/deep/c[{number}]" for number in range(4))
    assert Sources.of(group, Choice(exclude=("flow",))).names == ("a.h5:/hr/a", *deep)
    assert Sources.of(group, Choice(("deep",))).names == deep
    assert Sources.of(group, Choice(exclude=("flow", "c"))).names == ("a.h5:/hr/a",)  # all images of a data set
    assert Sources.of(group, Choice(exclude=("flow", "c[[]2]"))).names == ("a.h5:/hr/a", *deep[:2], deep[3])
    with pytest.raises(ConfigError, match=r"`exclude=flaw`: no image in .* has such a name"):
        Sources.of(group, Choice(exclude=("flow", "flaw")))


def test_damaged_and_lying_files(tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_bytes(b"no HDF5" * 100)
    path = save(tmp_path / "a.h5", SHOTS, compression="gzip")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:-2000])
    with h5py.File(path, "a") as store:
        store.create_dataset("empty", (4, 24, 32, 3), "u1")
        part = store.create_dataset("part", (4, 24, 32, 3), "u1", chunks=(1, 24, 32, 3))
        part[0] = SHOTS[0]
        store.create_dataset("large", (2, 2**16, 2**16), "u1", chunks=(1, 64, 64), compression="gzip")
        store["texts"] = ["a", "b"]
        store.create_dataset("nan", data=np.full((2, 8, 8), np.nan, np.float32))
    for name, words in (
        ("bad.h5:/data", "cannot be read"),
        ("cut.h5:/data", "cannot be read"),
        ("none.h5:/data", "No such file"),
        ("a.h5:/texts", "pixels of type object"),
    ):
        with pytest.raises(DataError, match=words):
            Sources.of(tmp_path / name)
    assert np.array_equal(images.read(tmp_path / "a.h5:/part[0]").pixels, SHOTS[0])
    for name, words in (
        ("a.h5:/empty[0]", "never written"),
        ("a.h5:/part[1]", "a part of it was never written"),
        ("a.h5:/large[0]", "limit of"),
        ("a.h5:/data[4]", "there are 4 images"),
        ("a.h5:/data", "there are 4 images"),
        ("a.h5:/nan[1]", "not finite"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            images.read(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))


def test_a_file_that_was_changed_is_opened_anew(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", SHOTS)
    assert images.read(tmp_path / "a.h5:/data[0]").pixels.mean() == SHOTS[0].mean()
    path.unlink()
    save(path, 255 - SHOTS)
    assert np.array_equal(images.read(tmp_path / "a.h5:/data[0]").pixels, 255 - SHOTS[0])


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("sub/a.h5:/hr[17]", "sub/a/hr_p0017.h5"),
        ("a.h5:/x/0001.b:HWC", "a/x/0001.b.h5"),
        ("a.HDF5:/hr:NCHW[3]", "a/hr_p0003.HDF5"),
        ("a.h5", "a.h5"),
        ("sub/a.png", "sub/a.png"),
        ("a.h5:b.png", "a.h5:b.png"),
    ],
)
def test_names_as_files(source: str, file: str) -> None:
    assert members.as_file_name(source) == file


# --- applied ------------------------------------------------------------------------------------------------------


def applied(model: Checkpoint, hr: Path, out: Path, **options: Any) -> dict[str, Row]:
    rows: list[Row] = []
    apply.run(model, hr, out, Options(**options), on_row=lambda row, _: rows.append(row))
    return {row.source: row for row in rows}


def test_every_image_is_applied_to_as_a_file_of_its_own(model: Checkpoint, tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", SHOTS)
    rows = applied(model, of(path), tmp_path / "out", limit=2)
    assert sorted(str(row.lr) for row in rows.values()) == ["lr/a/data_p0000.png", "lr/a/data_p0001.png"]
    again = applied(model, of(path), tmp_path / "out", existing="resume")
    assert sorted(again) == ["a.h5:/data[2]", "a.h5:/data[3]"]
    made = {**rows, **again}
    assert len({row.seed for row in made.values()}) == 4
    for (source, row), shot in zip(sorted(made.items()), SHOTS, strict=True):
        assert (row.status, row.hr_kept, row.source_bytes) == ("ok", "written", path.stat().st_size), source
        assert np.array_equal(images.read(tmp_path / "out" / str(row.hr)).pixels, shot)
    save(path, SHOTS, "more")  # the file is another one now
    assert len(applied(model, of(path), tmp_path / "out", existing="resume")) == 4
    assert not apply.verify(tmp_path / "out", of(path)).problems


def test_floats_become_tiff(model: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / "a.h5", (SHOTS / 255).astype(np.float32))
    row = applied(model, of(tmp_path / "a.h5"), tmp_path / "out", limit=1)["a.h5:/data[0]"]
    assert (row.hr, row.lr, row.dtype) == ("hr/a/data_p0000.tif", "lr/a/data_p0000.tif", "float32")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("sizes", [(24, 24), (24, 20)])
def test_the_layout_hdf5_is_read_again(
    sizes: tuple[int, int], channels: int, model: Checkpoint, tmp_path: Path
) -> None:
    """By its name alone, also where the sizes do not tell which axis is that of the channels."""
    shots = np.concatenate([SHOTS, SHOTS[:, ::-1]], -1)[..., :channels]
    for number, size in enumerate(sizes):
        image = images.Image(shots[number, :size], meaning=images.Meaning(others=channels - 1 if channels != 3 else 0))
        (tmp_path / "HR").mkdir(exist_ok=True)
        (tmp_path / f"HR/{number}.tif").write_bytes(writing.encode(image, ".tif"))
    rows = applied(model, tmp_path / "HR", tmp_path / "out", layouts=("hdf5",))
    assert {row.status for row in rows.values()} == {"ok"}
    for side in ("hr", "lr"):
        sources = Sources.of(tmp_path / f"out/hdf5/train.h5:/{side}")
        assert len(sources.names) == 2
        for name, row in zip(sources.names, sorted(rows.values(), key=lambda row: row.source), strict=True):
            pixels = images.read(tmp_path / "out" / str(getattr(row, side))).pixels
            assert np.array_equal(images.read(sources.root / name).pixels, pixels)
            assert pixels.shape[-1] == channels


@pytest.mark.parametrize("sizes", [(24, 24), (24, 20)])
def test_the_layout_hdf5_says_its_axes(sizes: tuple[int, int], model: Checkpoint, tmp_path: Path) -> None:
    for number, size in enumerate(sizes):
        save_png(tmp_path / f"HR/{number}.png", SHOTS[number, :size])
    applied(model, tmp_path / "HR", tmp_path / "out", layouts=("hdf5",))
    with h5py.File(tmp_path / "out/hdf5/train.h5") as store:
        for side in ("hr", "lr"):
            array, axes = (store[side], "NHWC") if sizes[0] == sizes[1] else (store[side]["1"], "HWC")
            assert array.attrs["axes"] == axes
            assert "".join(dimension.label for dimension in array.dims) == axes

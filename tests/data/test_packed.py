"""TIFF files whose samples are packed into fewer bits than a byte, or two bytes, have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.manifest import Row
from degsynth.config import Interval
from degsynth.data import images, opening
from degsynth.data.images import Image, Meaning
from degsynth.errors import DataError
from degsynth.methods.shared.unpaired_optics import KernelOptics
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise
from tests.data.test_tiff_kinds import tiff, with_tag
from tests.doubles import save_double

KINDS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "RGB": {"photometric": "rgb"},
    "planes": {"photometric": "rgb", "planarconfig": "separate"},
    "planes of tiles": {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 16)},
}


def samples(bits: int, kind: str) -> np.ndarray:
    """Samples (37, 53, C) of so many bits, with the lowest and the highest; rows end in the middle of a byte."""
    channels = 3 if "photometric" in KINDS[kind] else 1
    values = np.random.default_rng(bits).integers(0, 2**bits, (37, 53, channels))
    values[0, :2] = [[0], [2**bits - 1]]
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def save(path: Path, values: np.ndarray, bits: int, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shaped = values[..., 0] if values.shape[2] == 1 else values
    shaped = np.moveaxis(shaped, 2, 0) if "planarconfig" in how else shaped
    tifffile.imwrite(path, shaped, bitspersample=bits, **{"photometric": "minisblack", **how})
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_packed_samples(bits: int, kind: str, tmp_path: Path) -> None:
    values = samples(bits, kind)
    read = images.read(save(tmp_path / "a.tif", values, bits, **KINDS[kind]))
    spread = 255 // (2**bits - 1) if bits < 8 else 1
    assert np.array_equal(read.pixels, values * spread)
    assert (read.meaning.bits, read.remade) == (bits if bits > 8 else 0, True)
    with images.opened(tmp_path / "a.tif") as picture:
        assert np.array_equal(picture.window(5, 30, 3, 50).pixels, values[5:30, 3:50] * spread)


def test_bilevel_samples(tmp_path: Path) -> None:
    values = samples(1, "strips")
    tifffile.imwrite(tmp_path / "a.tif", values[..., 0].astype(bool), photometric="minisblack")
    assert np.array_equal(images.read(tmp_path / "a.tif").pixels, 255 * values)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_compressed_packed_samples(bits: int, compression: str, tmp_path: Path) -> None:
    """The packed rows are written as bytes, and the tags then say what they are."""
    values = samples(bits, "strips")[..., :1][:, :52]
    places = np.unpackbits(values.astype(">u2").view(np.uint8), axis=2)[..., 16 - bits :]
    rows = np.packbits(places.reshape(37, -1), axis=1)
    content = with_tag(with_tag(tiff(rows, compression=compression), 256, 52), 258, bits)
    (tmp_path / "a.tif").write_bytes(content)
    assert np.array_equal(images.read(tmp_path / "a.tif").pixels, values * (255 // (2**bits - 1) if bits < 8 else 1))


def test_packed_samples_with_alpha_are_refused(tmp_path: Path) -> None:
    values = np.zeros((16, 16, 4), np.uint16)
    save(tmp_path / "a.tif", values, 12, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(DataError, match="12 bits a sample with alpha"):
        images.read(tmp_path / "a.tif")


# --- levels -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model of scale 1 that changes nothing."""
    return save_double(tmp_path_factory.mktemp("model") / "m.pt", KernelOptics(torch.ones(1, 1), 1), 1)


def applied(model: Checkpoint, folder: Path, options: Options, data_range: Interval | None = None) -> Row:
    rows: list[Row] = []
    model = replace(model, spec=model.spec.model_copy(update={"data_range": data_range}))
    apply.run(model, folder / "HR", folder / "out", options, on_row=lambda row, _: rows.append(row))
    return rows[0]


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_a_ramp_keeps_all_its_levels(bits: int, same: Checkpoint, tmp_path: Path) -> None:
    ramp = np.arange(2**bits).reshape(-1, 2 ** (bits // 2), 1)
    save(tmp_path / "HR/ramp.tif", ramp.astype(np.uint16 if bits > 8 else np.uint8), bits)
    row = applied(same, tmp_path, Options())
    assert (row.status, row.hr_kept, row.bits) == ("ok", "written", bits if bits > 8 else None), row.error
    for name in row.names:
        written = tifffile.imread(tmp_path / "out" / name)
        assert np.array_equal(written, ramp[..., 0] * (255 // (2**bits - 1) if bits < 8 else 1))
        assert len(np.unique(written)) == 2**bits


RANGES = [
    (None, None, 4095),
    ("dtype", Interval(0, 1023), 4095),
    (Interval(0, 65535), None, 4095),  # the whole range of the type, as `dtype` is
    (None, Interval(0, 65535), 4095),  # as of a model that was fitted to files of 16 bits
    (Interval(0, 8190), None, 8190),
    (None, Interval(0, 8190), 8190),
]


@pytest.mark.parametrize(("asked", "fitted", "white"), RANGES)
def test_white_of_12_bits_is_4095_unless_it_is_chosen(
    asked: Any, fitted: Interval | None, white: int, same: Checkpoint, tmp_path: Path
) -> None:
    """White shows in the noise, whose σ is on the scale from black to white."""
    save(tmp_path / "HR/a.tif", np.full((96, 96, 1), 2000, np.uint16), 12)
    row = applied(same, tmp_path, Options(data_range=asked, noise=Noise(awgn=Interval(5, 5))), fitted)
    lr = tifffile.imread(tmp_path / "out" / str(row.lr))
    assert lr.std() == pytest.approx(5 / 255 * white, rel=0.03)
    assert lr.mean() == pytest.approx(2000, abs=4 * 5 / 255 * white / 96)


def image(bits: int, largest: int) -> Image:
    return Image(np.full((2, 2, 1), largest, np.uint16), meaning=Meaning(bits=bits))


def test_a_fit_knows_white_from_the_bits() -> None:
    dark = [image(12, 500), image(12, 900)]
    assert opening.find_data_range("uint16", dark, None) == (0, 4095)
    assert opening.find_data_range("uint16", dark, "dtype") == (0, 4095)
    assert opening.find_data_range("uint16", dark, Interval(0, 1000)) == (0, 1000)
    assert opening.find_data_range("uint16", [image(0, 900), image(0, 500)], None) == (0, 1023)
    assert opening.find_data_range("uint16", [image(0, 900), image(12, 3000)], None) == (0, 4095)
    assert opening.find_data_range("uint16", [image(0, 900)], "dtype") is None
    with pytest.raises(DataError, match="10 and 12 bits a sample"):
        opening.find_data_range("uint16", [image(12, 900), image(10, 900)], None)

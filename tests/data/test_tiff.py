from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from degsynth.data import images, tiff, writing
from degsynth.data.carried import Carried
from degsynth.errors import DataError

RNG = np.random.default_rng(3)
LAYOUTS: dict[str, dict[str, Any]] = {
    "one raw strip": {},
    "raw strips": {"rowsperstrip": 7},
    "raw strips, big-endian": {"rowsperstrip": 9, "byteorder": ">"},
    "deflated strips": {"rowsperstrip": 5, "compression": "zlib"},
    "one deflated strip": {"rowsperstrip": 93, "compression": "zlib"},
    "predicted strips": {"rowsperstrip": 16, "compression": "zlib", "predictor": True},
    "tiles": {"tile": (32, 16)},
    "deflated tiles": {"tile": (16, 48), "compression": "zlib", "predictor": True},
    "LZW": {"rowsperstrip": 11, "compression": "lzw"},
    "BigTIFF": {"rowsperstrip": 8, "bigtiff": True},
}


def save(path: Path, array: np.ndarray[Any, Any], **how: Any) -> None:
    opening = {key: how.pop(key) for key in ("byteorder", "bigtiff") if key in how}
    with tifffile.TiffWriter(path, **opening) as writer:
        writer.write(array, metadata=None, **how)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("planes", ["gray", "contig", "separate"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_any_window_of_any_layout(layout: str, planes: str, dtype: type, tmp_path: Path) -> None:
    array = RNG.random((93, 71) if planes == "gray" else (93, 71, 3))
    array = array.astype(dtype) if dtype == np.float32 else (array * np.iinfo(dtype).max).astype(dtype)
    how = dict(LAYOUTS[layout])
    if planes == "separate":
        save(tmp_path / "a.tif", np.moveaxis(array, 2, 0), photometric="rgb", planarconfig="separate", **how)
    else:
        save(tmp_path / "a.tif", array, photometric="minisblack" if planes == "gray" else "rgb", **how)
    wanted = array.reshape(93, 71, -1)
    assert np.array_equal(images.read(tmp_path / "a.tif").pixels, wanted)
    with images.opened(tmp_path / "a.tif") as picture:
        assert (picture.height, picture.width, picture.channels, picture.dtype) == (93, 71, wanted.shape[2], dtype)
        # Downwards, as tiles are read, and back to the top, as for another LR image of the same HR image.
        for top, bottom, left, right in (
            (0, 40, 0, 71),
            (30, 64, 5, 20),
            (30, 64, 20, 71),
            (90, 93, 70, 71),
            (0, 93, 3, 4),
        ):
            part = picture.window(top, bottom, left, right)
            assert part.pixels.dtype == dtype
            assert np.array_equal(part.pixels, wanted[top:bottom, left:right])


def test_a_segment_is_decoded_once_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = (RNG.random((200, 64)) * 255).astype(np.uint8)
    save(tmp_path / "a.tif", array, rowsperstrip=16, compression="zlib")
    read: list[int] = []
    before = tiff.Page._read

    def counted(self: tiff.Page, offset: int, count: int) -> bytes:
        read.append(offset)
        return before(self, offset, count)

    monkeypatch.setattr(tiff.Page, "_read", counted)
    with images.opened(tmp_path / "a.tif") as picture:
        for top in range(0, 200, 40):
            for left in (0, 32):
                picture.window(max(0, top - 10), min(200, top + 50), left, left + 32)
    assert len(read) == len(set(read)) == 13


def test_of_a_raw_strip_only_the_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.tif", np.zeros((1000, 50), np.uint16))
    read: list[int] = []
    before = tiff.Page._read
    monkeypatch.setattr(
        tiff.Page, "_read", lambda self, offset, count: read.append(count) or before(self, offset, count)
    )
    with images.opened(tmp_path / "a.tif") as picture:
        picture.window(500, 510, 0, 50)
    assert read == [10 * 50 * 2]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 50))
def test_regrouped(lengths: list[int], rows: int) -> None:
    whole = np.arange(3 * sum(lengths)).reshape(-1, 3)
    cuts = np.cumsum(lengths)[:-1]
    parts = list(tiff.regrouped(iter(np.split(whole, cuts)), rows))
    assert np.array_equal(np.concatenate(parts), whole)
    assert all(len(part) == rows for part in parts[:-1])
    assert len(parts[-1]) <= rows


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_the_file_does_not_depend_on_the_bands(channels: int, alpha: bool, tmp_path: Path) -> None:
    samples = (RNG.random((700, 300, channels + alpha)) * 65535).astype(np.uint16)
    image = images.Image(samples[..., :channels], samples[..., channels] if alpha else None)
    size = writing.Size(700, 300, channels, np.dtype(np.uint16), alpha)
    contents = []
    for cuts in ([], [1, 2, 3], [64, 128, 500]):
        buffer = io.BytesIO()
        edges = [0, *cuts, 700]
        writing.write(buffer, ".tif", size, (image.window(a, b, 0, 300) for a, b in pairwise(edges)))
        contents.append(buffer.getvalue())
    assert contents[0] == contents[1] == contents[2] == writing.encode(image, ".tif")
    (tmp_path / "a.tif").write_bytes(contents[0])
    again = images.read(tmp_path / "a.tif")
    assert np.array_equal(again.pixels, image.pixels)
    assert (again.alpha is None) == (not alpha)
    assert alpha is False or np.array_equal(again.alpha, image.alpha)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif").reshape(samples.shape), samples), "others read it, too"


def test_large_files_get_long_offsets() -> None:
    written: dict[str, Any] = {}

    def layout(side: int) -> tiff.Layout:
        return tiff.Layout(side, side, 1, 0, False, False, np.dtype(np.uint16))

    class Writer:
        def __init__(self, file: object, bigtiff: bool) -> None:
            written["bigtiff"] = bigtiff

        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def write(self, data: object, **how: object) -> None:
            written["rows"] = how["rowsperstrip"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tifffile, "TiffWriter", Writer)
        tiff.write(None, tiff.Layout(60_000, 60_000, 1, 0, False, False, np.dtype(np.uint16)), Carried(), [])
        assert written == {"bigtiff": True, "rows": 2}
        tiff.write(None, layout(20_000), Carried(), [])
        assert written["bigtiff"] is False


@pytest.mark.parametrize("how", [{"rowsperstrip": 16}, {"rowsperstrip": 16, "compression": "zlib"}, {"tile": (16, 16)}])
def test_segments_that_were_never_written_are_empty(how: dict[str, Any], tmp_path: Path) -> None:
    """Sparse files have such segments: neither the header nor a neighbour may be taken for their pixels."""
    array = (RNG.random((64, 64)) * 255).astype(np.uint8)
    save(tmp_path / "a.tif", array, **how)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        tags = file.pages[0].tags
        first = "Tile" if "tile" in how else "Strip"
        for name in (f"{first}Offsets", f"{first}ByteCounts"):
            values = list(tags[name].value)
            values[1] = 0
            tags[name].overwrite(values)
    found = images.read(tmp_path / "a.tif").pixels[..., 0]
    part = (slice(0, 16), slice(16, 32)) if "tile" in how else (slice(16, 32), slice(None))
    assert (found[part] == 0).all()
    rest = array.copy()
    rest[part] = 0
    assert np.array_equal(found, rest)


def test_jpeg_in_tiff(tmp_path: Path) -> None:
    """With tables outside the segments, and YCbCr: the pixels are those that tifffile itself reads."""
    array = np.broadcast_to(np.linspace(0, 255, 96, dtype=np.uint8)[:, None, None], (96, 80, 3)).copy()
    save(tmp_path / "a.tif", array, compression="jpeg", photometric="ycbcr", rowsperstrip=32)
    found = images.read(tmp_path / "a.tif")
    assert np.array_equal(found.pixels, tifffile.imread(tmp_path / "a.tif"))
    with images.opened(tmp_path / "a.tif") as picture:
        assert np.array_equal(picture.window(20, 70, 5, 60).pixels, found.pixels[20:70, 5:60])


def test_damaged_and_unusual_files_are_named(tmp_path: Path) -> None:
    array = (RNG.random((64, 64)) * 255).astype(np.uint8)
    save(tmp_path / "whole.tif", array, rowsperstrip=8, compression="zlib")
    content = bytearray((tmp_path / "whole.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "whole.tif") as file:
        page = file.pages[0]
        at = page.dataoffsets[3] + page.databytecounts[3] // 2
    content[at : at + 40] = bytes(40)
    (tmp_path / "spoilt.tif").write_bytes(content)
    tifffile.imwrite(tmp_path / "two.tif", np.zeros((2, 9, 9), np.uint8))
    tifffile.imwrite(tmp_path / "palette.tif", array, photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    tifffile.imwrite(tmp_path / "int.tif", array.astype(np.int32))
    save(tmp_path / "cut.tif", array, rowsperstrip=8)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:-600])
    (tmp_path / "empty.tif").write_bytes(b"")
    for name, words in (
        ("spoilt.tif", "cannot be decoded"), ("two.tif", "2 pages"), ("palette.tif", "PALETTE"), ("int.tif", "int32"),
        ("cut.tif", "cannot be decoded"), ("empty.tif", "0 bytes"), ("missing.tif", "No such file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words) as caught, images.opened(tmp_path / name) as picture:
            picture.window(0, 64, 0, 64)
        assert name in str(caught.value)

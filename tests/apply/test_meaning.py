"""What samples mean is the same on both sides of a data set: alpha, further channels, black, and what files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.manifest import Manifest, Row
from degsynth.config import Interval
from degsynth.data import images, writing
from degsynth.data.carried import Carried
from degsynth.data.georeference import Tag
from degsynth.methods.shared.unpaired_optics import KernelOptics
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png
from tests.data.formats import PHOTO
from tests.doubles import SIZES, save_double

SIDE = 120
ORIENTATION = 274
"""The tag of EXIF that says how an image is turned."""
ADOBE = imagecodecs.cms_profile("adobergb")
RAMP = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))


def applied(folder: Path, options: Options | None = None, data_range: Interval | None = None) -> dict[str, Row]:
    """Apply a model of scale 2 without noise to ``HR`` and return the rows by source."""
    kernel = gaussian(SIZES[2], 1.1, 1.7, 0.5)
    optics = KernelOptics(kernel, 2)
    model = save_double(folder / "m.pt", optics, 2, clean_halo=half_width(SIZES[2], 2))
    if data_range is not None:
        model = replace(model, spec=model.spec.model_copy(update={"data_range": data_range}))
    rows: list[Row] = []
    apply.run(model, folder / "HR", folder / "out", options, on_row=lambda row, _: rows.append(row))
    return {row.source: row for row in rows}


def sides(folder: Path, row: Row) -> tuple[Path, Path]:
    return folder / "out" / str(row.hr), folder / "out" / str(row.lr)


def save_tiff(path: Path, array: np.ndarray[Any, Any], **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, **{"photometric": "rgb", "metadata": None, **how})


def save(path: Path, image: images.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(writing.encode(image, path.suffix))


# --- alpha ------------------------------------------------------------------------------------------------------


def disc(hidden: int) -> images.Image:
    """Return a gray disc on a transparent ground whose hidden colour is this."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    seen = rows**2 + columns**2 < (SIDE / 3) ** 2
    colours = np.where(seen[..., None], np.uint8(90), np.uint8(hidden)).repeat(3, 2)
    return images.Image(colours.astype(np.uint8), np.where(seen, 255, 0).astype(np.uint8))


def test_hidden_colours_do_not_bleed(tmp_path: Path) -> None:
    for hidden in (0, 90, 255):
        save(tmp_path / f"HR/{hidden}.png", disc(hidden))
    lr = {name: images.read(sides(tmp_path, row)[1]) for name, row in applied(tmp_path).items()}
    for image in lr.values():
        assert image.alpha is not None
        assert np.abs(image.pixels[image.alpha > 0].astype(int) - 90).max() <= 1
        assert np.array_equal(image.alpha, lr["0.png"].alpha)


def test_tiles_with_hidden_colours_are_as_the_whole(tmp_path: Path) -> None:
    image = disc(255)
    save(tmp_path / "HR/a.tif", replace(image, pixels=np.minimum(image.pixels, PHOTO[:SIDE, :SIDE])))
    whole = applied(tmp_path)["a.tif"].lr_sha256
    assert applied(tmp_path, Options(tile=16, existing="overwrite"))["a.tif"].lr_sha256 == whole


@pytest.mark.parametrize("side", [SIDE, SIDE - 1])
def test_premultiplied_colours_stay_premultiplied(side: int, tmp_path: Path) -> None:
    premultiplied = (PHOTO[:SIDE, :SIDE] * (RAMP[..., None] / 255)).round().astype(np.uint8)
    save_tiff(tmp_path / "HR/pre.tif", np.dstack([premultiplied, RAMP])[:side, :side], extrasamples=["assocalpha"])
    straight = images.Image(PHOTO[:side, :side], np.ascontiguousarray(RAMP[:side, :side]))
    save(tmp_path / "HR/straight.tif", straight)
    rows = applied(tmp_path)
    for path in sides(tmp_path, rows["pre.tif"]):
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.ASSOCALPHA,)
    pre, plain = (images.read(sides(tmp_path, rows[name])[1]) for name in ("pre.tif", "straight.tif"))
    assert pre.alpha is not None
    assert np.array_equal(pre.alpha, plain.alpha)
    expected = plain.pixels * (pre.alpha[..., None] / 255)
    assert np.abs(pre.pixels - expected).max() < 2
    assert (pre.pixels <= pre.alpha[..., None]).all()


# --- channels and levels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [SIDE, SIDE - 1])
def test_near_infrared_beside_rgb(side: int, tmp_path: Path) -> None:
    save_tiff(tmp_path / "HR/a.tif", np.dstack([PHOTO, PHOTO[..., 1]])[:side, :side], extrasamples=["unspecified"])
    row = applied(tmp_path)["a.tif"]
    assert (row.channels, row.alpha) == (4, False)
    for path in sides(tmp_path, row):
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
            assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNSPECIFIED,)


def test_float_values_below_black_are_refused(tmp_path: Path) -> None:
    save_tiff(tmp_path / "HR/a.tif", PHOTO.astype(np.float32) / 255 - 0.5)
    row = applied(tmp_path)["a.tif"]
    assert "below black at 0 (1 is white)" in str(row.error)
    assert "`data_range=BLACK:WHITE`" in str(row.error)
    assert applied(tmp_path, Options(data_range=Interval(-0.5, 0.5), existing="overwrite"))["a.tif"].status == "ok"


def test_noise_around_black_keeps_its_mean(tmp_path: Path) -> None:
    black_white = Interval(512, 4095)
    dark = np.random.default_rng(0).normal(512, 40, (SIDE, SIDE, 3)).round().astype(np.uint16)
    save_png(tmp_path / "HR/a.png", dark, np.uint16)
    for options, model_range in ((Options(data_range=black_white), None), (Options(), black_white)):
        row = applied(tmp_path, replace(options, existing="overwrite"), model_range)["a.png"]
        lr = images.read(sides(tmp_path, row)[1]).pixels
        assert lr.mean() == pytest.approx(dark.mean(), abs=0.5)
        assert lr.min() < 512


def test_values_beyond_a_white_that_was_asked_for_are_refused(tmp_path: Path) -> None:
    save_png(tmp_path / "HR/a.png", PHOTO.astype(np.uint16) * 20, np.uint16)
    assert "beyond white at 1023" in str(applied(tmp_path, Options(data_range=Interval(0, 1023)))["a.png"].error)


# --- files --------------------------------------------------------------------------------------------------------


def test_one_set_has_one_form(tmp_path: Path) -> None:
    (tmp_path / "HR").mkdir()
    Pillow.fromarray(PHOTO).quantize().save(tmp_path / "HR/palette.png")
    Pillow.fromarray(PHOTO).convert("1").save(tmp_path / "HR/bits.png")
    Pillow.fromarray(PHOTO).convert("CMYK").save(tmp_path / "HR/cmyk.jpg")
    save_tiff(tmp_path / "HR/planes.tif", PHOTO.transpose(2, 0, 1), planarconfig="separate")
    Pillow.fromarray(PHOTO).save(tmp_path / "HR/plain.png")
    rows = applied(tmp_path)
    assert {name for name, row in rows.items() if row.hr_kept != "written"} == {"plain.png"}
    for row in rows.values():
        high, low = sides(tmp_path, row)
        with Pillow.open(high) as one, Pillow.open(low) as other:
            assert one.mode == other.mode
            assert one.mode in ("RGB", "L")


@pytest.mark.parametrize("kind", [".jpg", ".JPEG", ".webp", ".bmp"])
@pytest.mark.parametrize("change", ["odd", "turned"])
def test_hr_that_is_written_anew_is_a_file_of_the_same_kind(kind: str, change: str, tmp_path: Path) -> None:
    """LR is made of what the file in ``hr/`` holds; a JPEG changes by a few levels, other files by none."""
    if (kind, change) == (".bmp", "turned"):
        pytest.skip("a BMP has no orientation")
    exif = Pillow.Exif()
    exif[ORIENTATION] = 6 if change == "turned" else 1
    pixels = PHOTO[: SIDE - (change == "odd")]
    (tmp_path / "HR").mkdir()
    how: dict[str, Any] = {".webp": {"lossless": True}, ".bmp": {}}.get(kind, {"quality": 92, "icc_profile": ADOBE})
    Pillow.fromarray(pixels).save(tmp_path / f"HR/a{kind}", **how, **({"exif": exif} if kind != ".bmp" else {}))
    expected = images.read(tmp_path / f"HR/a{kind}")
    row = applied(tmp_path)[f"a{kind}"]
    assert (row.hr, row.hr_kept, row.cropped) == (f"hr/a{kind}", "written", change == "odd")
    high, low = (images.read(path) for path in sides(tmp_path, row))
    difference = high.pixels.astype(int) - expected.pixels[: high.height, : high.width]
    lossy = kind in (".jpg", ".JPEG")
    assert np.abs(difference).max() <= (4 if lossy else 0)
    assert np.sqrt((difference**2).mean()) < 0.6
    assert high.meaning.carried.icc == low.meaning.carried.icc == (ADOBE if lossy else b"")
    save_png(tmp_path / "again/HR/a.png", high.pixels)
    again = applied(tmp_path / "again")["a.png"]
    assert np.array_equal(images.read(sides(tmp_path / "again", again)[1]).pixels, low.pixels)


def test_crops_are_lossless_whatever_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "HR").mkdir()
    Pillow.fromarray(PHOTO).save(tmp_path / "HR/a.jpg")
    whole = images.read(tmp_path / "HR/a.jpg").pixels
    applied(tmp_path, Options(crop=SIDE // 2, workers=1))
    for row in Manifest(tmp_path / "out").read():
        top, left = row.crop or (0, 0)
        assert str(row.hr).endswith(".png")
        high = images.read(tmp_path / "out" / str(row.hr)).pixels
        assert np.array_equal(high, whole[top : top + SIDE // 2, left : left + SIDE // 2])


def test_what_the_file_says_goes_to_both_sides(tmp_path: Path) -> None:
    tags = (Tag(33550, 12, 3, (10.0, 10.0, 0.0)), Tag(33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)))
    image = images.Image(PHOTO[: SIDE - 1], meaning=images.Meaning(carried=Carried(georeference=tags)))
    save(tmp_path / "HR/geo.tif", image)
    exif = Pillow.Exif()
    exif[271] = "a camera"
    Pillow.fromarray(PHOTO).save(tmp_path / "HR/a.jpg", dpi=(300, 300), exif=exif)
    rows = applied(tmp_path)
    for path, size in zip(sides(tmp_path, rows["geo.tif"]), (10.0, 20.0), strict=True):
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].tags[33550].value == (size, size, 0.0)
            assert file.pages[0].tags[33922].value == (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)
    with Pillow.open(sides(tmp_path, rows["a.jpg"])[1]) as low:
        assert low.info["dpi"] == pytest.approx((150, 150), rel=1e-3)
    assert rows["a.jpg"].left_out == ("EXIF",)
    assert rows["geo.tif"].left_out == ()


def test_a_data_range_is_not_for_8_bit_files(tmp_path: Path) -> None:
    save_png(tmp_path / "HR/a.png", PHOTO)
    save_png(tmp_path / "HR/b.png", PHOTO.astype(np.uint16), np.uint16)
    rows = applied(tmp_path, Options(data_range=Interval(0, 4095)))
    assert "`data_range=0:4095` is for files of more than 8 bits" in str(rows["a.png"].error)
    assert rows["b.png"].status == "ok"

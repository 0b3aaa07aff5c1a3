"""What files say beside their pixels: it is read from every format and written into files made of the image."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from degsynth.data import images, writing
from degsynth.data.carried import Carried, Density
from degsynth.data.georeference import Tag
from tests.data.formats import PHOTO, refused, saved

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CMYK = SRGB[:16] + b"CMYK" + SRGB[20:]


def carried(content: bytes, name: str, folder: Path) -> Carried:
    (folder / name).write_bytes(content)
    with images.opened(folder / name) as picture:
        return picture.meaning.carried


def written(what: Carried, suffix: str, others: int = 0, premultiplied: bool = False) -> bytes:
    """Return a file of a photograph that carries this."""
    pixels = np.dstack([PHOTO, *[PHOTO[..., 0]] * others])
    alpha = PHOTO[..., 1] if premultiplied else None
    return writing.encode(images.Image(pixels, alpha, meaning=images.Meaning(others, premultiplied, what)), suffix)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_profile_is_read_from_every_format(kind: str, tmp_path: Path) -> None:
    name = {"PNG": "a.png", "JPEG": "a.jpg", "WEBP": "a.webp", "TIFF": "a.tif"}[kind]
    assert carried(saved(PHOTO, kind, icc_profile=SRGB), name, tmp_path).icc == SRGB
    assert carried(saved(PHOTO, kind), name, tmp_path).icc == b""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_profile_is_written(suffix: str) -> None:
    content = written(Carried(icc=SRGB), suffix)
    assert Pillow.open(io.BytesIO(content)).info["icc_profile"] == SRGB
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(content))), PHOTO)


def test_a_long_profile_comes_in_parts(tmp_path: Path) -> None:
    profile = SRGB + np.random.default_rng(1).bytes(150_000)
    assert carried(saved(PHOTO, "JPEG", icc_profile=profile), "a.jpg", tmp_path).icc == profile


@pytest.mark.parametrize(
    ("profile", "name"), [(CMYK, "ICC profile (for CMYK)"), (b"no profile", "ICC profile (damaged)")]
)
def test_a_profile_for_other_colours_is_left_out(profile: bytes, name: str, tmp_path: Path) -> None:
    found = carried(saved(PHOTO, "PNG", icc_profile=profile), "a.png", tmp_path)
    assert (found.icc, found.left_out) == (b"", (name,))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_resolution_goes_with_the_scale(kind: str, suffix: str, tmp_path: Path) -> None:
    name = {"PNG": "a.png", "JPEG": "a.jpg", "TIFF": "a.tif"}[kind]
    found = carried(saved(PHOTO, kind, dpi=(300, 150)), name, tmp_path)
    of_lr = Pillow.open(io.BytesIO(written(found.decimated(2), suffix)))
    assert [float(side) for side in of_lr.info["dpi"]] == pytest.approx([150, 75], rel=1e-3)


def test_what_png_says_of_colour_is_carried(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    found = carried(saved(PHOTO, "PNG", pnginfo=info), "a.png", tmp_path)
    assert Pillow.open(io.BytesIO(written(found, ".png"))).info["gamma"] == pytest.approx(0.45455)


def test_what_is_left_out_has_a_name(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[271] = "a camera"
    assert carried(saved(PHOTO, "JPEG", exif=exif, comment=b"hello"), "a.jpg", tmp_path).left_out == ("EXIF", "comment")
    assert carried(saved(PHOTO, "WEBP", exif=exif, lossless=True), "a.webp", tmp_path).left_out == ("EXIF",)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PHOTO, photometric="rgb", description="a scan", metadata=None)
    assert carried(buffer.getvalue(), "a.tif", tmp_path).left_out == ("description",)


def test_a_georeference_goes_from_tiff_to_tiff(tmp_path: Path) -> None:
    tags = (Tag(33550, 12, 3, (10.0, 10.0, 0.0)), Tag(34735, 3, 4, (1, 1, 0, 0)), Tag(42113, 2, 0, "-9999"))
    found = carried(written(Carried(georeference=tags), ".tif"), "a.tif", tmp_path)
    assert [(tag.code, tag.value) for tag in found.georeference] == [(tag.code, tag.value) for tag in tags]
    of_lr = found.decimated(4).georeference
    assert of_lr[0].value == (40.0, 40.0, 0.0)
    assert found.turned(6).georeference == ()
    assert "georeference" in found.turned(6).left_out


def test_a_turned_image_has_its_resolution_turned() -> None:
    standing = Carried(density=Density(300, 150, "inch"))
    assert standing.turned(6).density == Density(150, 300, "inch")
    assert standing.turned(3) == standing


def tiff(array: np.ndarray[Any, Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "rgb", "metadata": None, **how})
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_meaning_of_samples_is_kept(dtype: type, tmp_path: Path) -> None:
    near_infrared = np.dstack([PHOTO, PHOTO[..., 0]]).astype(dtype)
    for extra, meaning in (("unspecified", images.Meaning(1)), ("assocalpha", images.Meaning(0, True))):
        (tmp_path / "a.tif").write_bytes(tiff(near_infrared, extrasamples=[extra]))
        image = images.read(tmp_path / "a.tif")
        assert replace(image.meaning, carried=Carried()) == meaning
        (tmp_path / "b.tif").write_bytes(writing.encode(image, ".tif"))
        with tifffile.TiffFile(tmp_path / "a.tif") as one, tifffile.TiffFile(tmp_path / "b.tif") as other:
            assert one.pages[0].photometric == other.pages[0].photometric
            assert one.pages[0].extrasamples == other.pages[0].extrasamples
            assert np.array_equal(one.asarray(), other.asarray())


def test_gray_with_other_channels_stays_gray(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(PHOTO, photometric="minisblack", planarconfig="contig"))
    image = images.read(tmp_path / "a.tif")
    assert (image.channels, image.meaning.others) == (3, 2)
    (tmp_path / "b.tif").write_bytes(writing.encode(image, ".tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK


def test_alpha_in_an_unusual_place_is_refused(tmp_path: Path) -> None:
    five = np.dstack([PHOTO, PHOTO[..., :2]])
    refused(tiff(five, extrasamples=["unassalpha", "unspecified"]), "a.tif", "alpha is not the last", tmp_path)
    refused(tiff(five, extrasamples=["unspecified", "unassalpha"]), "a.tif", "which few programs read", tmp_path)


def test_pixels_without_data_are_refused(tmp_path: Path) -> None:
    plane = np.where(PHOTO[..., 0] > 100, PHOTO[..., 0], 0)
    tag = [(42113, 2, 0, "0", True)]
    content = tiff(plane, photometric="minisblack", extratags=tag)
    refused(content, "a.tif", r"holds pixels without data \(nodata is 0\)", tmp_path)
    assert carried(tiff(plane + 1, photometric="minisblack", extratags=tag), "b.tif", tmp_path).georeference


@pytest.mark.parametrize(
    ("content", "name", "remade"),
    [
        (saved(PHOTO, "PNG"), "a.png", False),
        (saved(Pillow.fromarray(PHOTO).quantize(), "PNG"), "a.png", True),
        (saved(Pillow.fromarray(PHOTO).convert("1"), "PNG"), "a.png", True),
        (saved(PHOTO, "PNG", transparency=(1, 2, 3)), "a.png", True),
        (saved(PHOTO, "JPEG"), "a.jpg", False),
        (saved(Pillow.fromarray(PHOTO).convert("CMYK"), "JPEG"), "a.jpg", True),
        (saved(PHOTO, "BMP"), "a.bmp", False),
        (saved(Pillow.fromarray(PHOTO).quantize(), "BMP"), "a.bmp", True),
        (tiff(PHOTO), "a.tif", False),
        (tiff(PHOTO.transpose(2, 0, 1), planarconfig="separate"), "a.tif", True),
        (tiff(PHOTO[..., 0].astype(np.float64), photometric="minisblack"), "a.tif", True),
    ],
    ids=["PNG", "palette", "1 bit", "keyed", "JPEG", "CMYK", "BMP", "BMP palette", "TIFF", "planes", "float64"],
)
def test_files_of_another_form_than_the_image(content: bytes, name: str, remade: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with images.opened(tmp_path / name) as picture:
        assert picture.remade == remade

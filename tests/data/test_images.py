from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from degsynth.apply.manifest import Row
from degsynth.data import images, listing, writing
from degsynth.errors import DataError
from tests.data.formats import PHOTO

RNG = np.random.default_rng(3)


def pixels(channels: int, dtype: type) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, (9, 14, channels), dtype, endpoint=True)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_round_trip(suffix: str, dtype: type, channels: int, alpha: bool, tmp_path: Path) -> None:
    image = images.Image(pixels(channels, dtype), pixels(1, dtype)[..., 0] if alpha else None)
    path = tmp_path / f"Bärenfoto 字{suffix}"
    path.write_bytes(writing.encode(image, suffix))
    back = images.read(path)
    assert back.pixels.dtype == dtype
    assert np.array_equal(back.pixels, image.pixels)
    assert (back.alpha is None) == (not alpha)
    if image.alpha is not None and back.alpha is not None:
        assert np.array_equal(back.alpha, image.alpha)


def test_float_tiff_round_trip(tmp_path: Path) -> None:
    image = images.Image(RNG.random((8, 6, 1), np.float32))
    (tmp_path / "f.tif").write_bytes(writing.encode(image, ".tif"))
    assert np.array_equal(images.read(tmp_path / "f.tif").pixels, image.pixels)


def test_colours_are_rgb_in_every_codec(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    for suffix in (".png", ".jpg", ".webp", ".bmp"):
        _, content = cv2.imencode(suffix, red[..., ::-1])
        (tmp_path / f"red{suffix}").write_bytes(content.tobytes())
        found = images.read(tmp_path / f"red{suffix}").pixels.reshape(-1, 3).mean(0)
        assert found == pytest.approx([200, 0, 0], abs=4)
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(red, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(images.read(tmp_path / "planar.tif").pixels, red)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    """Against OpenCV's own upright decoding."""
    picture = np.kron(np.arange(1, 7, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    _, content = cv2.imencode(".jpg", cv2.merge([picture] * 3))
    exif = io.BytesIO()
    exif.write(
        b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0]) + bytes(4)
    )
    block = b"Exif\x00\x00" + exif.getvalue()
    jpeg = content.tobytes()[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + content.tobytes()[2:]
    (tmp_path / "photo.jpg").write_bytes(jpeg)
    image = images.read(tmp_path / "photo.jpg")
    upright = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(image.pixels, upright[..., ::-1])
    assert image.remade == (orientation != 1)


def test_names_and_links_that_cannot_be_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").touch()
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.png").touch()
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / os.fsdecode(b"in/bad\xff.png")).touch()
    found, others = listing.find(tmp_path / "in")
    assert found == ["a.png", "gone.png"]  # the second will be a failed row that says so
    assert others == [r"'bad\udcff.png'", "linked"]


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = np.zeros((8, 8, 1), np.float32)
    values[3, 3] = np.nan
    (tmp_path / "nan.tif").write_bytes(writing.encode(images.Image(values), ".tif"))
    with pytest.raises(DataError, match="not finite"):
        images.read(tmp_path / "nan.tif")


def broken(path: Path) -> dict[str, bytes]:
    whole = writing.encode(images.Image(pixels(3, np.uint8)), ".png")
    tiff = writing.encode(images.Image(pixels(3, np.uint8)), ".tif")
    stack = io.BytesIO()
    tifffile.imwrite(stack, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    wide = io.BytesIO()
    tifffile.imwrite(wide, np.zeros((8, 8), np.int32))
    return {
        "truncated.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.jpg": b"this is no picture",
        "truncated.tif": tiff[: len(tiff) // 2],
        "text.tif": b"this is no picture",
        "stack.tif": stack.getvalue(),
        "int32.tif": wide.getvalue(),
    }


@pytest.mark.parametrize("name", broken(Path()))
def test_files_that_cannot_be_read_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(broken(tmp_path)[name])
    with pytest.raises(DataError, match=name) as caught:
        images.read(tmp_path / name)
    assert "\n" not in str(caught.value)


SHOWN = (
    "Screenshot 3.04\u202fPM.png",  # as macOS names them: a narrow no-break space
    "写真\u3000１.png",  # an ideographic space
    "no\u00a0break.png",
    "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}.png",  # joined into one picture
    "می\u200cشود.png",  # Persian: a zero-width non-joiner
)
STEERING = ("a\nb.png", "a\tb.png", "\x1b[2J.png", "a\u202egnp.png", "a\u2028b.png")


def test_names_that_are_shown_are_names(tmp_path: Path) -> None:
    """Spaces of all widths and joined letters are; what steers a terminal or ends a line is not."""
    for name in (*SHOWN, *STEERING):
        (tmp_path / name).write_bytes(b"")
    found, others = listing.find(tmp_path)
    assert found == sorted(SHOWN)
    assert others == sorted(ascii(name) for name in STEERING)
    for name in SHOWN:
        assert Row(source=name, status="ok").source == name
    for name in STEERING:
        with pytest.raises(ValueError, match="is no name"):
            Row(source=name, status="ok")


def test_find(tmp_path: Path) -> None:
    for name in ("b.PNG", "sub/a.tiff", "notes.txt", ".hidden.png", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert listing.find(tmp_path) == (["b.PNG", "sub/a.tiff"], ["notes.txt"])
    with pytest.raises(DataError, match="no such folder"):
        listing.find(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        listing.find(tmp_path / "empty")


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 65535))
def test_quantise_inverts_to_tensor(dtype: type, level: int) -> None:
    value = np.full((1, 1, 1), level % (np.iinfo(dtype).max + 1), dtype)
    assert np.array_equal(images.quantise(images.to_tensor(value), np.dtype(dtype)), value)


def test_clamp_then_round_to_nearest() -> None:
    values = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 1.7]).view(1, 1, -1)
    assert images.quantise(values, np.dtype(np.uint8)).ravel().tolist() == [0, 0, 0, 1, 254, 255, 255]


def test_data_range_of_a_twelve_bit_camera() -> None:
    raw = np.array([[[100], [2097], [4095], [5000]]], np.uint16)
    tensor = images.to_tensor(raw, (100.0, 4095.0))
    assert tensor.ravel().tolist() == pytest.approx([0.0, 1997 / 3995, 1.0, 1.0])
    assert images.quantise(tensor, np.dtype(np.uint16), (100.0, 4095.0)).ravel().tolist() == [100, 2097, 4095, 4095]
    # 8-bit files always have the full range, whatever a checkpoint of 12-bit files says.
    assert float(images.to_tensor(np.full((1, 1, 1), 255, np.uint8), (100.0, 4095.0))) == 1.0


@pytest.mark.parametrize(
    ("mode", "suffix", "samples"),
    [("L", ".png", 1), ("LA", ".png", 2), ("RGB", ".png", 3), ("RGBA", ".png", 4), ("P", ".png", 3), ("L", ".jpg", 1),
     ("CMYK", ".jpg", 3), ("RGB", ".webp", 3), ("RGB", ".bmp", 3), ("RGBA", ".tif", 4)],
)  # fmt: skip
def test_what_is_declared_is_decoded(mode: str, suffix: str, samples: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    PillowImage.fromarray(PHOTO[:20, :30]).convert(mode).save(path)
    (found,), image = images.declared(path), images.read(path)
    assert (found.height, found.width, found.samples, found.bits) == (20, 30, samples, 8)
    assert found.samples == image.channels + image.has_alpha


def test_bits_are_declared(tmp_path: Path) -> None:
    for number, dtype in enumerate((np.uint8, np.uint16, np.float32), 3):
        path = tmp_path / f"{number}.tif"
        pixels = np.zeros((20, 30, 5), dtype)
        path.write_bytes(writing.encode(images.Image(pixels, meaning=images.Meaning(others=4)), ".tif"))
        (found,) = images.declared(path)
        assert (found.samples, found.bits) == (5, 2**number)

"""``apply --to-srgb``: HR and LR in sRGB, whatever profile HR has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from degsynth import apply
from degsynth.apply import Options
from degsynth.apply.manifest import Manifest
from degsynth.apply.replay import Replay
from degsynth.data import images, srgb
from degsynth.data.carried import Carried
from degsynth.data.images import Image, Meaning
from degsynth.data.sources import Sources
from tests.apply.test_meaning import applied, save, sides
from tests.conftest import Run
from tests.data.formats import PHOTO

ADOBE, SRGB = (imagecodecs.cms_profile(name) for name in ("adobergb", "srgb"))
IN_SRGB = Options(to_srgb=True, workers=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "HR").mkdir()
    Pillow.fromarray(PHOTO).save(tmp_path / "HR/adobe.jpg", icc_profile=ADOBE, quality=95)
    Pillow.fromarray(PHOTO).save(tmp_path / "HR/srgb.png", icc_profile=SRGB)
    Pillow.fromarray(PHOTO).save(tmp_path / "HR/none.png")
    wide = Image(257 * PHOTO.astype(np.uint16), meaning=Meaning(carried=Carried(icc=ADOBE)))
    save(tmp_path / "HR/wide.tif", wide)
    return tmp_path


def profile(path: Path) -> bytes:
    with images.opened(path) as picture:
        return picture.meaning.carried.icc


def test_both_sides_are_in_srgb(folder: Path) -> None:
    rows = applied(folder, IN_SRGB)
    assert {name: (row.status, row.hr_kept, row.converted_from) for name, row in rows.items()} == {
        "adobe.jpg": ("ok", "written", "Adobe RGB (compatible)"),
        "srgb.png": ("ok", "hard", None),
        "none.png": ("ok", "hard", None),
        "wide.tif": ("ok", "written", "Adobe RGB (compatible)"),
    }
    for name in ("adobe.jpg", "wide.tif"):
        with images.opened(folder / "HR" / name) as picture:
            expected = srgb.converted(picture, None, folder)[0].window(0, 120, 0, 160).pixels
        high, low = (images.read(path) for path in sides(folder, rows[name]))
        most = 4 if name == "adobe.jpg" else 0  # HR of a JPEG is a JPEG
        assert np.abs(high.pixels.astype(int) - expected).max() <= most
        assert high.dtype == low.dtype == expected.dtype
        assert [profile(path) for path in sides(folder, rows[name])] == [b"", b""]
        # LR is made of the pixels that HR has.
        save(folder / "again/HR" / f"{Path(name).stem}{Path(str(rows[name].hr)).suffix}", high)
    for row in applied(folder / "again").values():
        again, once = (images.read(side / str(row.lr)).pixels for side in (folder / "again/out", folder / "out"))
        assert np.array_equal(again, once)
    assert profile(sides(folder, rows["srgb.png"])[1]) == SRGB
    assert json.loads((folder / "out/dataset.json").read_text())["made_by"]["to_srgb"] is True


def test_without_it_the_profile_is_carried(folder: Path) -> None:
    rows = applied(folder)
    assert [profile(path) for path in sides(folder, rows["adobe.jpg"])] == [ADOBE, ADOBE]
    assert {row.converted_from for row in rows.values()} == {None}
    assert "to_srgb" not in json.loads((folder / "out/dataset.json").read_text())["made_by"]


def test_a_bad_profile_is_a_failed_row_and_the_others_are_made(folder: Path) -> None:
    Pillow.fromarray(PHOTO).save(folder / "HR/bad.png", icc_profile=ADOBE[:300])
    rows = applied(folder, IN_SRGB)
    assert [name for name, row in rows.items() if row.status == "failed"] == ["bad.png"]
    assert rows["bad.png"].error == (
        "has a damaged ICC profile, and cannot be converted to sRGB; leave `to_srgb` out, or save it in sRGB by "
        "another program"
    )


def test_crops_and_draws_are_cut_from_the_converted_image(folder: Path) -> None:
    with images.opened(folder / "HR/adobe.jpg") as picture:
        whole = srgb.converted(picture, None, folder)[0].window(0, 120, 0, 160).pixels
    applied(folder, replace(IN_SRGB, crop=40, draws=2))
    parts = [row for row in Manifest(folder / "out").read() if row.source == "adobe.jpg"]
    assert len(parts) == 24
    for row in parts:
        top, left = row.crop or (0, 0)
        part = images.read(folder / "out" / str(row.hr)).pixels
        assert np.array_equal(part, whole[top : top + 40, left : left + 40])


def test_it_is_recorded_for_resume_replay_and_verify(folder: Path, cli: Run) -> None:
    applied(folder, replace(IN_SRGB, limit=2))
    model = folder / "m.pt"
    code, _, said = cli("apply", model, folder / "HR", folder / "out", "--resume")
    assert code == 2, said  # the other files would carry the profile
    code, _, said = cli("apply", model, folder / "HR", folder / "out", "--resume", "--to-srgb")
    assert "4 LR images (2 of them by an earlier run), 0 failed" in said
    assert cli("verify", "--hr", folder / "HR", folder / "out")[0] == 0
    assert Replay.read(folder / "out").settings()["to_srgb"] is True
    code, _, said = cli("apply", model, folder / "HR", folder / "again", "--replay", folder / "out/manifest.jsonl")
    assert (code, "4 LR images" in said) == (0, True), said
    code, _, said = cli(
        "apply", model, folder / "HR", folder / "x", "--replay", folder / "out/manifest.jsonl", "--to-srgb"
    )
    assert (code, "--to-srgb True and --replay exclude each other" in said) == (2, True), said


def test_a_forecast_knows_that_hr_is_written_anew(folder: Path) -> None:
    from degsynth.model import checkpoint

    applied(folder, replace(IN_SRGB, limit=1))
    (folder / "HR/srgb.png").unlink()
    (folder / "HR/none.png").unlink()
    model, sources = checkpoint.load(folder / "m.pt"), Sources.of(folder / "HR")
    plain = apply.forecast(model, sources, folder / "new", Options(workers=1))
    in_srgb = apply.forecast(model, sources, folder / "new", IN_SRGB)
    assert plain.hr_bytes == 0
    assert (in_srgb.hr_bytes or 0) > 100_000
    Pillow.fromarray(PHOTO).save(folder / "HR/bad.png", icc_profile=ADOBE[:300])
    failing = apply.forecast(model, Sources.of(folder / "HR"), folder / "new", IN_SRGB).failing
    assert [name for name, _ in failing] == ["bad.png"]


def test_a_preview_shows_hr_in_srgb(folder: Path) -> None:
    from degsynth.model import checkpoint

    applied(folder, replace(IN_SRGB, limit=1))
    model = checkpoint.load(folder / "m.pt")
    high = [
        example.hr
        for options in (Options(workers=1), IN_SRGB)
        for example in apply.preview(model, folder / "HR/adobe.jpg", 200, options)
    ]
    assert float((high[0] - high[1]).abs().max()) > 0.05
    expected = images.to_tensor(images.read(folder / "out/hr/adobe.jpg").pixels)
    assert float((high[1] - expected[:, : high[1].shape[1], : high[1].shape[2]]).abs().max()) < 4.5 / 255

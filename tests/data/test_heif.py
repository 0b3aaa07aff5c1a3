"""HEIC files: decoded by pillow-heif where it is installed, and otherwise refused with the way out."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degsynth import apply
from degsynth.apply.manifest import Row
from degsynth.data import images
from degsynth.errors import DataError
from tests.data.formats import PHOTO
from tests.doubles import stochastic


def save(path: Path, pixels: np.ndarray, mode: str = "RGB", **how: Any) -> Path:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, **how)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


def test_heic_is_decoded(tmp_path: Path) -> None:
    image = images.read(save(tmp_path / "a.heic", PHOTO[:51, :77]))
    assert image.pixels.shape == (51, 77, 3)
    assert np.abs(image.pixels.astype(int) - PHOTO[:51, :77]).max() <= 2  # YCbCr
    assert (image.remade, image.alpha) == (True, None)
    alpha = np.full((51, 77, 1), 200, np.uint8)
    image = images.read(save(tmp_path / "b.HEIF", np.dstack([PHOTO[:51, :77], alpha]), "RGBA"))
    assert image.alpha is not None
    assert (image.alpha == 200).all()


def test_damaged_and_deep_heic(tmp_path: Path) -> None:
    content = save(tmp_path / "a.heic", PHOTO[:51, :77]).read_bytes()
    for cut in (40, len(content) // 2, len(content) - 20):
        (tmp_path / "cut.heic").write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"cut\.heic: cannot be decoded"):
            images.read(tmp_path / "cut.heic")
    deep = save(tmp_path / "deep.heic", PHOTO[:51, :77].astype("<u2") * 257, "RGB;16")
    with pytest.raises(DataError, match=r"deep\.heic: a HEIC of 1\d bits a sample"):
        images.read(deep)


def test_heic_without_its_library_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r'a\.heic: .* not installed; install it: pip install "degsynth\[heic\]"'):
        images.read(tmp_path / "a.heic")


def test_heic_is_applied_to(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.heic", PHOTO[:40, :60])
    model, rows = stochastic(tmp_path / "m.pt", 2), list[Row]()
    apply.run(model, tmp_path / "HR", tmp_path / "out", on_row=lambda row, _: rows.append(row))
    assert [(row.status, row.hr, row.lr) for row in rows] == [("ok", "hr/a.png", "lr/a.png")]

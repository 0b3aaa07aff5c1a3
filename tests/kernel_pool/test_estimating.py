"""From photographs to kernels: windows, failures, interruptions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.errors import ConfigError, DataError
from degsynth.kernel_pool import estimate as estimation
from degsynth.kernel_pool.estimate import Window, enlarged, estimate
from degsynth.methods.kmsr import Config
from degsynth.model import pool_file
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, gaussian_shape, similarity
from degsynth.ops.resample import luma
from tests.conftest import save_png

QUICK = Config(prior="gradient", patch=96, patches=2, kernel_size=17)


@pytest.fixture
def photos(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Four photographs blurred at ×1, a flat one, a broken one and a small one."""
    folder = tmp_path / "photos"
    for number, shot in enumerate(photographs):
        half = F.avg_pool2d(shot[None], 2)
        lr = blur_decimate(half, gaussian(15, 1.3, 1.3)[None].float(), 1)[0, :, 8:-8, 8:-8]
        save_png(folder / f"shot{number}.png", lr[:, :160, :200])
    save_png(folder / "sub/flat.png", torch.full((3, 120, 120), 0.4))
    save_png(folder / "tiny.png", torch.rand(3, 20, 30))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_kernels_of_a_folder(photos: Path) -> None:
    heard: list[tuple[int, int]] = []
    found = estimate(photos, 1, QUICK, on_window=lambda count, total: heard.append((count, total)))
    pool = found.pool
    assert 5 <= len(pool) <= 8
    reasons = {"no texture", "smaller than 51 px", "cannot be decoded; it is truncated, damaged or no image"}
    assert set(found.failed) == reasons
    assert "failed (no texture)" in found.told()
    truth = gaussian(17, 1.3, 1.3)
    kernels = pool.kernels[pool.usable()]
    assert torch.tensor([similarity(kernel, truth) for kernel in kernels]).median() > 0.9
    assert torch.tensor([gaussian_shape(kernel)[1] for kernel in kernels]).median() == pytest.approx(1.3, rel=0.25)
    for kernel, origin in zip(pool.kernels, pool.origins, strict=True):
        assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-9)
        assert max(map(abs, centroid(kernel))) < 1e-6
        assert origin.source == "estimated"
        assert origin.image.startswith("shot")
        assert origin.patch[2:] == (96, 96)
    assert all(count <= total for count, total in heard)
    assert heard[-1] == (found.windows, found.windows), "the total is what it comes to in the end"


def test_interrupted_and_resumed_is_the_same_file(photos: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    pool_file.write(estimate(photos, 1, QUICK, workers=2).pool, whole)
    journal = estimation.journal_of(parts)

    class Interrupted(Exception):  # noqa: N818
        pass

    def stop(count: int, total: int) -> None:
        if count == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        estimate(photos, 1, QUICK, journal=journal, on_window=stop)
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"image": "cut sho')
    with pytest.raises(ConfigError, match="--resume"):
        estimate(photos, 1, QUICK, journal=journal)
    with pytest.raises(ConfigError, match="other prior"):
        estimate(photos, 1, QUICK.model_copy(update={"prior": "dark"}), journal=journal, resume=True)
    found = estimate(photos, 1, QUICK, journal=journal, resume=True)
    assert found.resumed == 3
    pool_file.write(found.pool, parts)
    assert whole.read_bytes() == parts.read_bytes()
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line) for line in lines)


def test_the_budget_is_spread_over_the_photographs(photos: Path) -> None:
    """One of each first; who has none is replaced by another."""
    found = estimate(photos, 1, QUICK.model_copy(update={"max_patches": 3}))
    assert found.windows == 3
    assert len({origin.image for origin in found.pool.origins}) == 3
    found = estimate(photos, 1, QUICK.model_copy(update={"max_patches": 1}))
    assert found.windows == 1, "the first photograph is broken, another takes its place"


def test_a_folder_without_texture_is_refused(tmp_path: Path) -> None:
    save_png(tmp_path / "flat.png", torch.full((3, 120, 120), 0.4))
    with pytest.raises(DataError, match=r"no kernel could be estimated.*no texture \(1\)"):
        estimate(tmp_path, 2, QUICK)


def test_random_windows_are_those_of_the_seed(photos: Path) -> None:
    """As in the paper: anywhere, whatever is seen there; and of another seed elsewhere."""
    config = QUICK.model_copy(update={"selection": "eq6", "patches": 5})

    def windows(seed: int) -> list[Window]:
        return estimation.windows_of(photos / "shot1.png", "shot1.png", 1, config, seed)

    first, again, other = windows(0), windows(0), windows(1)
    assert len(first) == 5
    assert [window.place for window in first] == [window.place for window in again]
    assert [window.place for window in first] != [window.place for window in other]
    flat = estimation.windows_of(photos / "sub/flat.png", "sub/flat.png", 1, config, 0)
    assert len(flat) == 5, "Eq. 6 rejects nothing"


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("place", [(0, 0, 40, 50), (13, 7, 30, 31), (60, 50, 40, 50)])
def test_a_window_is_enlarged_as_the_whole_image_is(
    scale: int, place: estimation.Place, photographs: list[Tensor]
) -> None:
    gray = luma(photographs[0])[0, :100, :100]
    size = [100 * scale, 100 * scale]
    whole = F.interpolate(gray[None, None], size, mode="bicubic", antialias=True)[0, 0] if scale > 1 else gray
    y, x, height, width = (scale * value for value in place)
    assert torch.allclose(enlarged(gray, place, scale), whole[y : y + height, x : x + width], atol=1e-6)


def test_sixteen_bits_are_seen_as_eight(photos: Path, tmp_path: Path, photographs: list[Tensor]) -> None:
    """A 12-bit camera's files in 16 bits: black and white are found."""
    twelve = (F.avg_pool2d(luma(photographs[1])[None], 2)[0] * 4095).round() / 65535
    save_png(tmp_path / "twelve/a.png", twelve, np.uint16)
    assert float(estimation.gray_of(tmp_path / "twelve/a.png").max()) > 0.5

"""From photographs to kernels: results, failures, interruptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from degsynth.errors import ConfigError, DataError
from degsynth.kernel_pool import estimate as estimating
from degsynth.kernel_pool.estimate import Pace, estimate
from degsynth.kernel_pool.journal import Journal, WindowEstimate, journal_of
from degsynth.methods.kmsr import Config
from degsynth.model import pool_file
from degsynth.ops.enlargement import without_enlargement
from degsynth.ops.kernels import centroid, gaussian, gaussian_shape, similarity
from tests.conftest import save_png

QUICK = Config(prior="gradient", patch=96, patches=2, kernel_size=17)


class Interrupted(Exception):  # noqa: N818
    pass


def test_kernels_of_a_folder(photos: Path) -> None:
    calls: list[tuple[int, int]] = []
    estimated = estimate(photos, 1, QUICK, on_progress=lambda _, count, total: calls.append((count, total)))
    pool = estimated.pool
    assert 5 <= len(pool) <= 8
    reasons = {"no texture", "smaller than 51 px", "cannot be decoded; it is truncated, damaged or no image"}
    assert set(estimated.failed) == reasons
    assert "failed (no texture)" in estimated.summary()
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
    assert all(count <= total for count, total in calls)
    assert calls[-1] == (estimated.windows, estimated.windows), "the last total is the number of windows"


def test_interrupted_and_resumed_is_the_same_file(photos: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    pool_file.write(estimate(photos, 1, QUICK, pace=Pace(2)).pool, whole)
    journal = journal_of(parts)

    def stop(stage: str, count: int, total: int) -> None:
        if count == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        estimate(photos, 1, QUICK, journal=journal, on_progress=stop)
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"image": "cut sho')
    with pytest.raises(ConfigError, match="`resume`"):
        estimate(photos, 1, QUICK, journal=journal)
    with pytest.raises(ConfigError, match="other prior"):
        estimate(photos, 1, QUICK.model_copy(update={"prior": "dark"}), journal=journal, resume=True)
    calls: list[tuple[int, int]] = []
    resumed = estimate(
        photos, 1, QUICK, journal=journal, resume=True, on_progress=lambda _, count, total: calls.append((count, total))
    )
    assert resumed.resumed == 3
    assert calls[-1] == (resumed.windows, resumed.windows)
    pool_file.write(resumed.pool, parts)
    assert whole.read_bytes() == parts.read_bytes()
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line) for line in lines)


def test_what_was_stopped_is_a_pool_and_goes_on(photos: Path, tmp_path: Path) -> None:
    """Every photograph has its turn before the second windows; a stop before the first kernel waits for one."""
    seen: list[tuple[int, int]] = []
    pace = Pace(stop_asked=lambda: True, on_photographs=lambda *counts: seen.append(counts))
    journal = journal_of(tmp_path / "pool.h5")
    first = estimate(photos, 1, QUICK, pace=pace, journal=journal)
    assert (first.windows, len(first.pool)) == (1, 1)
    assert first.left > 0
    assert f"{first.left} windows were left when the time was up" in first.summary()
    assert first.pool.made_by["windows_left"] == first.left
    assert seen[-1][0] < seen[-1][1] == 7
    pace = Pace(stop_asked=lambda: len(journal.read_text().splitlines()) >= 6)
    more = estimate(photos, 1, QUICK, pace=pace, journal=journal, resume=True)
    assert first.windows < more.windows
    assert len({origin.image for origin in more.pool.origins}) == len(more.pool)
    pool_file.write(estimate(photos, 1, QUICK, journal=journal, resume=True).pool, tmp_path / "on.h5")
    pool_file.write(estimate(photos, 1, QUICK).pool, tmp_path / "whole.h5")
    assert (tmp_path / "on.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_estimates_are_in_order_whichever_was_made_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pool.h5.part", {}, resume=False)
    for image, rank in (("b", 1), ("a", 0), ("b", 0), ("a", 1)):
        journal.add(WindowEstimate(image, rank, (0, 0, 9, 9), None, "no texture"))
    for written in (journal, Journal(journal.path, {}, resume=True)):
        in_order = [(estimate.image, estimate.rank) for estimate in written.in_order()]
        assert in_order == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_the_blur_of_the_enlargement_is_taken_off() -> None:
    """Unless it is to be kept, or nothing was enlarged; flags are those of what was estimated."""
    kernels = [gaussian(25, 1.2 + 0.05 * number, 1.4) for number in range(6)]
    split = torch.zeros(25, 25, dtype=torch.float64)
    split[12, 6] = split[12, 18] = 0.5
    results = [WindowEstimate("a", rank, (0, 0, 96, 96), k.tolist(), "") for rank, k in enumerate([*kernels, split])]
    kept = estimating._pool(results, 2, Config(interpolation="kept"), {})
    assert torch.allclose(kept.kernels, torch.stack([*kernels, split]))
    removed = estimating._pool(results, 2, Config(), {})
    assert torch.allclose(removed.kernels, without_enlargement(kept.kernels, 2), atol=1e-6)
    assert all(gaussian_shape(removed.kernels[n])[0] < gaussian_shape(kept.kernels[n])[0] - 0.02 for n in range(6))
    assert removed.origins == kept.origins
    assert removed.origins[-1].flag == "several blobs"
    assert torch.allclose(estimating._pool(results, 1, Config(), {}).kernels, kept.kernels, atol=1e-9)


def test_a_file_that_is_no_journal_is_left_alone(photos: Path, tmp_path: Path) -> None:
    journal = tmp_path / "pool.h5.part"
    journal.write_text("something else\n")
    with pytest.raises(ConfigError, match="not the journal of an estimation"):
        estimate(photos, 1, QUICK, journal=journal, resume=True)
    assert journal.read_text() == "something else\n"


def test_the_limit_is_spread_over_the_photographs(photos: Path) -> None:
    """One window of each photograph comes first; a photograph without a window is replaced by another."""
    estimated = estimate(photos, 1, QUICK.model_copy(update={"max_patches": 3}))
    assert estimated.windows == 3
    assert len({origin.image for origin in estimated.pool.origins}) == 3
    estimated = estimate(photos, 1, QUICK.model_copy(update={"max_patches": 1}))
    assert estimated.windows == 1, "the first photograph is broken, another takes its place"


def test_a_folder_without_texture_is_refused(tmp_path: Path) -> None:
    save_png(tmp_path / "flat.png", torch.full((3, 120, 120), 0.4))
    with pytest.raises(DataError, match=r"no kernel could be estimated.*no texture \(1\)"):
        estimate(tmp_path, 2, QUICK)

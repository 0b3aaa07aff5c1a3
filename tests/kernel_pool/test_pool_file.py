"""Pool files: they are read as they were written, and errors name what is no pool. Pools as models and pictures."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from degsynth.errors import ConfigError, DataError
from degsynth.evaluation.kernel_sets import pool_summary
from degsynth.kernel_pool import analytic, outliers
from degsynth.model import pool_file, pool_model
from degsynth.model.pool_file import Origin, Pool, joined
from degsynth.ops.kernels import centroid, gaussian
from degsynth.reports.pool import draw_pool


def small() -> Pool:
    kernels = torch.stack([gaussian(9, 1.0 + 0.2 * n, 1.0) for n in range(3)])
    origins = [
        Origin("estimated", "übung/a b.png", (1, 2, 30, 40)),
        Origin("estimated", "c.png", (0, 0, 30, 40), "odd width"),
        Origin("generated"),
    ]
    return Pool(kernels, origins, 2, {"seed": 3})


def test_written_and_read(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        pool_file.write(small(), tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    pool = pool_file.read(tmp_path / "a.h5")
    assert torch.equal(pool.kernels, small().kernels)
    assert list(pool.origins) == list(small().origins)
    assert (pool.scale, pool.made_by) == (2, {"seed": 3})
    assert pool.usable() == [0, 2]
    assert pool.counts() == {"estimated": 1, "flagged: odd width": 1, "generated": 1}
    assert not list(tmp_path.glob(".*"))


def test_errors_name_what_is_no_pool(tmp_path: Path) -> None:
    def damaged(name: str, **changes: np.ndarray) -> Path:
        path = tmp_path / name
        pool_file.write(small(), path)
        with h5py.File(path, "r+") as file:
            for key, value in changes.items():
                del file[key]
                file[key] = value
        return path

    kernels = small().kernels.numpy()
    with pytest.raises(DataError, match="kernel 1 has the sum 2"):
        pool_file.read(damaged("sum.h5", kernels=kernels * np.array([1, 2, 1])[:, None, None]))
    with pytest.raises(DataError, match="kernel 0 has the sum nan"):
        pool_file.read(damaged("nan.h5", kernels=np.where(kernels > 0.1, np.nan, kernels)))
    with pytest.raises(DataError, match="odd K"):
        pool_file.read(damaged("even.h5", kernels=kernels[:, :8, :8]))
    with pytest.raises(DataError, match="not as many origins"):
        pool_file.read(damaged("few.h5", kernels=kernels[:2]))
    with pytest.raises(DataError, match="is empty"):
        pool_file.read(damaged("none.h5", kernels=kernels[:0]))
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(DataError, match="cannot be read"):
        pool_file.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kernels"] = kernels
    with pytest.raises(DataError, match="kernel-pool import"):
        pool_file.read(tmp_path / "other.h5")
    with pytest.raises(DataError, match="No such file"):
        pool_file.read(tmp_path / "missing.h5")


def test_pools_are_joined_in_the_larger_window() -> None:
    wide = analytic.gaussians(1.0, 2.0, False, 2, 15, 0)
    both = joined(small(), wide)
    assert both.kernels.shape == (5, 15, 15)
    assert both.scale == 2
    assert torch.allclose(both.kernels.sum((1, 2)), torch.ones(5, dtype=torch.float64))
    with pytest.raises(DataError, match="different grids"):
        joined(small(), Pool(small().kernels, small().origins, 4))


def test_gaussians_are_those_that_were_asked_for() -> None:
    pool = analytic.gaussians(0.8, 2.4, True, 200, 25, 1)
    widths = torch.tensor([outliers.width(kernel) for kernel in pool.kernels])
    assert 0.75 < float(widths.min()) < float(widths.max()) < 2.45
    assert float(pool.kernels.min()) >= 0
    assert max(max(map(abs, centroid(kernel))) for kernel in pool.kernels) < 1e-6
    assert torch.equal(pool.kernels, analytic.gaussians(0.8, 2.4, True, 200, 25, 1).kernels)
    assert not torch.equal(pool.kernels, analytic.gaussians(0.8, 2.4, True, 200, 25, 2).kernels)
    for low, high in ((0.0, 1.0), (2.0, 1.0), (1.0, 9.0)):
        with pytest.raises(ConfigError, match="`gaussian="):
            analytic.gaussians(low, high, True, 2, 25, 0)


def test_the_scale_of_a_pool() -> None:
    of_scale_2, any_scale = small(), analytic.gaussians(1.0, 2.0, False, 2, 15, 0)
    assert [pool_model.scale_of(of_scale_2, asked, "p.h5") for asked in (None, 1, 2)] == [2, 1, 2]
    assert [pool_model.scale_of(any_scale, asked, "p.h5") for asked in (1, 3)] == [1, 3]
    with pytest.raises(ConfigError, match="`scale=4`"):
        pool_model.scale_of(of_scale_2, 4, "p.h5")
    with pytest.raises(ConfigError, match="give `scale`"):
        pool_model.scale_of(any_scale, None, "p.h5")
    flagged = Pool(of_scale_2.kernels[:1], [Origin("estimated", flag="several blobs")], 2)
    with pytest.raises(DataError, match="all 1 kernels are flagged"):
        pool_model.as_degrader(flagged, 2, "p.h5")


def test_unusual_kernels_are_flagged() -> None:
    usual = [gaussian(25, 1.2 + 0.02 * n, 1.3) for n in range(8)]
    blobs = 0.6 * gaussian(25, 1.0, 1.0, 0.0, (0, -5)) + 0.4 * gaussian(25, 1.0, 1.0, 0.0, (0, 6))
    border = 0.9 * gaussian(25, 1.0, 1.0) + 0.1 * gaussian(25, 0.5, 0.5, 0.0, (12, 3))
    wide, narrow = gaussian(25, 5.0, 3.0), gaussian(25, 0.4, 0.4)
    flags = outliers.flags(torch.stack([*usual, blobs, border, wide, narrow]))
    assert flags == [""] * 8 + ["several blobs", "mass at the border", "odd width", "odd width"]


@pytest.mark.parametrize("flagged", [False, True])
def test_picture_and_summary(flagged: bool, tmp_path: Path) -> None:
    pool = small() if flagged else analytic.gaussians(0.8, 2.4, True, 30, 25, 1)
    draw_pool(tmp_path / "pool.png", pool, "a title with $ and _")
    assert (tmp_path / "pool.png").stat().st_size > 10_000
    summary = pool_summary(pool)
    assert summary["kernels"] == len(pool)
    assert summary["sigma_px"]["p10"] <= summary["sigma_px"]["p50"] <= summary["sigma_px"]["p90"]

"""``degsynth kernel-pool``, and a pool as a model, as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.apply.manifest import Manifest
from degsynth.cli import console
from degsynth.cli.kernel_pool import photographs as photographs_command
from degsynth.data import images
from degsynth.kernel_pool.journal import journal_of
from degsynth.model import pool_file
from degsynth.ops.kernels import gaussian
from degsynth.ops.subpixel import suited
from tests.conftest import Run, save_png


@pytest.fixture
def pool(cli: Run, tmp_path: Path) -> Path:
    path = tmp_path / "pool.h5"
    assert cli("kernel-pool", "generate", "--gaussian", "0.8:2.4", "--anisotropic", "-n", 12, "-o", path)[0] == 0
    return path


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    for number, shot in enumerate(photographs):
        save_png(tmp_path / "hr" / f"p{number}.png", shot[:, :97, :120])
    return tmp_path / "hr"


def lr_of(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((out / "lr").iterdir())]


@pytest.mark.slow
def test_photographs_to_a_pool_to_a_data_set(cli: Run, hr: Path, tmp_path: Path, photographs: list[Tensor]) -> None:
    """The three steps one by one, and together: the same estimates."""
    for number, shot in enumerate(photographs[:3]):
        half = F.avg_pool2d(shot[None], 2)[0]
        save_png(tmp_path / "lr" / f"p{number}.png", half[:, :150, :180])
    quick = ["--set", "patch=120", "--set", "patches=2", "--set", "kernel_size=17", "--set", "least_texture=0"]
    small = ["--set", "width=4", "--set", "batch=4", "--set", "critic_steps=1", "--set", "generated=20"]
    estimated, run, made = tmp_path / "estimated.h5", tmp_path / "run", tmp_path / "made.h5"
    code, out, err = cli("kernel-pool", "estimate", tmp_path / "lr", "-o", estimated, "--scale", 2,
                         "--prior", "gradient", *quick, "--json")  # fmt: skip
    assert code == 0, err
    assert "kernels from" in err
    assert json.loads(out)["scale"] == 2
    assert not list(tmp_path.glob("*.part"))
    code, _, err = cli(
        "kernel-pool", "train", estimated, "--out", run, "--steps", 12, *small, "--set", "kernel_size=17"
    )
    assert code == 0, err
    code, _, err = cli("kernel-pool", "generate", run, "-n", 7, "-o", made, "--with", estimated)
    assert code == 0, err
    found = pool_file.read(made)
    assert found.counts()["generated"] == 7
    assert found.counts()["estimated"] == len(pool_file.read(estimated).usable())
    code, _, err = cli("kernel-pool", "generate", tmp_path / "lr", "-n", 7, "-o", tmp_path / "at_once.h5", *quick,
                       *small, "--set", "prior=gradient", "--set", "steps=12")  # fmt: skip
    assert code == 0, err
    again = pool_file.read(tmp_path / "at_once.h5")
    numbers = [n for n, origin in enumerate(again.origins) if origin.source == "estimated"]
    assert torch.equal(again.kernels[numbers], found.kernels[7:])
    code, _, err = cli("apply", made, hr, tmp_path / "set")
    assert code == 0, err
    assert {row.kernel_id for row in Manifest(tmp_path / "set").read()} <= set(range(len(found)))


ESTIMATING = ("--set", "patch=120", "--set", "patches=2", "--set", "kernel_size=17", "--set", "least_texture=0",
              "--set", "prior=gradient")  # fmt: skip


def test_a_budget_ends_with_the_kernels_that_there_are(
    cli: Run, tmp_path: Path, photographs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, shot in enumerate(photographs[:3]):
        save_png(tmp_path / "lr" / f"p{number}.png", F.avg_pool2d(shot[None], 2)[0][:, :150, :180])
    output = tmp_path / "pool.h5"
    command = ["kernel-pool", "generate", tmp_path / "lr", "-n", 7, "-o", output, "--workers", 1, *ESTIMATING]
    monkeypatch.setattr(console, "LOG_INTERVAL_S", 0.0)
    code, _, err = cli(*command, "--minutes", 0.0001)
    assert code == 0, err
    assert "2 of 3 photographs to come, 0.0 min left of --minutes" in err
    assert "5 windows were left when the time was up" in err
    assert "no time to train a generator" in err
    assert "with --resume --overwrite and more --minutes, the same command goes on from there" in err
    assert pool_file.read(output).counts() == {"estimated": 1}
    code, _, err = cli(*command, "--resume", "--overwrite", "--minutes", 0.0002)
    assert code == 0, err
    assert pool_file.read(output).counts() == {"estimated": 2}, "it goes on from the window that it has"
    assert journal_of(output).exists()
    code, _, err = cli(
        "kernel-pool", "estimate", tmp_path / "lr", "-o", output, "--overwrite", "--scale", 2, *ESTIMATING
    )
    assert code == 0, err
    assert not journal_of(output).exists()


def test_budgets_and_steps(cli: Run, tmp_path: Path) -> None:
    """Without a budget the work is limited by steps, so that it is the same on every machine."""
    assert photographs_command.config(None, None).steps == photographs_command.STEPS
    assert photographs_command.config(None, ["steps=12"]).steps == 12
    assert photographs_command.config("paper", None).steps == 125_000
    assert not photographs_command.Budget(None).used_up()
    budget = photographs_command.Budget(1.0)
    assert 35 < (budget.left(0.6) or 0) < (budget.left() or 0) <= 60
    for minutes, said in (
        (0, "--minutes 0: give a number above 0"),
        ("inf", "--minutes inf"),
        ("nan", "--minutes nan"),
    ):
        code, _, err = cli("kernel-pool", "generate", tmp_path, "-o", tmp_path / "new.h5", "--minutes", minutes)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err
    code, _, err = cli("kernel-pool", "generate", "--gaussian", "1:2", "-o", tmp_path / "new.h5", "--minutes", 3)
    assert code == 2
    assert "--minutes goes with LR photographs only" in err


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_kernel_of_the_manifest_is_the_one_applied(scale: int, cli: Run, pool: Path, tmp_path: Path) -> None:
    """A bright point on black, 16 bits: its LR is the kernel that is named, at the centred phase."""
    side = 120
    for y in range(scale):
        point = torch.zeros(1, side, side)
        point[0, 60 + y, 60] = 1.0
        save_png(tmp_path / "points" / f"{y}.png", point, np.uint16)
    assert cli("apply", pool, tmp_path / "points", tmp_path / "out", "--scale", scale)[0] == 0
    kernels = suited(pool_file.read(pool).kernels, scale)
    pad = (kernels.shape[-1] - scale) // 2
    for row in Manifest(tmp_path / "out").read():
        lr = images.to_tensor(images.read(tmp_path / "out" / str(row.lr)).pixels)[0]
        kernel = kernels[int(row.kernel_id or 0)].clamp(min=0.0)
        y = 60 + int(Path(row.source).stem)
        for i in range(side // scale):
            for j in range(side // scale):
                a, b = y - scale * i + pad, 60 - scale * j + pad
                inside = 0 <= a < kernel.shape[0] and 0 <= b < kernel.shape[0]
                assert float(lr[i, j]) == pytest.approx(float(kernel[a, b]) if inside else 0.0, abs=1 / 65535)


def test_bytes_do_not_depend_on_workers_draws_or_resuming(cli: Run, pool: Path, hr: Path, tmp_path: Path) -> None:
    sets = {}
    for name, more in {"one": ["--workers", 1], "many": ["--workers", 4, "--tile", 16]}.items():
        assert cli("apply", pool, hr, tmp_path / name, "--scale", 2, *more)[0] == 0
        sets[name] = lr_of(tmp_path / name)
    assert sets["one"] == sets["many"]
    assert cli("apply", pool, hr, tmp_path / "part", "--scale", 2, "--limit", 2)[0] == 0
    assert cli("apply", pool, hr, tmp_path / "part", "--scale", 2, "--resume")[0] == 0
    assert lr_of(tmp_path / "part") == sets["one"]
    assert cli("apply", pool, hr, tmp_path / "noisy", "--scale", 2, "--awgn", 5, "--draws", 2)[0] == 0
    plain = {row.source: row.kernel_id for row in Manifest(tmp_path / "one").read()}
    noisy = {row.source: row.kernel_id for row in Manifest(tmp_path / "noisy").read() if row.draw == 0}
    assert plain == noisy, "noise does not change the kernel draw"
    assert cli("export", pool, "-o", tmp_path / "pool.pt", "--scale", 2)[0] == 0
    assert cli("apply", tmp_path / "pool.pt", hr, tmp_path / "exported")[0] == 0
    assert lr_of(tmp_path / "exported") == sets["one"]
    assert cli("selftest", tmp_path / "pool.pt")[0] == 0


def test_import_and_show(cli: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "even.npy", gaussian(8, 1.0, 1.0).numpy())
    code, _, err = cli("kernel-pool", "import", tmp_path / "even.npy", "-o", tmp_path / "k.h5")
    assert code == 0
    assert "even size" in err
    code, out, err = cli("kernel-pool", "show", tmp_path / "k.h5", "-o", tmp_path / "k.png", "--json")
    assert code == 0, err
    assert json.loads(out)["counts"] == {"imported": 1}
    assert (tmp_path / "k.png").read_bytes()[1:4] == b"PNG"


def test_a_pool_imported_keeps_its_flags(cli: Run, tmp_path: Path) -> None:
    origins = [pool_file.Origin("estimated", "a.png"), pool_file.Origin("estimated", "b.png", flag="odd width")]
    kernels = torch.stack([gaussian(9, 1.0, 1.0), gaussian(9, 1.5, 1.5)])
    pool_file.write(pool_file.Pool(kernels, origins, 3), tmp_path / "own.h5")
    assert cli("kernel-pool", "import", tmp_path / "own.h5", "-o", tmp_path / "k.h5", "--kernel-size", 11)[0] == 0
    found = pool_file.read(tmp_path / "k.h5")
    assert (list(found.origins), found.scale, found.kernels.shape) == (origins, 3, (2, 11, 11))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["generate", "-o", "x.h5"], "--gaussian LO:HI"),
        (["generate", "--gaussian", "1:2", "-o", "x.png"], "ends in .h5"),
        (["generate", "--gaussian", "1:2", "-o", "x.h5", "--scale", "2"], "--scale goes with LR photographs"),
        (["generate", "--gaussian", "1:2", "-o", "x.h5", "-n", "0"], "-n 0"),
        (["generate", "pool.h5", "-o", "x.h5"], "is a pool already"),
        (["estimate", "missing", "-o", "x.h5", "--scale", "2"], "no such folder"),
        (["estimate", "hr", "-o", "x.h5", "--scale", "0"], "--scale 0"),
        (["estimate", "hr", "-o", "x.h5", "--scale", "2", "--workers", "-1"], "--workers -1"),
        (["estimate", "hr", "-o", "pool.h5", "--scale", "2"], "pool.h5 exists"),
        (["estimate", "hr", "-o", "x.h5", "--scale", "2", "--set", "prio=dark"], "did you mean 'prior'"),
        (["estimate", "hr", "-o", "x.h5", "--scale", "2", "--prior", "dark", "--set", "prior=dark"], "leave one out"),
        (["import", "hr/none", "-o", "x.h5"], "no such file"),
        (["import", "pool.h5", "-o", "x.h5", "--kernel-size", "4"], "--kernel-size 4"),
        (["show", "pool.h5", "-o", "pool.h5"], "ends in .png"),
        (["train", "pool.h5", "--out", "run"], "give --scale"),
    ],
)
def test_bad_usage_is_reported_before_anything_is_written(
    arguments: list[str], what: str, cli: Run, pool: Path, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = cli("kernel-pool", *arguments)
    assert code == 2
    assert out == ""
    assert what in err
    assert len(err.strip().splitlines()) <= 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_scales_that_a_pool_has_not(cli: Run, pool: Path, hr: Path, tmp_path: Path) -> None:
    for scale, what in (("0", "give 1 to"), ("99", "give 1 to")):
        code, _, err = cli("apply", pool, hr, tmp_path / "out", "--scale", scale)
        assert (code, what in err) == (2, True)
    code, _, err = cli("selftest", pool)
    assert (code, "give --scale" in err) == (2, True)
    assert cli("selftest", pool, "--scale", 3)[0] == 0
    assert not (tmp_path / "out").exists()

"""The method of ``examples/new_method.md``, taken from the page as it stands, keeps the contract of methods."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from degsynth import fit, methods
from degsynth.errors import FitError
from degsynth.evaluation import selftest
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.methods.shared.pairs import Paired
from degsynth.model import checkpoint
from degsynth.ops.kernels import centroid, gaussian, similarity
from tests.conftest import Run
from tests.methods import test_contract
from tests.methods.conftest import SharedFits

Folders = Callable[..., tuple[Path, Path]]
PAGE = (Path(__file__).parent.parent / "examples/new_method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module on the page, as a method of the table. TorchScript reads its source from the disk."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "gaussian_of_the_page.py").write_text(BLOCKS[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "page")
    monkeypatch.setitem(methods.METHODS, "gaussian", "gaussian_of_the_page")
    yield importlib.import_module("gaussian_of_the_page")
    del sys.modules["gaussian_of_the_page"]


def test_the_page_has_one_short_file_and_the_line_of_the_table() -> None:
    assert len(BLOCKS) == 1
    assert len(BLOCKS[0].splitlines()) < 100
    assert '"gaussian": "degsynth.methods.gaussian",' in PAGE


@pytest.mark.parametrize("scale", [2, 3])
def test_it_keeps_the_contract(scale: int, module: ModuleType, tmp_path: Path, photographs: list[torch.Tensor]) -> None:
    test_contract.test_config_survives_its_own_toml("gaussian")
    test_contract.test_unknown_option_names_the_nearest("gaussian")
    test_contract.test_fitted_exported_and_proved("gaussian", scale, SharedFits(tmp_path, photographs))


def test_it_learns_from_gray_pairs(module: ModuleType, tmp_path: Path, photographs: list[torch.Tensor]) -> None:
    test_contract.test_gray_pairs("gaussian", tmp_path, photographs)


@pytest.mark.parametrize(("scale", "sigma"), [(1, 0.8), (4, 2.3)])
def test_it_finds_a_known_width(
    scale: int, sigma: float, module: ModuleType, pair_folders: Folders, tmp_path: Path
) -> None:
    truth = gaussian(20 + scale % 2, sigma, sigma)
    hr, lr = pair_folders(truth, scale)
    record = fit.run(fit.FitOptions(method="gaussian", hr=str(hr), lr=str(lr)), {}, tmp_path / "run")
    assert record["report"]["sigma_px"] == pytest.approx(sigma, rel=0.01)
    assert record["warnings"] == []
    kernel = effective_kernel(checkpoint.load(tmp_path / "run/checkpoint.pt")).kernel
    assert similarity(kernel, truth) > 0.999
    assert centroid(kernel) == pytest.approx((0, 0), abs=0.01)


def test_the_same_seed_gives_the_same_file(module: ModuleType, pair_folders: Folders, tmp_path: Path) -> None:
    hr, lr = pair_folders(gaussian(20, 1.0, 1.0), 2, side=180)
    options = fit.FitOptions(method="gaussian", hr=str(hr), lr=str(lr))
    for run in ("first", "second"):
        fit.run(options, {}, tmp_path / run)
        selftest.require(checkpoint.load(tmp_path / run / "checkpoint.pt"))
    first, second = ((tmp_path / run / "checkpoint.pt").read_bytes() for run in ("first", "second"))
    assert first == second


def test_its_warning_and_its_error(module: ModuleType, photographs: list[torch.Tensor]) -> None:
    method = module.Method(module.Config(max_sigma=0.5), 2, 3)
    hr = photographs[0]
    method.prepare(
        Paired([(hr, torch.nn.functional.avg_pool2d(hr, 4).repeat_interleave(2, 1).repeat_interleave(2, 2))], 2, 3)
    )
    assert "`max_sigma=`" in method.warnings()[0]
    with pytest.raises(FitError, match="smaller than the kernel"):
        method.prepare(Paired([(hr[:, :16, :16], hr[:, :8, :8])], 2, 3))


def test_the_command_line_shows_it(module: ModuleType, cli: Run) -> None:
    code, listed, _ = cli("methods")
    assert code == 0
    assert module.__doc__ is not None
    assert module.__doc__.splitlines()[0] in listed
    code, shown, _ = cli("methods", "gaussian")
    assert code == 0
    assert "--set max_sigma=..." in shown
    assert "Largest sigma that is tried, HR px." in shown

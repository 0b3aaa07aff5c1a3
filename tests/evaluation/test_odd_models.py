"""Models whose code fails, or gives what no LR image is: one line that names the model, in every command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from degsynth.config import Interval
from degsynth.model import checkpoint
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import HardwareFactor, Spec
from degsynth.ops.kernels import gaussian
from tests.conftest import Run, write_pairs


class Failing(Optics):
    """Fails with a text that commands the terminal."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        assert hr.shape[0] > 99, "\x1b[2J"
        return hr


class OfOneSize(Optics):
    """Gives images of a size of its own."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return torch.zeros([3])


class NotFinite(Optics):
    """Gives no numbers."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr[:, :, ::2, ::2] * float("nan")


class Black(Optics):
    """Gives black images, which have no kernel."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr[:, :, ::2, ::2] * 0.0


COMMANDS = {
    "picture": ["inspect", "m.pt", "-o", "m.png"],
    "page": ["inspect", "m.pt", "--html", "m.html"],
    "evaluate": ["evaluate", "m.pt", "--hr", "HR", "--lr", "LR"],
    "calibrate": ["calibrate", "m.pt", "--hr", "HR", "--lr", "LR"],
}


@pytest.mark.parametrize("optics", [Failing(), OfOneSize(), NotFinite(), Black()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("case", COMMANDS)
def test_an_odd_model_is_one_line(
    case: str,
    optics: Optics,
    cli: Run,
    photographs: list[Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    factor = HardwareFactor(default=1, trained=1, entry=3, range=Interval(0, 2))  # its code has no such column
    known = {"degsynth_version": "t", "method": "m", "scale": 2, "clean_halo": 0, "halo": 0, "multiple_of": 2}
    spec = Spec(**known, hardware_factor=factor if case == "calibrate" else None)
    checkpoint.write(Degrader(optics, 2), spec, tmp_path / "m.pt")
    write_pairs(tmp_path, photographs[:2], gaussian(6, 0.8, 0.8), 2, side=96)
    code, _, err = cli(*COMMANDS[case])
    if (case, type(optics)) == ("evaluate", Black):  # it can be scored
        assert code == 0
        return
    faults = [line for line in err.splitlines() if line.startswith("degsynth:")]
    assert (code, len(faults)) == (2, 1)
    assert "m.pt" in faults[0] or "finite" in faults[0]
    assert "\x1b[2J" not in err

"""The contract that every method in the table must keep. A new method is tested without a change here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from degsynth import fit, methods
from degsynth.config import build
from degsynth.data import images
from degsynth.errors import ConfigError, FitStoppedError
from degsynth.evaluation import selftest
from degsynth.methods.protocol import Learned, Training
from degsynth.methods.shared.pairs import Paired
from degsynth.model import checkpoint
from degsynth.model.degradation import Degradation
from degsynth.model.render import render
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.seeds import Identity
from tests.conftest import save_png

Folders = Callable[..., tuple[Path, Path]]


def options_for(name: str, hr: Path, lr: Path, scale: int) -> fit.FitOptions:
    """Options for folders of pairs. Unpaired methods get the scale, and do not know that the scenes are the same."""
    data = methods.get(name).Method.data
    return fit.FitOptions(
        method=name,
        hr=None if data == "lr" else str(hr),
        lr=str(lr),
        scale=None if data == "paired" else scale,
    )


FIGURES = {"paired": ("psnr_y", 1), "unpaired": ("spectral_distance", -1), "lr": ("kernel_distance", -1)}
"""The figure by which held-out images are judged, by the data of the method; 1: more is better, −1: less is better."""


@pytest.fixture(params=list(methods.METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_config_survives_its_own_toml(name: str) -> None:
    module = methods.get(name)
    assert "default" in module.PRESETS
    for preset in module.PRESETS.values():
        config = build(module.Config, preset, name)
        assert build(module.Config, config.model_dump(), name) == config
    for field, info in module.Config.model_fields.items():
        assert info.description, f"{name}.{field} has no docstring"


def test_unknown_option_names_the_nearest(name: str) -> None:
    module = methods.get(name)
    known = next(iter(module.Config.model_fields))
    with pytest.raises(ConfigError, match=f"did you mean '{known}'"):
        build(module.Config, {known + "x": 1}, f"method {name}")


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_fitted_exported_and_proved(name: str, scale: int, pair_folders: Folders, tmp_path: Path) -> None:
    """Fit to small pairs: the run directory is complete, the checkpoint passes the self-test, a fit can be repeated."""
    hr, lr = pair_folders(gaussian(10 if scale % 2 == 0 else 11, 0.8, 1.1), scale, side=180)
    options = options_for(name, hr, lr, scale)
    models = []
    for run in ("first", "second") if scale == 2 else ("first",):
        fit.run(options, methods.get(name).QUICK, tmp_path / run)
        assert {"config.toml", "log.jsonl", "fit.json", "checkpoint.pt", "previews"} <= {
            p.name for p in (tmp_path / run).iterdir()
        }
        models.append(checkpoint.load(tmp_path / run / "checkpoint.pt"))
    selftest.require(models[0])
    if models[0].spec.tiling == "exact":
        # They are equal to the last bit, not only as close as the self-test asks for: the size of tiles depends on the
        # memory of the machine, but the files must not.
        shot = images.to_tensor(images.read(next(iter(sorted(lr.iterdir())))).pixels).repeat(1, scale, scale)
        whole, tiled = (render(Degradation(models[0]), shot, Identity(0, "tiles"), tile) for tile in (None, 17))
        assert torch.equal(tiled, whole)
    probe = checkpoint.probe_image(models[0].spec)
    lr_probe = models[0].degrader.degrade(probe, 3)
    assert not lr_probe.requires_grad, "users call .numpy() on it"
    assert torch.equal(lr_probe, models[-1].degrader.degrade(probe, 3))
    assert models[0].spec.held_out is not None
    figure, sign = FIGURES[methods.get(name).Method.data]
    model, bicubic = (models[0].spec.held_out[which][figure] for which in ("model", "bicubic"))
    # The kernel of one held-out photograph of 45 px says little, so for kmsr its own tests have known answers.
    assert math.isfinite(model) if methods.get(name).Method.data == "lr" else sign * model > sign * bicubic


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_gray_pairs(name: str, dtype: str, tmp_path: Path, photographs: list[torch.Tensor]) -> None:
    for number, shot in enumerate(photographs):
        gray = luma(shot)[:, :180, :180]
        lr = blur_decimate(gray[None], gaussian(8, 0.8, 1.1)[None].float(), 2)[0]
        save_png(tmp_path / f"HR/{number}.png", gray, np.dtype(dtype).type)
        save_png(tmp_path / f"LR/{number}.png", lr, np.dtype(dtype).type)
    options = options_for(name, tmp_path / "HR", tmp_path / "LR", 2)
    record = fit.run(options, methods.get(name).QUICK, tmp_path / "run")
    assert (record["channels"], record["dtype"]) == (1, dtype)
    selftest.require(checkpoint.load(tmp_path / "run" / "checkpoint.pt"))


LEARNED = [name for name in methods.METHODS if issubclass(methods.get(name).Config, Training)]
"""Methods that learn by steps."""


@pytest.mark.parametrize("name", [name for name in LEARNED if methods.get(name).Method.data == "paired"])
def test_every_weight_learns(name: str, photographs: list[torch.Tensor]) -> None:
    """Finite gradients reach every parameter, and the loss falls on one batch that is repeated."""
    torch.manual_seed(0)
    module = methods.get(name)
    method = module.Method(build(module.Config, module.QUICK, name), 2, 3)
    assert isinstance(method, Learned)
    hr = torch.stack([shot[:, : method.patch, : method.patch] for shot in photographs[:2]])
    lr = blur_decimate(hr, gaussian(8, 0.7, 1.8)[None].float(), 2)
    method.prepare(Paired([(hr[0], blur_decimate(hr[:1], gaussian(8, 0.7, 0.7)[None].float(), 2)[0])], 2, 3))
    size = torch.tensor([lr.shape[2:]] * 2)
    batch = {"hr": hr, "lr": lr, "origin": torch.zeros(2, 2, dtype=torch.int64), "frame": size}
    history = [method.training_step(batch, step, generator(step)) for step in range(30)]
    for role, part in method.modules.items():
        for parameter, value in part.named_parameters():
            assert value.grad is not None, f"{role}.{parameter} gets no gradient"
            assert bool(torch.isfinite(value.grad).all()), f"{role}.{parameter}"
    first, last = (sum(map(float, terms.values())) for terms in (history[0], history[-1]))
    assert last < 0.9 * first


@pytest.mark.parametrize("name", LEARNED)
def test_stopped_and_resumed_ends_in_the_same_file(name: str, pair_folders: Folders, tmp_path: Path) -> None:
    hr, lr = pair_folders(gaussian(10, 0.8, 1.1), 2, side=180)
    options = options_for(name, hr, lr, 2)
    fit.run(options, methods.get(name).QUICK, tmp_path / "straight")

    @contextlib.contextmanager
    def stop_soon() -> Iterator[Callable[[], bool]]:
        asked = iter([False] * 7 + [True])
        yield lambda: next(asked)

    with pytest.raises(FitStoppedError):
        fit.run(options, methods.get(name).QUICK, tmp_path / "stopped", fit.Events(deferred_stop=stop_soon))
    fit.run(options, methods.get(name).QUICK, tmp_path / "stopped", resume=True)
    straight, stopped = ((tmp_path / run / "checkpoint.pt").read_bytes() for run in ("straight", "stopped"))
    assert straight == stopped

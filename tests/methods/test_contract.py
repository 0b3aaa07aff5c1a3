"""The contract that every method in the table must keep. A new method is tested without a change here."""

from __future__ import annotations

import math
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
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation
from degsynth.model.render import render
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.seeds import Identity
from tests.conftest import checkpoint_contents, write_pairs
from tests.methods.conftest import SharedFits, options_for, stopping_after

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


def test_every_whole_number_has_a_largest_value(name: str) -> None:
    """An option beyond it is a slip of the keyboard, or an attempt to exhaust the memory."""
    config = methods.get(name).Config
    for option, field in config.model_fields.items():
        if field.annotation in (int, int | None):
            with pytest.raises(ConfigError, match=option):
                build(config, {option: 10**12}, name)


def test_unknown_option_names_the_nearest(name: str) -> None:
    module = methods.get(name)
    known = next(iter(module.Config.model_fields))
    with pytest.raises(ConfigError, match=f"did you mean '{known}'"):
        build(module.Config, {known + "x": 1}, f"method {name}")


SCALES = [2, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (1, 3))]  # 4: `test_gray_pairs`


def require_equal_tiles(model: Checkpoint, lr: Path) -> None:
    """They are equal to the last bit, not only as close as the self-test asks for: the size of tiles depends on the
    memory of the machine, but the files must not.
    """
    scale = model.spec.scale
    shot = images.to_tensor(images.read(min(lr.iterdir())).pixels).repeat(1, scale, scale)
    whole, tiled = (render(Degradation(model), shot, Identity(0, "tiles"), tile) for tile in (None, 17))
    assert torch.equal(tiled, whole)


@pytest.mark.parametrize("scale", SCALES)
def test_fitted_exported_and_proved(name: str, scale: int, shared_fits: SharedFits) -> None:
    """Fit to small pairs: the run directory is complete, the checkpoint passes the self-test, and is a good model."""
    run = shared_fits.run(name, scale)
    assert {"config.toml", "log.jsonl", "fit.json", "checkpoint.pt", "previews"} <= {p.name for p in run.iterdir()}
    model = checkpoint.load(run / "checkpoint.pt")
    selftest.require(model)
    if model.spec.tiling == "exact":
        require_equal_tiles(model, Path(shared_fits.options(name, scale).lr))
    assert not model.degrader.degrade(checkpoint.probe_image(model.spec), 3).requires_grad, "users call .numpy() on it"
    assert model.spec.held_out is not None
    figure, sign = FIGURES[methods.get(name).Method.data]
    score, bicubic = (model.spec.held_out[which][figure] for which in ("model", "bicubic"))
    # The kernel of one held-out photograph of 45 px says little, so for kmsr its own tests have known answers.
    assert math.isfinite(score) if methods.get(name).Method.data == "lr" else sign * score > sign * bicubic


LEARNED = [name for name in methods.METHODS if issubclass(methods.get(name).Config, Training)]
"""Methods that learn by steps."""


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name not in LEARNED])
def test_fitted_again_is_the_same_model(name: str, shared_fits: SharedFits, tmp_path: Path) -> None:
    """That learned methods can be repeated is shown where they are resumed."""
    fit.run(shared_fits.options(name, 2), methods.get(name).QUICK, tmp_path / "again")
    first, again = (
        checkpoint_contents(run / "checkpoint.pt") for run in (shared_fits.run(name, 2), tmp_path / "again")
    )
    assert first == again


FEW_STEPS = {"steps": 3, "imitation": 5, "generated": 10}
"""Options with which a fit is even shorter than with `QUICK`, where a method has them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LEARNED)) for name in methods.METHODS]
)
def test_gray_pairs(name: str, tmp_path: Path, photographs: list[torch.Tensor]) -> None:
    """The checkpoint of a fit to gray images of 16 bits, here at scale 4, passes the self-test."""
    module = methods.get(name)
    hr, lr = write_pairs(tmp_path, [luma(shot) for shot in photographs], gaussian(10, 0.8, 1.1), 4, np.uint16, 180)
    few = {option: value for option, value in FEW_STEPS.items() if option in module.Config.model_fields}
    record = fit.run(options_for(name, hr, lr, 4), {**module.QUICK, **few}, tmp_path / "run")
    assert (record["channels"], record["dtype"]) == (1, "uint16")
    model = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    selftest.require(model)
    if model.spec.tiling == "exact":
        require_equal_tiles(model, lr)


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


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_stopped_and_resumed_ends_in_the_same_model(name: str, shared_fits: SharedFits, tmp_path: Path) -> None:
    """As it began anew, too: a fit can be repeated."""
    options, values, run = shared_fits.options(name, 2), methods.get(name).QUICK, tmp_path / "stopped"
    with pytest.raises(FitStoppedError):
        fit.run(options, values, run, stopping_after(7))
    fit.run(options, values, run, resume=True)
    resumed, straight = (checkpoint_contents(path / "checkpoint.pt") for path in (run, shared_fits.run(name, 2)))
    assert resumed == straight

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from degsynth.errors import CheckpointError
from degsynth.evaluation import selftest
from degsynth.methods import linear
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degrader import Degrader
from degsynth.model.spec import Spec
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid, gaussian
from tests.doubles import (
    SABOTAGES,
    PooledOptics,
    SabotagedOptics,
    composed,
    linear_double,
    pool,
    pooled,
    save_double,
    stochastic,
    variant,
)

KINDS = [(make, scale) for make in (linear_double, stochastic, variant, pooled, pool) for scale in (1, 2, 3, 4)]
KINDS += [(composed, 1), (composed, 2)]  # ×2 and ×4 altogether


@pytest.mark.parametrize(("make", "scale"), KINDS)
def test_every_kind_of_degrader_passes(make: Callable[[Path, int], Checkpoint], scale: int, tmp_path: Path) -> None:
    results = selftest.run(make(tmp_path / "model.pt", scale))
    assert not [result for result in results if not result.passed]
    assert len(results) >= 15


def test_declared_shift_and_gain_pass(tmp_path: Path) -> None:
    selftest.require(linear_double(tmp_path / "model.pt", 2, shift=(0.3, -0.2), gain=0.9))


def test_whole_only_is_not_tiled(tmp_path: Path) -> None:
    """A model that needs the whole image passes if it declares that, and fails if it claims exact tiles."""
    optics = PooledOptics(2, 12, whole=True)
    honest = save_double(tmp_path / "a.pt", optics, 2, clean_halo=5, tiling="whole_only")
    selftest.require(honest)
    claims = save_double(tmp_path / "b.pt", optics, 2, clean_halo=5)
    assert [r.name for r in selftest.run(claims) if not r.passed] == ["tiles equal the whole"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return linear_double(tmp_path_factory.mktemp("sound") / "model.pt", 2)


@pytest.mark.parametrize("kind", SABOTAGES)
def test_sabotage_is_caught(kind: str, sound: Checkpoint, tmp_path: Path) -> None:
    noisy = "noise" in kind or "generator" in kind
    inner = linear.LinearOptics(gaussian(12, 1.1, 1.7, 0.5)[None], torch.ones(1), torch.zeros(1), 2)
    model = save_unverified(tmp_path / "model.pt", SabotagedOptics(inner, kind), noisy)
    failed = [result.name for result in selftest.run(model) if not result.passed]
    assert SABOTAGES[kind] in failed
    with pytest.raises(CheckpointError, match="known answers"):
        selftest.require(model)


def save_unverified(path: Path, optics: torch.nn.Module, noisy: bool) -> Checkpoint:
    """As `save_double`, but without the verification of `checkpoint.save`, which unseeded noise would not pass."""
    spec = Spec(
        degsynth_version="test",
        method="double",
        scale=2,
        clean_halo=6,
        noise_halo=0,
        halo=6,
        multiple_of=2,
        stochastic=noisy,
        has_noise=noisy,
        phase=[centroid(gaussian(12, 1.1, 1.7, 0.5))],
    )
    checkpoint.write(Degrader(optics, 2).eval(), spec, path)
    return checkpoint.load(path)


def test_the_untouched_model_passes(sound: Checkpoint, tmp_path: Path) -> None:
    """The wrapper that sabotages does no harm by itself."""
    inner = linear.LinearOptics(gaussian(12, 1.1, 1.7, 0.5)[None], torch.ones(1), torch.zeros(1), 2)
    selftest.require(save_unverified(tmp_path / "model.pt", SabotagedOptics(inner, "nothing"), noisy=False))


def test_every_channel_is_checked(tmp_path: Path) -> None:
    """The kernel of the third channel is half a pixel away from the phase that is declared for all channels."""
    kernels = torch.stack([gaussian(12, 1.1, 1.7, 0.5, (0.5, 0.5) if channel == 2 else (0, 0)) for channel in range(3)])
    optics = linear.LinearOptics(kernels, torch.ones(3), torch.zeros(3), 2)
    wrong = save_double(tmp_path / "a.pt", optics, 2, clean_halo=5, channels=[3])
    assert [r.name for r in selftest.run(wrong) if not r.passed] == ["kernel at the declared phase"]
    declared = [centroid(kernel) for kernel in kernels]
    selftest.require(save_double(tmp_path / "b.pt", optics, 2, clean_halo=5, channels=[3], phase=declared))


@pytest.mark.parametrize(("gain", "size"), [(1.5, 12), (0.5, 12), (1.0, 42)])
def test_strong_gain_and_wide_kernels_are_legitimate(gain: float, size: int, tmp_path: Path) -> None:
    kernel = gaussian(size, size / 8, size / 7)
    optics = linear.LinearOptics(kernel[None], torch.tensor([gain]), torch.tensor([-0.1]), 2)
    model = save_double(tmp_path / "m.pt", optics, 2, clean_halo=half_width(size, 2), gain=[gain], offset=[-0.1])
    assert not [result for result in selftest.run(model) if not result.passed]


def test_a_check_that_raises_has_failed(sound: Checkpoint) -> None:
    broken = Checkpoint(sound.degrader, sound.spec.model_copy(update={"channels": [7]}), sound.sha256, sound.path)
    assert all(result.passed for result in selftest.run(broken))  # this model takes any number of channels
    nothing = Checkpoint(None, sound.spec, sound.sha256, sound.path)
    assert not any(result.passed for result in selftest.run(nothing))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.config import Interval
from degsynth.errors import ConfigError, DataError
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise, ShotRead
from degsynth.model.degrader import Degrader
from degsynth.model.noise_field import NoiseField
from degsynth.model.optics import Optics
from degsynth.model.render import render, render_bands, render_draw
from degsynth.model.spec import Spec
from degsynth.model.tiling import square
from degsynth.ops.noise import block_field
from degsynth.ops.resample import luma
from degsynth.ops.residual_noise import CONTRASTS, LEVELS, ResidualNoise
from degsynth.seeds import Identity
from tests.doubles import StochasticOptics, linear_double, save_double, stochastic


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Scale 2, random kernels and noise."""
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


def test_windows_of_a_noise_field_equal_the_whole_and_blocks_are_drawn_once() -> None:
    drawn: list[tuple[int, int]] = []

    def draw(y: int, x: int, height: int, width: int) -> Tensor:
        drawn.append((y, x))
        return block_field(4, y, x, height, width, 2)

    field, whole = NoiseField(draw, 900, 310), block_field(4, 0, 0, 900, 310, 2)
    for top, bottom in ((0, 120), (100, 300), (280, 600), (599, 900)):
        assert torch.equal(field.window(top, bottom, 0, 310), whole[:, :, top:bottom])
    assert drawn == [(y, x) for y in (0, 256, 512, 768) for x in (0, 256)]
    for top, bottom in ((0, 257), (200, 512), (899, 900)):
        for left, right in ((0, 200), (190, 256), (255, 310)):
            assert torch.equal(field.window(top, bottom, left, right), whole[:, :, top:bottom, left:right])


class Jittery(Optics):
    """Every LR pixel has a random level of its own."""

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        return 1

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return F.avg_pool2d(hr, 2) + 0.01 * field


@pytest.mark.parametrize(("optics", "reads"), [(Jittery(), True), (StochasticOptics(2, 8, noisy=False), False)])
@pytest.mark.parametrize("noise", ["learned", "none", "other"])
def test_numbers_that_nobody_reads_are_not_drawn(
    noise: str, optics: Optics, reads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the noise that stands for what a model leaves out; the LR is the same as with them."""
    degrader, other = Degrader(optics, 2), stochastic(tmp_path / "other.pt", 2)
    sigma = torch.full((LEVELS, CONTRASTS), 0.02).double()
    degrader.add_residual(ResidualNoise(sigma, torch.ones(1, 1).double(), torch.eye(3).double()))
    facts = {"clean_halo": 3, "noise_halo": 8, "halo": 19, "multiple_of": 2, "has_noise": True}
    model = checkpoint.in_memory(degrader, Spec(degsynth_version="test", method="double", scale=2, **facts))
    asked = {"learned": Noise(), "none": Noise(learned=False), "other": Noise(noise_model=other)}[noise]
    hr, identity, windows = torch.rand(3, 80, 60), Identity(3, "a"), list[tuple[int, ...]]()
    drawn = model.degrader.field

    def field(*window: int) -> Tensor:
        windows.append(window)
        return drawn(*window)

    monkeypatch.setattr(model.degrader, "field", field)
    lr = render(Degradation(model, asked), hr, identity)
    assert bool(windows) == (reads or noise == "learned")
    monkeypatch.setattr(Checkpoint, "planes_of_noise_alone", lambda self, channels: 0)
    assert torch.equal(render(Degradation(model, asked), hr, identity), lr)


def test_awgn_is_its_field_times_sigma(tmp_path: Path) -> None:
    """σ is given on the 0–255 scale."""
    model, identity, hr = linear_double(tmp_path / "m.pt", 2), Identity(3, "a"), torch.rand(3, 80, 60)
    without = render(Degradation(model), hr, identity)
    added = render(Degradation(model, Noise(awgn=Interval(7.0, 7.0))), hr, identity) - without
    field = block_field(identity.seed("awgn"), 0, 0, 40, 30, 3)[0]
    assert torch.allclose(added, 7 / 255 * field, atol=1e-6)


def test_the_variance_of_shot_and_read_noise_is_linear_in_the_level(tmp_path: Path) -> None:
    """Stripes of five levels: the variance is A·x + B within 4 of its own standard deviations (variance · √(2 / n)).

    Channels are independent, and the mean stays.
    """
    model, identity = linear_double(tmp_path / "m.pt", 2), Identity(3, "a")
    levels = torch.linspace(0, 1, 5)
    hr = levels.repeat_interleave(120)[None, :, None].expand(3, -1, 600).contiguous()
    shot, read = 0.8, 9.0
    noise = Noise(shot_read=ShotRead(Interval(shot, shot), Interval(read, read)))
    clean = render(Degradation(model), hr, identity)
    added = 255 * (render(Degradation(model, noise), hr, identity) - clean).double()
    for number in range(5):
        inside = slice(60 * number + 10, 60 * number + 50)  # away from its neighbours
        stripe, level = added[:, inside], float(clean[:, inside].mean())
        assert abs(level - number / 4) < 0.02
        count, wanted = stripe.numel(), shot * 255 * min(level, 1.0) + read
        assert abs(float(stripe.var()) - wanted) < 4 * wanted * (2 / count) ** 0.5
        assert abs(float(stripe.mean())) < 4 * (wanted / count) ** 0.5
        assert float((torch.corrcoef(stripe.flatten(1)) - torch.eye(3)).abs().max()) < 4 * (3 / count) ** 0.5


def test_read_noise_alone_is_white_noise_and_intervals_are_drawn(tmp_path: Path) -> None:
    model, hr = linear_double(tmp_path / "m.pt", 2), torch.rand(1, 80, 60)
    clean = render(Degradation(model), hr, Identity(3, "a"))
    noise = Noise(shot_read=ShotRead(Interval(0, 0), Interval(49, 49)))
    field = block_field(Identity(3, "a").seed("shot-read"), 0, 0, 40, 30, 1)[0]
    assert torch.allclose(render(Degradation(model, noise), hr, Identity(3, "a")) - clean, 7 / 255 * field, atol=1e-6)
    noise = Noise(shot_read=ShotRead.parse("0.2:0.6,4:9"))
    drawn = [Degradation(model, noise).draw(Identity(0, f"{n}"), 1, 9, 9).shot_read or (0, 0) for n in range(200)]
    shots, reads = zip(*drawn, strict=True)
    assert 0.2 <= min(shots) < 0.22
    assert 0.58 < max(shots) < 0.6
    assert 4 <= min(reads) < 4.2
    assert 8.8 < max(reads) < 9
    assert abs(float(torch.corrcoef(torch.tensor(drawn).T)[0, 1])) < 0.25


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "give A,B, of which each may be a range LO:HI"),
        ("1,2,3", "give A,B, of which each may be"),
        ("0.1,much", "shot_read=much"),
        ("-0.1,4", "give A and B of at least 0"),
        ("0.5:0.1,4", "LO ≤ HI"),
        ("300,0", "at white, σ is 277, more than 255"),
    ],
)
def test_unusable_shot_and_read_noise(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Noise(shot_read=ShotRead.parse(text))


def test_awgn_of_luma_is_the_same_in_all_channels(tmp_path: Path) -> None:
    model, identity, hr = linear_double(tmp_path / "m.pt", 2), Identity(3, "a"), torch.rand(3, 400, 400)
    without = render(Degradation(model), hr, identity)
    for equal, share in ((True, 1.0), (False, 0.669)):  # √(0.299² + 0.587² + 0.114²)
        noise = Noise(awgn=Interval(7.0, 7.0), awgn_luma=equal)
        added = render(Degradation(model, noise), hr, identity) - without
        assert 255 * float(luma(added).std()) == pytest.approx(7 * share, rel=0.02)
        assert torch.allclose(added[0], added[1], atol=1e-6) == equal


def test_tiles_reach_as_far_as_the_noise(tmp_path: Path) -> None:
    """The kernel reads nothing beyond an LR pixel's own block, the noise reads one LR pixel further."""
    optics, facts = StochasticOptics(2, 2), {"clean_halo": 0, "noise_halo": 1, "stochastic": True, "has_noise": True}
    model = save_double(tmp_path / "m.pt", optics, 2, **facts)
    hr = torch.rand(3, 80, 60)
    whole = render(Degradation(model), hr, Identity(0, "a"))
    assert float((render(Degradation(model), hr, Identity(0, "a"), tile=9) - whole).abs().max()) < 1e-6


class Small:
    """A degrader on a device whose memory holds windows of so many HR px."""

    def __init__(self, degrader: Any, most: int, words: str) -> None:
        self.degrader, self.most, self.words = degrader, most, words
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.degrader, name)

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        self.asked.append(hr.shape[2] * hr.shape[3])
        if self.asked[-1] > self.most:
            raise RuntimeError(f"The following operation failed in the TorchScript interpreter.\n{self.words}")
        return self.degrader.clean(hr, code, field)


@pytest.mark.parametrize(
    "words", ["CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: can't allocate memory"]
)
def test_without_memory_smaller_tiles_are_tried_once(words: str, model: Checkpoint) -> None:
    hr, noise = torch.rand(3, 300, 280), Noise(awgn=Interval(3.0, 3.0))
    whole = render(Degradation(model, noise), hr, Identity(0, "a"))
    most = (2 * (64 + 2 * model.spec.halo)) ** 2
    small = Small(model.degrader, most, words)
    lr = render(Degradation(replace(model, degrader=small), noise), hr, Identity(0, "a"), tile=100)
    assert torch.equal(lr, whole)
    assert sum(asked > most for asked in small.asked) == 1, "it is not tried in vain for every tile"

    hopeless = Small(model.degrader, most // 16, words)
    with pytest.raises(DataError, match="out of memory on cpu with tiles of 50×50 LR px; give less `memory`, or a"):
        render(Degradation(replace(model, degrader=hopeless), noise), hr, Identity(0, "a"), tile=100)
    assert len(hopeless.asked) == 2


def test_the_second_try_is_smaller_than_the_image(model: Checkpoint) -> None:
    """However large the tile was said to be."""
    hr = torch.rand(3, 300, 280)
    whole = render(Degradation(model), hr, Identity(0, "a"))
    small = Small(model.degrader, (2 * (75 + 2 * model.spec.halo)) ** 2, "out of memory")
    degradation = Degradation(replace(model, degrader=small))
    assert torch.equal(render(degradation, hr, Identity(0, "a"), tile=4096), whole)


def test_what_cannot_be_tiled_is_not(model: Checkpoint) -> None:
    spec = model.spec.model_copy(update={"tiling": "whole_only"})
    small = Small(model.degrader, 100, "out of memory")
    with pytest.raises(DataError, match="out of memory on cpu with tiles of 30×40 LR px; the model cannot be tiled"):
        render(Degradation(replace(model, degrader=small, spec=spec)), torch.rand(3, 80, 60), Identity(0, "a"), tile=8)
    assert small.asked == [80 * 60]


def test_other_errors_are_not_taken_for_it(model: Checkpoint) -> None:
    broken = Small(model.degrader, 0, "shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        render(Degradation(replace(model, degrader=broken)), torch.rand(3, 40, 40), Identity(0, "a"))
    assert len(broken.asked) == 1


def test_everything_random_is_drawn_before_anything_is_made(model: Checkpoint) -> None:
    degradation, hr = Degradation(model, Noise(awgn=Interval(2.0, 9.0))), torch.rand(3, 100, 120)
    draw = degradation.draw(Identity(0, "a"), 3, 50, 60)
    assert draw.awgn_sigma == degradation.draw(Identity(0, "a"), 3, 50, 60).awgn_sigma
    tiling = square(32, 2, model.spec.halo, 2)

    def source(top: int, bottom: int, left: int, right: int) -> Tensor:
        return hr[:, top:bottom, left:right]

    bands = list(render_bands(degradation, draw, source, tiling))
    assert [band.shape for band in bands] == [(3, 32, 60), (3, 18, 60)]
    assert torch.equal(torch.cat(bands, 1), render_draw(degradation, draw, hr))
    assert torch.equal(torch.cat(bands, 1), render(degradation, hr, Identity(0, "a")))

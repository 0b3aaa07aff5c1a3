from __future__ import annotations

import pytest
import torch
from torch import nn

from degsynth.model.degrader import Degrader
from degsynth.model.memory import LiveBytes, bytes_per_pixel
from degsynth.model.pool_model import BYTES_PER_PIXEL
from degsynth.model.pool_optics import PoolOptics
from tests.doubles import PoolOptics as Double


def test_what_is_held_counts_and_what_is_not_does_not() -> None:
    with LiveBytes() as live:
        kept = torch.zeros(1000)
        for _ in range(5):
            torch.zeros(500) + 1.0  # two at a time
        assert live.peak == 4 * (1000 + 500 + 500)
        view = kept[10:]
        del kept
        torch.zeros(2000)
    assert live.peak == 4 * (1000 + 2000), "a view holds all of it"
    del view


class Copies(nn.Module):
    """Optics that hold the HR image so many times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def draw(self, seed: int) -> torch.Tensor:
        return torch.zeros(1, 0)

    def field_planes(self, channels: int) -> int:
        return 0

    def clean(self, hr: torch.Tensor, code: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        held = [hr + number for number in range(self.count)]
        return held[0][..., ::2, ::2]

    def noise(self, lr: torch.Tensor, code: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(lr)


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_of_the_image(channels: int) -> None:
    few, many = (bytes_per_pixel(Degrader(Copies(count), 2), 2, channels) for count in (5, 15))
    assert many - few == pytest.approx(10 * 4 * channels, abs=1)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_what_a_pool_says_without_measuring(scale: int) -> None:
    for size in (9, 31):
        optics = PoolOptics(torch.full((3, size, size), size**-2.0), scale)
        assert bytes_per_pixel(Degrader(optics, scale), scale, 3) <= BYTES_PER_PIXEL


def test_it_is_measured_where_it_is_exported(tmp_path) -> None:
    from tests.doubles import save_double

    spec = save_double(tmp_path / "m.pt", Double(2, 12), 2, clean_halo=5, stochastic=True).spec
    assert 12 < spec.bytes_per_pixel < 200

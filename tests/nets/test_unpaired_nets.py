"""The discriminators, and the downsampling network of adl."""

from __future__ import annotations

import pytest
import torch

from degsynth.nets.discriminator import FinePatches, PatchGAN, redraw_weights
from degsynth.nets.downsampler import Downsampler
from degsynth.ops.resample import area


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_published_ones() -> None:
    """adl, Table 4: 0.9 M; the authors' code: 887 683 and 17.4 M weights, 3×3 logits of 64 px."""
    assert count(Downsampler(3, 2, 64, norm=True)) == 887_683
    critic = PatchGAN(3, 64)
    assert 17.3e6 < count(critic) < 17.5e6
    with torch.no_grad():
        assert critic(torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)).shape == (1, 1, 3, 3)


def test_fine_patches_sees_neither_brightness_nor_contrast_nor_hue() -> None:
    torch.manual_seed(0)
    critic = FinePatches(4).eval()
    patch, dither = torch.rand(2, 3, 24, 24), torch.zeros(2, 1, 24, 24)
    with torch.no_grad():
        logits = critic(patch, dither)
        assert logits.shape == (2, 1, 16, 16)
        assert torch.allclose(critic(patch + 0.3, dither), logits, atol=1e-4)
        gray = 0.299 * patch[:, :1] + 0.587 * patch[:, 1:2] + 0.114 * patch[:, 2:]
        assert torch.allclose(critic(gray, dither), logits, atol=1e-4)
        # Not equal because of CONTRAST_FLOOR.
        assert (critic(0.8 * patch, dither) - logits).abs().max() < 0.2 * logits.std()
        assert not torch.allclose(critic(torch.nn.functional.avg_pool2d(patch, 3, 1, 1), dither), logits, atol=1e-2)


def test_drawn_weights_have_the_deviation_asked_for() -> None:
    torch.manual_seed(0)
    network = redraw_weights(Downsampler(3, 2, 64, norm=True), 0.02)
    weights = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    assert all(not bool(p.any()) for p in network.parameters() if p.ndim == 1)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", [True, False])
def test_flat_stays_flat_and_a_silent_network_is_the_mean(scale: int, norm: bool) -> None:
    torch.manual_seed(1)
    network = Downsampler(3, scale, 8, norm)
    with torch.no_grad():
        flat = torch.full((1, 3, 12 * scale, 9 * scale), 0.37)
        assert torch.allclose(network(flat), torch.full((1, 3, 12, 9), 0.37), atol=1e-6)
        network.last.weight.zero_()
        hr = torch.rand(1, 3, 8 * scale, 10 * scale)
        assert torch.allclose(network(hr), area(hr, scale), atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_without_norm_it_reads_no_further_than_its_reach(scale: int) -> None:
    torch.manual_seed(2)
    network = Downsampler(1, scale, 4, norm=False)
    for parameter in network.parameters():
        parameter.data.abs_()  # so that no ReLU hides a pixel that is read
    reach, block = network.reach(), 40
    hr = torch.rand(1, 1, 80 * scale, 80 * scale)
    other = hr.clone()
    first, last = block * scale - reach, (block + 1) * scale + reach
    outside = torch.ones(80 * scale, 80 * scale, dtype=torch.bool)
    outside[max(0, first) : last, max(0, first) : last] = False
    other[0, 0][outside] = 0.1
    with torch.no_grad():
        assert torch.allclose(network(hr)[..., block, block], network(other)[..., block, block], atol=1e-6)
        closer = hr.clone()
        closer[..., last - 1, :] += 0.5
        assert not torch.equal(network(hr)[..., block, block], network(closer)[..., block, block])

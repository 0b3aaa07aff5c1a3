from __future__ import annotations

import pytest
import torch

from degsynth.nets.encoder_decoder import Convolution, EncoderDecoder

SHAPES = {
    "pyramid": ((4, 8, 8), (2, 2, 2), 1, False, 3),
    "paper": ((6, 6), (4, 3), 3, True, 7),
    "one level": ((5,), (3,), 1, False, 3),
    "deep": ((3, 3, 3, 3), (1, 2, 1, 1), 2, True, 1),
}


def build(name: str) -> EncoderDecoder:
    torch.manual_seed(3)
    widths, encoder, decoder, concatenate, last = SHAPES[name]
    return EncoderDecoder(2, 5, widths, encoder, decoder, concatenate, last).double()


def test_the_papers_network_has_its_parameters() -> None:
    """Counted in the authors' layers: 3×3 convolutions of 32 channels, one pooling, 7×7 at the end, M = 8."""
    network = EncoderDecoder(1, 8, (32, 32), (4, 3), 3, concatenate=True, last=7)
    assert sum(p.numel() for p in network.parameters()) == 105_320


@pytest.mark.parametrize("name", list(SHAPES))
def test_reach(name: str) -> None:
    """Pixels further away than `reach` have no influence, whatever the phase of the pooling."""
    network = build(name)
    middle = 4 * (-(-(network.reach + 8) // 8)) * 2
    size = 2 * middle
    x = torch.rand(1, 2, size, size, dtype=torch.float64)
    outermost = 0
    for shift in range(network.multiple_of):
        y = middle + shift
        changed = x.clone()
        changed[:, :, y] += 100.0  # one row
        rows = (network(changed) - network(x)).abs().amax((0, 1, 3)).nonzero().flatten()
        outermost = max(outermost, int((rows - y).abs().max()))
    assert outermost <= network.reach
    assert outermost > network.reach // 2, "the declared reach is far too large"


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_output_moves_with_the_image(name: str) -> None:
    """An image shifted by `multiple_of` gives the shifted output, because pooling falls on the same grid."""
    network = build(name)
    step, size = network.multiple_of, 8 * (network.reach // 8 + 2) * 2
    x = torch.rand(1, 2, size + step, size + step, dtype=torch.float64)
    whole = network(x[:, :, :size, :size])
    moved = network(x[:, :, step:, step:])
    inside = slice(network.reach, size - network.reach - step)
    assert torch.allclose(whole[:, :, step:, step:][:, :, inside, inside], moved[:, :, inside, inside], atol=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_features_below_zero_learn_only_with_a_slope(slope: float) -> None:
    """A feature that is negative for every image has no gradient behind a plain ReLU, so it stays what it is."""
    torch.manual_seed(3)
    network = EncoderDecoder(2, 5, (4, 8, 8), (2, 2, 2), 1, slope=slope)
    for block in (*network.encoders, *network.decoders):
        for layer in block:
            if isinstance(layer, Convolution):
                torch.nn.init.constant_(layer.bias, -10.0)
    network(torch.rand(1, 2, 32, 32)).square().mean().backward()
    gradients = [float(layer.weight.grad.abs().max()) for layer in network.modules() if isinstance(layer, Convolution)]
    assert (min(gradients) > 0) == (slope > 0)


def test_flat_gives_flat() -> None:
    """No border is visible in the output for a flat image, because nothing is padded with zeros."""
    out = build("pyramid")(torch.full((1, 2, 32, 24), 0.3, dtype=torch.float64)).detach()
    assert float((out - out.mean((2, 3), keepdim=True)).abs().max()) < 1e-12

"""The adaptive blurring layer, compared with a slow reference: every Gaussian by itself, then the sum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.nets.adaptive_blur import AdaptiveBlur
from degsynth.ops.gaussian_cells import window_side


def separately(layer: AdaptiveBlur, features: Tensor, factors: list[float]) -> Tensor:
    """Each channel of each item, blurred by each of the Gaussians, weighted and summed."""
    weights = torch.softmax(layer.logits, 1)
    padded = layer.padded(features)
    items = []
    for item, factor in enumerate(factors):
        table = layer.table(torch.tensor([factor]))[0]
        channels = []
        for channel in range(features.shape[1]):
            plane = padded[item : item + 1, channel : channel + 1]
            blurred = [F.conv2d(plane, kernel[None, None], stride=layer.stride) for kernel in table]
            channels.append(sum(w * y for w, y in zip(weights[channel], blurred, strict=True)))
        items.append(torch.cat(channels, 1))
    return torch.cat(items)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(("scale", "stride"), [(1, 1), (2, 2), (3, 3), (4, 4), (2, 1), (4, 1)])
def test_forward_equals_the_sum_of_separate_gaussians(scale: int, stride: int, group: int) -> None:
    torch.manual_seed(0)
    layer = AdaptiveBlur(3, group, window_side(scale), stride)
    features = torch.randn(2, 3, 8 * stride, 6 * stride)
    factors = [0.4, 2.2]
    out = layer(features, torch.tensor(factors))
    assert out.shape == (2, 3, 8, 6)
    assert torch.allclose(out, separately(layer, features, factors), atol=1e-5)


def test_weights_of_a_channel_add_up_to_one() -> None:
    layer = AdaptiveBlur(5, 2, 16, 2)
    torch.nn.init.normal_(layer.logits, std=3.0)
    kernels = layer.kernels(torch.tensor([0.7]))
    assert torch.allclose(kernels.sum((2, 3)), torch.ones(1, 5), atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_learning_gives_the_same_values_and_gradients(stride: int) -> None:
    """Gradients with respect to mixture weights and features, compared with those that torch derives from `forward`."""
    torch.manual_seed(1)
    layer = AdaptiveBlur(3, 1, 16, stride).double()
    features = torch.randn(2, 3, 24, 24, dtype=torch.float64, requires_grad=True)
    factor = torch.tensor([0.8], dtype=torch.float64)
    target = torch.randn(2, 3, 24 // stride, 24 // stride, dtype=torch.float64)
    gradients = []
    for out in (layer.forward_with_fast_gradient(features, factor), layer(features, factor.expand(2))):
        loss = (out - target).abs().mean()
        gradients.append(torch.autograd.grad(loss, [features, layer.logits]))
    for fast, slow in zip(*gradients, strict=True):
        assert torch.allclose(fast, slow, atol=1e-10)

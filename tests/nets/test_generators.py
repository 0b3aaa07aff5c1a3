"""The kernel and noise generators of pdm: sums, centroids and means are right whatever the weights."""

from __future__ import annotations

import pytest
import torch

from degsynth.nets.discriminator import LocalPatchGAN
from degsynth.nets.kernel_generator import KernelGenerator, binomial
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.kernels import centroid


def wild(network: torch.nn.Module, strength: float) -> torch.nn.Module:
    """The network with larger weights than a fit would give it."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(strength * torch.randn(value.shape, generator=rng) / max(1, value[0].numel()) ** 0.5)
    return network


@pytest.mark.parametrize("size", [9, 20, 40])
@pytest.mark.parametrize("signed", [False, True])
def test_kernels_are_centred_and_of_sum_one_whatever_the_weights(size: int, signed: bool) -> None:
    network = wild(KernelGenerator(8, 16, 2, size, signed, neighbours=False), 3.0)
    with torch.no_grad():
        taps = network(torch.randn(50, 8, 1, 1, generator=torch.Generator().manual_seed(1)))[:, 0, 0]
    # As exactly as 32 bits can hold taps: here a kernel may be the difference of two that are 100 times as strong.
    assert bool(((taps.double().sum(1) - 1).abs() < 1e-6 * taps.abs().sum(1)).all())
    assert (float(taps.min()) < 0) == signed
    for kernel in taps.view(-1, size, size):
        assert max(map(abs, centroid(kernel))) < 1e-3
    assert float(taps.std(0).max()) > 1e-4, "all kernels are alike"


def test_the_kernel_is_the_nearest_distribution_with_that_centroid() -> None:
    """The slow reference: minimise the divergence from the softmax under the constraint, with scipy."""
    import numpy as np
    import scipy.optimize

    network = KernelGenerator(4, 4, 0, 7, False, neighbours=False)
    logits = torch.randn(49, generator=torch.Generator().manual_seed(2))
    places = network.softmax.places.double().numpy()
    weights = torch.softmax(8 * torch.tanh(logits.double() / 8), 0).numpy()

    def centre(tilt: np.ndarray) -> np.ndarray:
        tilted = weights * np.exp(places @ tilt)
        middle: np.ndarray = tilted @ places / tilted.sum()
        return middle

    tilt = scipy.optimize.fsolve(centre, np.zeros(2))
    expected = weights * np.exp(places @ tilt)
    assert np.allclose(network.softmax(logits).detach().numpy(), expected / expected.sum(), atol=1e-6)


def test_blobs_far_from_the_middle_are_brought_there() -> None:
    for size in (12, 20, 40):
        network = KernelGenerator(4, 4, 0, size, False, neighbours=False)
        for sigma in (0.8, 1.2, 3.0):
            for away in (0.3, 1.0, 2.0, 3.0):
                at = torch.arange(size) - (size - 1) / 2
                logits = -0.5 * ((at[:, None] - away) ** 2 + (at[None, :] + away) ** 2) / sigma**2
                taps = network.softmax(logits.flatten()).detach().view(size, size)
                assert max(map(abs, centroid(taps))) < 2e-3, (size, sigma, away)


def test_gradients_include_the_tilt() -> None:
    """Compared with finite differences, along a random direction and along the one that only moves the kernel."""
    network = KernelGenerator(4, 4, 0, 9, False, neighbours=False).double()
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(81, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(81, generator=rng, dtype=torch.float64)
    (network.softmax(logits) @ weights).backward()
    assert logits.grad is not None
    for direction in (torch.randn(81, generator=rng, dtype=torch.float64), network.softmax.places[:, 0]):
        step = 1e-4 * direction
        with torch.no_grad():
            there, back = (network.softmax(logits + s * step) @ weights for s in (1, -1))
        assert float(logits.grad @ direction) == pytest.approx(float(there - back) / 2e-4, rel=5e-3, abs=2e-6)


def test_only_neighbours_share_numbers() -> None:
    alone, beside = (KernelGenerator(8, 16, 1, 9, False, neighbours=which) for which in (False, True))
    z = torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(3))
    other = z.clone()
    other[..., 5, 5] += 1
    for network, reach in ((alone, 0), (beside, 1)):
        with torch.no_grad():
            changed = (network(z) != network(other)).any(-1)[0].nonzero()
        assert changed.amin(0).tolist() == [5 - reach] * 2
        assert changed.amax(0).tolist() == [5 + reach] * 2


def test_smoothed_numbers_are_standard_normal_again() -> None:
    assert float(binomial().square().sum()) == pytest.approx(1)
    network = KernelGenerator(8, 16, 1, 9, False, neighbours=True)
    network.begin_smooth()
    z = torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(4))
    weighted = (z * binomial()).sum((2, 3), keepdim=True)
    with torch.no_grad():
        weights = network.first.weight.sum((2, 3), keepdim=True) / binomial().sum()
        expected = torch.nn.functional.conv2d(weighted, weights, network.first.bias)
        assert torch.allclose(network.from_neighbours(z)[..., 1:2, 1:2], expected, atol=1e-5)
        assert torch.allclose(network.middle(z), network(z)[:, 1, 1], atol=1e-6)


def test_kernels_at_the_border_are_drawn_as_elsewhere() -> None:
    """The output of the first layer has the same variance at the border as inside."""
    network = KernelGenerator(8, 16, 1, 9, False, neighbours=True)
    network.begin_smooth()
    z = torch.randn(4000, 8, 5, 5, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        spread = network.from_neighbours(z).std(0).mean(0)
    assert float((spread / spread[2, 2] - 1).abs().max()) < 0.05


@pytest.mark.parametrize("sees", [True, False])
def test_noise_has_no_mean_whatever_the_weights(sees: bool) -> None:
    network = wild(NoiseGenerator(3, 4, 8, 1, sees, True), 2.0)
    lr, z = (torch.rand(1, count, 9, 9, generator=torch.Generator().manual_seed(count)) for count in (3, 4))
    with torch.no_grad():
        noise, opposite = network(lr, z), network(lr, -z)
        assert torch.equal(noise, -opposite)
        assert float(noise.abs().max()) > 0
        assert torch.equal(network(1 - lr, z), noise) != sees


def test_noise_from_the_content_alone_is_not_random() -> None:
    network = wild(NoiseGenerator(1, 4, 8, 1, True, False), 2.0)
    lr = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(lr, torch.zeros(1, 4, 9, 9)), network(lr, torch.ones(1, 4, 9, 9)))
        assert not torch.equal(network(lr, torch.zeros(1, 4, 9, 9)), network(1 - lr, torch.zeros(1, 4, 9, 9)))
        assert float(network(torch.full((1, 1, 9, 9), 0.3), torch.zeros(1, 4, 9, 9)).abs().max()) < 1e-6


def test_a_new_network_makes_no_noise() -> None:
    noise = NoiseGenerator(3, 3, 8, 2, True, True)(torch.rand(1, 3, 8, 8), torch.randn(1, 3, 8, 8))
    assert not bool(noise.any())


def test_local_patch_gan_sees_eleven_pixels() -> None:
    torch.manual_seed(0)
    critic = LocalPatchGAN(3, 4)
    patch = torch.rand(1, 3, 25, 25, requires_grad=True)
    for module in critic.modules():  # with instance norm a logit depends on all pixels
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    critic(patch, torch.zeros(1, 1, 25, 25))[0, 0, 12, 12].backward()
    assert patch.grad is not None
    pixels = patch.grad[0].abs().sum(0).nonzero()
    assert (pixels.amin(0).tolist(), pixels.amax(0).tolist()) == ([7, 7], [17, 17])

"""Kernels estimated from spectra: known kernels are recovered, and families contain what they should."""

from __future__ import annotations

import math

import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops import kernel_families as families
from degsynth.ops.blind_kernel import (
    PLAIN_FAMILIES,
    Estimate,
    Family,
    _Posterior,
    estimate,
    family_hypothesis,
    freed_hypothesis,
    likeliest,
    nearest,
    simplest,
    sum_and_moments,
    tap_prior,
)
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian, gaussian_shape, similarity
from degsynth.ops.resample import bicubic
from degsynth.ops.spectra import Spectra
from tests.ops.test_spectra import scene


@pytest.fixture(scope="module")
def halves() -> tuple[list[Tensor], list[Tensor]]:
    """Return scenes (h, w) for HR and for LR, with the statistics of photographs."""
    return [scene(number, 288) for number in range(16)], [scene(100 + number, 288) for number in range(16)]


SHAPES = [(1.6, 1.6, 0.0), (0.8, 1.6, 0.6), (1.0, 2.4, 2.2)]


def spectra_of(halves: tuple[list[Tensor], list[Tensor]], kernel: Tensor) -> Spectra:
    lr = [blur_decimate(p[None, None], kernel[None].float(), 2)[0, 0] for p in halves[1]]
    return Spectra(halves[0], [(255 * p).round() / 255 for p in lr], 2)


def sampled_disk(size: int, radius: float, fine: int = 16) -> Tensor:
    """Return a centred disk (size, size) of sum 1; each tap is the mean of ``fine`` × ``fine`` points."""
    at = (torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine - size / 2
    disk = (at[:, None] ** 2 + at[None, :] ** 2 <= radius**2).double()
    taps = disk.view(size, fine, size, fine).mean((1, 3))
    return taps / taps.sum()


@pytest.mark.parametrize(
    "shape",
    [(1.0, 1.0, 0.0), *(pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES)],
)
def test_a_gaussian_put_in_comes_out(halves: tuple[list[Tensor], list[Tensor]], shape: tuple[float, ...]) -> None:
    across, along, angle = shape
    kernel = gaussian(20, across, along, angle)
    result = estimate(spectra_of(halves, kernel), "auto", 20)
    assert similarity(result.kernel, kernel) > 0.97
    assert math.hypot(*centroid(result.kernel)) < 1e-3
    assert not result.free
    measured = gaussian_shape(result.kernel)
    assert measured[0] == pytest.approx(along, rel=0.12)
    assert measured[1] == pytest.approx(across, rel=0.12)
    if along > across:
        assert abs((measured[2] - angle + math.pi / 2) % math.pi - math.pi / 2) < math.radians(8)


def test_bicubic_is_told_from_a_box(halves: tuple[list[Tensor], list[Tensor]]) -> None:
    y, x = families.frequencies()
    kernel = families.taps(families.bicubic(y, 2) * families.bicubic(x, 2), 20)
    spectra = spectra_of(halves, kernel)
    usual, box = (likeliest(spectra, family_hypothesis(name, 2, 20)) for name in ("bicubic", "box"))
    assert usual.evidence > box.evidence
    assert similarity(usual.kernel, kernel) > 0.98


HALO = 1.8 * gaussian(20, 1.2, 1.2) - 0.8 * gaussian(20, 2.4, 2.4)
"""A kernel of blur followed by sharpening, as in phones."""


@pytest.mark.slow
def test_a_halo_is_found_in_a_function_of_frequency_and_in_no_plain_family(
    halves: tuple[list[Tensor], list[Tensor]],
) -> None:
    spectra, hypothesis = spectra_of(halves, HALO), family_hypothesis("box", 2, 20)
    result, box = estimate(spectra, "auto", 20), likeliest(spectra, hypothesis)
    assert result.family == "radial"
    assert not box.plausible
    close = nearest(spectra, hypothesis, result, box)
    assert similarity(result.kernel, HALO) > similarity(close.kernel, HALO) + 0.005
    errors = []
    for estimated in (result, close, box):
        computed, expected = (
            blur_decimate(torch.stack(halves[1])[:, None], kernel[None].float(), 2)
            for kernel in (estimated.kernel, HALO)
        )
        errors.append(float((computed - expected).square().mean()))
    assert errors == sorted(errors)


@pytest.mark.slow
def test_taps_leave_the_families_for_a_blur_that_none_holds(halves: tuple[list[Tensor], list[Tensor]]) -> None:
    """The kernel is a cross, which is no ellipse, and whose transfer function depends on direction."""
    kernel = 0.5 * (gaussian(20, 0.7, 2.6) + gaussian(20, 2.6, 0.7))
    spectra = spectra_of(halves, kernel)
    result, box = estimate(spectra, "auto", 20), likeliest(spectra, family_hypothesis("box", 2, 20))
    assert result.free
    assert not box.plausible
    assert similarity(result.kernel, kernel) > max(0.98, similarity(box.kernel, kernel) + 0.02)
    assert float(result.kernel.sum()) == pytest.approx(1, abs=1e-9)
    assert math.hypot(*centroid(result.kernel)) < 1e-6


def test_the_simplest_is_kept_unless_another_is_far_likelier() -> None:
    at = torch.zeros(1, 1)
    first, second, third = (Estimate(at, 0.0, 0.0, evidence, "", True, False) for evidence in (0.0, 5.0, 11.0))
    assert simplest([first, second]) is first
    assert simplest([first, second, third]) is second  # the third beats the first beyond doubt, but not the second


@pytest.mark.slow
def test_defocus_is_told_from_a_gaussian(halves: tuple[list[Tensor], list[Tensor]]) -> None:
    kernel = sampled_disk(20, 2.5)
    result = estimate(spectra_of(halves, kernel), "auto", 20)
    assert result.family == "disk"
    assert similarity(result.kernel, kernel) > 0.99


# --- families -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_box_is_the_mean_of_a_block(scale: int) -> None:
    size = 20 if scale % 2 == 0 else 21
    y, x = families.frequencies()
    computed = families.taps(families.box(y, scale) * families.box(x, scale), size)
    expected = torch.zeros(size, size, dtype=torch.float64)
    first = (size - scale) // 2
    expected[first : first + scale, first : first + scale] = 1 / scale**2
    assert torch.allclose(computed, expected, atol=0.02)
    assert similarity(computed, expected) > 0.995


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_that_of_torch(scale: int) -> None:
    side = 16 * scale
    image = torch.rand(1, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    smooth = torch.nn.functional.avg_pool2d(
        image, 5, 1, 2
    )  # nothing is left above the Nyquist frequency, where the two differ
    y, x = families.frequencies()
    size = 8 * scale if scale % 2 == 0 else 8 * scale + 1
    kernel = families.taps(families.bicubic(y, scale) * families.bicubic(x, scale), size)
    computed = blur_decimate(smooth.float(), kernel[None].float(), scale)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert torch.allclose(computed[inner], bicubic(smooth.float(), scale)[inner], atol=4e-3)


@given(*[st.floats(-3, 3)] * 3)
def test_exponential_of_a_symmetric_matrix(a: float, b: float, c: float) -> None:
    numbers = torch.tensor([a, b, c], dtype=torch.float64)
    expected = torch.matrix_exp(torch.tensor([[a + b, c], [c, a - b]], dtype=torch.float64))
    yy, yx, xx = families.symmetric_exp(*numbers)
    torch.testing.assert_close(torch.stack([yy, yx, yx, xx]), expected.flatten(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [12, 13])
def test_taps_are_the_sum_over_all_frequencies(size: int) -> None:
    y, x = families.frequencies()
    shape = torch.tensor([0.5, 0.3, -0.4], dtype=torch.float64)
    offsets, half = torch.arange(size) - (size - 1) / 2, families.GRID // 2
    whole = torch.arange(1 - half, half).double() / families.GRID  # without Nyquist's frequency
    transfer = families.gaussian(whole[:, None], whole[None, :], shape)
    waves = torch.exp(2j * math.pi * offsets[:, None].double() * whole)
    expected = (waves @ transfer.to(waves.dtype) @ waves.T).real
    torch.testing.assert_close(families.taps(families.gaussian(y, x, shape), size), expected / expected.sum())


@pytest.mark.parametrize("name", ["gaussian", "radial"])
def test_derivatives_column_by_column_are_those_row_by_row(
    name: Family, halves: tuple[list[Tensor], list[Tensor]]
) -> None:
    hypothesis = family_hypothesis(name, 2, 12)
    posterior = _Posterior(spectra_of(halves, gaussian(12, 1.0, 1.0)), hypothesis)
    z = torch.cat([torch.zeros(1, dtype=torch.float64), hypothesis.starts[0]])
    rows = torch.autograd.functional.jacobian(posterior.log_spectrum, z)
    torch.testing.assert_close(posterior._jacobian(z), rows)


@pytest.mark.parametrize("name", PLAIN_FAMILIES)
def test_a_search_turns_back_from_numbers_beyond_all_reason(
    name: Family, halves: tuple[list[Tensor], list[Tensor]]
) -> None:
    posterior = _Posterior(spectra_of(halves, gaussian(12, 1.0, 1.0)), family_hypothesis(name, 2, 12))
    for far in (1e3, -1e3, 1e8):
        z = torch.full((1 + posterior.hypothesis.numbers,), far, dtype=torch.float64, requires_grad=True)
        cost = posterior.cost(z)
        cost.backward()  # type: ignore[no-untyped-call]
        assert z.grad is not None
        assert bool(cost.isfinite())
        assert bool((z.grad * far > 0).all())  # downhill is back


@given(st.floats(0.3, families.MAX_RADIUS), st.floats(0.0, 0.7))
def test_disk_is_an_airy_pattern_of_bessel(radius: float, frequency: float) -> None:
    computed = families.disk(*(torch.tensor(value, dtype=torch.float64) for value in (frequency, radius)))
    x = 2 * math.pi * radius * max(frequency, 1e-9)
    assert float(computed) == pytest.approx(2 * scipy.special.j1(x) / x, abs=1e-12)


@given(st.floats(0.9, 3.0), st.floats(0.9, 3.0), st.floats(0, math.pi), st.sampled_from([20, 21, 26]))
def test_gaussian_from_its_transfer_function(along: float, across: float, angle: float, size: int) -> None:
    """The Gaussian of the matrix exponential is that of `kernels.gaussian`, and `gaussian_shape` recovers its shape."""
    a = math.log(along) + math.log(across)
    half = math.log(across) - math.log(along)  # y is across at angle 0
    shape = torch.tensor([a, half * math.cos(2 * angle), half * math.sin(2 * angle)], dtype=torch.float64)
    y, x = families.frequencies()
    computed = families.taps(families.gaussian(y, x, shape), size)
    expected = gaussian(size, across, along, angle)
    assert torch.allclose(computed, expected, atol=4e-3)
    assert math.hypot(*centroid(computed)) < 1e-6
    long, short, turned = gaussian_shape(expected)
    if size >= 8 * max(along, across):
        assert long == pytest.approx(max(along, across), rel=0.03)
        assert short == pytest.approx(min(along, across), rel=0.03)
        if along > 1.2 * across:
            assert abs((turned - angle + math.pi / 2) % math.pi - math.pi / 2) < 0.05


def test_radial_passes_through_its_knots_and_is_even_and_smooth_at_zero() -> None:
    values = torch.linspace(0.9, 0.0, families.KNOTS - 1, dtype=torch.float64)
    none = torch.zeros(2, dtype=torch.float64)
    at = torch.linspace(0, 0.5, families.KNOTS, dtype=torch.float64)[:-1]
    result = families.radial(torch.zeros_like(at), at, none, values)
    assert torch.allclose(result, torch.cat([torch.ones(1, dtype=torch.float64), values])[:-1], atol=1e-6)
    near = families.radial(torch.zeros(2, dtype=torch.float64), torch.tensor([-1e-3, 1e-3]).double(), none, values)
    assert float(near[0]) == pytest.approx(float(near[1]))
    assert float(near[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", [*PLAIN_FAMILIES, "radial"])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_kernels_of_families_are_centred(name: str, scale: int) -> None:
    hypothesis = family_hypothesis(name, scale, 20 if scale % 2 == 0 else 21)  # type: ignore[arg-type]
    for start in hypothesis.starts:
        kernel = hypothesis.kernel(start)
        assert float(kernel.sum()) == pytest.approx(1)
        assert math.hypot(*centroid(kernel)) < 1e-6
        assert torch.allclose(kernel, kernel.flip(0, 1), atol=1e-9)


def test_freed_taps_keep_sum_and_place_whatever_moves_them(halves: tuple[list[Tensor], list[Tensor]]) -> None:
    spectra = spectra_of(halves, gaussian(20, 1.0, 1.0))
    guess = estimate(spectra, "gaussian", 20)
    hypothesis = freed_hypothesis(guess, 2, 0.3, 1.5)
    z = torch.randn(hypothesis.numbers, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kernel = hypothesis.kernel(z)
    assert not torch.allclose(kernel, guess.kernel, atol=1e-3)
    assert float(kernel.sum()) == pytest.approx(float(guess.kernel.sum()), abs=1e-9)
    assert centroid(kernel) == pytest.approx(centroid(guess.kernel), abs=1e-9)
    # Where taps hardly move, the subtraction that keeps sum and place does not move them either.
    assert float((kernel - guess.kernel)[:2].abs().max()) < 1e-3 * float((kernel - guess.kernel).abs().max())


def test_the_prior_of_taps_is_what_it_says() -> None:
    """The standard deviation of each tap over many random changes is its ``spread``."""
    guess = gaussian(12, 1.2, 1.2)
    spread, tie, back = tap_prior(guess, 2, 0.1, 2.5)
    z = torch.randn(4000, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = spread * (tie @ z @ tie.T)
    assert torch.allclose(moved.std(0), spread, rtol=0.1)
    assert float(spread.max()) == pytest.approx(0.1 * float(guess.max()), rel=0.1)
    rows = sum_and_moments(12)
    assert torch.allclose(rows @ back, torch.eye(3, dtype=torch.float64), atol=1e-9)
    long = tap_prior(gaussian(12, 0.8, 1.6, 0.0), 2, 0.1, 1.5)[0]
    assert float(long[6, 10]) > 3 * float(long[10, 6])  # it reaches as far as the kernel does

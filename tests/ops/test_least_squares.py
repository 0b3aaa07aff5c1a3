from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, gaussian, similarity
from degsynth.ops.least_squares import MID_GRAY, NormalEquations, solve
from degsynth.ops.resample import luma


def gathered(hr: Tensor, lr: Tensor, size: int, scale: int, border: int) -> tuple[Tensor, Tensor]:
    """The slow reference for `NormalEquations.add`: one row of K² values and a one for each LR pixel."""
    pad = half_width(size, scale)
    margin = max(border, -(-pad // scale))
    rows, targets = [], []
    for i in range(margin, lr.shape[0] - margin):
        for j in range(margin, lr.shape[1] - margin):
            y, x = scale * i - pad, scale * j - pad
            window = hr[y : y + size, x : x + size].double().flatten() - MID_GRAY
            rows.append(torch.cat([window, torch.ones(1, dtype=torch.float64)]))
            targets.append(lr[i, j].double() - MID_GRAY)
    u, t = torch.stack(rows), torch.stack(targets)
    return u.T @ u, u.T @ t


@settings(max_examples=40)
@given(
    st.integers(1, 4), st.integers(0, 3), st.integers(8, 14), st.integers(8, 14), st.integers(0, 2), st.integers(0, 99)
)
def test_sums_equal_those_of_rows(scale: int, half: int, height: int, width: int, border: int, seed: int) -> None:
    size = scale + 2 * half
    generator = torch.Generator().manual_seed(seed)
    hr = torch.rand(scale * height, scale * width, generator=generator)
    lr = torch.rand(height, width, generator=generator)
    equations = NormalEquations(size, scale)
    used = equations.add(hr, lr, border)
    gram, moment = gathered(hr, lr, size, scale, border)
    assert used == round(float(gram[-1, -1]))
    assert torch.allclose(equations.gram, gram, atol=1e-10)
    assert torch.allclose(equations.moment, moment, atol=1e-10)


@pytest.mark.parametrize("brightness", [1.0, 0.1, 0.02])
def test_the_ridge_does_not_depend_on_the_brightness(brightness: float, photographs: list[Tensor]) -> None:
    """Dark images (12 bit in 16, night scenes) are regularised as bright ones are."""
    truth = gaussian(12, 0.9, 1.3, 0.4)
    equations = NormalEquations(12, 2)
    for shot in photographs:
        hr = brightness * luma(shot)[0]
        equations.add(hr, blur_decimate(hr[None, None], truth[None].float(), 2)[0, 0])
    assert similarity(solve(equations, 1e-3).kernel, truth) > 0.999


def test_an_image_smaller_than_the_kernel_adds_nothing() -> None:
    equations = NormalEquations(21, 1)
    assert equations.add(torch.rand(20, 40), torch.rand(20, 40)) == 0
    with pytest.raises(ValueError, match="no usable"):
        solve(equations, 0.0)


CASES = [(1, 13), (1, 21), (2, 12), (2, 20), (3, 13), (3, 21), (4, 16), (4, 20)]


@pytest.mark.parametrize(("scale", "size"), CASES)
def test_the_true_kernel_is_recovered(scale: int, size: int, photographs: list[Tensor]) -> None:
    """Float LR and 8-bit LR of four photographs, with a kernel that is sharp enough to be determined and off-centre."""
    truth = gaussian(size, 0.5 * scale + 0.3, 0.8 * scale + 0.3, angle=0.5, shift=(0.3, -0.2))
    for rounded in (False, True):
        equations = NormalEquations(size, scale)
        for shot in photographs:
            hr = luma(shot)[0]
            lr = blur_decimate(hr[None, None], truth[None].float(), scale)[0, 0]
            equations.add(hr, (255 * lr).round() / 255 if rounded else lr)
        solution = solve(equations, 1e-3 if rounded else 1e-8)
        assert similarity(solution.kernel, truth) >= (0.99 if rounded else 0.999)
        assert centroid(solution.kernel) == pytest.approx(centroid(truth), abs=0.02)
        assert float(solution.kernel.sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("fit_gain", [False, True])
@pytest.mark.parametrize("fit_offset", [False, True])
def test_gain_and_offset(fit_gain: bool, fit_offset: bool, photographs: list[Tensor]) -> None:
    truth, gain, offset = gaussian(8, 0.8, 1.0), 0.9, 0.03
    equations = NormalEquations(8, 2)
    for shot in photographs:
        hr = luma(shot)[0]
        lr = blur_decimate(hr[None, None], truth[None].float(), 2)[0, 0]
        equations.add(hr, (gain if fit_gain else 1.0) * lr + (offset if fit_offset else 0.0))
    solution = solve(equations, 1e-9, fit_gain, fit_offset)
    assert solution.gain == pytest.approx(gain if fit_gain else 1.0, abs=1e-3)
    assert solution.offset == pytest.approx(offset if fit_offset else 0.0, abs=1e-3)
    assert similarity(solution.kernel, truth) > 0.999
    assert solution.residual_rms < 1e-4


def test_fixed_gain_and_offset_are_kept_exactly(photographs: list[Tensor]) -> None:
    """An LR of other contrast and level does not affect a solution whose gain and offset are fixed."""
    equations = NormalEquations(6, 2)
    hr = luma(photographs[0])[0]
    equations.add(hr, 0.8 * blur_decimate(hr[None, None], gaussian(6, 1, 1)[None].float(), 2)[0, 0] + 0.1)
    solution = solve(equations, 1e-6)
    assert solution.gain == pytest.approx(1.0, abs=1e-9)
    assert solution.offset == pytest.approx(0.0, abs=1e-9)


def test_flat_images_determine_nothing() -> None:
    equations = NormalEquations(5, 1)
    equations.add(torch.full((40, 40), 0.3), torch.full((40, 40), 0.3))
    with pytest.raises(ValueError, match="texture"):
        solve(equations, 0.0)


def test_unrelated_hr_and_lr_are_an_error() -> None:
    equations = NormalEquations(5, 1)
    generator = torch.Generator().manual_seed(1)
    equations.add(torch.rand(200, 200, generator=generator), torch.full((200, 200), 0.5))
    with pytest.raises(ValueError, match="unrelated"):
        solve(equations, 0.0, fit_gain=True, fit_offset=True)


def test_the_centroid_error_is_the_scatter_of_the_centroid(photographs: list[Tensor]) -> None:
    """White noise on LR: the standard deviation of the centroid over many draws is what the solver reports."""
    hr = luma(photographs[0])[0][:160, :160]
    lr = blur_decimate(hr[None, None], gaussian(8, 1, 1)[None].float(), 2)[0, 0]
    centroids, errors = [], []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        equations = NormalEquations(8, 2)
        equations.add(hr, lr + 0.01 * torch.randn(lr.shape, generator=generator))
        solution = solve(equations, 0.0, fit_gain=True, fit_offset=True)
        centroids.append(centroid(solution.kernel)[0])
        errors.append(solution.centroid_error[0])
    scatter = float(torch.tensor(centroids).std())
    assert scatter == pytest.approx(sum(errors) / len(errors), rel=0.3)

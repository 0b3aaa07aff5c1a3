"""Which parts of an aligned pair show the same: blocks that one kernel explains as well as their contrast allows.

What moved between the two shots, what a nearer object hides in one of them, and what is brighter than white cannot be
explained by any degradation. It would be learnt as blur or as noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray

from degsynth.align.resampling import Picture, block_means, luma_of
from degsynth.methods.shared.pairs import usual_kernel_size
from degsynth.ops.blur import blur_decimate
from degsynth.ops.least_squares import NormalEquations, Solution, solve

SIDE = 16
"""Side of a block, LR px."""
TOLERANCE = 2.5
"""A block is left out where its residual is so many times what is usual at its contrast."""
SATURATED, MOST_SATURATED = 0.985, 0.05
"""Level that counts as white, and the largest share of such pixels in a block."""
BINS = 10
"""Groups of blocks of equal size, by contrast, whose median residual is found."""
TILE = 64
"""Side of the tiles that the kernel is fitted to, LR px."""
ROUNDS = 4
MUCH_WORSE = 2.0
"""Tiles with so many times the median residual are left out of the next fit."""
RIDGE = 1e-3
BORDER = 4
"""LR px that are left out at the edges of parts when the kernel is found."""


def explain(pairs: Sequence[tuple[Picture, Picture]], scale: int) -> Solution | None:
    """Return the kernel (with gain and offset) that explains the luma of LR best; None where nothing determines it.

    It is fitted to tiles, and again without those that it explains much worse than most: they may show something else.
    """
    tiles = [tile for hr, lr in pairs for tile in _tiles(luma_of(hr), luma_of(lr), scale)]
    kept, solution = list(range(len(tiles))), None
    for _ in range(ROUNDS):
        equations = NormalEquations(usual_kernel_size(scale), scale)
        for index in kept:
            equations.add(*tiles[index], BORDER)
        try:
            solution = solve(equations, RIDGE, fit_gain=True, fit_offset=True)
        except ValueError:
            return None
        errors = [float(_left(*tile, scale, solution).square().mean().sqrt()) for tile in tiles]
        usual = float(np.median(errors))
        before, kept = kept, [index for index, error in enumerate(errors) if error <= MUCH_WORSE * usual]
        if kept == before:
            break
    return solution


def _tiles(hr: torch.Tensor, lr: torch.Tensor, scale: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut luma of a pair, (s·h, s·w) and (h, w), into tiles of about `TILE` LR px a side."""
    rows, columns = (np.linspace(0, side, max(1, side // TILE) + 1).astype(int).tolist() for side in lr.shape)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            high = hr[scale * top : scale * bottom, scale * left : scale * right]
            yield high, lr[top:bottom, left:right]


def _left(hr: torch.Tensor, lr: torch.Tensor, scale: int, solution: Solution) -> torch.Tensor:
    """Return what a kernel does not explain of luma (h, w)."""
    seen = blur_decimate(hr[None, None], solution.kernel[None].float(), scale)[0, 0]
    return lr - solution.gain * seen - solution.offset


def good_blocks(pairs: Sequence[tuple[Picture, Picture]], scale: int, solution: Solution) -> list[NDArray[np.bool_]]:
    """Return, for hr (s·h, s·w, C) and lr (h, w, C) of each pair, which blocks (h / SIDE, w / SIDE) show the same.

    The residual of a block grows with its contrast, because a kernel explains edges less well than flat places. A line
    is fitted to the median residuals of groups of blocks of equal contrast, first to the flatter half, and then to all
    that lie near it: what shows something else has much contrast of its own. Blocks far above the line are left out.
    """
    measured = [_measured(hr, lr, scale, solution) for hr, lr in pairs]
    rms, contrast = (np.concatenate([of[index].ravel() for of in measured]) for index in (0, 1))
    good, least = contrast <= np.median(contrast), 0.5 * float(np.percentile(rms, 25))
    usual = 0.0, 0.0
    for _ in range(ROUNDS):
        usual = _line(_middles(rms[good], contrast[good]))
        good = rms < TOLERANCE * np.maximum(np.polyval(usual, contrast), least)
    return [
        (left < TOLERANCE * np.maximum(np.polyval(usual, slope), least)) & (white < MOST_SATURATED)
        for left, slope, white in measured
    ]


def _middles(rms: NDArray[np.float64], contrast: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the median contrast and residual of groups of blocks of equal contrast."""
    ends = np.quantile(contrast, np.linspace(0, 1, BINS + 1))
    groups = [(contrast >= low) & (contrast <= high) for low, high in itertools.pairwise(ends)]
    return [(float(np.median(contrast[group])), float(np.median(rms[group]))) for group in groups if group.any()]


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and offset of a line through points (x, y) by medians (Theil, Sen), which a few do not change."""
    slopes = [(d - b) / (c - a) for (a, b), (c, d) in itertools.combinations(points, 2) if c != a]
    slope = max(0.0, float(np.median(slopes))) if slopes else 0.0
    return slope, float(np.median([y - slope * x for x, y in points]))


def _measured(hr: Picture, lr: Picture, scale: int, solution: Solution) -> tuple[NDArray[np.float64], ...]:
    """Return, for each block: RMS residual of luma, RMS gradient of LR, and share of white pixels."""
    plane = luma_of(lr).numpy()
    left = _left(luma_of(hr), luma_of(lr), scale, solution).numpy()
    down, across = np.gradient(ndi.gaussian_filter(plane, 0.7))
    means = (block_means(of, SIDE) for of in (left**2, down**2 + across**2, (lr.max(2) > SATURATED).astype(float)))
    squares, slopes, white = means
    return np.sqrt(squares), np.sqrt(slopes), white

"""Measure how much of a residual is noise along edges (`degsynth.ops.edge_noise`), and its correlation across them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.ops.edge_noise import ACROSS_REACH, DIRECTIONS, EDGES, along_taps
from degsynth.ops.residual_noise import CONTRASTS, EDGE_KNOTS, no_share, share_at

FAR = (4, 6)
"""Distances along an edge at which pixels are compared, in steps; they are even. There isotropic noise hardly
correlates."""
LEAST_PIXELS = 3_000
"""A knot of the contrast with fewer pixels than this takes the share of its neighbour."""
LARGEST_SHARE = 0.95
"""Largest share of the variance that noise along edges gets."""


@dataclass(frozen=True)
class EdgePixels:
    """What noise along edges is measured in, for one image."""

    residual: Tensor
    """(h, w): luma of the residual."""
    sigma: Tensor
    """(h, w): its standard deviation."""
    column: Tensor
    """(h, w): position in the table of σ by contrast."""
    directions: Tensor
    """(DIRECTIONS, h, w): how much the edges around a pixel run in each direction."""


def measure(images: Sequence[EdgePixels]) -> tuple[Tensor, Tensor]:
    """Return the share (EDGE_KNOTS,) of noise along edges, by contrast, and its correlation across edges.

    For pixels that lie `FAR` apart along an edge of direction j, the model says of the luma r of the residual::

        E r(p) r(p + d)  =  share(p) · σ(p)² · direction_j(p)² · along(d) · across(d)

    So the share is the slope of a linear regression over pixels p, for r/σ. It is found for the pixels near each knot
    of the contrast by themselves. The correlation (ACROSS_REACH + 1,) across edges, at distances from 0 on, is that of
    the same regression over all pixels where d goes to the side, too. There r is not divided by σ, so that strong noise
    counts more.
    """
    units = [image.residual / image.sigma for image in images]
    ones = [torch.ones_like(unit) for unit in units]
    share, known = no_share(), []
    for knot in range(EDGE_KNOTS):
        place = knot * (CONTRASTS - 1) / (EDGE_KNOTS - 1)
        near = [(image.column - place).abs() <= 0.5 * (CONTRASTS - 1) / (EDGE_KNOTS - 1) for image in images]
        if sum(int(some.sum()) for some in near) >= LEAST_PIXELS:
            share[knot] = _slope(images, units, ones, near, 0).clamp(0.0, LARGEST_SHARE)
            known.append(knot)
    for knot in range(EDGE_KNOTS):
        if known and knot not in known:
            share[knot] = share[min(known, key=lambda other: abs(other - knot))]
    residuals = [image.residual for image in images]
    at_edges = [image.sigma * share_at(share, image.column[None, None])[0, 0].sqrt() for image in images]
    everywhere = [torch.ones_like(unit, dtype=torch.bool) for unit in units]
    slopes = [_slope(images, residuals, at_edges, everywhere, side) for side in range(ACROSS_REACH + 1)]
    if float(slopes[0]) <= 0:
        return no_share(), torch.eye(ACROSS_REACH + 1, dtype=torch.float64)[0]
    return share, torch.stack(slopes) / slopes[0]


def _slope(
    images: Sequence[EdgePixels], residuals: list[Tensor], sigmas: list[Tensor], near: list[Tensor], side: int
) -> Tensor:
    """Return the slope of the regression for pixels that are ``side`` px apart across edges, and both ``near``.

    Its unknown is the share where ``sigmas`` are the σ of the residuals; where they are the σ of the noise along edges
    alone, it is the correlation across edges. To the side, only edges along rows and columns are looked at.
    """
    taps = along_taps()
    gram, moment = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for number, (down, right) in enumerate(EDGES[: DIRECTIONS if side == 0 else 2]):
        for far in FAR:
            along = float((taps[far:] * taps[:-far]).sum())
            length = far if down * right == 0 else far // 2  # two steps along a diagonal go one pixel each way
            for sign in (1, -1) if side else (1,):
                lag = length * down + sign * side * right, length * right - sign * side * down
                rows = []
                for image, residual, sigma, some in zip(images, residuals, sigmas, near, strict=True):
                    expected = along**0.5 * sigma * image.directions[number]
                    rows.append(_products(torch.stack([residual, expected]), some, *lag))
                products, expected = torch.cat(rows, 1)
                expected = expected - expected.mean()
                gram += expected @ expected
                moment += expected @ (products - products.mean())
    return moment / gram.clamp(min=1e-12)


def _products(planes: Tensor, near: Tensor, down: int, right: int) -> Tensor:
    """Return the products of planes (N, h, w) at pixels p and p + (down, right) that are both ``near``: (N, pixels)."""
    height, width = near.shape
    if abs(down) >= height or abs(right) >= width:
        return torch.zeros(len(planes), 0, dtype=planes.dtype)
    here = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
    there = slice(max(0, down), height - max(0, -down)), slice(max(0, right), width - max(0, -right))
    both = near[here] & near[there]
    products: Tensor = planes[:, *here][:, both] * planes[:, *there][:, both]
    return products

"""Noise that stands for what a model leaves out: its strength follows the level and the local contrast of the LR.

The model, which `degsynth.ops.residual_measurement` measures in the difference of real and predicted LR::

    noise(c, p)  =  σ(level(p), contrast(p)) · ( √(1 - e(p)) · Σ_d mixing[c, d] · (taps ⋆ white_d)(p)
                                               + √share(contrast(p)) · tint[c] · Σ_j direction_j(p) · edge_j(p) )
    e(p)  =  share(contrast(p)) · Σ_j direction_j(p)²

where the white_d are independent planes of standard normal numbers, the level is the luma of the LR, and the contrast
is the root mean square of its slope around the pixel. The first part is isotropic. The second is noise along edges, see
`degsynth.ops.edge_noise`, to which ``share`` of the variance belongs at a straight edge.

What a model of a camera cannot predict is small in flat places, where it is the noise of the sensor, and several times
larger at edges, where the registration of the pairs and the camera's own processing are to blame. (pdm, Eq. 8, lets a
network find how noise follows the content.) A network for super-resolution that was trained without it amplifies it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.edge_noise import ACROSS_REACH, EDGE_HALO, across_taps, along_edges, double_angle, edge_planes

SURROUNDINGS = (1, 1, 1, 2, 3)
"""The contrast is averaged around a pixel by adding it to itself so many px farther on, once for each of these numbers,
down and to the right. That is nearly a Gaussian with a standard deviation of 2 px, √(Σ stride²/4)."""
SURROUNDINGS_REACH = sum(SURROUNDINGS) // 2
"""Distance at which the average ends, LR px."""
NOISE_HALO = max(SURROUNDINGS_REACH + 1, EDGE_HALO)
"""LR px beyond a pixel that its noise depends on; the slope needs one more pixel than the average."""
SMALLEST_CONTRAST, LARGEST_CONTRAST = 1 / 255, 64 / 255
"""Contrasts between which the knots of the table lie, in [0, 1] levels per LR px."""
LEVELS, CONTRASTS = 9, 13
"""Number of levels, from black to white, and of contrasts at which σ is stored."""
EDGE_KNOTS = 5
"""Number of contrasts, a part of those above, at which the share of noise along edges is stored."""


def no_share() -> Tensor:
    """Return the share of isotropic noise: none of its variance belongs to noise along edges."""
    return torch.zeros(EDGE_KNOTS, dtype=torch.float64)


@dataclass(frozen=True)
class ResidualNoise:
    """Noise whose strength follows level and contrast, of which a part runs along edges.

    The rest is isotropic, and correlated between neighbours and channels.
    """

    sigma: Tensor
    """(LEVELS, CONTRASTS) float64: standard deviation of the luma of the noise."""
    taps: Tensor
    """(K, K) float64: the filter that correlates neighbouring pixels, Σ taps² = 1."""
    mixing: Tensor
    """(C, C) float64: the matrix that mixes the channels; the luma of what it gives has variance 1."""
    share: Tensor = field(default_factory=no_share)
    """(EDGE_KNOTS,) float64: share of the variance at straight edges that belongs to noise along edges, by contrast."""
    across: Tensor = field(default_factory=lambda: across_taps(torch.eye(ACROSS_REACH + 1, dtype=torch.float64)[0]))
    """(2·ACROSS_REACH + 1,) float64: the filter of that noise across an edge, Σ taps² = 1."""
    tint: Tensor = field(default_factory=lambda: torch.ones(1, dtype=torch.float64))
    """(C,) float64: how much of that noise each channel gets, so that its luma has variance 1; or (1,), the same."""


def structure(lr_luma: Tensor) -> Tensor:
    """Return the structure tensor (B, 3, h, w) of luma (B, 1, h, w): Jxx, Jyy and Jxy. It is TorchScript.

    They are the means of the products of the slopes, in levels per px, over the `SURROUNDINGS` of a pixel. At the
    borders the outermost pixels are repeated.
    """
    padded = F.pad(lr_luma, [1, 1, 1, 1], mode="replicate")
    across = 0.5 * (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2])
    down = 0.5 * (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1])
    return averaged(torch.cat([across.square(), down.square(), across * down], 1))


def averaged(planes: Tensor) -> Tensor:
    """Return the mean of planes (B, N, h, w) over the `SURROUNDINGS` of every pixel. It is TorchScript.

    Only additions are needed, so the bits are the same in any window of an image.
    """
    total = F.pad(planes, [4, 4, 4, 4], mode="replicate")  # SURROUNDINGS_REACH
    for stride in [1, 1, 1, 2, 3]:  # SURROUNDINGS
        total = total[:, :, :-stride] + total[:, :, stride:]
    for stride in [1, 1, 1, 2, 3]:
        total = total[:, :, :, :-stride] + total[:, :, :, stride:]
    return total / 1024.0  # two times as many values are added with each stride


def local_contrast(lr_luma: Tensor) -> Tensor:
    """Return the contrast (B, 1, h, w) around every pixel of luma (B, 1, h, w), in levels per px. It is TorchScript.

    It is the root of the mean of the squared slope over the `SURROUNDINGS`.
    """
    return contrast_of(structure(lr_luma))


def contrast_of(tensor: Tensor) -> Tensor:
    """Return the contrast (B, 1, h, w) of a structure tensor (B, 3, h, w): the root of its trace. It is TorchScript."""
    return (tensor[:, :1] + tensor[:, 1:2]).sqrt()


def table_position(
    lr_luma: Tensor,
    contrast: Tensor,
    levels: int = LEVELS,
    contrasts: int = CONTRASTS,
    smallest: float = SMALLEST_CONTRAST,
    largest: float = LARGEST_CONTRAST,
) -> tuple[Tensor, Tensor]:
    """Return where in the table of σ a level and a contrast lie: row and column, from 0 on. It is TorchScript.

    Rows are linear in the level, columns in the fourth root of the contrast. Roots are rounded correctly, so they do
    not depend on the size of the tile, as the last digit of a logarithm does. The defaults are not meant to be changed:
    TorchScript cannot read the constants of a module, but it can read defaults.
    """
    row = lr_luma.clamp(0.0, 1.0) * (levels - 1)
    first, last = smallest**0.25, largest**0.25
    root = contrast.clamp(smallest, largest).sqrt().sqrt()
    return row, ((root - first) * ((contrasts - 1) / (last - first))).clamp(0.0, contrasts - 1.0)


def contrast_knots() -> Tensor:
    """Return the contrasts (CONTRASTS,) float64 at which σ is stored, see `table_position`."""
    return torch.linspace(SMALLEST_CONTRAST**0.25, LARGEST_CONTRAST**0.25, CONTRASTS, dtype=torch.float64) ** 4


def sigma_at(sigma: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return the table (L, K) at positions (row, column) of any shape by bilinear interpolation. It is TorchScript.

    The table is sampled as an image, whose corners are at -1 and 1. (A table with finer steps, from which the nearest
    is taken, is quicker, but where an LR differs by its rounding alone its noise would differ by a whole step.)
    """
    x, y = column * (2.0 / (sigma.shape[1] - 1)) - 1.0, row * (2.0 / (sigma.shape[0] - 1)) - 1.0
    place = torch.stack([x, y], -1).view(1, 1, -1, 2)
    return F.grid_sample(sigma[None, None], place, mode="bilinear", padding_mode="border", align_corners=True).view_as(
        row
    )


def share_at(share: Tensor, column: Tensor, contrasts: int = CONTRASTS) -> Tensor:
    """Return the share (EDGE_KNOTS,) at columns (B, 1, h, w) of the table of σ. It is TorchScript.

    Between two knots it is linear: the sum of a ramp for each interval, which is quicker than looking it up.
    """
    intervals = share.shape[0] - 1
    place = column * (intervals / (contrasts - 1))
    result = share[0].expand_as(column)
    for interval in range(intervals):
        result = torch.addcmul(result, (place - interval).clamp(0.0, 1.0), share[interval + 1] - share[interval])
    return result.clamp(min=0.0)  # rounding may leave less than 0, whose root is taken


def edge_part(
    tensor: Tensor, column: Tensor, white: Tensor, share: Tensor, across: Tensor, powers: Tensor
) -> tuple[Tensor, Tensor]:
    """Return noise along edges, and the amplitude that is left for isotropic noise: both (B, 1, h, w). TorchScript.

    ``tensor`` (B, 3, h, w) is the structure tensor, ``column`` (B, 1, h, w) the place in the table of σ by contrast,
    and ``white`` (B, WHITE_PLANES, h, w) are standard normal numbers. ``across`` are the taps across edges and
    ``powers`` their `tap_powers`. The sum of the squares of both amplitudes is 1.
    """
    angle, at_edges = double_angle(tensor), share_at(share, column)
    edges = along_edges(angle, edge_planes(white, across, powers))
    rest = (1.0 - at_edges * angle.square().sum(1, keepdim=True)).clamp(min=0.0)
    return at_edges.sqrt() * edges, rest.sqrt()

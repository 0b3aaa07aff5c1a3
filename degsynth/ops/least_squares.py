"""One blur kernel from HR-LR pairs in closed form (adl, Eq. 6), with normal equations that are summed fast and exactly.

The model of one plane, K×K taps ``k``, scale ``s``, half-width ``p = (K − s) / 2`` (centred phase, see `ops.blur`)::

    lr[i, j]  =  Σ_ab  k[a, b] · hr[s·i + a − p, s·j + b − p]  +  offset

Stack the K² HR values that LR pixel (i, j) depends on into a row ``u``. Least squares needs ``A = Σ uᵀu`` and
``b = Σ uᵀ lr`` over all LR pixels whose window lies inside the image. Forming ``A`` row by row costs 2·N·K⁴ operations,
1.4·10¹² for 36 planes of 720×720 at scale 2. But ``A`` has structure. Write a tap as ``a = s·q + φ`` and split HR into
its s² phases ``z_φ[i] = hr[s·i + φ − p]``; then (one axis shown)::

    A[(q, φ), (q', φ')]  =  Σ_i z_φ[i + q] · z_φ'[i + q']

If the sum were over *all* integers i of the phases extended by zeros, it would depend on q' − q only: it would be a
correlation, which FFTs compute. Compared with ``A`` it contains too many windows, those that hang over the edge. They
are few, and are subtracted again, exactly.

Everything is float64: with natural images the condition number of ``A`` is 10⁶ to 10⁹, and float32 gives useless taps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from scipy.linalg.lapack import dpocon
from torch import Tensor

from degsynth.ops.blur import half_width
from degsynth.ops.kernels import tap_offsets

MID_GRAY = 0.5
"""This value is subtracted from all levels: the sums get smaller, and so do their rounding errors."""
SINGULAR = 1e-14
"""Normal equations of which the condition number is above 1 / this are singular but for rounding errors."""


def _windows(z: Tensor, rows: int, columns: int) -> Tensor:
    """Return all windows of the planes z (P, H, W) as the rows of a matrix (positions, rows·columns·P).

    A window has ``rows`` × ``columns`` pixels of every plane.
    """
    unfolded = z.unfold(1, rows, 1).unfold(2, columns, 1)  # (P, y, x, rows, columns)
    return unfolded.permute(1, 2, 3, 4, 0).reshape(-1, rows * columns * z.shape[0])


def _subtract_overhanging(gram: Tensor, z: Tensor) -> None:
    """Subtract the windows that hang over the edge of z (P, H, W) from gram (Q, Q, P, Q, Q, P), in place.

    A window whose first t rows lie above the image has row t + y on row y of the image, so with the products R of all
    pairs of rows of the image at its upper edge, the part of ``gram`` that belongs to two rows a and b of windows is::

        R[a − 1, b − 1] + R[a − 2, b − 2] + …  =  C[a − 1, b − 1],     C[y, y'] = R[y, y'] + C[y − 1, y' − 1]

    It is the same at the lower edge, with rows counted from below, and for columns at the other two edges. There, only
    windows count that have all their rows in the image, as the others have been subtracted already.
    """
    size, planes = gram.shape[0], z.shape[0]
    edge = size - 1
    if edge == 0:
        return
    wide = torch.nn.functional.pad(z, (edge, edge))
    for strip, first in ((wide[:, :edge], True), (wide[:, -edge:], False)):
        u = _windows(strip, edge, size)
        products = (u.T @ u).view(edge, size, planes, edge, size, planes)
        _subtract_diagonal_sums(gram, products, first)
    for strip, first in ((z[:, :, :edge], True), (z[:, :, -edge:], False)):
        u = _windows(strip, size, edge)
        products = (u.T @ u).view(size, edge, planes, size, edge, planes)
        _subtract_diagonal_sums(gram.transpose(0, 1).transpose(3, 4), products.transpose(0, 1).transpose(3, 4), first)


def _subtract_diagonal_sums(gram: Tensor, products: Tensor, first: bool) -> None:
    """Subtract the sums along diagonals of products (Q − 1, …, Q − 1, …) from gram (Q, …, Q, …): axes 0 and 3.

    ``first``: the products are those of the first lines of the image, else of its last ones. They are overwritten.
    """
    edge = len(products)
    if first:
        for line in range(1, edge):
            products[line, :, :, 1:] += products[line - 1, :, :, :-1]
        gram[1:, :, :, 1:] -= products
    else:
        for line in reversed(range(edge - 1)):
            products[line, :, :, :-1] += products[line + 1, :, :, 1:]
        gram[:-1, :, :, :-1] -= products


class NormalEquations:
    """The sums that determine the least-squares kernel, over any number of planes.

    The unknowns are the K² taps, row by row, then the offset (both for levels minus `MID_GRAY`).
    """

    def __init__(self, kernel_size: int, scale: int) -> None:
        self.kernel_size, self.scale = kernel_size, scale
        self.half_width = half_width(kernel_size, scale)
        unknowns = kernel_size**2 + 1
        self.gram = torch.zeros(unknowns, unknowns, dtype=torch.float64)
        self.moment = torch.zeros(unknowns, dtype=torch.float64)
        self.energy = 0.0
        self.count = 0

    def add(self, hr: Tensor, lr: Tensor, border: int = 0) -> int:
        """Add one plane, hr (s·h, s·w) and lr (h, w) in [0, 1], and return how many of its LR pixels were used.

        At least ``border`` LR px are left out at each edge. The result is 0 where the image is smaller than the kernel.
        """
        size, scale = self.kernel_size, self.scale
        margin = max(border, -(-self.half_width // scale))
        height, width = lr.shape[0] - 2 * margin, lr.shape[1] - 2 * margin
        if height < 1 or width < 1:
            return 0
        y = lr[margin : margin + height, margin : margin + width].double() - MID_GRAY
        # x is HR from the first tap of the first window on; phases have q_count − 1 more samples than there are LR px.
        q_count = -(-size // scale)
        start = scale * margin - self.half_width
        x = torch.zeros(scale * (height + q_count - 1), scale * (width + q_count - 1), dtype=torch.float64)
        used = hr[start : start + scale * (height - 1) + size, start : start + scale * (width - 1) + size]
        x[: used.shape[0], : used.shape[1]] = used.double() - MID_GRAY
        z = (
            x.view(height + q_count - 1, scale, width + q_count - 1, scale)
            .permute(1, 3, 0, 2)
            .reshape(scale**2, height + q_count - 1, width + q_count - 1)
        )
        taps_gram, taps_moment, taps_sum = self._correlations(z, y, q_count)
        self.gram[:-1, :-1] += taps_gram
        self.gram[:-1, -1] += taps_sum
        self.gram[-1, :-1] += taps_sum
        self.gram[-1, -1] += y.numel()
        self.moment[:-1] += taps_moment
        self.moment[-1] += y.sum()
        self.energy += float((y**2).sum())
        self.count += y.numel()
        return y.numel()

    def _correlations(self, z: Tensor, y: Tensor, q_count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the parts of A and b for one plane that belong to taps: (K², K²), (K²,), and the sums of u, (K²,).

        z (P, h + Q − 1, w + Q − 1) are the phases of HR; y (h, w) is LR; Q is ``q_count``.
        """
        phases = z.shape[0]
        shape = [next_fast_len(n + q_count - 1, real=True) for n in z.shape[1:]]
        spectra = torch.fft.rfft2(z, s=shape)

        # Σ_i z_φ[i + q] y[i] and Σ_i z_φ[i + q]: y and the ones end where the windows end, so both sums are exact.
        targets = torch.fft.rfft2(torch.stack([y, torch.ones_like(y)]), s=shape)
        against = torch.fft.irfft2(targets.conj()[:, None] * spectra[None], s=shape)[..., :q_count, :q_count]
        moment, total = against.permute(0, 2, 3, 1)  # each (Q, Q, P)

        # R[φ, φ', δ] = Σ_j z_φ[j] z_φ'[j + δ], then A[(q, φ), (q', φ')] = R[φ, φ', q' − q].
        q = torch.arange(q_count)
        lag = q[None, :] - q[:, None]  # negative lags sit at the end of the inverse transform, where they index to
        gram = torch.empty(q_count, q_count, phases, q_count, q_count, phases, dtype=torch.float64)
        for phase in range(phases):
            lags = torch.fft.irfft2(spectra[phase].conj()[None] * spectra, s=shape)  # (P, Y, X)
            both = lags[:, lag[:, None, :, None], lag[None, :, None, :]]  # (P, Qy, Qx, Qy', Qx')
            gram[:, :, phase] = both.permute(1, 2, 3, 4, 0)
        _subtract_overhanging(gram, z)

        return self._to_taps(self._to_taps(gram, 3), 0), self._to_taps(moment, 0), self._to_taps(total, 0)

    def _to_taps(self, t: Tensor, axis: int) -> Tensor:
        """Replace the axes (Qy, Qx, φ) of t, which begin at ``axis``, by one axis of the K² taps, row by row.

        Tap a is s·q + φ. Where K is no multiple of s, there are (q, φ) beyond the kernel, which are dropped.
        """
        phases = (*t.shape[: axis + 2], self.scale, self.scale, *t.shape[axis + 3 :])
        t = t.reshape(phases).movedim(axis + 2, axis + 1)  # (.., Qy, φy, Qx, φx, ..)
        t = t.flatten(axis + 2, axis + 3).flatten(axis, axis + 1)  # (.., s·Q, s·Q, ..)
        t = t.narrow(axis, 0, self.kernel_size).narrow(axis + 1, 0, self.kernel_size)
        return t.flatten(axis, axis + 1)


@dataclass(frozen=True)
class Solution:
    """A least-squares kernel: ``lr ≈ gain · (kernel ⋆ hr) + offset``."""

    kernel: Tensor
    """(K, K) float64, sum 1."""
    gain: float
    """The contrast of LR relative to the blurred HR."""
    offset: float
    """The level, in [0, 1] levels, that is added to the blurred HR."""
    condition: float
    """Condition number of the normal matrix of the taps, with the ridge: in the 1-norm, as LAPACK estimates it."""
    residual_rms: float
    """Standard deviation of the residual in [0, 1] levels, corrected for the degrees of freedom of the taps."""
    centroid_error: tuple[float, float]
    """Standard error of the kernel's centroid (y, x), HR px, if the residual is white noise."""


def solve(equations: NormalEquations, ridge: float, fit_gain: bool = False, fit_offset: bool = False) -> Solution:
    """Minimise ``Σ (lr − gain·kernel⋆hr − offset)² + ridge · N · variance(hr) · Σ taps²``, where taps = gain·kernel.

    Without ``fit_gain`` the taps are constrained to sum 1, without ``fit_offset`` the offset to 0, both exactly
    (Lagrange multipliers), not by rescaling afterwards. Raises ValueError where the images do not determine a kernel.
    """
    size, taps = equations.kernel_size, equations.kernel_size**2
    normal = _with_ridge(equations, ridge)
    factor, condition = _factor(normal[:-1, :-1])
    unknowns = _minimise(equations, normal, fit_gain, fit_offset)
    scaled, level_offset = unknowns[:taps], float(unknowns[taps])
    gain = float(scaled.sum())
    if not math.isfinite(gain) or abs(gain) < 1e-3:
        raise ValueError(f"the fitted kernel sums to {gain:.3g}: HR and LR are unrelated")
    # The taps have the covariance σ²·A⁻¹ (σ: residual); the centroid is oᵀ·taps, where o are the taps' offsets.
    at = tap_offsets(size)
    offsets = torch.stack(torch.meshgrid(at, at, indexing="ij")).flatten(1).T
    spread = (offsets * torch.cholesky_solve(offsets, factor)).sum(0).clamp(min=0.0).sqrt() / abs(gain)
    residual = equations.energy - 2 * float(unknowns @ equations.moment) + float(unknowns @ equations.gram @ unknowns)
    residual_rms = math.sqrt(max(residual, 0.0) / max(equations.count - taps, 1))
    return Solution(
        kernel=(scaled / gain).view(size, size),
        gain=gain,
        offset=level_offset - MID_GRAY * (gain - 1.0),
        condition=condition,
        residual_rms=residual_rms,
        centroid_error=(residual_rms * float(spread[0]), residual_rms * float(spread[1])),
    )


def _with_ridge(equations: NormalEquations, ridge: float) -> Tensor:
    """Return the normal matrix (K² + 1, K² + 1) with the ridge added; ValueError where there is nothing in it."""
    normal = equations.gram.clone()
    if equations.count == 0 or not bool(torch.isfinite(normal).all()):
        raise ValueError("no usable pixel: all lie too near the border, or some values are not finite")
    # Mean over the taps of the variance of the levels they multiply, times the number of pixels. Unlike the mean power
    # it does not depend on the brightness.
    variance = equations.gram.diagonal()[:-1] - equations.gram[:-1, -1] ** 2 / equations.count
    weight = ridge * float(variance.clamp(min=0.0).mean())
    normal.diagonal()[:-1] += weight
    return normal


def _factor(matrix: Tensor) -> tuple[Tensor, float]:
    """Return the Cholesky factor of a normal matrix, and its condition number; ValueError where it is singular.

    All eigenvalues of the matrix of a kernel of 42×42 would take longer than everything else.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    reciprocal = 0.0
    if int(failed) == 0:
        reciprocal, _ = dpocon(factor.numpy(), float(matrix.abs().sum(0).max()), uplo="L")
    if reciprocal <= SINGULAR:
        raise ValueError("the images have too little texture to determine a kernel (singular normal equations)")
    return factor, 1 / reciprocal


def _minimise(equations: NormalEquations, normal: Tensor, fit_gain: bool, fit_offset: bool) -> Tensor:
    """Return the K² taps and the offset o' (K² + 1,) that minimise the sum of squares under the constraints.

    With levels minus the mid-gray m the model is lr − m = c⋆(hr − m) + o', where c = gain·kernel and
    o' = offset + m·(gain − 1). The constraints are::

        gain 1:            Σc = 1
        offset 0:          o' = m·(Σc − 1)
    """
    taps = equations.kernel_size**2
    rows, values = [], []
    ones = torch.cat([torch.ones(taps, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    level = torch.zeros(taps + 1, dtype=torch.float64)
    level[-1] = 1.0
    if not fit_gain:
        rows.append(ones)
        values.append(1.0)
    if not fit_offset:
        rows.append(level - MID_GRAY * ones)
        values.append(-MID_GRAY)
    matrix, right = normal, equations.moment
    if rows:
        constraints = torch.stack(rows)
        corner = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        matrix = torch.cat([torch.cat([normal, constraints.T], 1), torch.cat([constraints, corner], 1)], 0)
        right = torch.cat([right, torch.tensor(values, dtype=torch.float64)])
    # The constraints are of order 1, the normal equations of order 10⁶: both are brought to order 1 before solving.
    unit = torch.ones(len(right), dtype=torch.float64)
    unit[: taps + 1] = normal.diagonal().clamp(min=1e-300).rsqrt()
    solution: Tensor = unit * torch.linalg.solve(matrix * unit[:, None] * unit[None, :], right * unit)
    return solution[: taps + 1]

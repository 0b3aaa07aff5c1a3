"""One blur kernel from HR-LR pairs in closed form (adl, Eq. 6), with the normal equations gathered fast and exactly.

The model of one plane, K×K taps ``k``, scale ``s``, half-width ``p = (K − s) / 2`` (centred phase, see `ops.blur`)::

    lr[i, j]  =  Σ_ab  k[a, b] · hr[s·i + a − p, s·j + b − p]  +  offset

Stack the K² HR values seen by LR pixel (i, j) into a row ``u``. Least squares needs ``A = Σ uᵀu`` and ``b = Σ uᵀ lr``
over all LR pixels whose window lies inside the image. Forming ``A`` row by row costs 2·N·K⁴ operations, 1.4·10¹² for
36 planes of 720×720 at scale 2. It has structure, though. Write a tap as ``a = s·q + φ`` and split HR into its s²
phases ``z_φ[i] = hr[s·i + φ − p]``; then (one axis shown)::

    A[(q, φ), (q', φ')]  =  Σ_i z_φ[i + q] · z_φ'[i + q']

Were the sum over *all* integers i of the zero-extended phases, it would depend on q' − q only, and be a correlation,
which FFTs give. The surplus is the windows that hang over the edge. They are few, and are subtracted again, exactly.

Everything is float64: with natural images the condition number of ``A`` is 10⁶ to 10⁹, and float32 gives useless taps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from degsynth.ops.blur import half_width

MID_GRAY = 0.5
"""Levels are taken about this value: smaller numbers in the sums, and so smaller errors of rounding."""


def _windows(z: Tensor, rows: int, columns: int) -> Tensor:
    """All ``rows`` × ``columns`` windows of the planes z (P, H, W) as rows of a matrix (positions, rows·columns·P)."""
    unfolded = z.unfold(1, rows, 1).unfold(2, columns, 1)  # (P, y, x, rows, columns)
    return unfolded.permute(1, 2, 3, 4, 0).reshape(-1, rows * columns * z.shape[0])


def _subtract_overhanging(gram: Tensor, z: Tensor) -> None:
    """Take the windows that hang over the edge of z (P, H, W) out of gram (Q, Q, P, Q, Q, P), in place."""
    size = gram.shape[0]
    height, width = z.shape[1], z.shape[2]
    wide = torch.nn.functional.pad(z, (size - 1, size - 1))
    for inside in range(1, size):  # rows of the window that still lie in the image
        for strip, rows in (
            (wide[:, :inside], slice(size - inside, size)),  # over the top: its last rows are in
            (wide[:, height - inside :], slice(0, inside)),  # over the bottom: its first
        ):
            u = _windows(strip, inside, size)
            gram[rows, :, :, rows] -= (u.T @ u).view(inside, size, z.shape[0], inside, size, z.shape[0])
        for strip, columns in (
            (z[:, :, :inside], slice(size - inside, size)),
            (z[:, :, width - inside :], slice(0, inside)),
        ):
            u = _windows(strip, size, inside)
            gram[:, columns, :, :, columns] -= (u.T @ u).view(size, inside, z.shape[0], size, inside, z.shape[0])


class NormalEquations:
    """Sums that determine the least-squares kernel, over as many planes as are added.

    Unknowns are the K² taps, row by row, then the offset (both for levels about `MID_GRAY`).
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
        """Add one plane, hr (s·h, s·w) and lr (h, w) in [0, 1]; ``border`` or more LR px are left out at each edge.

        Returns how many LR pixels were used: 0 where the image is smaller than the kernel.
        """
        size, scale = self.kernel_size, self.scale
        margin = max(border, -(-self.half_width // scale))
        height, width = lr.shape[0] - 2 * margin, lr.shape[1] - 2 * margin
        if height < 1 or width < 1:
            return 0
        y = lr[margin : margin + height, margin : margin + width].double() - MID_GRAY
        # HR from the first tap of the first window on; phases hold q_count − 1 more samples than there are LR pixels.
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
        phases = z.shape[0]
        shape = [next_fast_len(n + q_count - 1, real=True) for n in z.shape[1:]]
        spectra = torch.fft.rfft2(z, s=shape)

        # Σ_i z_φ[i + q] y[i] and Σ_i z_φ[i + q]: y and the constant end where the windows end, so these are exact.
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

        # From (q, φ) to the taps a = s·q + φ, row by row; those beyond the kernel (K no multiple of s) are dropped.
        def to_taps(t: Tensor, at: int) -> Tensor:
            phases = (*t.shape[: at + 2], self.scale, self.scale, *t.shape[at + 3 :])
            t = t.reshape(phases).movedim(at + 2, at + 1)  # (.., Qy, φy, Qx, φx, ..)
            t = t.flatten(at + 2, at + 3).flatten(at, at + 1)  # (.., s·Q, s·Q, ..)
            t = t.narrow(at, 0, self.kernel_size).narrow(at + 1, 0, self.kernel_size)
            return t.flatten(at, at + 1)

        return to_taps(to_taps(gram, 3), 0), to_taps(moment, 0), to_taps(total, 0)


@dataclass(frozen=True)
class Solution:
    """A least-squares kernel: ``lr ≈ gain · (kernel ⋆ hr) + offset``."""

    kernel: Tensor
    """(K, K) float64, sum 1."""
    gain: float
    offset: float
    condition: float
    """Condition number of the ridged normal matrix of the taps."""
    residual_rms: float
    """Standard deviation of what the model leaves, in [0, 1] levels, the degrees of freedom of the taps taken off."""
    centroid_error: tuple[float, float]
    """Standard error of the kernel's centroid (y, x), HR px, if the residual were white."""


def solve(equations: NormalEquations, ridge: float, fit_gain: bool = False, fit_offset: bool = False) -> Solution:
    """Minimise ``Σ (lr − gain·kernel⋆hr − offset)² + ridge · N · variance(hr) · Σ taps²``, taps being gain·kernel.

    Without ``fit_gain`` the taps are constrained to sum 1, without ``fit_offset`` the offset to 0, both exactly
    (Lagrange multipliers), not by rescaling afterwards. Raises ValueError where the images do not determine a kernel.
    """
    taps = equations.kernel_size**2
    normal = equations.gram.clone()
    if equations.count == 0 or not bool(torch.isfinite(normal).all()):
        raise ValueError("no usable pixel")
    # Mean variance of a tap over the images, times their number: unlike the mean power it knows no brightness.
    variance = equations.gram.diagonal()[:-1] - equations.gram[:-1, -1] ** 2 / equations.count
    weight = ridge * float(variance.clamp(min=0.0).mean())
    normal.diagonal()[:-1] += weight
    eigenvalues = torch.linalg.eigvalsh(normal[:-1, :-1])
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if largest <= 0.0 or smallest <= 1e-13 * largest:
        raise ValueError("the images have too little texture to determine a kernel (singular normal equations)")

    # About mid-gray m: lr − m = c⋆(hr − m) + o', where c = gain·kernel and o' = offset + m·(gain − 1).
    #   gain 1:            Σc = 1
    #   offset 0:          o' = m·(Σc − 1)
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
    # Constraints are of order 1, normal equations of order 10⁶: bring both to order 1 before solving.
    unit = torch.ones(len(right), dtype=torch.float64)
    unit[: taps + 1] = normal.diagonal().clamp(min=1e-300).rsqrt()
    solution = unit * torch.linalg.solve(matrix * unit[:, None] * unit[None, :], right * unit)

    scaled, level_offset = solution[:taps], float(solution[taps])
    gain = float(scaled.sum())
    if not math.isfinite(gain) or abs(gain) < 1e-3:
        raise ValueError(f"the fitted kernel sums to {gain:.3g}: HR and LR are unrelated")
    unknowns = solution[: taps + 1]
    # The taps have the covariance σ²·A⁻¹ (σ: residual); the centroid is oᵀ·taps, o their offsets from the centre.
    at = torch.arange(equations.kernel_size, dtype=torch.float64) - (equations.kernel_size - 1) / 2
    distances = torch.stack(torch.meshgrid(at, at, indexing="ij")).flatten(1).T
    spread = (distances * torch.linalg.solve(normal[:-1, :-1], distances)).sum(0).clamp(min=0.0).sqrt() / abs(gain)
    residual = equations.energy - 2 * float(unknowns @ equations.moment) + float(unknowns @ equations.gram @ unknowns)
    residual_rms = math.sqrt(max(residual, 0.0) / max(equations.count - taps, 1))
    return Solution(
        kernel=(scaled / gain).view(equations.kernel_size, equations.kernel_size),
        gain=gain,
        offset=level_offset - MID_GRAY * (gain - 1.0),
        condition=largest / smallest,
        residual_rms=residual_rms,
        centroid_error=(residual_rms * float(spread[0]), residual_rms * float(spread[1])),
    )

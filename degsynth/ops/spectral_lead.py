"""Which of two blurs comes nearer to real LR images of other scenes: a two-sample t-test along one direction.

The log-spectra of photographs scatter from scene to scene with a covariance S, in n bins of frequency, and S has large
variances (contrast, slope, direction) and small ones. Two blurs change the same HR images by a difference δ of their
mean log-spectra. The direction that tells them apart best is Fisher's linear discriminant::

    w = S⁻¹ δ / (δᵀ S⁻¹ δ)          so that wᵀδ = 1: one unit is the whole way from the first blur to the second

Every image becomes one number: wᵀ y for a real LR image with log-spectrum y, and wᵀ (h₀ + h₁) / 2, the middle between
both blurs, for an HR image. The real LR images lie at ½ beyond this middle where the second blur is the true one, at
−½ where the first one is, and at 0 where both are equally wrong. So the mean of the first numbers minus the mean of the
second is the `lead` of the second blur, and as all images show different scenes its standard error is

    e = s · √(1/N_hr + 1/N_lr),        t = lead / e

with the variance s² of such numbers from one scene to the next. t is normal about 0 where both blurs are equally wrong,
and about ± 1/(2e) where one of them is true: 1/e says how well these images tell the two apart at all. A difference in
content that all scenes of a set have in common is the only error that is left out.

S is not known, but estimated from the images that the blurs were fitted to, and a direction looks better than it is for
the images that it came from. So these images are divided into `SPLITS` parts. For each part, S and w come from the
others, and only the numbers of that part enter s². The lead is the mean of the leads along these directions; because
they are measured on the same held-out images, averaging makes e no smaller (the correction of Nadeau & Bengio 2003 for
splits that overlap entirely).

The estimate of S (n bins, f degrees of freedom) is drawn towards one with few numbers, by the share n / (n + f)
(cf. Ledoit & Wolf 2004): the covariance of the columns of `Bins.content`, and independent bins besides. White noise is
added to the spectra of each blur, as much as suits the real LR best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import stdtr
from torch import Tensor

from degsynth.ops.spectra import GAIN_SCATTER, LEAST_SCATTER, Bins

SPLITS = 5
"""Number of parts into which the images are divided from which the scatter of scenes is estimated."""
LEAST_POWER = 1e-4
"""Power below this share of the set's mean counts as this share: flat images have no spectrum."""
FLOORS = 41
"""Number of strengths of white noise that are tried, from 1e-4 to 1 of the weakest bin of the real LR."""


@dataclass(frozen=True)
class Lead:
    """How much nearer a candidate comes to real LR than the start does."""

    lead: float
    """Where real LR lies between the start (−½) and the candidate (½), along the direction that tells them apart."""
    t: float
    """The lead in standard errors; 0 where the two do not differ."""
    freedom: int
    """Degrees of freedom of t."""
    evidence: float
    """Log of the ratio of the candidate's likelihood to the start's."""

    @property
    def confidence(self) -> float:
        """Probability of a smaller t where the candidate is as wrong as the start: one half at t = 0."""
        return float(stdtr(self.freedom, self.t))

    def figures(self) -> dict[str, float]:
        """Return what a log shows."""
        confidence = self.confidence
        return {"lead": self.lead, "t": self.t, "freedom": self.freedom, "confidence": confidence, "splits": SPLITS}


class Scatter:
    """How log-spectra of photographs vary from scene to scene, from sets of photographs of unlike blur."""

    def __init__(self, sets: Sequence[Tensor], bins: Bins) -> None:
        """Take the powers (N, n) of the photographs of every set; deviations are those from the mean of the set.

        There must be a set of two at least; ValueError otherwise.
        """
        self.bins = bins
        self.sets = [_logs(powers) for powers in sets if len(powers) > 1]
        self.freedom = sum(len(rows) - 1 for rows in self.sets)
        if not self.freedom:
            raise ValueError("a single image of each side does not show how scenes vary; give more")
        basis, weighted = bins.content, bins.content * bins.sizes[:, None]
        self._projection = torch.linalg.solve(weighted.T @ basis, weighted.T)
        splits = [[torch.arange(len(rows)) % SPLITS == split for rows in self.sets] for split in range(SPLITS)]
        self._splits = [self._split(masks) for masks in splits]

    def _split(self, masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return S⁻¹ (n, n) of the images outside a part, and the deviations (P, n) of those in it.

        A set that has too few images outside stays whole, and its part is not used. Deviations from the mean of N
        other images have a variance (1 + 1/N) times too large, which is taken off.
        """
        inside, outside = [], []
        for rows, mask in zip(self.sets, masks, strict=True):
            others = rows[~mask]
            if len(others) < 2:
                others = rows
            else:
                inside.append((rows[mask] - others.mean(0)) / math.sqrt(1 + 1 / len(others)))
            outside.append(others - others.mean(0))
        freedom = sum(len(rows) - 1 for rows in outside)
        empty = self.sets[0][:0]
        return torch.linalg.inv(self._covariance(torch.cat(outside), freedom)), torch.cat([empty, *inside])

    def _covariance(self, deviations: Tensor, freedom: int) -> Tensor:
        """Return S (n, n), drawn towards content and bins that vary by themselves, no less than their ring does."""
        basis, bins = self.bins.content, self.bins
        coefficients = deviations @ self._projection.T
        rest = (deviations - coefficients @ basis.T).square().sum(0) / freedom
        ring = torch.zeros(int(bins.ring.max()) + 1, dtype=rest.dtype).index_add(0, bins.ring, rest)[bins.ring]
        rest = torch.maximum(rest, ring / bins.in_ring) + LEAST_SCATTER**2
        content = coefficients.T @ coefficients / freedom
        content[0, 0] += GAIN_SCATTER**2
        # A variance that two images happen to hide is no certainty: each column varies by itself, too.
        content = 0.5 * (content + torch.diag(content.diagonal()))
        few: Tensor = basis @ content @ basis.T + torch.diag(rest)
        share = bins.count / (bins.count + freedom)
        estimate: Tensor = share * few + (1 - share) * (deviations.T @ deviations) / freedom
        return estimate

    def compare(self, start: Tensor, candidate: Tensor, real: Tensor) -> Lead:
        """Return the lead of a candidate over a start.

        ``start`` and ``candidate``: powers (N, n) of the LR that they make of N HR images; ``real``: powers (M, n) of
        real LR images. None of these images should be among those that the candidate was fitted to.
        """
        logs = _logs(real)
        first, second = (self._with_floor(powers, logs) for powers in (start, candidate))
        change = (second - first).mean(0)
        if float(change.abs().max()) < 1e-12:
            return Lead(0.0, 0.0, self.freedom, 0.0)
        leads, squares, count = [], 0.0, 0
        for precision, left_out in self._splits:
            direction = precision @ change
            direction = direction / torch.dot(change, direction)
            leads.append(float((logs @ direction).mean() - ((first + second) @ direction).mean() / 2))
            squares += float((left_out @ direction).square().sum())
            count += len(left_out)
        variance = squares / count if count else 1 / float(torch.dot(change, self._splits[0][0] @ change))
        error = math.sqrt(variance * (1 / len(real) + 1 / len(start)))
        lead = sum(leads) / len(leads)
        return Lead(lead, lead / error, self.freedom, lead / error**2)

    def _with_floor(self, powers: Tensor, logs: Tensor) -> Tensor:
        """Return log-spectra (N, n) with as much white noise as brings them nearest to real ones (M, n)."""
        floors = torch.logspace(-4, 0, FLOORS, dtype=torch.float64) * float(logs.mean(0).exp().min())
        differences = logs.mean(0) - (powers + floors[:, None, None]).log().mean(1)
        precision = self._splits[0][0]
        best = int(((differences @ precision) * differences).sum(1).argmin())
        return (powers + floors[best]).log()


def _logs(powers: Tensor) -> Tensor:
    """Return the logs of powers (N, n), which flat images do not take to −∞."""
    return powers.clamp(min=LEAST_POWER * powers.mean(0)).log()

"""What a model leaves out of the real LR of pairs, measured, and the noise that is to stand for it.

The few held-out pairs say little about how strong the noise is on average, because scenes differ: of the 28 Nikon pairs
of City100 to which `dml` is fitted, the three held-out ones have a residual 15 % stronger than that of eight other
scenes, and of the iPhone's one 15 % weaker. So the pairs that a model was fitted to are measured, too. The residual r
of a flexible model is too small on these, by the factor o, where ::

    o² = (held-out: var r / var r₁) / (fitted: var r / var r₁),

and r₁ is the residual of one kernel, which has too few numbers to follow single images; it takes out that some scenes
are harder than others. On the fitted pairs o·r is measured instead of r, if o > 1.

Real LR that are JPEG files lost a part of that residual when they were compressed, as made LR will. So the noise that
is drawn is stronger: what compression leaves of it has the σ that was measured (`before_compression`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation.held_out import Part
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degrader import Degrader
from degsynth.model.inference import inference
from degsynth.model.residual import Residual
from degsynth.ops.resample import crop_border, luma
from degsynth.ops.residual_measurement import Measured, measure
from degsynth.ops.residual_noise import LEVELS, NOISE_HALO, ResidualNoise, contrast_knots

Compress = Callable[[Tensor], Tensor]
"""Compresses an LR image (C, h, w) in [0, 1], and returns what is read back."""
APART, MANY = 0.2, 0.05
"""There is a warning where σ of drawn noise differs by more than ``APART`` from the measured one for more than ``MANY``
of the pixels, or the correlation of neighbours by as much."""
NEGLIGIBLE = 0.25 / 255
"""A difference of σ that is smaller than this does not count: it is less than rounding makes."""
BORDER = 8
"""LR px at each edge that are left out where residuals are compared."""
COMPRESSION_ROUNDS, MOST_AT_ONCE = 4, 2.0
"""Number of times that σ before compression is corrected, and the largest factor of a correction."""
CERTAIN_PIXELS = 300
"""Knots of the table with fewer pixels than this are not compared."""


@dataclass(frozen=True)
class LeftOut:
    """What a model leaves out, and the same figures of the noise that is drawn for it."""

    measured: Measured
    noise: ResidualNoise
    """The noise that is drawn: the measured one, or in JPEG files that before they were compressed."""
    drawn: Measured
    """What is measured of a draw, after compression where there is one."""
    example: tuple[Tensor, Tensor]
    """The residual of one held-out part (C, h, w), and a draw of the noise for it."""
    over_fit: float
    """The factor o by which the residual on fitted pairs was multiplied, at least 1."""


def measure_left_out(
    model: Checkpoint,
    held: Sequence[Part],
    fitted: Sequence[Part],
    kernel: Checkpoint | None,
    level_step: float,
    compress: Compress | None = None,
) -> LeftOut | None:
    """Measure what a model's clean LR lacks of the real LR; None where there are too few pixels.

    ``held`` are parts of held-out pairs, ``fitted`` of pairs that the model was fitted to. ``kernel`` is a model of one
    kernel that was fitted to the same pairs; None: the model itself has no more numbers than that. ``level_step`` is
    the difference of two levels of the LR files, in [0, 1]; ``compress`` does to an image what was done to real LR.
    """
    with inference():
        factor = 1.0 if kernel is None or not fitted else over_fit(model, kernel, held, fitted)
        clean = [_clean(model, part) for part in (*held, *fitted)]
        real = [part.lr for part in held]
        real += [lr + factor * (part.lr - lr) for part, lr in zip(fitted, clean[len(held) :], strict=True)]
        measured = measure(zip(real, clean, strict=True), level_step)
        if measured is None:
            return None
        noise = measured.noise
        if compress is not None:
            noise = before_compression(measured, clean, level_step, compress)
        made = list(_noisy(noise, clean, compress))
        drawn = measure(zip(made, clean, strict=True), 0.0 if compress is None else level_step)
    assert drawn is not None, "drawn noise has the sizes of the measured one"
    return LeftOut(measured, noise, drawn, (real[0] - clean[0], made[0] - clean[0]), factor)


def before_compression(
    measured: Measured, clean: Sequence[Tensor], level_step: float, compress: Compress
) -> ResidualNoise:
    """Return the noise of which compression leaves the σ that was measured, at every level and contrast.

    It is drawn for clean LR (C, h, w), compressed and measured again, and σ is corrected by the ratio, a few times. Its
    correlations stay those that were measured: what compression takes away of fine noise is not known.
    """
    noise = measured.noise
    for _ in range(COMPRESSION_ROUNDS):
        left = measure(zip(_noisy(noise, clean, compress), clean, strict=True), level_step)
        if left is None:
            break
        ratio = (measured.noise.sigma / left.noise.sigma).clamp(1 / MOST_AT_ONCE, MOST_AT_ONCE)
        noise = replace(noise, sigma=noise.sigma * ratio)
    return noise


def _noisy(noise: ResidualNoise, clean: Sequence[Tensor], compress: Compress | None) -> Iterator[Tensor]:
    """Yield clean LR (C, h, w) with a draw of the noise, compressed where that is asked for."""
    for seed, lr in enumerate(clean):
        made = lr + _drawn(noise, lr.clamp(0.0, 1.0), seed)
        yield made if compress is None else compress(made.clamp(0.0, 1.0))


def over_fit(model: Checkpoint, kernel: Checkpoint, held: Sequence[Part], fitted: Sequence[Part]) -> float:
    """Return the factor o, at least 1; of several pairs the geometric means of their ratios are compared."""
    ratios = [
        torch.stack([_power(model, part) / _power(kernel, part) for part in parts]).log().mean()
        for parts in (held, fitted)
    ]
    return max(1.0, float((ratios[0] - ratios[1]).exp().sqrt()))


def _power(model: Checkpoint, part: Part) -> Tensor:
    """Return the mean square of the luma that a model leaves out of a part."""
    residual = luma(part.lr.double() - _clean(model, part).clamp(0.0, 1.0))
    return crop_border(residual, min(BORDER, (min(residual.shape[-2:]) - 1) // 2)).square().mean().clamp(min=1e-12)


def _clean(model: Checkpoint, part: Part) -> Tensor:
    """Return the LR (C, h, w) that a model predicts for a held-out part, without noise."""
    (y, x), (channels, height, width) = part.origin, part.lr.shape
    code = model.degrader.draw(0, *part.frame)
    field = model.degrader.field(0, y, x, height, width, channels)
    return model.degrader.clean(part.hr[None], code, field)[0]


def _drawn(noise: ResidualNoise, lr: Tensor, seed: int) -> Tensor:
    """Return a draw of the noise for lr (C, h, w)."""
    rng = torch.Generator().manual_seed(seed)
    module = Residual(noise)
    white = torch.randn(1, module.planes(len(lr)), *lr.shape[1:], generator=rng)
    drawn: Tensor = module(lr[None], white)[0]
    return drawn


def with_residual(model: Checkpoint, noise: ResidualNoise) -> Checkpoint:
    """Let a model in memory add this noise to its LR, and return it with its new record."""
    assert isinstance(model.degrader, Degrader), "a loaded model is compiled already"
    model.degrader.add_residual(noise)
    spec = model.spec
    halo = max(spec.noise_halo, NOISE_HALO)
    facts = {"has_noise": True, "stochastic": True, "noise_halo": halo, "halo": spec.clean_halo + spec.scale * halo}
    return replace(model, spec=spec.model_copy(update=facts))


def figures(left_out: LeftOut) -> dict[str, Any]:
    """Return, for ``fit.json``, the figures of measured and drawn noise side by side; σ in levels of 255."""
    record: dict[str, Any] = {
        "levels_255": torch.linspace(0, 255, LEVELS).tolist(),
        "contrasts_255": (255 * contrast_knots()).tolist(),
        "pixels": left_out.measured.pixels.round().long().tolist(),
        "slow_sigma_255": 255 * left_out.measured.slow_sigma,
        "over_fit": left_out.over_fit,
    }
    for name, noise in (("measured", left_out.measured), ("drawn", left_out.drawn)):
        record[name] = {
            "sigma_255": 255 * noise.sigma,
            "sigma_by_level_and_contrast_255": (255 * noise.noise.sigma).tolist(),
            "lag_1": noise.lag_1(),
            "share_along_edges_by_contrast": noise.noise.share.tolist(),
            "correlation_across_edges": noise.across.tolist(),
            "power_255": (255**2 * noise.spectrum).tolist(),
            "share_at_nyquist": noise.fine_share,
            "kurtosis": noise.tails,
            "channels": noise.channels.tolist(),
        }
    return record


def summary(left_out: LeftOut) -> str:
    """Say in one line how strong the noise is."""
    noise = left_out.measured
    return (
        f"what the model leaves out becomes its noise: σ {255 * noise.sigma:.1f} of 255 in luma, neighbours correlate "
        f"by {noise.lag_1():.2f}; at sharp edges {100 * float(noise.noise.share[-1]):.0f} % of it runs along the edge"
    )


def warnings(left_out: LeftOut) -> list[str]:
    """Warn where drawn noise is not like the measured one."""
    texts = []
    measured, drawn = left_out.measured, left_out.drawn
    known = measured.pixels >= CERTAIN_PIXELS
    wanted, got = measured.noise.sigma[known], drawn.noise.sigma[known]
    apart = (got - wanted).abs() > APART * wanted + NEGLIGIBLE
    share = float((measured.pixels[known] * apart).sum() / measured.pixels[known].sum().clamp(min=1.0))
    if share > MANY:
        texts.append(
            f"noise: σ of drawn noise differs by more than {100 * APART:.0f} % from what the model leaves out, for "
            f"{100 * share:.0f} % of the pixels"
        )
    if abs(drawn.lag_1() - measured.lag_1()) > APART * max(abs(measured.lag_1()), APART):
        texts.append(
            f"noise: neighbours correlate by {drawn.lag_1():.2f} in drawn noise, by {measured.lag_1():.2f} in what the "
            "model leaves out"
        )
    return texts

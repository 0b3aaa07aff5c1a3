"""Checks with known answers that every checkpoint of every method must pass. They run it, and look at nothing inside.

What a checkpoint does on purpose (gain, offset, phase of shifted pairs, noise) is declared in its `Spec`, and its
output is compared with that. Every result is one figure and the rule that it must keep, so a report explains itself.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degsynth.config import Interval
from degsynth.data.images import Array, quantise, to_tensor
from degsynth.errors import CheckpointError
from degsynth.evaluation.effective_kernel import effective_kernel, effective_kernels, texture
from degsynth.model import checkpoint as checkpoints
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.inference import inference
from degsynth.model.render import render
from degsynth.ops.kernels import centroid
from degsynth.seeds import Identity

SILENT = Noise(learned=False)
"""The model's own noise is left out."""
LEVELS = (0.2, 0.4003, 0.5, 0.71)
"""Levels of flat gray images; most lie between two 8-bit values, so that truncation shows."""
MEAN_LEVEL = 0.05 / 255
"""Largest change that is allowed in the mean of a flat image."""
FLATNESS = 0.25 / 255
"""Largest difference that is allowed between a pixel of a flat image and its mean, before noise."""
CENTROID_PX = 0.02
"""Largest distance that is allowed between the effective kernel's centroid and the declared phase, HR px."""
SAME = 2e-6
"""Largest difference at which results that were computed in another order count as the same: an eighth of a 16-bit
level."""


@dataclass(frozen=True)
class Result:
    """The outcome of a check."""

    name: str
    passed: bool
    measured: str
    """The measured figure, with its unit."""
    rule: str
    """What the figure must be."""


Check = Callable[[Checkpoint], Iterator[Result]]
"""Yields one or more results for a checkpoint that is on the CPU."""


def _largest(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two tensors; infinity where the shapes differ or a value is NaN."""
    if a.shape != b.shape:
        return math.inf
    difference = float((a - b).abs().max()) if a.numel() else 0.0
    return difference if not math.isnan(difference) else math.inf


def flat_stays_flat(model: Checkpoint) -> Iterator[Result]:
    """Check that a flat gray image stays flat and gets the declared level, and that noise does not change its mean."""
    spec, channels = model.spec, model.spec.usual_channels()
    spread = drift = 0.0
    worst = ""
    for level in LEVELS:
        flat = torch.full((1, channels, 96 * spec.scale, 96 * spec.scale), level)
        field = model.degrader.field(3, 0, 0, 96, 96, channels)
        clean = model.degrader.clean(flat, model.degrader.draw(3), field)[0].double()
        for channel in range(channels):
            wanted = spec.level(level, channel)
            mean = float(clean[channel].mean())
            spread = max(spread, float((clean[channel] - mean).abs().max()))
            if abs(mean - wanted) >= drift:
                drift, worst = abs(mean - wanted), f"{level:g} became {mean:.5f}, declared {wanted:.5f}"
    yield Result("flat in, flat out", spread <= FLATNESS, f"±{255 * spread:.4f}/255", f"≤ {255 * FLATNESS:g}/255")
    yield Result(
        "mean level kept", drift <= MEAN_LEVEL, f"{255 * drift:.4f}/255 ({worst})", f"≤ {255 * MEAN_LEVEL:g}/255"
    )
    yield _mean_with_noise(model)


def _mean_with_noise(model: Checkpoint) -> Result:
    """Compare the mean of flat images with noise, over many seeds, with the declared level.

    That mean is an estimate, so its error is added to the bound: four standard errors.
    """
    spec, channels = model.spec, model.spec.usual_channels()
    flat = torch.full((1, channels, 64 * spec.scale, 64 * spec.scale), 0.4503)
    wanted = sum(spec.level(0.4503, channel) for channel in range(channels)) / channels
    drifts = []
    for seed in range(32 if spec.has_noise else 2):
        code, field = model.degrader.draw(seed), model.degrader.field(seed, 0, 0, 64, 64, channels)
        drifts.append(float(model.degrader(flat, code, field).double().mean()) - wanted)
    error = 4 * float(np.std(drifts)) / math.sqrt(len(drifts))
    drift = abs(float(np.mean(drifts)))
    rule = f"≤ {255 * MEAN_LEVEL:g}/255" + (f" + {255 * error:.3f}/255 sampling error" if spec.has_noise else "")
    return Result("mean level kept with noise", drift <= MEAN_LEVEL + error, f"{255 * drift:.4f}/255", rule)


def centred_phase(model: Checkpoint) -> Iterator[Result]:
    """Check that the centroid of the effective kernel, of every channel, lies where the spec declares it."""
    spec, channels = model.spec, model.spec.usual_channels()
    measured, declared, excess = "", (0.0, 0.0), -math.inf
    if spec.stochastic:  # another seed for each channel
        kernels = [
            (seed % channels, effective_kernel(model, seed, seed % channels)) for seed in range(max(channels, 3))
        ]
    else:
        kernels = list(enumerate(effective_kernels(model)))
    for channel, solution in kernels:
        y, x = centroid(solution.kernel)
        phase = spec.phase[channel % len(spec.phase)]
        distance = math.hypot(y - phase[0], x - phase[1])
        error = 3 * math.hypot(*solution.centroid_error)
        if distance - error > excess or math.isnan(distance):
            excess = distance - error if not math.isnan(distance) else math.inf
            measured, declared = f"{distance:.4f} ± {error:.4f} HR px (at {y:+.3f}, {x:+.3f}; ", phase
    measured += f"declared {declared[0]:+.3f}, {declared[1]:+.3f})"
    yield Result("kernel at the declared phase", excess <= CENTROID_PX, measured, f"≤ {CENTROID_PX} HR px")


def tiles_equal_whole(model: Checkpoint) -> Iterator[Result]:
    """Check that tiles of any size give the same as the whole image, and any window of the random field as well."""
    spec, channels = model.spec, model.spec.usual_channels()
    identity, degradation = Identity(5, "tiles"), Degradation(model)
    whole_field = model.degrader.field(11, 0, 0, 300, 290, channels)
    apart = 0.0
    for y, x, height, width in ((0, 0, 1, 1), (13, 200, 270, 90), (250, 250, 50, 40), (255, 0, 2, 290)):
        window = model.degrader.field(11, y, x, height, width, channels)
        apart = max(apart, _largest(window, whole_field[:, :, y : y + height, x : x + width]))
    yield Result("windows of the random field agree", apart == 0.0, f"{apart:.2g}", "equal")
    if spec.tiling == "whole_only":
        yield Result("tiles equal the whole", True, "declared whole_only", "it is never tiled")
        return
    apart = 0.0
    for height, width in ((61, 83), (48, 7), (1, 40)):
        hr = texture(channels, height * spec.scale, width * spec.scale, seed=height)
        whole = render(degradation, hr, identity)
        for tile in (16, 23, 40):
            apart = max(apart, _largest(render(degradation, hr, identity, tile), whole))
    yield Result("tiles equal the whole", apart <= SAME, f"{apart:.2g}", f"≤ {SAME:g}")


def batch_of_two(model: Checkpoint) -> Iterator[Result]:
    """Check that a batch of two images gives the same as two batches of one."""
    hr = torch.stack(
        [texture(model.spec.usual_channels(), 40 * model.spec.scale, 33 * model.spec.scale, seed=s) for s in (1, 2)]
    )
    both = model.degrader.degrade(hr, 7)
    apart = max(_largest(both[i : i + 1], model.degrader.degrade(hr[i : i + 1], 7 + i)) for i in (0, 1))
    yield Result("a batch of two is two of one", apart <= SAME, f"{apart:.2g}", f"≤ {SAME:g}")


def seeds_decide(model: Checkpoint) -> Iterator[Result]:
    """Check that the same seed gives the same image, and that what is declared as random is.

    Other seeds and other pages must give other images if and only if the model is declared stochastic; it must add
    noise if and only if that is declared.
    """
    spec = model.spec
    hr = texture(model.spec.usual_channels(), 48 * spec.scale, 48 * spec.scale)
    first = model.degrader.degrade(hr[None], 1)
    apart = max(_largest(model.degrader.degrade(hr[None], 1), first) for _ in range(2))
    yield Result("same seed, same output", apart == 0.0, f"{apart:.2g}", "equal")
    # A model with few kernels may draw the same one twice, so the largest of several differences counts.
    here = render(Degradation(model), hr, Identity(0, "a"))
    for name, others in (
        ("other seeds", [_largest(model.degrader.degrade(hr[None], seed), first) for seed in range(2, 8)]),
        (
            "other pages",
            [_largest(render(Degradation(model), hr, Identity(0, "a", page)), here) for page in range(1, 7)],
        ),
    ):
        differs = (max(others) > SAME) == spec.stochastic
        rule = "> 0: it is stochastic" if spec.stochastic else "0: it is deterministic"
        yield Result(name, differs, f"{max(others):.2g}", rule)
    noise = float((model.degrader.degrade(hr[None], 1) - _without_noise(model, hr, 1)).abs().max())
    agrees = (noise > SAME) == spec.has_noise
    yield Result("noise as declared", agrees, f"{255 * noise:.2g}/255", "> 0" if spec.has_noise else "0: it has none")


def hardware_factor_blurs(model: Checkpoint) -> Iterator[Result]:
    """Check the hardware factor, where there is one.

    `draw` must write it into the code, every item of a batch must have its own, a larger one must blur more, and none
    may change the level of a flat image.
    """
    known = model.spec.hardware_factor
    if known is None:
        return
    scale, channels = model.spec.scale, model.spec.usual_channels()
    code = model.degrader.draw(0)
    written = float(code[0, known.entry])
    yield Result("draw writes the factor", abs(written - known.default) < 1e-6, f"{written:g}", f"{known.default:g}")

    low, high = max(known.range[0], 0.5 * known.trained), min(known.range[1], max(2 * known.trained, 0.5))
    factors = [low, math.sqrt(low * high), high]
    codes = code.repeat(3, 1)
    codes[:, known.entry] = torch.tensor(factors)
    hr = texture(channels, 40 * scale, 33 * scale)[None].expand(3, -1, -1, -1)
    field = model.degrader.field(0, 0, 0, 40, 33, channels).expand(3, -1, -1, -1)
    mixed = model.degrader.clean(hr, codes, field)
    alone = torch.cat([model.degrader.clean(hr[:1], codes[item : item + 1], field[:1]) for item in range(3)])
    apart = _largest(mixed, alone)
    yield Result("a batch mixes factors", apart <= SAME, f"{apart:.2g}", f"≤ {SAME:g}")
    contrast = [float(item.std()) for item in mixed]
    falls = contrast[0] > contrast[1] > contrast[2]
    figures = ", ".join(f"{f:.3g}: {c:.4f}" for f, c in zip(factors, contrast, strict=True))
    yield Result("a larger factor blurs more", falls, f"contrast at {figures}", "falls")
    flat = model.degrader.clean(torch.full_like(hr, 0.4003), codes, field)
    drift = max(float((flat[:, c] - model.spec.level(0.4003, c)).abs().max()) for c in range(channels))
    yield Result("flat at any factor", drift <= MEAN_LEVEL, f"{255 * drift:.4f}/255", f"≤ {255 * MEAN_LEVEL:g}/255")


def threads_agree(model: Checkpoint) -> Iterator[Result]:
    """Check that many threads, each with a seed of its own, get the same images as a single thread, as in `apply`."""
    spec = model.spec
    hr = texture(model.spec.usual_channels(), 48 * spec.scale, 48 * spec.scale)[None]
    alone = [model.degrader.degrade(hr, seed) for seed in range(8)]

    def repeat(seed: int) -> float:
        with inference():
            return max(_largest(model.degrader.degrade(hr, seed), alone[seed]) for _ in range(12))

    with ThreadPoolExecutor(8) as pool:
        apart = max(pool.map(repeat, range(8)))
    yield Result("same seed in every thread", apart <= SAME, f"{apart:.2g}", f"≤ {SAME:g}")


def _without_noise(model: Checkpoint, hr: Tensor, seed: int) -> Tensor:
    """Return what `degrade` gives for hr (C, s·h, s·w), without the noise: (1, C, h, w)."""
    size = (hr.shape[1] // model.spec.scale, hr.shape[2] // model.spec.scale)
    field = model.degrader.field(seed, 0, 0, *size, hr.shape[0])
    return model.degrader.clean(hr[None], model.degrader.draw(seed, *size), field).clamp(0.0, 1.0)


def reload_agrees(model: Checkpoint) -> Iterator[Result]:
    """Check that the model gives the same after it was saved and loaded once more."""
    hr = checkpoints.probe_image(model.spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.pt"
        checkpoints.write(model.degrader, model.spec, path)
        again = checkpoints.load(path)
    apart = _largest(again.degrader.degrade(hr, 4), model.degrader.degrade(hr, 4))
    yield Result("saved and reloaded", apart == 0.0, f"{apart:.2g}", "equal")


def sizes_and_borders(model: Checkpoint) -> Iterator[Result]:
    """Check that HR of any size from one LR pixel up gives LR of ⌊size / scale⌋ px with values in [0, 1].

    This is checked for all channel counts that the model takes.
    """
    scale = model.spec.scale
    bad = []
    for channels in model.spec.channel_counts():
        for height, width in ((1, 1), (1, 9), (7, 2), (19, 23)):
            for rest in {0, scale - 1}:
                hr = texture(channels, height * scale + rest, width * scale + rest)
                lr = model.degrader.degrade(hr[None], 0)
                if lr.shape != (1, channels, height, width) or not bool(((lr >= 0) & (lr <= 1)).all()):
                    bad.append(f"{channels} channels of {hr.shape[2]}×{hr.shape[1]} → {tuple(lr.shape)}")
    yield Result("odd and tiny sizes", not bad, ", ".join(bad) or "all", "⌊size / scale⌋, in [0, 1]")


def values_keep_their_type(model: Checkpoint) -> Iterator[Result]:
    """Check that values are rounded to the nearest when they are written, and that 16-bit files keep their levels."""
    channels = model.spec.usual_channels()
    for dtype, levels in ((np.uint8, (51, 102, 128, 181)), (np.uint16, (13107, 26237, 32768, 46531))):
        worst = 0.0
        peak = float(np.iinfo(dtype).max)
        for level in levels:
            pixels = _written_flat(model, level, np.dtype(dtype))
            for channel in range(channels):
                wanted = min(max(model.spec.level(level / peak, channel), 0.0), 1.0) * peak
                worst = max(worst, float(np.abs(pixels[..., channel] - wanted).max()))
        # Rounding costs half a level; the model itself may change it by the bound on the mean level.
        bound = 0.5 + MEAN_LEVEL * peak
        yield Result(f"{np.dtype(dtype)} levels", worst <= bound, f"{worst:.3f} levels", f"≤ {bound:.3f} levels")
    # Two 16-bit grays a quarter of an 8-bit level apart must stay that far apart.
    grays = (26237, 26237 + 64)
    first, second = (float(_written_flat(model, level, np.dtype(np.uint16)).mean()) for level in grays)
    ends = [np.clip([model.spec.level(v / 65535, c) for c in range(channels)], 0, 1).mean() for v in grays]
    wanted = 65535 * float(ends[1] - ends[0])
    apart = second - first
    yield Result("fine 16-bit steps", abs(apart - wanted) <= 2, f"{apart:.2f} levels", f"{wanted:.1f} ± 2 levels")


def _written_flat(model: Checkpoint, level: int, dtype: np.dtype[Any]) -> Array:
    """Return the LR pixels (h, w, C), as they would be written, of a flat image without noise; as float64."""
    side = 24 * model.spec.scale
    pixels = np.full((side, side, model.spec.usual_channels()), level, dtype)
    lr = render(Degradation(model, SILENT), to_tensor(pixels), Identity(0, "level"))
    return quantise(lr, dtype).astype(float)


def awgn_has_its_sigma(model: Checkpoint) -> Iterator[Result]:
    """Check that AWGN of σ 5 adds noise with a standard deviation of 5/255 and mean 0."""
    hr = torch.full((model.spec.usual_channels(), 200 * model.spec.scale, 200 * model.spec.scale), 0.5)
    identity, asked = Identity(0, "awgn"), 5.0
    without = render(Degradation(model, SILENT), hr, identity)
    noisy = Noise(learned=False, awgn=Interval(asked, asked))
    added = 255 * (render(Degradation(model, noisy), hr, identity) - without).double()
    deviation, mean = float(added.std()), float(added.mean())
    samples = added.numel()
    fine = abs(deviation - asked) < 4 * asked / math.sqrt(2 * samples) and abs(mean) < 4 * asked / math.sqrt(samples)
    yield Result(
        "AWGN of σ 5", fine, f"σ {deviation:.3f}, mean {mean:+.3f}", f"σ {asked:g}, mean 0, within 4 standard errors"
    )


CHECKS: tuple[Check, ...] = (
    flat_stays_flat,
    centred_phase,
    tiles_equal_whole,
    batch_of_two,
    seeds_decide,
    hardware_factor_blurs,
    threads_agree,
    reload_agrees,
    sizes_and_borders,
    values_keep_their_type,
    awgn_has_its_sigma,
)


def run(model: Checkpoint) -> list[Result]:
    """Run all checks on a checkpoint that was loaded on the CPU.

    A check that raises has failed; its result has the name of its function, and the error as its figure.
    """
    results: list[Result] = []
    with inference():
        for check in CHECKS:
            try:
                results.extend(check(model))
            except Exception as error:  # a broken checkpoint may raise anything
                text = str(error).strip().splitlines()
                results.append(Result(check.__name__, False, text[-1] if text else type(error).__name__, "runs"))
    return results


def require(model: Checkpoint) -> list[Result]:
    """Run all checks and return their results; CheckpointError where one fails."""
    results = run(model)
    failed = [result for result in results if not result.passed]
    if failed:
        first = failed[0]
        raise CheckpointError(
            f"{model.path} fails {len(failed)} of {len(results)} known answers; {first.name}: {first.measured}, "
            f"must be {first.rule}",
            "degsynth selftest lists them all",
        )
    return results

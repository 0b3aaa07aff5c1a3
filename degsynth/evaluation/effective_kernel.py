"""The effective kernel of a checkpoint: the blur kernel that explains its output, without a look at its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from degsynth.model.checkpoint import Checkpoint
from degsynth.model.inference import inference
from degsynth.model.tone import Tone
from degsynth.ops.kernels import centroid
from degsynth.ops.least_squares import NormalEquations, Solution, solve

LARGEST_KERNEL = 63
"""Side of the largest kernel that is measured whole, HR px."""
MEASURED_TAPS = 33
"""Side of the window in which a kernel is measured that is larger than `LARGEST_KERNEL`, HR px (32 at even scales)."""
MEASURED_IMAGES = 16
"""Largest number of images from which a kernel is measured."""
SOLVED_AFTER = (1, 4, 16)
"""Numbers of images after which the equations are solved: solving costs more than adding an image."""
PRECISE_HR_PX = 0.003
"""No more images are added once the centroid of the kernel is known to this precision, HR px."""


def texture(channels: int, height: int, width: int, seed: int = 1) -> Tensor:
    """Return a picture (channels, height, width) in [0.1, 0.9] with detail of every size: noise summed over octaves."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, channels, height, width)
    for octave in (1, 2, 4, 8, 16):
        size = [max(2, height // octave), max(2, width // octave)]
        noise = torch.rand(1, channels, *size, generator=generator) - 0.5
        total += torch.nn.functional.interpolate(noise, size=[height, width], mode="bilinear")
    return (0.5 + 0.25 * total[0]).clamp(0.1, 0.9)


def effective_kernel(model: Checkpoint, seed: int = 0, channel: int = 0) -> Solution:
    """Measure the kernel that best explains one channel of `clean` on textured images, as drawn by one seed.

    It is found by least squares, which is exact for a linear model with a kernel of up to 63 taps a side. A larger
    kernel is measured in a window of 33 taps a side. If the kernel varies over the image, the result is the mean
    kernel. A model that blurs light (`degsynth.ops.tone`) has its kernel there, so both images are compared in light.
    Images are added until the centroid is known to ± 0.003 HR px, or there are 16 images. Raises ValueError where the
    output does not determine a kernel.
    """
    return effective_kernels(model, seed, [channel])[0]


def effective_kernels(model: Checkpoint, seed: int = 0, channels: Sequence[int] | None = None) -> list[Solution]:
    """Measure the `effective_kernel` of several channels (None: of all), from the same images."""
    spec = model.spec
    count = spec.usual_channels()
    wanted = range(count) if channels is None else channels
    taps = 2 * spec.clean_halo + spec.scale
    if taps > LARGEST_KERNEL:
        taps = MEASURED_TAPS - (MEASURED_TAPS - spec.scale) % 2
    border = math.ceil(spec.clean_halo / spec.scale)
    size = max(96, 2 * math.ceil(taps / spec.scale)) + 2 * border
    equations = [NormalEquations(taps, spec.scale) for _ in wanted]
    code, tone = model.degrader.draw(seed), Tone(spec.tone)
    for number in range(1, MEASURED_IMAGES + 1):
        light = texture(count, size * spec.scale, size * spec.scale, seed=number)
        hr = tone.to_levels(light)
        field = model.degrader.field(seed + number, 0, 0, size, size, count)
        lr = tone.to_light(model.degrader.clean(hr[None], code, field)[0])
        for sums, channel in zip(equations, wanted, strict=True):
            sums.add(light[channel], lr[channel], border)
        if number in SOLVED_AFTER:
            solutions = [solve(sums, 0.0, fit_gain=True, fit_offset=True) for sums in equations]
            if max(max(solution.centroid_error) for solution in solutions) < PRECISE_HR_PX:
                break
    return solutions


def measured_phase(model: Checkpoint) -> tuple[tuple[float, float], ...]:
    """Return the centroid of each channel's effective kernel, (y, x) in HR px from the centred phase."""
    with inference():
        return tuple(centroid(solution.kernel) for solution in effective_kernels(model))

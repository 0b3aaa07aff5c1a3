"""Pictures of what a model does to pairs, and of what it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from degsynth.data.pairs import PairSet
from degsynth.evaluation.effective_kernel import effective_kernel, texture
from degsynth.evaluation.hardware_factor import kernel_at
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation
from degsynth.model.render import render
from degsynth.ops.resample import bicubic
from degsynth.reports.panels import Panel, comparison, crop
from degsynth.seeds import Identity

SHOWN_FACTORS = (0.25, 1.0, 3.0)

Degrade = Callable[[Tensor, str], Tensor]
"""What makes lr (C, h, w) of hr (C, s·h, s·w) and a name."""


def by_checkpoint(model: Checkpoint) -> Degrade:
    """A checkpoint's."""
    return lambda hr, name: render(Degradation(model), hr, Identity(0, name))


def rows(degrade: Degrade, pairs: PairSet, count: int, whose: str = "real") -> list[list[Panel]]:
    """Pictures of each of the first ``count`` pairs: HR, real LR, synthesised LR, bicubic LR, and both errors."""
    found = []
    with torch.inference_mode():
        for index, (hr, lr) in enumerate(pairs.subset(range(min(count, len(pairs))))):
            name = pairs.pairs[index].name
            usual = bicubic(hr[None], pairs.scale)[0]
            found.append(comparison(name, hr, lr, degrade(hr, name), usual, pairs.scale, whose))
    return found


def unpaired_row(
    name: str, hr: Tensor, made: Tensor, real: Tensor, scale: int, whose: str = "real LR", side: int = 96
) -> list[Panel]:
    """HR (C, s·h, s·w), what is made of it, bicubic LR, and real LR of another scene."""
    usual = bicubic(hr[None], scale)[0]
    return [
        Panel(f"HR ({name})", crop(hr, side, scale)),
        Panel("synthesised LR", crop(made, side)),
        Panel("bicubic LR", crop(usual, side)),
        Panel(f"{whose} (another scene)", crop(real, side)),
        Panel("synthesised − bicubic, ×5", crop(made - usual, side), error=True),
    ]


def measured_kernels(model: Checkpoint) -> list[Panel]:
    """The effective kernel of a model's first channel; where it has a hardware factor also some at other factors."""
    with torch.inference_mode():
        panels = [Panel("effective kernel", effective_kernel(model).kernel)]
        if model.spec.hardware_factor is not None:
            gray = texture(1, 160 * model.spec.scale, 160 * model.spec.scale)
            panels += [Panel(f"at factor {f:g}", kernel_at(model, [gray], f)) for f in SHOWN_FACTORS]
    return panels

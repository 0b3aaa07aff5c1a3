"""Rows of panels that show what a model does to images, and its effective kernels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from degsynth.data.pairs import PairSet
from degsynth.evaluation.effective_kernel import effective_kernel, texture
from degsynth.evaluation.hardware_factor import kernel_at
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.inference import inference
from degsynth.model.render import render
from degsynth.ops.resample import bicubic
from degsynth.reports.panels import SHOWN_SIDE, Panel, comparison, crop
from degsynth.seeds import Identity

SHOWN_FACTORS = (0.25, 1.0, 3.0)
"""Hardware factors at which the effective kernel is shown."""

Degrade = Callable[[Tensor, str], Tensor]
"""Makes lr (C, h, w) from hr (C, s·h, s·w) and the name of the image, which random numbers depend on."""


def by_checkpoint(model: Checkpoint, noise: bool = True) -> Degrade:
    """Return a function that degrades images by a checkpoint, with or without its own noise."""
    return lambda hr, name: render(Degradation(model, Noise(learned=noise)), hr, Identity(0, name))


def rows(degrade: Degrade, pairs: PairSet, count: int, camera: str = "real") -> list[list[Panel]]:
    """Show each of the first ``count`` pairs: HR, real LR, synthesised LR, bicubic LR, and both errors.

    ``camera`` names the real LR in the titles.
    """
    rows_of_panels = []
    with inference():
        for index, (hr, lr) in enumerate(pairs.subset(range(min(count, len(pairs))))):
            name = pairs.pairs[index].name
            usual = bicubic(hr[None], pairs.scale)[0]
            rows_of_panels.append(comparison(name, hr, lr, degrade(hr, name), usual, pairs.scale, camera))
    return rows_of_panels


def unpaired_row(
    name: str, hr: Tensor, synthesised: Tensor, real: Tensor, scale: int, real_name: str = "real LR"
) -> list[Panel]:
    """Show HR (C, s·h, s·w), the LR synthesised from it, bicubic LR, and real LR of another scene.

    ``real_name`` is the title of the real LR.
    """
    usual = bicubic(hr[None], scale)[0]
    return [
        Panel(f"HR ({name})", crop(hr, SHOWN_SIDE, scale)),
        Panel("synthesised LR", crop(synthesised, SHOWN_SIDE)),
        Panel("bicubic LR", crop(usual, SHOWN_SIDE)),
        Panel(f"{real_name} (another scene)", crop(real, SHOWN_SIDE)),
        Panel("synthesised − bicubic, ×5", crop(synthesised - usual, SHOWN_SIDE), error=True),
    ]


def measured_kernels(model: Checkpoint) -> list[Panel]:
    """Show the effective kernel of a model's first channel, and those at other hardware factors where it has one."""
    with inference():
        panels = [Panel("effective kernel", effective_kernel(model).kernel)]
        if model.spec.hardware_factor is not None:
            gray = texture(1, 160 * model.spec.scale, 160 * model.spec.scale)
            panels += [Panel(f"at factor {factor:g}", kernel_at(model, [gray], factor)) for factor in SHOWN_FACTORS]
    return panels

"""adl: unpaired adversarial downsampler held near its own linear part. adl, Eqs. 5-7, Algorithm 1.

``L_data = | (k̄ ⋆ hr)↓s − D(hr) |₁``, where k̄ is retrieved from the downsampler itself: the kernel that comes nearest
to what it does to N images, by least squares (Eq. 6), anew every so many steps. What the discriminator teaches beyond
one kernel's reach is averaged out in k̄, so k̄ is a steady guide that goes along. In the first ``lfl_steps`` the data
loss is that of `lfl` (there is no guide yet); a start from `spectral` is a guide, and the default has none of them.

Where the downsampler is a kernel, k̄ is what that kernel was some steps ago. `methods.adversarial` has all else.

``paper``: alpha 100 (200 in the warm-up), 10 epochs of warm-up, k̄ every 10 epochs from 50 images. Eq. 6 is solved once
over all images, in float64, with a ridge of 1e-6; the authors' code averages the kernels of single images.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from degsynth.errors import ConfigError
from degsynth.methods.protocol import Data
from degsynth.methods.shared import adversarial
from degsynth.methods.shared.adversarial import PAPER, Adversary
from degsynth.ops.blur import blur_decimate
from degsynth.ops.resample import crop_border

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {**PAPER, "alpha": 100.0, "alpha_lfl": 200.0, "lfl_steps": 17_410, "update_every": 17_410},
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4, "discriminator_first": 0}


class Config(adversarial.Config):
    """Options of `adl`."""

    lfl_steps: int = Field(default=0, ge=0)
    """Steps with the data loss of `lfl`, before there is a k̄ (t_warm-up)."""
    alpha_lfl: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of the data loss in these steps."""
    update_every: int = Field(default=100, ge=1)
    """Steps between two retrievals of k̄ (t_update)."""


class Method(Adversary):
    """`degsynth.methods.Learned` for adl."""

    data: Data = "unpaired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        super().__init__("adl", config, scale, channels)
        if config.lfl_steps >= config.steps:
            raise ConfigError(
                f"method adl: steps (={config.steps}) must be more than lfl_steps (={config.lfl_steps}), "
                "which are lfl's; give more, or a shorter warm-up"
            )

    def alpha(self, step: int) -> float:
        """Its own weight in the warm-up."""
        return self.config.alpha_lfl if step < self.config.lfl_steps else self.config.alpha

    def data_loss(self, hr: Tensor, made: Tensor, step: int) -> Tensor:
        """Eq. 4 in the warm-up, then Eq. 7."""
        if step < self.config.lfl_steps:
            return self.low_frequency_loss(hr, made)
        first = max(self.config.lfl_steps, self.config.discriminator_first)
        if step == first or step % self.config.update_every == 0:
            self.memory.kernel.copy_(self.retrieve())
        guide = crop_border(blur_decimate(hr, self.memory.kernel[None], self.scale), self.cut)
        return F.l1_loss(made, guide)

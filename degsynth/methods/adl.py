"""adl: an unpaired adversarial downsampler that is held near its own linear part. adl paper, Eqs. 5-7, Algorithm 1.

``L_data = | (k̄ ⋆ hr)↓s − D(hr) |₁``. k̄ is retrieved from the downsampler itself: it is the kernel that comes nearest,
by least squares, to what the downsampler does to N images (Eq. 6). It is retrieved anew every so many steps. Whatever
the discriminator teaches that a single kernel cannot do averages out in k̄, so k̄ is a steady guide that moves along. In
the first ``lfl_steps`` there is no guide yet, and the data loss is that of `lfl`. A start from `spectral` is already a
guide, so the default has no such steps.

If the downsampler is a kernel, k̄ is what that kernel was some steps ago. `methods.shared.adversarial` has everything
else.

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
from degsynth.methods.shared import adversarial_options
from degsynth.methods.shared.adversarial import Adversary
from degsynth.methods.shared.adversarial_options import PAPER
from degsynth.ops.blur import blur_decimate
from degsynth.ops.resample import crop_border

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {**PAPER, "alpha": 100.0, "alpha_lfl": 200.0, "lfl_steps": 17_410, "update_every": 17_410},
}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4, "discriminator_first": 0}


class Config(adversarial_options.Config):
    """Options of `adl`."""

    lfl_steps: int = Field(default=0, ge=0, le=10**9)
    """Number of first steps, in which the data loss is that of `lfl`, because there is no kernel k̄ yet (t_warm-up)."""
    alpha_lfl: float = Field(default=1.0, ge=0)
    """Weight of the data loss in these steps."""
    update_every: int = Field(default=100, ge=1, le=10**6)
    """The kernel k̄ is retrieved anew each time that this number of steps has passed (t_update)."""


class Method(Adversary):
    """The method `adl`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "unpaired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the networks; their first weights are drawn from torch's global generator, which the fit seeds."""
        super().__init__("adl", config, scale, channels)
        if config.lfl_steps >= config.steps:
            raise ConfigError(
                f"method adl: steps (={config.steps}) must be more than lfl_steps (={config.lfl_steps}), the steps "
                "with the data loss of lfl; give more `steps=`, or fewer `lfl_steps=`"
            )

    def alpha(self, step: int) -> float:
        """Return the weight of the data loss, which may be another one in the first ``lfl_steps``."""
        return self.config.alpha_lfl if step < self.config.lfl_steps else self.config.alpha

    def data_loss(self, hr: Tensor, lr: Tensor, step: int) -> Tensor:
        """Return the loss of Eq. 4 in the first ``lfl_steps``, then that of Eq. 7; retrieve k̄ when it is due."""
        if step < self.config.lfl_steps:
            return self.low_frequency_loss(hr, lr)
        first = max(self.config.lfl_steps, self.config.discriminator_first)
        if step == first or step % self.config.update_every == 0:
            self.memory.kernel.copy_(self.retrieve())
        guide = crop_border(blur_decimate(hr, self.memory.kernel[None], self.scale), self.border)
        return F.l1_loss(lr, guide)

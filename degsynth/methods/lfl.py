"""lfl: an unpaired adversarial downsampler that keeps the low frequencies of HR. adl paper, 3.3, Eqs. 2-4.

``L_data = | LPF_sm(hr) − LPF_m(D(hr)) |₁``, where D is the downsampler and LPF_m the mean over boxes of m×m px, m = 16.
At scale 2 the means over 32×32 px of HR and over 16×16 px of the synthetic LR must be equal; anything finer is left to
the discriminator. `methods.shared.adversarial` explains everything else, and the presets.

With ``data=bicubic`` and ``data=average`` the data loss is the L1 distance to a fixed downsampling. The paper compares
its method with these (Table 1). Their results are biased towards that downsampling.

``paper`` has alpha 200, as the paper says; the authors' code has 100.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from degsynth.methods.protocol import Data
from degsynth.methods.shared import adversarial_options
from degsynth.methods.shared.adversarial import Adversary
from degsynth.methods.shared.adversarial_options import PAPER
from degsynth.ops.resample import area, bicubic, crop_border

PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {**PAPER, "alpha": 200.0}}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4, "discriminator_first": 0}


class Config(adversarial_options.Config):
    """Options of `lfl`."""

    data: Literal["low_frequency", "bicubic", "average"] = "low_frequency"
    """What the LR is compared with in the data loss: the low frequencies of HR, or a bicubic or averaged LR."""


class Method(Adversary):
    """The method `lfl`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "unpaired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the networks; their first weights are drawn from torch's global generator, which the fit seeds."""
        super().__init__("lfl", config, scale, channels)

    def data_loss(self, hr: Tensor, lr: Tensor, step: int) -> Tensor:
        """Return the L1 distance of the low frequencies (Eq. 4), or of lr to a fixed downsampling of hr (Eq. 3)."""
        if self.config.data == "low_frequency":
            return self.low_frequency_loss(hr, lr)
        guide = bicubic(hr, self.scale) if self.config.data == "bicubic" else area(hr, self.scale)
        return F.l1_loss(lr, crop_border(guide, self.border))

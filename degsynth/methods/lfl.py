"""lfl: unpaired adversarial downsampler that keeps the low frequencies of HR. adl, Eqs. 2-4 (its 3.3).

``L_data = | LPF_sm(hr) − LPF_m(D(hr)) |₁``: the means over boxes of 32×32 HR px and 16×16 LR px (at ×2) must be equal,
anything finer is the discriminator's to decide. `methods.adversarial` has all else, and what the presets are.

``data = bicubic`` and ``data = average`` are what the paper compares itself with (its Table 1): L1 to a fixed
downsampling. Their result is biased towards that one.

``paper`` has alpha 200, as the paper says; the authors' code has 100.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from degsynth.methods.protocol import Data
from degsynth.methods.shared import adversarial
from degsynth.methods.shared.adversarial import PAPER, Adversary
from degsynth.ops.resample import area, bicubic, crop_border

PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {**PAPER, "alpha": 200.0}}
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "width": 4, "discriminator_first": 0}


class Config(adversarial.Config):
    """Options of `lfl`."""

    data: Literal["low_frequency", "bicubic", "average"] = "low_frequency"
    """What the LR must keep of HR: its low frequencies, or a bicubic or averaged LR."""


class Method(Adversary):
    """`degsynth.methods.Learned` for lfl."""

    data: Data = "unpaired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        super().__init__("lfl", config, scale, channels)

    def data_loss(self, hr: Tensor, made: Tensor, step: int) -> Tensor:
        """Eq. 4, or Eq. 3."""
        if self.config.data == "low_frequency":
            return self.low_frequency_loss(hr, made)
        usual = bicubic(hr, self.scale) if self.config.data == "bicubic" else area(hr, self.scale)
        return F.l1_loss(made, crop_border(usual, self.cut))

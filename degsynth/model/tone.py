"""The module that lets a model blur in light instead of levels; `degsynth.model.degrader.Degrader` holds one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from degsynth.ops.tone import inverse_table, powers, to_levels, to_light


class Tone(nn.Module):
    """The curve of `degsynth.ops.tone` between levels and light; without coefficients they are the same."""

    def __init__(self, coefficients: Sequence[float] = ()) -> None:
        """Take the coefficients of the curve; its slope must be positive from black to white."""
        super().__init__()
        self.curved = len(coefficients) > 0
        self.factors = powers(coefficients)
        self.table = nn.Buffer(inverse_table(self.factors).float() if self.curved else torch.zeros(2))

    @torch.jit.export
    def to_light(self, levels: Tensor) -> Tensor:
        """Return the light of levels of any shape."""
        return to_light(levels, self.factors) if self.curved else levels

    @torch.jit.export
    def to_levels(self, light: Tensor) -> Tensor:
        """Return the levels of light of any shape."""
        return to_levels(light, self.table) if self.curved else light

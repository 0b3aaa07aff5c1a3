"""The contract of a checkpoint: `Degrader`, the one module that `checkpoint.save` scripts.

A method supplies its *optics*, a module with five verbs; `Degrader` adds, once for all methods, what the contract asks
around them. The dice are split from the optics: `draw` and `field` make every random number (on the CPU, by image and
by place), `clean`, `noise` and `forward` are deterministic. That is what makes tiles, batches, workers and devices
agree.

The verbs of an optics module, all TorchScript::

    draw(seed) -> code (1, G)                     what one image has one of; G may be 0
    dice(channels) -> F                           standard normal numbers per LR pixel; may be 0
    clean(hr, code, field) -> lr                  blur + decimate
    noise(lr, code, field) -> residual            zeros where there is none
    set_hardware_factor(f)                        the default that draw() writes into the code; raises where there is
    none

Optics that blur by place (`placed`) find two columns more at the end of the code, the height and width of the LR
plane, and two planes more at the end of the field, the y and x of every LR pixel's centre. `ops.position` turns them
into positions relative to the middle of the image.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.noise import block_field
from degsynth.ops.position import pixel_centres


class Degrader(nn.Module):
    """HR images in, LR images out: (B, C, H, W) float32 in [0, 1] → (B, C, H/scale, W/scale)."""

    def __init__(
        self,
        optics: Any,
        scale: int,
        multiple_of: int = 0,
        channels: list[int] | None = None,
        placed: bool = False,
    ) -> None:
        """Wrap ``optics``.

        ``multiple_of`` (HR px, default the scale) is what the optics need sizes and tile origins to be multiples of,
        e.g. scale × pooling stride; ``channels`` the channel counts they take (default: any); ``placed``: they want
        to know where in the image a pixel lies.
        """
        super().__init__()
        self.optics: Any = optics
        self.scale = scale
        self.multiple_of = multiple_of if multiple_of > 0 else scale
        self.placed = placed
        self.takes_any = not channels
        self.channels = list(channels or [1, 3])
        if self.multiple_of % scale != 0:
            raise ValueError(f"multiple_of (={self.multiple_of}) must be a multiple of the scale (={scale})")

    @torch.jit.export
    def draw(self, seed: int, height: int = 0, width: int = 0) -> Tensor:
        """What one image has one of (kernel, pool index, hardware factor, size): (1, G).

        ``height`` and ``width`` are those of the LR plane; only placed optics use them. 0: unknown, and the whole
        image is then taken for its middle.
        """
        code: Tensor = self.optics.draw(seed)
        return torch.cat([code, torch.tensor([[float(height), float(width)]])], 1) if self.placed else code

    @torch.jit.export
    def field(self, seed: int, y: int, x: int, height: int, width: int, channels: int) -> Tensor:
        """Dice (and places) of the window (y, x, height, width) of the LR plane: (1, F, height, width)."""
        dice = block_field(seed, y, x, height, width, self.optics.dice(channels))
        return torch.cat([dice, pixel_centres(y, x, height, width)], 1) if self.placed else dice

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Blur + decimate, without noise or clamp. H and W must be multiples of the scale."""
        if not self.takes_any and hr.shape[1] not in self.channels:
            raise ValueError(f"this degrader takes images of {self.channels} channels, not {hr.shape[1]}")
        if hr.shape[2] % self.scale != 0 or hr.shape[3] % self.scale != 0:
            raise ValueError(f"HR is {hr.shape[2]}×{hr.shape[3]}; both must be multiples of the scale {self.scale}")
        height, width = hr.shape[2] // self.scale, hr.shape[3] // self.scale
        down = -hr.shape[2] % self.multiple_of
        right = -hr.shape[3] % self.multiple_of
        if down > 0 or right > 0:
            hr = F.pad(hr, [0, right, 0, down], mode="replicate")
            if field.shape[1] > 0:
                field = F.pad(field, [0, right // self.scale, 0, down // self.scale], mode="replicate")
        lr: Tensor = self.optics.clean(hr, code, field)
        return lr[:, :, :height, :width]

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """What the learned noise adds to an lr in [0, 1]; zeros where the method has none."""
        residual: Tensor = self.optics.noise(lr, code, field)
        return residual

    def forward(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """`clean` + `noise`; deterministic, not clamped. Items of a batch have their own code (B, G) and field."""
        lr = self.clean(hr, code, field)
        return lr + self.noise(lr.clamp(0.0, 1.0), code, field)

    @torch.jit.export
    def degrade(self, hr: Tensor, seed: int) -> Tensor:
        """All of it, clamped to [0, 1]; item b uses seed + b. What is no whole LR pixel is cropped."""
        height, width = hr.shape[2] // self.scale, hr.shape[3] // self.scale
        hr = hr[:, :, : height * self.scale, : width * self.scale]
        codes: list[Tensor] = []
        fields: list[Tensor] = []
        for item in range(hr.shape[0]):
            codes.append(self.draw(seed + item, height, width))
            fields.append(self.field(seed + item, 0, 0, height, width, hr.shape[1]))
        return self.forward(hr, torch.cat(codes).to(hr.device), torch.cat(fields).to(hr.device)).clamp(0.0, 1.0)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:
        """Choose the hardware factor that `draw` writes into the code; an error where the model has none."""
        self.optics.set_hardware_factor(f)

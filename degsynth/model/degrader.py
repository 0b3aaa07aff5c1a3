"""The contract of a checkpoint: `Degrader`, the one module that `checkpoint.save` scripts.

A method supplies its `Optics`; `Degrader` adds, once for all methods, what the contract asks for around them. Random
numbers are split from the optics: `draw` and `field` make every random number (on the CPU, by image and by place),
`clean`, `noise` and `forward` are deterministic. That is what makes tiles, batches, workers and devices agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.model.residual import Residual
from degsynth.model.tone import Tone
from degsynth.ops.noise import block_field
from degsynth.ops.position import pixel_centres
from degsynth.ops.residual_noise import ResidualNoise


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
        """Wrap ``optics``, an instance of `Optics`.

        ``multiple_of`` (HR px, default the scale) is what the optics need sizes and tile origins to be multiples of,
        e.g. scale × pooling stride. ``channels`` are the numbers of channels that they take (default: any).
        ``placed``: the optics need to know where in the image a pixel lies.
        """
        super().__init__()
        self.optics: Any = optics
        self.scale = scale
        self.multiple_of = multiple_of if multiple_of > 0 else scale
        self.placed = placed
        self.tone: Any = Tone()
        self.residual: Any = Residual()
        self.takes_any = not channels
        self.channels = list(channels or [1, 3])
        if self.multiple_of % scale != 0:
            raise ValueError(f"multiple_of (={self.multiple_of}) must be a multiple of the scale (={scale})")

    def add_tone(self, coefficients: Sequence[float]) -> None:
        """Let the optics see light instead of levels, by the curve of `degsynth.ops.tone` with these coefficients.

        The curve goes to the device of the optics, which a fit may have moved already.
        """
        some = next(iter(self.optics.state_dict().values()), torch.empty(0))
        self.tone = Tone(coefficients).to(some.device)

    def add_residual(self, noise: ResidualNoise) -> None:
        """Add what the model leaves out to its LR, as noise."""
        self.residual = Residual(noise)

    @torch.jit.export
    def draw(self, seed: int, height: int = 0, width: int = 0) -> Tensor:
        """Return the code (1, G): numbers for the whole image, such as its kernel, pool index, hardware factor or size.

        ``height`` and ``width`` are those of the LR plane; only placed optics use them. 0: the size is unknown, and
        every pixel is then taken for the middle of the image.
        """
        code: Tensor = self.optics.draw(seed)
        return torch.cat([code, torch.tensor([[float(height), float(width)]])], 1) if self.placed else code

    @torch.jit.export
    def field(self, seed: int, y: int, x: int, height: int, width: int, channels: int) -> Tensor:
        """Return the random numbers of a window of the LR plane: (1, F, height, width), from pixel (y, x) on.

        The first planes are for the residual, the next ones for the optics. The field of placed optics has the
        coordinates of the pixels in its last two planes.
        """
        count = self.residual.planes(channels) + self.optics.field_planes(channels)
        planes = block_field(seed, y, x, height, width, count)
        return torch.cat([planes, pixel_centres(y, x, height, width)], 1) if self.placed else planes

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Blur and decimate, without noise and without clamping. H and W must be multiples of the scale."""
        if not self.takes_any and hr.shape[1] not in self.channels:
            raise ValueError(f"this degrader takes images of {self.channels} channels, not {hr.shape[1]}")
        if hr.shape[2] % self.scale != 0 or hr.shape[3] % self.scale != 0:
            raise ValueError(f"HR is {hr.shape[2]}×{hr.shape[3]}; both must be multiples of the scale {self.scale}")
        height, width = hr.shape[2] // self.scale, hr.shape[3] // self.scale
        field = field[:, self.residual.planes(hr.shape[1]) :]
        down = -hr.shape[2] % self.multiple_of
        right = -hr.shape[3] % self.multiple_of
        if down > 0 or right > 0:
            hr = F.pad(hr, [0, right, 0, down], mode="replicate")
            if field.shape[1] > 0:
                field = F.pad(field, [0, right // self.scale, 0, down // self.scale], mode="replicate")
        light: Tensor = self.optics.clean(self.tone.to_light(hr), code, field)
        lr: Tensor = self.tone.to_levels(light[:, :, :height, :width])
        return lr

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Return the learned noise for an lr in [0, 1]; zeros where the model has none."""
        planes: int = self.residual.planes(lr.shape[1])
        noise: Tensor = self.optics.noise(lr, code, field[:, planes:])
        return noise if planes == 0 else noise + self.residual(lr, field[:, :planes])

    def forward(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Return `clean` + `noise`, not clamped. Each item of a batch has its own code (B, G) and field."""
        lr = self.clean(hr, code, field)
        return lr + self.noise(lr.clamp(0.0, 1.0), code, field)

    @torch.jit.export
    def degrade(self, hr: Tensor, seed: int) -> Tensor:
        """Return the finished LR images, clamped to [0, 1]; item b of the batch uses seed + b.

        HR is cropped at the bottom and right to whole LR pixels.
        """
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
        """Set the hardware factor that `draw` writes into the code; an error where the model has none."""
        self.optics.set_hardware_factor(f)

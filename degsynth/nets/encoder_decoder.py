"""A U-Net of 3×3 convolutions, with max pooling on the way down, bilinear upsampling, and replicated borders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.convolution import convolution


class Convolution(nn.Module):
    """A size×size convolution (odd size) that keeps height and width; borders are replicated.

    It is nn.Conv2d written out. TorchScript lists the constants of nn.Conv2d in the order of a hash that changes with
    every process, so two equal fits would not give the same file.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        template = nn.Conv2d(inputs, outputs, size)
        assert template.bias is not None
        self.weight, self.bias = template.weight, template.bias
        self.padding = size // 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.padding > 0:
            x = F.pad(x, [self.padding, self.padding, self.padding, self.padding], mode="replicate")
        return convolution(x, self.weight, self.bias)


def block(inputs: int, outputs: int, count: int, slope: float) -> nn.Sequential:
    """Return ``count`` 3×3 convolutions with a leaky ReLU after each; with ``slope`` 0 it is a ReLU."""
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [
            Convolution(inputs if number == 0 else outputs, outputs),
            nn.LeakyReLU(slope) if slope else nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class EncoderDecoder(nn.Module):
    """A network (B, inputs, h, w) → (B, outputs, h, w), where h and w must be multiples of its `multiple_of`.

    An output pixel depends on no input pixel more than `reach` px away.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: tuple[int, ...],
        encoder: tuple[int, ...],
        decoder: int,
        concatenate: bool = False,
        last: int = 3,
        slope: float = 0.0,
    ) -> None:
        """Build one level for each entry of ``widths`` (channels) and ``encoder`` (convolutions on the way down).

        Each level has half the size of the one before. On the way up every level has ``decoder`` convolutions. The
        features from the level below are concatenated with the level's own features if ``concatenate``; else they go
        through a 1×1 convolution before upsampling and are added, which is cheaper. ``last`` is the size of the
        convolution that computes the outputs. Activations below zero are multiplied by ``slope``.
        """
        super().__init__()
        levels = range(len(widths))
        self.concatenate = concatenate
        self.encoders = nn.ModuleList(
            block(inputs if level == 0 else widths[level - 1], widths[level], encoder[level], slope) for level in levels
        )
        # From the bottom up: `joins[i]` brings a level to the width of the one above, at which `decoders[i]` works.
        above = list(reversed(levels[:-1]))
        self.joins = nn.ModuleList(
            nn.Identity() if concatenate else Convolution(widths[level + 1], widths[level], 1) for level in above
        )
        self.decoders = nn.ModuleList(
            block(widths[level] + (widths[level + 1] if concatenate else 0), widths[level], decoder, slope)
            for level in above
        )
        self.last = Convolution(widths[0], outputs, last)
        self.multiple_of = int(2 ** (len(widths) - 1))
        self.reach = _reach(encoder, decoder) + last // 2
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.4× as fast on a CPU

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.last(self.trunk(x))
        return out

    @torch.jit.export
    def trunk(self, x: Tensor) -> Tensor:
        """Apply all but the last convolution: (B, inputs, h, w) → (B, widths[0], h, w)."""
        x = x.contiguous(memory_format=torch.channels_last)
        skipped: list[Tensor] = []
        for number, encoder in enumerate(self.encoders):
            if number > 0:
                x = F.max_pool2d(x, 2)
            x = encoder(x)
            skipped.append(x)
        x = skipped.pop()
        for join, decoder in zip(self.joins, self.decoders):  # noqa: B905  (TorchScript's zip has no strict)
            x = F.interpolate(join(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            own = skipped.pop()
            x = decoder(torch.cat([x, own], 1) if self.concatenate else x + own)
        return x


def _reach(encoder: tuple[int, ...], decoder: int) -> int:
    """Return how far an output of the first level's decoder reads on each side, in pixels of that level.

    A 3×3 convolution reads 1 px further on each side. When the level below is upsampled, pixel i of this level needs
    the coarse pixels i//2 − 1 … i//2 + 1. Each of them is a block of two fine pixels and itself reads f coarse pixels
    further, so everything that is read lies within 1 + 2·(1 + f) px of i.
    """
    if len(encoder) == 1:
        return encoder[0]
    return decoder + 1 + 2 * (1 + _reach(encoder[1:], decoder)) + encoder[0]

"""A U-Net of 3×3 convolutions: max-pooled down, bilinear up, replicate borders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.convolution import convolution


class Convolution(nn.Module):
    """A size×size convolution that keeps height and width; its border repeats the outermost values.

    nn.Conv2d written out: TorchScript would list that one's constants in the order of a hash that changes with every
    process, and two fits alike would not give the same file.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        like = nn.Conv2d(inputs, outputs, size)
        assert like.bias is not None
        self.weight, self.bias = like.weight, like.bias
        self.padding = size // 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.padding > 0:
            x = F.pad(x, [self.padding, self.padding, self.padding, self.padding], mode="replicate")
        return convolution(x, self.weight, self.bias)


def block(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """``count`` 3×3 convolutions, a ReLU after each."""
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [Convolution(inputs if number == 0 else outputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class EncoderDecoder(nn.Module):
    """(B, inputs, h, w) → (B, outputs, h, w); h and w must be multiples of `multiple_of`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: tuple[int, ...],
        encoder: tuple[int, ...],
        decoder: int,
        concatenate: bool = False,
        last: int = 3,
    ) -> None:
        """One level per entry of ``widths`` (channels) and ``encoder`` (convolutions), each at half the size before.

        On the way up every level has ``decoder`` convolutions. What comes up joins the level's own features by
        ``concatenate``, or by a 1×1 convolution at the small size and a sum, which is cheaper. ``last`` is the size of
        the convolution that makes the outputs.
        """
        super().__init__()
        levels = range(len(widths))
        self.concatenate = concatenate
        self.encoders = nn.ModuleList(
            block(inputs if level == 0 else widths[level - 1], widths[level], encoder[level]) for level in levels
        )
        # From the bottom up: `joins[i]` brings level n − i to the width of the one above, `decoders[i]` works there.
        above = list(reversed(levels[:-1]))
        self.joins = nn.ModuleList(
            nn.Identity() if concatenate else Convolution(widths[level + 1], widths[level], 1) for level in above
        )
        self.decoders = nn.ModuleList(
            block(widths[level] + (widths[level + 1] if concatenate else 0), widths[level], decoder) for level in above
        )
        self.last = Convolution(widths[0], outputs, last)
        self.multiple_of = int(2 ** (len(widths) - 1))
        self.reach = _reach(encoder, decoder) + last // 2
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.4 times as fast on a CPU

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.last(self.trunk(x))
        return out

    @torch.jit.export
    def trunk(self, x: Tensor) -> Tensor:
        """All but the last convolution: (B, inputs, h, w) → (B, widths[0], h, w)."""
        x = x.contiguous(memory_format=torch.channels_last)
        passed: list[Tensor] = []
        for number, encoder in enumerate(self.encoders):
            if number > 0:
                x = F.max_pool2d(x, 2)
            x = encoder(x)
            passed.append(x)
        x = passed.pop()
        for join, decoder in zip(self.joins, self.decoders):  # noqa: B905  (TorchScript's zip has no strict)
            x = F.interpolate(join(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            beside = passed.pop()
            x = decoder(torch.cat([x, beside], 1) if self.concatenate else x + beside)
        return x


def _reach(encoder: tuple[int, ...], decoder: int) -> int:
    """How far the first level reads, in its own pixels, for a decoder's output at that level.

    A 3×3 convolution reads 1 px further on each side. Coming up from the level below, pixel i of this one needs the
    coarse pixels i//2 − 1 … i//2 + 1; these and their own reach f, unfolded to blocks of two, lie within
    1 + 2·(1 + f) px of i.
    """
    if len(encoder) == 1:
        return encoder[0]
    return decoder + 1 + 2 * (1 + _reach(encoder[1:], decoder)) + encoder[0]

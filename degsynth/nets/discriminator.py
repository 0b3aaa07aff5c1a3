"""Discriminators: networks that tell real LR patches from synthetic ones, with a logit for each position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from degsynth.ops.resample import luma, without_surroundings

DITHER = 1 / 255
"""Half-width of the uniform noise that is added to patches; otherwise 8-bit levels would give the real patches away."""
CONTRAST_FLOOR = 1e-2
"""This is added to the standard deviation by which a patch is divided, so that flat patches stay flat."""
FINE_REACH = 2
"""Fine detail is the difference of a pixel from the mean over (2·FINE_REACH + 1)² px; it is what blur removes first."""


class FinePatches(nn.Module):
    """A discriminator that sees only the fine detail of luma, relative to the contrast of the patch.

    It is not from a paper (adl has `PatchGAN`). Blur and sharpening change the fine detail. Colours and brightness,
    from which it could learn what was photographed, are not part of it. Spectral norm bounds the slope. Each logit
    depends on 9×9 LR px (13×13 with the means that are subtracted).
    """

    def __init__(self, width: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, size: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, size))

        def relu() -> nn.Module:
            return nn.LeakyReLU(0.1)

        self.layers = nn.Sequential(
            layer(1, width, 5), relu(), layer(width, width, 3), relu(), layer(width, width, 3), relu(),
            layer(width, width, 1), relu(), layer(width, 1, 1),
        )  # fmt: skip

    def forward(self, patches: Tensor, dither: Tensor) -> Tensor:
        """Return logits (B, 1, h', w') of patches (B, C, h, w); ``dither`` (B, 1, h, w) is uniform in [−1, 1]."""
        x = luma(patches) + DITHER * dither
        x = x - x.mean((2, 3), keepdim=True)
        x = x / (x.square().mean((2, 3), keepdim=True).sqrt() + CONTRAST_FLOOR)
        logits: Tensor = self.layers(without_surroundings(x, FINE_REACH))
        return logits


class PatchGAN(nn.Module):
    """The discriminator of adl as in its authors' code: a 7×7 layer, four strided 5×5 layers, and a 2×2 layer.

    It has 17.4 M weights at width 64, and 3×3 logits for a patch of 64×64 px. All layers but the last have instance
    norm; the leaky ReLUs have slope 0.01, borders are reflected, and levels are scaled to [−1, 1].
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 7, padding=3, padding_mode="reflect"), nn.InstanceNorm2d(width),
            nn.LeakyReLU(0.01),
        ]  # fmt: skip
        for _ in range(4):
            layers += [
                nn.Conv2d(width, 2 * width, 5, stride=2, padding=2, padding_mode="reflect"),
                nn.InstanceNorm2d(2 * width),
                nn.LeakyReLU(0.01),
            ]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 2))

    def forward(self, patches: Tensor, dither: Tensor) -> Tensor:
        """Return the logits of patches (B, C, h, w) in [0, 1]; ``dither`` is not used."""
        logits: Tensor = self.layers(2 * patches - 1)
        return logits


class LocalPatchGAN(nn.Module):
    """The discriminator of pdm as in its authors' joint training: five 3×3 layers, 11×11 px for each logit.

    The layers in between have instance norm; the leaky ReLUs have slope 0.2, and borders are padded with zeros. The
    last layer has one output channel (the authors' has 64). The paper says PatchGAN, which usually has strides and
    depends on 70 px; the authors' separate training has strides, and depends on 25 px.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(3):
            layers += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2)]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, patches: Tensor, dither: Tensor) -> Tensor:
        """Return logits (B, 1, h, w) of patches (B, C, h, w) in [0, 1].

        ``dither`` has the same shape, and is uniform in [−1, 1].
        """
        logits: Tensor = self.layers(2 * (patches + DITHER * dither) - 1)
        return logits


def redraw_weights(module: nn.Module, deviation: float) -> nn.Module:
    """Draw the weights of a module anew from N(0, deviation²), set its biases to 0, and return it.

    adl does so (Algorithm 1).
    """
    for parameter in module.parameters():
        with torch.no_grad():
            if parameter.ndim > 1:
                parameter.normal_(0.0, deviation)
            else:
                parameter.zero_()
    return module

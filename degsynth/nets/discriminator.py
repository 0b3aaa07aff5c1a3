"""Networks that tell real LR patches from made ones, a logit per place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from degsynth.ops.resample import luma, without_surroundings

DITHER = 1 / 255
"""Half-width of the uniform noise that patches get: 8-bit levels on one side only would give them away."""
LEAST_CONTRAST = 1e-2
"""Added to the standard deviation by which a patch is divided: flat ones stay flat."""
FINE = 2
"""What differs from its mean over (2·FINE + 1)² px is what blur takes away first."""


class FinePatches(nn.Module):
    """Looks at the fine detail of luma only, in units of the patch's own contrast (ours; adl has `PatchGAN`).

    Blur and sharpening are in the fine detail; colours and brightness, which would let it learn what was photographed,
    are not. Spectral norm keeps its slope bounded. Each logit sees 9×9 LR px (13×13 with what is subtracted).
    """

    def __init__(self, width: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, size: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, size))

        def bend() -> nn.Module:
            return nn.LeakyReLU(0.1)

        self.layers = nn.Sequential(
            layer(1, width, 5), bend(), layer(width, width, 3), bend(), layer(width, width, 3), bend(),
            layer(width, width, 1), bend(), layer(width, 1, 1),
        )  # fmt: skip

    def forward(self, patches: Tensor, dither: Tensor) -> Tensor:
        """Logits (B, 1, h', w') of patches (B, C, h, w); ``dither`` (B, 1, h, w) is uniform in [−1, 1]."""
        seen = luma(patches) + DITHER * dither
        seen = seen - seen.mean((2, 3), keepdim=True)
        seen = seen / (seen.square().mean((2, 3), keepdim=True).sqrt() + LEAST_CONTRAST)
        found: Tensor = self.layers(without_surroundings(seen, FINE))
        return found


class PatchGAN(nn.Module):
    """The discriminator of adl as its authors have it: 7×7, four strided 5×5, 2×2; 17.4 M weights, 3×3 logits of 64 px.

    Instance norm on all layers but the last, slope 0.01, reflected borders, levels in [−1, 1].
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
        """Logits of patches (B, C, h, w) in [0, 1]; it is not dithered."""
        found: Tensor = self.layers(2 * patches - 1)
        return found


class LocalPatchGAN(nn.Module):
    """The discriminator of pdm as in its authors' joint training: five 3×3 layers, each logit sees 11×11 px.

    Instance norm between, slope 0.2, padded with zeros; the last layer has one map (theirs 64). The paper says
    PatchGAN, which usually has strides and sees 70 px; the authors' separate training strides, and sees 25.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(3):
            layers += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2)]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, patches: Tensor, dither: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of patches (B, C, h, w) in [0, 1]; ``dither`` of their shape is uniform in [−1, 1]."""
        found: Tensor = self.layers(2 * (patches + DITHER * dither) - 1)
        return found


def drawn(module: nn.Module, deviation: float) -> nn.Module:
    """The module, its weights drawn anew from N(0, deviation²), biases 0 (adl, Algorithm 1)."""
    for parameter in module.parameters():
        with torch.no_grad():
            if parameter.ndim > 1:
                parameter.normal_(0.0, deviation)
            else:
                parameter.zero_()
    return module

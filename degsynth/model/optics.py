"""The base class of optics modules: the part of a degrader that a method supplies.

An optics module blurs, decimates and draws noise. `degsynth.model.degrader.Degrader` wraps it and adds what the
contract of a checkpoint asks for around it. Every verb but `clean` has a default here, so a method writes only what it
has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Optics(nn.Module):
    """Blur, decimation and noise of one model. All methods are compiled by TorchScript.

    Random numbers enter from outside. An image has a ``code`` (1, G): G numbers for the whole image, such as the index
    of its kernel. The LR plane has a ``field`` (1, F, h, w): standard normal numbers for every LR pixel. G and F
    may be 0. With the same code and field the same image comes out, whatever the tile, batch, thread or device.

    The optics of a model that depends on the place in the image (``placed=True`` of `Degrader`) find two more columns
    at the end of the code, the height and width of the LR plane, and two more planes at the end of the field, the y and
    x of every LR pixel's centre; `degsynth.ops.position` turns them into positions relative to the middle of the image.
    """

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        """Return the code (1, G) of the image with this seed. By default it is empty: all images are alike."""
        return torch.zeros(1, 0)

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        """Return F, the number of planes of random numbers for an image of so many channels. By default 0."""
        return 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Blur and decimate hr (B, C, s·h, s·w) to lr (B, C, h, w), without noise. Every method must override this."""
        raise NotImplementedError("optics must have a method clean(hr, code, field)")

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Return the noise that is added to lr (B, C, h, w) in [0, 1]. By default there is none."""
        return torch.zeros_like(lr)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:
        """Set the hardware factor that `draw` writes into the code. By default a model has none: ValueError."""
        raise ValueError("this model has no hardware factor; models fitted by abl have one")

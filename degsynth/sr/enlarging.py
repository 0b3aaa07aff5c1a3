"""A trained network on whole images: luma or RGB, in tiles where memory needs it, any number of channels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from degsynth.data import images
from degsynth.data.images import Image
from degsynth.data.ranges import check_range
from degsynth.model.inference import inference
from degsynth.model.tiling import spans
from degsynth.ops.alpha import filled, pyramid_reach
from degsynth.ops.resample import enlarged, luma
from degsynth.sr.networks import Trained

TILE = 256
"""Usual side of a tile's core, LR px."""


def super_resolve(network: Trained, lr: Tensor, tile: int = TILE) -> Tensor:
    """Super-resolve lr (C, h, w) in [0, 1], gray or RGB, to (C, s·h, s·w) float32 on the CPU, clamped to [0, 1].

    A network of luma gets the luma of a colour image; the two differences of colour are enlarged bicubically, as the
    papers do. A network of RGB gets a gray image three times, and the mean of what it gives is taken.
    """
    scale = network.record.scale
    with inference():
        if network.record.colours == "rgb":
            out = tiled(network, lr.expand(3, -1, -1), tile)
            out = out.mean(0, keepdim=True) if lr.shape[0] == 1 else out
        else:
            bright = luma(lr)
            out = tiled(network, bright, tile)
            if lr.shape[0] == 3:  # an image without its luma is the same for all grays
                out = out + enlarged((lr - bright)[None], scale)[0]
    return out.clamp(0.0, 1.0)


def tiled(network: Trained, lr: Tensor, tile: int = TILE) -> Tensor:
    """Run a network on lr (C, h, w) in tiles; each reads so much beyond its core that the result is that of one piece.

    Return (C, s·h, s·w) on the CPU, not clamped.
    """
    scale, halo = network.record.scale, network.record.halo
    height, width = lr.shape[1:]
    out = torch.empty(lr.shape[0], scale * height, scale * width)
    for rows in spans(height, tile, halo, 1):
        for columns in spans(width, tile, halo, 1):
            window = lr[:, rows.window_start : rows.window_stop, columns.window_start : columns.window_stop]
            made = network.module(window[None].to(network.device))[0].cpu()
            inner = made[:, _times(rows.core, scale), _times(columns.core, scale)]
            out[:, scale * rows.start : scale * rows.stop, scale * columns.start : scale * columns.stop] = inner
    return out


def _times(part: slice, scale: int) -> slice:
    return slice(scale * part.start, scale * part.stop)


def enlarge_image(network: Trained, image: Image, tile: int = TILE) -> Image:
    """Super-resolve an image file's pixels, to the same type; alpha is enlarged bicubically.

    Hidden colours are replaced by those around them first (`degsynth.ops.alpha`).
    """
    record = network.record
    check_range(image.pixels, record.interval)
    lr, alpha = images.to_tensor(image.pixels, record.interval), None
    if image.alpha is not None:
        alpha = images.to_tensor(image.alpha[..., None])
        if bool((alpha < 1.0).any()):
            lr = filled(lr, alpha, pyramid_reach(record.halo), image.meaning.premultiplied)
    made = super_resolve(network, lr, tile)
    carried = image.meaning.carried.decimated(1 / record.scale)
    meaning = replace(image.meaning, carried=carried)
    if alpha is None:
        return Image(images.quantise(made, image.dtype, record.interval), meaning=meaning)
    alpha = enlarged(alpha[None], record.scale)[0].clamp(0.0, 1.0)
    if image.meaning.premultiplied:
        made = made * alpha
    pixels = images.quantise(made, image.dtype, record.interval)
    return Image(pixels, images.quantise(alpha, image.dtype)[..., 0], meaning=meaning)

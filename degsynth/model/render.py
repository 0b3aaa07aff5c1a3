"""One HR image to one LR image: learned blur → learned noise → white noise, whole or in tiles, band by band.

Nothing is random here: what is drawn for the image comes in as a `Draw`. Tiles change the memory that is needed, not
the result. The LR image is neither clamped nor quantised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from degsynth.errors import DataError, is_out_of_memory
from degsynth.model.degradation import SIGMA_UNIT, Degradation, Draw, lr_size
from degsynth.model.tiling import Span, Tiling, square
from degsynth.seeds import Identity

Source = Callable[[int, int, int, int], Tensor]
"""Returns the HR of a window (top, bottom, left, right; HR px): (C, bottom − top, right − left) in [0, 1]."""


def render(degradation: Degradation, hr: Tensor, identity: Identity, tile: int | None = None) -> Tensor:
    """Degrade hr (C, s·h, s·w) in [0, 1] to an LR image (C, h, w) float32 on the CPU, with what its identity draws.

    ``tile`` is the side of a tile's core in LR px; None: the image is made in one piece.
    """
    height, width = lr_size(hr.shape[1], hr.shape[2], degradation.model.spec.scale)
    return render_draw(degradation, degradation.draw(identity, hr.shape[0], height, width), hr, tile)


def render_draw(degradation: Degradation, draw: Draw, hr: Tensor, tile: int | None = None) -> Tensor:
    """Degrade hr as `render` does, with what was drawn for it."""

    def source(top: int, bottom: int, left: int, right: int) -> Tensor:
        return hr[:, top:bottom, left:right].to(degradation.device)

    tiling = None if tile is None else tiles_of(degradation, tile)
    return torch.cat(list(render_bands(degradation, draw, source, tiling)), 1)


def tiles_of(degradation: Degradation, side: int) -> Tiling:
    """Return square tiles whose cores have ``side`` LR px, with the halo that the degradation needs."""
    spec = degradation.model.spec
    return square(side, spec.scale, degradation.halo, spec.multiple_of)


def render_bands(
    degradation: Degradation, draw: Draw, source: Source, tiling: Tiling | None = None
) -> Iterator[Tensor]:
    """Yield the rows of the LR image from top to bottom: (C, rows, width) float32 on the CPU.

    ``tiling`` None: one tile. A model that cannot be tiled is not tiled. Where memory does not suffice for a tile, the
    image goes on in smaller ones; DataError where that does not suffice either.
    """
    _, height, width = draw.size
    if tiling is None or degradation.whole_only:
        tiling = tiles_of(degradation, max(height, width))
    image = _Image(degradation, draw, source)
    first, retried = 0, False
    while first < height:
        rows = next(tiling.bands(height, first))
        try:
            band = image.band(rows, tiling)
        except (RuntimeError, MemoryError) as error:  # TorchScript turns all into plain RuntimeErrors
            if not is_out_of_memory(error):
                raise
            if retried or degradation.whole_only or max(tiling.rows, tiling.columns) <= tiling.step:
                raise _memory_error(degradation, tiling, draw) from None
            tiling, retried = tiling.smaller(height, width), True
        else:
            yield band
            first = rows.stop
            continue
        if degradation.device != "cpu":  # outside the handler: the error holds the tensors that it was about
            torch.cuda.empty_cache()


def _memory_error(degradation: Degradation, tiling: Tiling, draw: Draw) -> DataError:
    _, height, width = draw.size
    size = f"{min(tiling.columns, width)}×{min(tiling.rows, height)} LR px"
    hint = "the model cannot be tiled" if degradation.whole_only else "give less `memory`, or a smaller `tile`"
    return DataError(f"out of memory on {degradation.device} with tiles of {size}", hint)


class _Image:
    """An LR image while it is made."""

    def __init__(self, degradation: Degradation, draw: Draw, source: Source) -> None:
        self.degradation, self.draw, self.source, self.device = degradation, draw, source, degradation.device
        self.blur_code = to_device(draw.blur.code, self.device)
        self.noise_code = self.blur_code if draw.noise is draw.blur else to_device(draw.noise.code, self.device)

    def band(self, rows: Span, tiling: Tiling) -> Tensor:
        """Make some rows of the image, (C, rows, width)."""
        channels, _, width = self.draw.size
        band = torch.empty(channels, rows.stop - rows.start, width)
        for columns in tiling.tiles(width):
            band[:, :, columns.start : columns.stop] = self._tile(rows, columns)[0, :, rows.core, columns.core]
        if not bool(band.sum().isfinite()):  # the sum of any NaN or infinity is one: cheaper than to look at each pixel
            raise DataError("the model gives values that are not finite for this image", "fit another model")
        if self.draw.white is not None:
            band += self._white_sigma(band) * self.draw.white.window(rows.start, rows.stop, 0, width)[0]
        return band

    def _white_sigma(self, band: Tensor) -> Tensor | float:
        """Return the σ of white noise, 1 being white: one for the whole image, or one for every pixel of a band."""
        if self.draw.shot_read is None:
            return (self.draw.awgn_sigma or 0.0) / SIGMA_UNIT
        shot, read = self.draw.shot_read
        return (shot / SIGMA_UNIT * band.clamp(0.0, 1.0) + read / SIGMA_UNIT**2).sqrt_()

    def _tile(self, rows: Span, columns: Span) -> Tensor:
        """Make the LR (1, C, h, w) of a tile and its halo."""
        blur, noise, scale = self.draw.blur, self.draw.noise, self.degradation.model.spec.scale
        window = rows.window_start, rows.window_stop, columns.window_start, columns.window_stop
        hr = self.source(*(scale * edge for edge in window)).unsqueeze(0)
        field = to_device(blur.field.window(*window), self.device)
        lr = blur.model.degrader.clean(hr, self.blur_code, field)
        size = 1, self.draw.size[0], rows.window_stop - rows.window_start, columns.window_stop - columns.window_start
        _check_size(lr, size)
        if self.degradation.noise.learned and noise.model.spec.has_noise:
            if noise is not blur:
                field = to_device(noise.field.window(*window), self.device)
            residual = noise.model.degrader.noise(lr.clamp(0.0, 1.0), self.noise_code, field)
            _check_size(residual, size)
            lr = lr + residual
        return lr


def _check_size(lr: Tensor, size: tuple[int, ...]) -> None:
    """Raise DataError where a model gives another size than that of the tile, or other numbers than real ones."""
    if tuple(lr.shape) != size or not lr.is_floating_point():
        given = f"{lr.dtype} {list(lr.shape)}".removeprefix("torch.")
        raise DataError(f"the model gives {given} for an LR image of {list(size)}", "fit another model")


def to_device(tensor: Tensor, device: str) -> Tensor:
    """Send a small tensor to a device without waiting for it."""
    return tensor if device == "cpu" else tensor.contiguous().pin_memory().to(device, non_blocking=True)

"""One HR image to one LR image: dice, optics, noise, in that order, whole or in tiles, band by band."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.errors import ConfigError, DataError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.tiling import Span, Tiling, square
from degsynth.ops.noise import BLOCK, block_field, uniform
from degsynth.seeds import derive

SIGMA_UNIT = 255.0
"""AWGN σ is given on the 0–255 scale of the data range."""


@dataclass(frozen=True)
class Identity:
    """What an output is, as far as its random numbers are concerned."""

    run_seed: int
    key: str
    """POSIX path relative to the HR root."""
    page: int = 0
    draw: int = 0

    def seed(self, purpose: str) -> int:
        """The seed of one stage. That of ``kernel`` is the checkpoint's own: ``degrade`` repeats the image with it."""
        return derive(self.run_seed, self.key, self.page, self.draw, purpose)


@dataclass(frozen=True)
class Noise:
    """What is added after the blur."""

    learned: bool = True
    """The model's own, where it has one, or the giver's."""
    giver: Checkpoint | None = None
    """Another model whose noise is added in place of the model's own: it lies on the LR grid, whatever the scale."""
    awgn: tuple[float, float] | None = None
    """Range of σ on the 0–255 scale, one σ an image; equal ends for a fixed one."""

    def __post_init__(self) -> None:
        if self.awgn is not None and not 0 <= self.awgn[0] <= self.awgn[1] <= SIGMA_UNIT:
            raise ConfigError(f"awgn {self.awgn[0]:g}:{self.awgn[1]:g}: give σ from 0 to 255, or LO:HI with LO ≤ HI")
        if self.giver is not None and not self.giver.spec.has_noise:
            raise ConfigError(
                f"noise of {self.giver.path}: the model ({self.giver.spec.method}) has none; give one that has, or awgn"
            )

    def check(self, checkpoint: Checkpoint) -> None:
        """ConfigError where there are no images that both the model and the noise are for."""
        if self.giver is None or "any" in (takes := (checkpoint.spec.channels, self.giver.spec.channels)):
            return
        if not set(takes[0]) & set(takes[1]):
            raise ConfigError(
                f"noise of {self.giver.path} is for {kinds(takes[1])} images, the model {checkpoint.path} for "
                f"{kinds(takes[0])} ones; give noise that was learnt on the same kind"
            )

    def warning(self, checkpoint: Checkpoint) -> str:
        """What a user should know of a giver's noise; empty where there is nothing."""
        if self.giver is None or self.giver.spec.scale == checkpoint.spec.scale:
            return ""
        return (
            f"the noise was learnt at scale {self.giver.spec.scale}, the model blurs at scale {checkpoint.spec.scale}: "
            "is it the same camera's?"
        )


DEFAULT_NOISE = Noise()
"""The model's own, nothing added."""


FAR_BELOW = 0.5
"""Below this share of the fit's factor, what encoder and decoder learnt to sharpen is no longer blurred again."""


@dataclass(frozen=True)
class Factor:
    """What an image's hardware factor is drawn from; equal ends for a fixed one."""

    low: float
    high: float

    def check(self, checkpoint: Checkpoint) -> None:
        """ConfigError where the model has no such factor."""
        knob, text = checkpoint.spec.hardware_factor, f"{self.low:g}" + (f":{self.high:g}" * (self.high != self.low))
        if knob is None:
            raise ConfigError(
                f"hardware factor {text}: the model {checkpoint.path} ({checkpoint.spec.method}) has none; "
                "models fitted by abl do"
            )
        if not knob.range[0] <= self.low <= self.high <= knob.range[1]:
            raise ConfigError(
                f"hardware factor {text}: give one from {knob.range[0]:g} to {knob.range[1]:g}, or LO:HI with LO ≤ HI"
            )


def far_below(checkpoint: Checkpoint, factor: Factor | None) -> str:
    """What a user should know of a factor (None: the model's own) far below the fit's; empty where it is not."""
    knob = checkpoint.spec.hardware_factor
    low = knob.default if factor is None and knob is not None else factor.low if factor is not None else 0.0
    if knob is None or low >= FAR_BELOW * knob.trained:
        return ""
    return (
        f"hardware factor {low:g} is far below the {knob.trained:g} of the fit: the model then sharpens what it should "
        "blur, and amplifies noise"
    )


def kinds(channels: Sequence[int] | str) -> str:
    """What images of so many channels are called."""
    names = {1: "gray", 3: "RGB"}
    return " or ".join(names.get(int(count), f"{count}-channel") for count in channels)


def check_channels(checkpoint: Checkpoint, channels: int, noise: Noise = DEFAULT_NOISE) -> None:
    """DataError where the model, or whose noise is added, does not take images of so many channels."""
    for model, what in ((checkpoint, "the model"), (noise.giver, "the noise's model")):
        if model is None or model.spec.channels == "any" or channels in model.spec.channels:
            continue
        raise DataError(
            f"the image is {kinds([channels])}, {what} takes {kinds(model.spec.channels)}; "
            "convert the image, or fit a model to such images"
        )


NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""What torch says on any device; out of TorchScript it comes as a plain RuntimeError."""
Source = Callable[[int, int, int, int], Tensor]
"""HR of a window (top, bottom, left, right), HR px: (C, bottom − top, right − left) in [0, 1]."""


class Rendering:
    """An LR image in the making: learned blur → learned noise → AWGN. Not clamped, not quantised.

    What is drawn for it is known at once; `bands` makes its rows. Tiles change memory, not the result.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        source: Source,
        size: tuple[int, int, int],
        identity: Identity,
        noise: Noise,
        tiling: Tiling | None = None,
        device: str = "cpu",
        factor: Factor | None = None,
    ) -> None:
        """``size``: channels, height and width of LR; ``tiling`` None: whole; ``factor`` None: the model's own, if any.

        A model that can not be tiled is not. DataError where the model does not take such images.
        """
        degrader, spec, giver = checkpoint.degrader, checkpoint.spec, noise.giver or checkpoint
        channels, height, width = size
        check_channels(checkpoint, channels, noise)
        self.whole_only = "whole_only" in (spec.tiling, giver.spec.tiling)
        if tiling is None or self.whole_only:
            tiling = square(max(height, width), spec.scale, full_halo(checkpoint, noise), spec.multiple_of)
        self.checkpoint, self.giver, self.source, self.size = checkpoint, giver, source, size
        self.tiling, self.device, self.learned = tiling, device, noise.learned

        seed, knob = identity.seed("kernel"), spec.hardware_factor
        code = degrader.draw(seed, height, width)
        self.hardware_factor: float | None = None
        if knob is not None:
            if factor is not None:
                self.hardware_factor = uniform(identity.seed("factor"), factor.low, factor.high)
                code[:, knob.entry] = self.hardware_factor
            else:  # said as it was set, where the code's 32 bits are all that is between
                written = float(code[0, knob.entry])
                self.hardware_factor = knob.default if math.isclose(written, knob.default, rel_tol=1e-6) else written
        self.kernel_id = int(code[0, 0]) if spec.pool else None
        """Which kernel of a pool."""
        self.code = sent(code, device)
        self.dice = Dice(lambda *place: degrader.field(seed, *place, channels), height, width)
        # Another's noise has dice of its own, so that the blur is what it would have been without.
        self.noise_code, self.noise_dice = self.code, self.dice
        if giver is not checkpoint:
            other = identity.seed("noise")
            self.noise_code = sent(giver.degrader.draw(other, height, width), device)
            self.noise_dice = Dice(lambda *place: giver.degrader.field(other, *place, channels), height, width)
        self.awgn_sigma: float | None = None
        if noise.awgn is not None:
            awgn = identity.seed("awgn")
            self.awgn_sigma = uniform(awgn, *noise.awgn)
            self.awgn_dice = Dice(lambda y, x, h, w: block_field(awgn, y, x, h, w, channels), height, width)

    def bands(self) -> Iterator[Tensor]:
        """Rows of the LR image from top to bottom: (C, rows, width) float32 on the CPU.

        Where memory does not suffice for a tile, it is tried once more with smaller ones; then DataError.
        """
        _, height, width = self.size
        first, tiling = 0, self.tiling
        while first < height:
            rows = next(tiling.bands(height, first))
            try:
                band = self._band(rows, tiling)
            except (RuntimeError, MemoryError) as error:
                if not isinstance(error, MemoryError) and not any(text in str(error) for text in NO_MEMORY):
                    raise
                if tiling is not self.tiling or self.whole_only or max(tiling.rows, tiling.columns) <= tiling.step:
                    size = f"{min(tiling.columns, width)}×{min(tiling.rows, height)} LR px"
                    way = "the model cannot be tiled" if self.whole_only else "give less --memory, or a smaller --tile"
                    raise DataError(f"out of memory on {self.device} with tiles of {size}; {way}") from None
                tiling = tiling.smaller(height, width)
            else:
                yield band
                first = rows.stop
                continue
            if self.device != "cpu":  # outside the handler, whose error holds what it was about
                torch.cuda.empty_cache()

    def _band(self, rows: Span, tiling: Tiling) -> Tensor:
        channels, _, width = self.size
        band = torch.empty(channels, rows.stop - rows.start, width)
        for columns in tiling.tiles(width):
            band[:, :, columns.start : columns.stop] = self._window(rows, columns)[0, :, rows.core, columns.core]
        if self.awgn_sigma is not None:
            band += self.awgn_sigma / SIGMA_UNIT * self.awgn_dice.window(rows.start, rows.stop, 0, width)[0]
        return band

    def _window(self, rows: Span, columns: Span) -> Tensor:
        """LR (1, C, h, w) of a tile and its halo."""
        scale = self.checkpoint.spec.scale
        place = rows.window_start, rows.window_stop, columns.window_start, columns.window_stop
        hr = self.source(*(scale * edge for edge in place)).unsqueeze(0)
        field = sent(self.dice.window(*place), self.device)
        lr: Tensor = self.checkpoint.degrader.clean(hr, self.code, field)
        if self.learned and self.giver.spec.has_noise:
            if self.giver is not self.checkpoint:
                field = sent(self.noise_dice.window(*place), self.device)
            lr = lr + self.giver.degrader.noise(lr.clamp(0.0, 1.0), self.noise_code, field)
        return lr


class Dice:
    """Random planes of an image, drawn in whole blocks, which are kept while windows overlap."""

    def __init__(self, draw: Callable[[int, int, int, int], Tensor], height: int, width: int) -> None:
        """``draw`` gives the window (y, x, height, width) of the planes, (1, F, height, width)."""
        self._draw, self._height, self._width = draw, height, width
        self._blocks: dict[tuple[int, int], Tensor] = {}

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Rows ``top`` … ``bottom`` − 1, columns ``left`` … ``right`` − 1."""
        rows = range(top // BLOCK, (bottom - 1) // BLOCK + 1)
        columns = range(left // BLOCK, (right - 1) // BLOCK + 1)
        self._blocks = {(row, column): self._block(row, column) for row in rows for column in columns}
        lines = []
        for row in rows:
            part = slice(max(0, top - row * BLOCK), bottom - row * BLOCK)
            blocks = [
                self._blocks[row, column][:, :, part, max(0, left - column * BLOCK) : right - column * BLOCK]
                for column in columns
            ]
            lines.append(blocks[0] if len(blocks) == 1 else torch.cat(blocks, 3))
        return lines[0] if len(lines) == 1 else torch.cat(lines, 2)

    def _block(self, row: int, column: int) -> Tensor:
        if (row, column) in self._blocks:
            return self._blocks[row, column]
        height, width = self._height - row * BLOCK, self._width - column * BLOCK
        return self._draw(row * BLOCK, column * BLOCK, min(BLOCK, height), min(BLOCK, width))


def sent(tensor: Tensor, device: str) -> Tensor:
    """A small tensor on its way to a device, which nobody waits for."""
    return tensor if device == "cpu" else tensor.contiguous().pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Rendered:
    """An LR image and what was drawn for it."""

    lr: Tensor
    """(C, h, w) float32 on the CPU, not clamped."""
    awgn_sigma: float | None
    hardware_factor: float | None
    kernel_id: int | None = None
    """Which kernel of a pool."""


def render(
    checkpoint: Checkpoint,
    hr: Tensor,
    identity: Identity,
    noise: Noise,
    tile: int | None = None,
    device: str = "cpu",
    factor: Factor | None = None,
) -> Rendered:
    """`Rendering` of hr (C, s·h, s·w) in [0, 1], all of it; ``tile``: side of a tile's core in LR px, None: the whole.

    ``factor`` None: the model's own, where it has one.
    """
    spec, halo = checkpoint.spec, full_halo(checkpoint, noise)
    size = hr.shape[0], *lr_size(hr.shape[1], hr.shape[2], spec.scale)

    def source(top: int, bottom: int, left: int, right: int) -> Tensor:
        return hr[:, top:bottom, left:right].to(device)

    tiling = None if tile is None else square(tile, spec.scale, halo, spec.multiple_of)
    made = Rendering(checkpoint, source, size, identity, noise, tiling, device, factor)
    lr = torch.cat(list(made.bands()), 1)
    return Rendered(lr, made.awgn_sigma, made.hardware_factor, made.kernel_id)


def lr_size(height: int, width: int, scale: int) -> tuple[int, int]:
    """Height and width of the LR of an HR image; DataError where there is no whole LR pixel."""
    if min(height, width) < scale:
        raise DataError(f"the image is {width}×{height}, smaller than one LR pixel at scale {scale}")
    return height // scale, width // scale


def full_halo(checkpoint: Checkpoint, noise: Noise) -> int:
    """HR px beyond a pixel's own block that it depends on, with the noise that is added to this model's blur."""
    return checkpoint.spec.clean_halo + checkpoint.spec.scale * (noise.giver or checkpoint).spec.noise_halo

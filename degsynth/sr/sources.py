"""Where the patches of a training come from: pairs of files, or HR images of which LR is made here.

Every patch is a function of the seed and the step alone, so a resumed training sees what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.config import Events, Interval
from degsynth.data import images
from degsynth.data.cache import Cache
from degsynth.data.compression import JpegStage, saved
from degsynth.data.opening import find_data_range
from degsynth.data.pair_check import MISALIGNED_LR_PX, check
from degsynth.data.pairs import PairSet
from degsynth.data.sources import Sources
from degsynth.errors import ConfigError, DataError
from degsynth.model import checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.inference import inference
from degsynth.model.render import render
from degsynth.model.resolve import open_model, resolve
from degsynth.ops.resample import bicubic, dihedral, luma
from degsynth.seeds import Identity, derive
from degsynth.sr.networks import SCALES, Colours
from degsynth.sr.options import Pairs, Training, parse_awgn

CACHE_BYTES = 2**31
"""Memory for decoded HR images and the LR images that were made of them."""

UNUSED = ("constant", "unrelated", "zoomed or turned")
"""Faults of pairs that are left out of a training; any other fault ends it."""

Degrade = Callable[[Tensor, Identity], Tensor]
"""Makes the LR (C, h, w) of an HR image (C, s·h, s·w); the identity decides what is drawn."""


class Source(Protocol):
    """Pairs from which patches are cut."""

    scale: int
    data_range: Interval | None
    """Black and white of 16-bit and float files; None: the whole range of the type."""

    @property
    def smallest(self) -> int:
        """Length of the shortest side of an LR image."""

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Tensor, Tensor]:
        """Return hr (C, s·side, s·side) and lr (C, side, side) in [0, 1] from a random place."""


class FilePairs:
    """Pairs of files."""

    def __init__(self, pairs: PairSet) -> None:
        self.pairs, self.scale, self.data_range = pairs, pairs.scale, pairs.data_range
        self.smallest = min(min(pairs.size(index)) for index in range(len(pairs)))

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Tensor, Tensor]:
        """Return hr (C, s·side, s·side) and lr (C, side, side) in [0, 1] from a random place."""
        index = int(rng.integers(len(self.pairs)))
        height, width = self.pairs.size(index)
        y, x = (int(rng.integers(length - side + 1)) for length in (height, width))
        return self.pairs.window(index, y, x, side)


class MadePairs:
    """HR images, and LR images that are made of them when they are first needed.

    Of every HR image there are ``draws`` LR images, which differ in what the model draws. They are rounded to the
    levels of the HR file, as in a data set on the disk, and kept in memory with the HR images. Where memory does not
    suffice they are made again, to the same values.
    """

    def __init__(
        self, folder: Path, degrade: Degrade, scale: int, draws: int, seed: int, data_range: Interval | None = None
    ) -> None:
        found = Sources.of_images(folder)
        self.folder, self.names = found.root, found.names
        self.degrade, self.scale, self.draws, self.seed, self.data_range = degrade, scale, draws, seed, data_range
        self._cache = Cache(CACHE_BYTES)
        self.smallest = min(min(self.hr(name).shape[:2]) for name in self.names) // scale
        if self.smallest < 1:
            raise DataError(f"{folder} holds an image of less than one LR pixel at scale {scale}; remove it")

    def hr(self, name: str) -> NDArray[Any]:
        """Return the pixels (s·h, s·w, C) of an HR image, cropped at the bottom and right to whole LR pixels."""
        pixels: NDArray[Any] | None = self._cache.get("hr", name)
        if pixels is None:
            image = images.read(self.folder / name)
            height, width = (length // self.scale * self.scale for length in (image.height, image.width))
            pixels = np.ascontiguousarray(image.pixels[:height, :width])
            self._cache.put("hr", name, pixels, pixels.nbytes)
        return pixels

    def lr(self, name: str, draw: int) -> NDArray[Any]:
        """Return the pixels (h, w, C) of one of the LR images of an HR image."""
        key = f"{draw}:{name}"
        pixels: NDArray[Any] | None = self._cache.get("lr", key)
        if pixels is None:
            hr = self.hr(name)
            with inference():
                made = self.degrade(images.to_tensor(hr, self.data_range), Identity(self.seed, name, 0, draw))
            pixels = images.quantise(made, hr.dtype, self.data_range)
            self._cache.put("lr", key, pixels, pixels.nbytes)
        return pixels

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Tensor, Tensor]:
        """Return hr (C, s·side, s·side) and lr (C, side, side) in [0, 1] from a random place and a random draw."""
        name, draw = self.names[int(rng.integers(len(self.names)))], int(rng.integers(self.draws))
        hr, lr = self.hr(name), self.lr(name, draw)
        y, x = (int(rng.integers(length - side + 1)) for length in lr.shape[:2])
        scale = self.scale
        window = hr[scale * y : scale * (y + side), scale * x : scale * (x + side)]
        return (
            images.to_tensor(window, self.data_range),
            images.to_tensor(lr[y : y + side, x : x + side], self.data_range),
        )


def bicubic_lr(scale: int) -> Degrade:
    """Return the function that makes bicubic LR."""
    return lambda hr, identity: bicubic(hr[None], scale)[0]


def open_degradation(pairs: Pairs, scale: int | None, device: str) -> Degradation:
    """Load the model that makes LR, with the noise that is chosen; ConfigError where they do not go together."""
    assert pairs.model is not None
    model = open_model(pairs.model, scale, device)
    other = None
    if pairs.noise not in ("learned", "none"):
        other = checkpoint.load(resolve(pairs.noise), device)
    return Degradation(model, Noise(pairs.noise != "none", other, parse_awgn(pairs.awgn)), None, device)


def degrade_by(degradation: Degradation) -> Degrade:
    """Return the function that makes LR by a model, compressed where the LR images of its fit were JPEG files."""
    stage = JpegStage.of((share.compression, share.images) for share in degradation.model.spec.jpeg)

    def degrade(hr: Tensor, identity: Identity) -> Tensor:
        lr = render(degradation, hr, identity)
        return lr if stage is None else saved(lr, stage.draw(identity.seed("jpeg")))

    return degrade


def open_source(pairs: Pairs, training: Training, device: str, events: Events) -> Source:
    """Open one kind of pairs; ConfigError or DataError says what is wrong with them."""
    if pairs.read:
        return FilePairs(_open_files(pairs, training.scale, events))
    if pairs.model is not None:
        degradation = open_degradation(pairs, training.scale, device)
        spec = degradation.model.spec
        return MadePairs(
            Path(pairs.hr),
            degrade_by(degradation),
            spec.scale,
            training.draws,
            training.seed,
            spec.data_range,
        )
    if training.scale is None:
        raise ConfigError("bicubic LR needs `scale`: give HR size / LR size")
    return MadePairs(Path(pairs.hr), bicubic_lr(training.scale), training.scale, 1, training.seed)


def _open_files(pairs: Pairs, scale: int | None, events: Events) -> PairSet:
    """Return the pairs of two folders or of a table; DataError names a pair whose sizes, colours or types do not fit.

    The blur of a data set may move its LR images, or leave little of them, so what the sides show is only warned of.
    """
    matched, unmatched, _ = pairs.matching(scale)
    if unmatched:
        events.on_warning(f"files without a partner are left out ({len(unmatched)}), e.g. {unmatched[0]}")
    checked = check(matched, scale, register=True, on_progress=events.on_progress)
    for fault in checked.faults:
        if fault.kind not in UNUSED:
            raise DataError(f"pair {fault.name} of {pairs.place}: {fault.kind}: {fault.detail}", "mend or remove it")
    if not checked.pairs:
        raise DataError(f"no pair of {pairs.place} can be learnt from: {checked.faults[0].detail}", "give others")
    if checked.faults:
        first = f"{checked.faults[0].name} ({checked.faults[0].kind}: {checked.faults[0].detail})"
        events.on_warning(f"{len(checked.faults)} of {len(matched)} pairs are left out, e.g. {first}")
    moved = checked.median_shift()
    if moved > MISALIGNED_LR_PX:
        events.on_warning(f"the pairs are shifted by {moved:.1f} LR px: a network will learn to shift images back")
    opened = PairSet(checked.pairs, checked.scale, checked.channels, cache_bytes=CACHE_BYTES)
    opened.data_range = find_data_range(
        checked.dtype, (side for pair in opened.pairs for side in opened.decoded(pair)), None
    )
    return opened


class Batches:
    """Batches of patches, mirrored and rotated at random, from one source or in equal parts from two."""

    def __init__(self, sources: Sequence[Source], training: Training, device: str) -> None:
        """Raise ConfigError where the sources have several scales, DataError where an image is smaller than 8 px."""
        self.sources, self.training, self.device = sources, training, torch.device(device)
        if training.batch < len(sources):
            raise ConfigError(f"a batch of {training.batch} patch holds no mixture; give batches of 2 or more")
        scales = sorted({source.scale for source in sources})
        if len(scales) > 1 or scales[0] not in SCALES:
            raise ConfigError(
                f"the LR images have scale {', '.join(map(str, scales))}; give LR of one scale of {SCALES}"
            )
        self.scale = scales[0]
        self.side = min(training.patch, *(source.smallest for source in sources))
        if self.side < 8:
            raise DataError(f"an LR image is {self.side} px high or wide; at least 8 are needed to learn from")

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return batch number ``step``: hr (B, C, s·p, s·p) and lr (B, C, p, p) in [0, 1]."""
        rng = np.random.default_rng(derive(self.training.seed, "sr patches", step))
        hr: list[Tensor] = []
        lr: list[Tensor] = []
        for number in range(self.training.batch):
            pair = self.sources[number % len(self.sources)].draw(rng, self.side)
            turned = int(rng.integers(8))
            for image, patches in zip(pair, (hr, lr), strict=True):
                patches.append(dihedral(in_colours(image, self.training.colours), turned))
        layout = torch.channels_last  # which convolutions are faster with
        return tuple(  # type: ignore[return-value]
            torch.stack(side).to(self.device).contiguous(memory_format=layout) for side in (hr, lr)
        )


def in_colours(image: Tensor, colours: Colours) -> Tensor:
    """Return an image (C, H, W) as a network takes it: luma (1, H, W), or RGB (3, H, W), of gray three times."""
    return luma(image) if colours == "luma" else image.expand(3, -1, -1)

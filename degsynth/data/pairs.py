"""HR-LR pairs, decoded on demand and kept in memory within a budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from degsynth.config import Interval
from degsynth.data import images
from degsynth.data.cache import Cache
from degsynth.data.fingerprints import fingerprint
from degsynth.data.matching import Pair
from degsynth.data.split import LEAST_SCENES, split_by_scene
from degsynth.errors import DataError
from degsynth.files import text_digest
from degsynth.ops.spread import evenly_spaced

SPLINE_REACH_LR_PX = 2
"""Interpolated values that are nearer to an edge of the image than this depend on what is assumed beyond it."""


def square(y: int, x: int, side: int) -> tuple[slice, slice]:
    """Return the slices of rows and columns of a square part that begins at (y, x)."""
    return slice(y, y + side), slice(x, x + side)


class PairSet:
    """Pairs of one scale and colour, decoded on demand and kept within a memory budget."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        channels: int,
        data_range: Interval | None = None,
        register: bool = False,
        cache_bytes: int = 2**31,
    ) -> None:
        self.pairs, self.scale, self.channels = list(pairs), scale, channels
        self.data_range, self.register = data_range, register
        self.left_out = 0
        """Number of images that patterns left out."""
        self._cache = Cache(cache_bytes)
        self._sizes: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def spread(self, count: int) -> list[int]:
        """Return at most ``count`` indices, evenly spread over the pairs."""
        return evenly_spaced(len(self), count)

    def subset(self, indices: Sequence[int]) -> PairSet:
        """Return a set of some of the pairs; it uses the same cache."""
        subset = PairSet([self.pairs[i] for i in indices], self.scale, self.channels, self.data_range, self.register)
        subset._cache = self._cache
        return subset

    def decoded(self, pair: Pair) -> tuple[images.Image, images.Image]:
        """Return both images of a pair as stored, HR cropped at the bottom and right to scale × LR."""
        decoded: tuple[images.Image, images.Image] | None = self._cache.get("decoded", pair.name)
        if decoded is None:
            hr, lr = images.read(pair.hr), images.read(pair.lr)
            decoded = hr.cropped(lr.height * self.scale, lr.width * self.scale), lr
            self._cache.put("decoded", pair.name, decoded, sum(int(image.pixels.nbytes) for image in decoded))
        return decoded

    def tensors(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a pair as hr (C, s·h, s·w) and lr (C, h, w) in [0, 1], registered where `register` is set.

        Registration moves the HR side by a quintic spline: the spectrum of HR reaches s times further than that of LR,
        so the interpolation leaves no trace at the frequencies of LR. Interpolating the LR side would add its own blur
        to the one to be learnt. Both sides are cropped where the move brings in pixels that were never photographed.
        """
        pair = self.pairs[index]
        if not self._is_moved(pair):
            hr, lr = (images.to_tensor(image.pixels, self.data_range) for image in self.decoded(pair))
            return hr, lr
        registered: tuple[Tensor, Tensor] | None = self._cache.get("registered", pair.name)
        if registered is None:
            registered = self._registered(pair)
            self._cache.put("registered", pair.name, registered, sum(int(side.nbytes) for side in registered))
        return registered

    def _is_moved(self, pair: Pair) -> bool:
        """Whether registration changes a pair."""
        return self.register and pair.shift is not None and pair.shift != (0.0, 0.0)

    def _registered(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Shift the HR side of a pair onto its LR side, and crop both."""
        assert pair.shift is not None
        hr, lr = (images.to_tensor(image.pixels, self.data_range) for image in self.decoded(pair))
        move = [-self.scale * pair.shift[0], -self.scale * pair.shift[1]]
        moved = [scipy.ndimage.shift(plane.numpy(), move, order=5, mode="nearest") for plane in hr]
        border = int(np.ceil(np.abs(pair.shift).max())) + SPLINE_REACH_LR_PX
        inner = slice(border, -border), slice(border, -border)
        outer = slice(self.scale * border, -self.scale * border), slice(self.scale * border, -self.scale * border)
        return torch.from_numpy(np.stack(moved)).clamp(0.0, 1.0)[:, *outer].contiguous(), lr[:, *inner].contiguous()

    def size(self, index: int) -> tuple[int, int]:
        """Return the LR height and width of a pair as `tensors` returns it."""
        pair = self.pairs[index]
        if pair.name not in self._sizes:
            shape = self.tensors(index)[1].shape
            self._sizes[pair.name] = int(shape[1]), int(shape[2])
        return self._sizes[pair.name]

    def window(self, index: int, y: int, x: int, side: int) -> tuple[Tensor, Tensor]:
        """Return a square part of `tensors` that begins at (y, x) and is ``side`` wide, in LR px.

        Of a pair that is not registered, only that part is converted to float.
        """
        outer = square(self.scale * y, self.scale * x, self.scale * side)
        inner = square(y, x, side)
        pair = self.pairs[index]
        if self._is_moved(pair):
            hr, lr = self.tensors(index)
            return hr[:, *outer], lr[:, *inner]
        hr_image, lr_image = self.decoded(pair)
        return (
            images.to_tensor(hr_image.pixels[outer], self.data_range),
            images.to_tensor(lr_image.pixels[inner], self.data_range),
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all pairs; while one is in use, the next one is decoded."""
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.tensors, 0) if self.pairs else None
            for index in range(len(self.pairs)):
                assert upcoming is not None
                current = upcoming.result()
                upcoming = pool.submit(self.tensors, index + 1) if index + 1 < len(self.pairs) else None
                yield current

    def fingerprint(self) -> str:
        """Return SHA-256 over names and bytes of all files, in order of name."""
        return fingerprint((pair.name, path) for pair in self.pairs for path in (pair.hr, pair.lr))

    def split(self, scenes: Sequence[str], seed: int, chooses: bool) -> Parts:
        """Return the parts that `split_by_scene` makes, given the scene of each pair; DataError for a single scene."""
        split = split_by_scene(scenes, seed, chooses)
        count = len(set(scenes))
        if not split.fitted:
            what = "1 pair is" if len(self) == 1 else f"{len(self)} pairs of 1 scene are"
            raise DataError(
                f"{what} too few: one scene is held out to score the fit",
                "give at least 2 (one large pair can be cut into parts)",
            )
        fitted, choosing, reported = map(self.subset, (split.fitted, split.choosing, split.reported))
        return Parts(fitted, choosing, reported, self.subset(split.held_out()), count)


@dataclass(frozen=True)
class Parts:
    """Pairs by what they are for (`degsynth.data.split.Split`)."""

    fitted: PairSet
    choosing: PairSet
    """Empty where no weights are chosen."""
    reported: PairSet
    held_out: PairSet
    """Those to choose and those to report."""
    scenes: int
    """Number of scenes of all pairs."""

    def chooses_what_it_reports(self) -> bool:
        """Tell whether the reported pairs also choose the weights, for want of scenes."""
        return bool(self.choosing.pairs) and self.choosing.pairs == self.reported.pairs

    def digest(self) -> str:
        """Return a SHA-256 over the names of the pairs of each part."""
        names = [[pair.name for pair in part.pairs] for part in (self.fitted, self.choosing, self.reported)]
        return text_digest(json.dumps(names))

    def note(self) -> str:
        """Say how many pairs each part has."""
        text = f"{counted(len(self.fitted))} to fit; held out: "
        if self.chooses_what_it_reports():
            text += f"{len(self.reported)} to choose the weights and to report (fewer than {LEAST_SCENES} scenes)"
        else:
            choosing = f"{len(self.choosing)} to choose the weights, " if self.choosing.pairs else ""
            text += f"{choosing}{len(self.reported)} to report"
        whole = sum(len(part) for part in (self.fitted, self.held_out))
        return text if self.scenes == whole else f"{text}; {counted(self.scenes, 'scene')}"


def counted(number: int, what: str = "pair") -> str:
    """Write a number of things: 1 pair, 2 pairs."""
    return f"{number} {what}{'' if number == 1 else 's'}"

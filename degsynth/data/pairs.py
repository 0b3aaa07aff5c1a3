"""HR-LR pairs: found by name, decoded on demand, kept in memory within a budget."""

from __future__ import annotations

import collections
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from degsynth.data import images
from degsynth.errors import DataError
from degsynth.files import fingerprint
from degsynth.ops.spread import evenly
from degsynth.seeds import derive

SUFFIX = re.compile(r"(?i)(?:[._-]?(?:HR|GT|LR)(?:[._-]?x?\d)?|x\d)$")
"""What data sets hang on a stem to tell the two sides apart: 0001x4, Canon_001_HR, Canon_001_LR4, img_LR_x2."""


SPLINE_REACH_LR_PX = 2
"""How far from the frame's edge interpolation notices that there is one."""


@dataclass(frozen=True)
class Pair:
    """Two files of one scene."""

    name: str
    hr: Path
    lr: Path
    shift: tuple[float, float] | None = None
    """Measured (y, x): LR pixel i shows what lies at HR block i + shift, in LR px. None: not measured."""


def _by_stem(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in images.find(folder)[0]:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{folder} has both {found[stem]} and {name}; pairs are matched by stem, remove one")
        found[stem] = name
    return found


def match(hr_folder: Path, lr_folder: Path) -> tuple[list[Pair], list[str]]:
    """Pairs with equal stems (sub-folders included) in order of name, and the files of either side without a partner.

    Where no stem is in both folders, or they are one folder, endings like ``x4``, ``_HR`` and ``_LR4`` are left out
    of the comparison.
    """
    hr, lr = _by_stem(hr_folder), _by_stem(lr_folder)
    if hr_folder.resolve() == lr_folder.resolve() or not hr.keys() & lr.keys():
        hr = {SUFFIX.sub("", stem): name for stem, name in hr.items() if not re.search(r"(?i)LR[._-]?x?\d?$", stem)}
        lr = {SUFFIX.sub("", stem): name for stem, name in lr.items() if not re.search(r"(?i)(HR|GT)$", stem)}
    common = sorted(hr.keys() & lr.keys())
    if not common:
        some_hr, some_lr = next(iter(hr.values()), "nothing"), next(iter(lr.values()), "nothing")
        raise DataError(
            f"no file of {hr_folder} ({some_hr}, …) has the stem of one in {lr_folder} ({some_lr}, …); "
            "give both sides of a pair the same name"
        )
    alone = [f"{hr_folder}/{hr[s]}" for s in sorted(hr.keys() - lr.keys())]
    alone += [f"{lr_folder}/{lr[s]}" for s in sorted(lr.keys() - hr.keys())]
    return [Pair(stem, hr_folder / hr[stem], lr_folder / lr[stem]) for stem in common], alone


class Cache:
    """Pairs in memory, the least recently used leaving first; safe to use from several threads.

    Kept are decoded files, and registered tensors, whose making costs far more than decoding.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self._kept: collections.OrderedDict[tuple[str, str], tuple[Any, int]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, kind: str, name: str) -> Any:
        """What was kept under a name, or None."""
        with self._lock:
            if (kind, name) not in self._kept:
                return None
            self._kept.move_to_end((kind, name))
            return self._kept[kind, name][0]

    def put(self, kind: str, name: str, value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, unless it alone is over the budget."""
        with self._lock:
            if (kind, name) in self._kept or size > self.budget:
                return
            self._kept[kind, name] = value, size
            self.used += size
            while self.used > self.budget:
                self.used -= self._kept.popitem(last=False)[1][1]


def square(y: int, x: int, side: int) -> tuple[slice, slice]:
    """Rows and columns of a square part that begins at (y, x)."""
    return slice(y, y + side), slice(x, x + side)


class PairSet:
    """Pairs of one scale and colour, decoded on demand and kept within a memory budget."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        channels: int,
        data_range: tuple[float, float] | None = None,
        register: bool = False,
        cache_bytes: int = 2**31,
    ) -> None:
        self.pairs, self.scale, self.channels = list(pairs), scale, channels
        self.data_range, self.register = data_range, register
        self._cache = Cache(cache_bytes)
        self._sizes: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def spread(self, count: int) -> list[int]:
        """`evenly` over its pairs."""
        return evenly(len(self), count)

    def subset(self, indices: Sequence[int]) -> PairSet:
        """Some of the pairs; the decoded images are shared."""
        other = PairSet([self.pairs[i] for i in indices], self.scale, self.channels, self.data_range, self.register)
        other._cache = self._cache
        return other

    def decoded(self, pair: Pair) -> tuple[images.Image, images.Image]:
        """Both files of a pair as stored, HR cropped bottom and right to scale × LR; cached."""
        kept: tuple[images.Image, images.Image] | None = self._cache.get("decoded", pair.name)
        if kept is None:
            hr, lr = images.read(pair.hr), images.read(pair.lr)
            kept = hr.cropped(lr.height * self.scale, lr.width * self.scale), lr
            self._cache.put("decoded", pair.name, kept, sum(int(image.pixels.nbytes) for image in kept))
        return kept

    def tensors(self, index: int) -> tuple[Tensor, Tensor]:
        """A pair as hr (C, s·h, s·w) and lr (C, h, w) in [0, 1], registered where asked for.

        Registration moves the HR side: its spectrum reaches s times further than what LR can hold, so interpolating it
        (quintic spline) leaves no trace in LR, while interpolating LR would add its own blur to the one to be learnt.
        Where that brings pixels into the frame that were never photographed, both sides are cropped.
        """
        pair = self.pairs[index]
        if not self._moved(pair):
            hr, lr = (images.to_tensor(image.pixels, self.data_range) for image in self.decoded(pair))
            return hr, lr
        kept: tuple[Tensor, Tensor] | None = self._cache.get("registered", pair.name)
        if kept is None:
            kept = self._registered(pair)
            self._cache.put("registered", pair.name, kept, sum(int(side.nbytes) for side in kept))
        return kept

    def _moved(self, pair: Pair) -> bool:
        return self.register and pair.shift is not None and pair.shift != (0.0, 0.0)

    def _registered(self, pair: Pair) -> tuple[Tensor, Tensor]:
        assert pair.shift is not None
        hr, lr = (images.to_tensor(image.pixels, self.data_range) for image in self.decoded(pair))
        move = [-self.scale * pair.shift[0], -self.scale * pair.shift[1]]
        moved = [scipy.ndimage.shift(plane.numpy(), move, order=5, mode="nearest") for plane in hr]
        rim = int(np.ceil(np.abs(pair.shift).max())) + SPLINE_REACH_LR_PX
        inner = slice(rim, -rim), slice(rim, -rim)
        outer = slice(self.scale * rim, -self.scale * rim), slice(self.scale * rim, -self.scale * rim)
        return torch.from_numpy(np.stack(moved)).clamp(0.0, 1.0)[:, *outer].contiguous(), lr[:, *inner].contiguous()

    def size(self, index: int) -> tuple[int, int]:
        """LR height and width of a pair as `tensors` gives it."""
        pair = self.pairs[index]
        if pair.name not in self._sizes:
            shape = self.tensors(index)[1].shape
            self._sizes[pair.name] = int(shape[1]), int(shape[2])
        return self._sizes[pair.name]

    def window(self, index: int, y: int, x: int, side: int) -> tuple[Tensor, Tensor]:
        """A square part of `tensors`, from (y, x) and ``side`` wide in LR px; only that part is converted."""
        outer = square(self.scale * y, self.scale * x, self.scale * side)
        inner = square(y, x, side)
        pair = self.pairs[index]
        if self._moved(pair):
            hr, lr = self.tensors(index)
            return hr[:, *outer], lr[:, *inner]
        hr_image, lr_image = self.decoded(pair)
        return (
            images.to_tensor(hr_image.pixels[outer], self.data_range),
            images.to_tensor(lr_image.pixels[inner], self.data_range),
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs, the next one being decoded while one is in use."""
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.tensors, 0) if self.pairs else None
            for index in range(len(self.pairs)):
                assert upcoming is not None
                current = upcoming.result()
                upcoming = pool.submit(self.tensors, index + 1) if index + 1 < len(self.pairs) else None
                yield current

    def fingerprint(self) -> str:
        """SHA-256 over names and bytes of all files, in order of name."""
        return fingerprint((pair.name, path) for pair in self.pairs for path in (pair.hr, pair.lr))

    def held_out_split(self, seed: int, fraction: float = 0.1) -> tuple[PairSet, PairSet]:
        """Training and held-out pairs: 10 % of them, at least one, chosen by a hash of their names and the seed."""
        count = max(1, round(fraction * len(self.pairs)))
        if count >= len(self.pairs):
            raise DataError(
                f"{len(self.pairs)} pair is too few: one is held out to score the fit; give at least 2 "
                "(one large pair can be cut into parts)"
            )
        ranked = sorted(range(len(self.pairs)), key=lambda i: derive(seed, self.pairs[i].name, 0, 0, "held-out"))
        held = sorted(ranked[:count])
        return self.subset(sorted(ranked[count:])), self.subset(held)

"""What a few images take when they are degraded and encoded in memory, and what all images would take by that.

Images of different kinds, gray and RGB, 8 and 16 bits, are measured apart: a gray one needs a third of the bytes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from degsynth.apply.layouts.hr_image import WRITTEN_SUFFIXES
from degsynth.apply.layouts.names import PlannedOutput
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.manifest import Row
from degsynth.apply.memory_files import MemoryFiles
from degsynth.data import images
from degsynth.data.decoding import Declared
from degsynth.data.members import file_of
from degsynth.errors import DegsynthError
from degsynth.ops.spread import evenly_spaced
from degsynth.parallel import one_torch_thread

PROBES = 3
"""Number of images that are measured, and one of every kind that is not among these."""
MOST_KINDS = 8
"""Of so many kinds, those that have most pixels."""
LARGEST_PROBE = 2**25
"""Pixels of the largest image that is taken for that, unless all are larger."""
WARM_S = 2.0
"""The first probe is repeated where it took less than this: the first call of a model takes longer than the others."""
CONTAINERS = ("webdataset", "lmdb")
"""Layouts that hold copies of all PNG files."""


class Kind(NamedTuple):
    """What decides how many bytes and how much time a pixel takes."""

    samples: int
    """Samples of a pixel, alpha included."""
    bits: int
    """Bits of a sample."""
    suffix: str
    """Ending of HR files that are written anew of a whole image, in small letters."""

    @classmethod
    def of(cls, declared: Declared, path: Path) -> Kind:
        """Return the kind of an image by what its file says."""
        suffix = ".tif" if images.is_tiff(path) else path.suffix.lower()
        return cls(declared.samples, declared.bits, suffix if suffix in WRITTEN_SUFFIXES else ".png")

    @property
    def tiff(self) -> bool:
        """Whether the file is a TIFF, so that what is made of it is one, too."""
        return self.suffix == ".tif"

    @property
    def bytes(self) -> int:
        """Bytes of a pixel in memory."""
        return self.samples * self.bits // 8


@dataclass(frozen=True)
class Size:
    """An HR image of which an LR image would be made."""

    pixels: int
    kind: Kind
    written: bool
    """Whether HR is written anew."""
    png: bool
    """Whether HR is a PNG file."""
    file_bytes: int

    @classmethod
    def of(cls, declared: Declared, path: Path, scale: int, crop: int | None) -> Size:
        """Return the size of a part of ``crop`` px, or of the whole, of what the file at a path declares."""
        kind, written = Kind.of(declared, path), crop is not None or is_written(declared, scale)
        pixels = declared.height * declared.width if crop is None else crop**2
        hr_suffix = path.suffix.lower() if not written else kind.suffix if crop is None or kind.tiff else ".png"
        return cls(pixels, kind, written, hr_suffix == ".png", file_of(path).stat().st_size)


class Room(NamedTuple):
    """Bytes of the files of a run."""

    lr: int
    hr: int
    layouts: int


def is_written(declared: Declared, scale: int) -> bool:
    """Tell whether HR is written anew, because the file itself cannot serve as HR."""
    return declared.remade or declared.height % scale > 0 or declared.width % scale > 0


def to_probe(
    declared: Mapping[str, list[Declared]], planned: Mapping[str, Sequence[PlannedOutput]], scale: int
) -> list[str]:
    """Choose the images to measure: a few of moderate size, evenly spread, or the smallest; and one of each kind.

    Where HR images of a kind are written anew, one of them is among these.
    """
    pixels = {
        name: sum(found[page].height * found[page].width for page in {output.page for output in planned[name]})
        for name, found in declared.items()
    }
    by_size = sorted(declared, key=lambda name: pixels[name])
    moderate = [name for name in declared if pixels[name] <= LARGEST_PROBE] or by_size[:1]
    chosen = [moderate[index] for index in evenly_spaced(len(moderate), PROBES)]
    weights: dict[Kind, int] = defaultdict(int)
    cases: dict[tuple[Kind, bool], list[str]] = defaultdict(list)
    for name in moderate:
        for one in declared[name]:
            kind = Kind.of(one, Path(name))
            weights[kind] += pixels[name]
            cases[kind, is_written(one, scale)].append(name)
    kinds = sorted(weights, key=lambda kind: weights[kind], reverse=True)[:MOST_KINDS]
    for kind in kinds:
        for written in (True, False):  # one that is written anew tells both rates
            names = cases[kind, written]
            known = [*names, *(cases[kind, True] if not written else ())]
            if names and not set(known) & set(chosen):
                chosen.append(names[0])
    return chosen


@dataclass
class _Taken:
    """What images of a kind have taken."""

    pixels: int = 0
    seconds: float = 0.0
    lr_bytes: int = 0
    hr_bytes: int = 0
    hr_pixels: int = 0
    """Pixels of the HR images that were encoded."""
    raw: int = 0
    """Bytes of HR in memory, without alpha."""


class Probe:
    """Degrades a few images in memory, and measures what that takes."""

    def __init__(self, writer: PairWriter, files: MemoryFiles) -> None:
        self._writer, self._files = writer, files
        self._taken: dict[Kind, _Taken] = defaultdict(_Taken)

    @property
    def measured(self) -> bool:
        """Whether any image could be degraded."""
        return bool(self._taken)

    def measure(self, outputs: list[PlannedOutput], declared: Sequence[Declared]) -> list[tuple[str, str]]:
        """Degrade an image, whose pages are as ``declared``; return its name and the reason where that fails."""
        try:
            seconds, rows = self._made(outputs)
            if not self.measured and seconds < WARM_S:
                seconds, rows = self._made(outputs)
        except (DegsynthError, OSError, RuntimeError, MemoryError) as error:
            return [(outputs[0].source, str(self._writer.failed(outputs[:1], error)[0].error))]
        whole = sum(_pixels(row) for row in rows)
        for row in rows:
            pixels = _pixels(row)
            taken = self._taken[Kind.of(declared[row.page], Path(row.source))]
            taken.pixels += pixels
            taken.seconds += seconds * pixels / whole
            taken.lr_bytes += self._files.written[str(row.lr)]
            taken.raw += pixels * (row.channels or 1) * {"uint8": 1, "uint16": 2}.get(str(row.dtype), 4)
            if row.hr_kept == "written":
                taken.hr_bytes += self._files.written[str(row.hr)]
                taken.hr_pixels += pixels
        return []

    def _made(self, outputs: list[PlannedOutput]) -> tuple[float, list[Row]]:
        begun = time.perf_counter()
        with one_torch_thread():
            rows = self._writer.write(outputs)
        return time.perf_counter() - begun, rows

    def seconds(self, sizes: Sequence[Size]) -> float:
        """Return the seconds that images take on one core; something must be measured."""
        return sum(self._rate("seconds", size.kind) * size.pixels for size in sizes)

    def _rate(self, what: str, kind: Kind) -> float:
        """Return what a pixel of a kind takes: measured, or by the bytes of all that was measured."""
        if kind in self._taken:
            taken = self._taken[kind]
            return float(getattr(taken, what) / taken.pixels)
        total = sum(getattr(taken, what) for taken in self._taken.values())
        return float(total / sum(known.bytes * taken.pixels for known, taken in self._taken.items()) * kind.bytes)

    def _hr_rate(self, kind: Kind, scale: int) -> float:
        """Return the bytes of a pixel of HR images of a kind that are encoded.

        Where none of the kind had to be, it is taken to need as many as one of LR.
        """
        taken = self._taken.get(kind)
        if taken is not None and taken.hr_pixels:
            return taken.hr_bytes / taken.hr_pixels
        return self._rate("lr_bytes", kind) * scale**2

    def room(self, sizes: Sequence[Size], scale: int, copied: bool, layouts: Sequence[str]) -> Room:
        """Return the bytes of LR files, HR files and layouts; something must be measured."""
        lr = hr = more = 0.0
        for size in sizes:
            of_lr = self._rate("lr_bytes", size.kind) * size.pixels
            encoded = self._hr_rate(size.kind, scale) * size.pixels
            lr += of_lr
            hr += encoded if size.written else size.file_bytes if copied else 0
            if size.png:
                kept = encoded if size.written else size.file_bytes
            else:  # a PNG is made of it
                kept = encoded if size.kind.tiff else of_lr * scale**2
            for layout in layouts:
                if layout in ("hdf5", "deepinv"):
                    more_bits = 32 / size.kind.bits if layout == "deepinv" else 1
                    more += self._rate("raw", size.kind) * more_bits * size.pixels * (1 + 1 / scale**2)
                elif layout in CONTAINERS:
                    more += of_lr + kept
                else:  # PNG files are hard links
                    more += (0 if size.png else kept) + (of_lr if size.kind.tiff else 0)
        return Room(round(lr), round(hr), round(more))


def _pixels(row: Row) -> int:
    height, width = row.hr_size or (0, 0)
    return height * width

"""What a run would do, without writing anything: what it makes, how much room and time that takes, what would fail.

All checks of a run are made. Sizes come from the headers of the files; bytes and seconds from a few images that are
degraded and encoded in memory, by the code of the run itself.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from degsynth.apply.dataset_folder import inspected
from degsynth.apply.layouts.names import PlannedOutput
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.manifest import Row
from degsynth.apply.memory_files import MemoryFiles
from degsynth.apply.options import Options
from degsynth.apply.stages import plan, prepared
from degsynth.config import OnProgress, ignore_progress
from degsynth.data import images, srgb
from degsynth.data.decoding import Declared
from degsynth.data.hdf5_names import file_of
from degsynth.data.sources import Sources
from degsynth.errors import DataError, DegsynthError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.mixture import Mixture
from degsynth.ops.spread import evenly_spaced
from degsynth.parallel import one_torch_thread, stream, usable_cores

PROBES = 3
"""Number of images that are degraded to measure time and bytes."""
LARGEST_PROBE = 2**25
"""Pixels of the largest image that is taken for that, unless all are larger."""
WARM_S = 2.0
"""The first probe is repeated where it took less than this: the first call of a model takes longer than the others."""
CONTAINERS = ("webdataset", "lmdb")
"""Layouts that hold copies of all PNG files."""


@dataclass(frozen=True)
class Forecast:
    """What a run would do. Bytes and seconds are estimates; None where no image could be degraded."""

    inputs: int
    """Number of image files that would be degraded."""
    outputs: int
    """Number of LR images that would be made of them."""
    finished: int
    """Number of LR images that an earlier run has made, and that would stay."""
    left_out: tuple[str, ...]
    """Files whose names are not those of images."""
    failing: tuple[tuple[str, str], ...]
    """Images that are known to fail, and why. Only the headers of most images were looked at."""
    hr_pixels: int
    """Pixels of the HR images, each counted once for every LR image that is made of it."""
    lr_bytes: int | None
    hr_bytes: int | None
    """Bytes of files in ``hr/``; a link has none."""
    layout_bytes: int | None
    """Bytes that the layouts need beside that."""
    free_bytes: int
    """Free bytes of the disk of ``out``."""
    seconds: float | None
    """Time of the whole run without its start, with as many workers as would be at work."""
    workers: int

    @property
    def needed_bytes(self) -> int | None:
        """Bytes of all files together."""
        if self.lr_bytes is None or self.hr_bytes is None or self.layout_bytes is None:
            return None
        return self.lr_bytes + self.hr_bytes + self.layout_bytes

    @property
    def fits(self) -> bool:
        """Whether the disk has room for all files."""
        return self.needed_bytes is None or self.needed_bytes <= self.free_bytes


def forecast(
    model: Checkpoint | Mixture,
    hr: Path | Sources,
    out: Path,
    options: Options | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Forecast:
    """Say what `stages.run` would do with the same arguments; DataError or ConfigError where it would refuse."""
    options = options or Options()
    degradations, sources, description = prepared(model, hr, out, options)
    finished = inspected(out, sources, description, options.existing, options.check)
    planned = plan(sources, options, finished, degradations.scale)
    declared, failing = _declared(planned, sources.root, options, on_progress)
    files, scale = MemoryFiles(), degradations.scale
    probe = _Probe(PairWriter(degradations, options, sources.root, files), files)
    untried = dict(declared)
    while untried and not probe.pixels:  # others are tried where all of some images fail
        for number, name in enumerate(chosen := _to_probe(untried, planned, scale)):
            on_progress("probe", number, len(chosen))
            failing += probe.measure(planned[name])
            del untried[name]
    failed = {name for name, _ in failing}
    sizes = [
        _Size.of(declared[name][output.page], sources.root / name, scale, options.crop)
        for name, outputs in planned.items()
        for output in outputs
        if name not in failed
    ]
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    copied = options.link == "copy" or (options.link == "hard" and place.stat().st_dev != sources.root.stat().st_dev)
    pixels = sum(size.pixels for size in sizes)
    workers = max(1, min(options.workers, usable_cores(), len(planned)))
    room = probe.room(sizes, scale, copied, options.layouts)
    return Forecast(
        inputs=len(planned),
        outputs=len(sizes),
        finished=len(finished),
        left_out=sources.others,
        failing=tuple(failing),
        hr_pixels=pixels,
        lr_bytes=None if room is None else room[0],
        hr_bytes=None if room is None else room[1],
        layout_bytes=None if room is None else room[2],
        free_bytes=shutil.disk_usage(place).free,
        seconds=None if room is None else probe.seconds * pixels / probe.pixels / workers,
        workers=workers,
    )


def _declared(
    planned: Mapping[str, Sequence[PlannedOutput]], root: Path, options: Options, on_progress: OnProgress
) -> tuple[dict[str, list[Declared]], list[tuple[str, str]]]:
    """Return what the headers of all images say, by source, and the images whose headers cannot be read."""

    def look(name: str) -> list[Declared]:
        found = images.declared(root / name, options.max_pixels)
        if options.crop is not None and any(output.crop is None for output in planned[name]):
            raise DataError(f"smaller than a crop of {options.crop} px", "give a smaller `crop`")
        found[max(output.page for output in planned[name])]  # of a replay, the file may have fewer pages than it had
        if options.to_srgb:
            found = [one._replace(remade=srgb.changes(one.carried, root / name) or one.remade) for one in found]
        return found

    declared: dict[str, list[Declared]] = {}
    failing = []
    for count, done in enumerate(stream(planned, look, options.workers), 1):
        if done.result is not None:
            declared[done.item] = done.result
        else:
            failing.append((done.item, _reason(done.error, root / done.item)))
        on_progress("headers", count, len(planned))
    return {name: declared[name] for name in planned if name in declared}, sorted(failing)


def _reason(error: Exception | None, path: Path) -> str:
    if isinstance(error, IndexError):
        return "the file has fewer pages than it had"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).removeprefix(f"{path}: ")


def _to_probe(
    declared: Mapping[str, list[Declared]], planned: Mapping[str, Sequence[PlannedOutput]], scale: int
) -> list[str]:
    """Choose the images to measure: a few of moderate size, evenly spread, or the smallest.

    Where HR images are written anew, one of them is among these.
    """
    pixels = {
        name: sum(found[page].height * found[page].width for page in {output.page for output in planned[name]})
        for name, found in declared.items()
    }
    by_size = sorted(declared, key=lambda name: pixels[name])
    moderate = [name for name in declared if pixels[name] <= LARGEST_PROBE] or by_size[:1]
    chosen = [moderate[index] for index in evenly_spaced(len(moderate), PROBES)]
    written = [name for name in moderate if any(_is_written(one, scale) for one in declared[name])]
    return chosen if set(chosen) & set(written) else [*chosen, *written[:1]]


def _is_written(declared: Declared, scale: int) -> bool:
    """Tell whether HR is written anew, because the file itself cannot serve as HR."""
    return declared.remade or declared.height % scale > 0 or declared.width % scale > 0


@dataclass(frozen=True)
class _Size:
    """An HR image of which an LR image would be made."""

    pixels: int
    written: bool
    """Whether HR is written anew."""
    suffix: str
    file_bytes: int

    @classmethod
    def of(cls, declared: Declared, path: Path, scale: int, crop: int | None) -> _Size:
        pixels = declared.height * declared.width if crop is None else crop**2
        return cls(
            pixels, crop is not None or _is_written(declared, scale), path.suffix.lower(), file_of(path).stat().st_size
        )


class _Probe:
    """Degrades a few images in memory, and measures what that takes."""

    def __init__(self, writer: PairWriter, files: MemoryFiles) -> None:
        self._writer, self._files = writer, files
        self.seconds, self.pixels = 0.0, 0
        self._lr_bytes, self._hr_bytes, self._hr_pixels, self._raw = 0, 0, 0, 0

    def measure(self, outputs: list[PlannedOutput]) -> list[tuple[str, str]]:
        """Degrade an image; return its name and the reason where that fails, else an empty list."""
        try:
            seconds, rows = self._made(outputs)
            if not self.pixels and seconds < WARM_S:
                seconds, rows = self._made(outputs)
        except (DegsynthError, OSError, RuntimeError, MemoryError) as error:
            return [(outputs[0].source, str(self._writer.failed(outputs[:1], error)[0].error))]
        self.seconds += seconds
        for row in rows:
            height, width = row.hr_size or (0, 0)
            self.pixels += height * width
            self._lr_bytes += self._files.written[str(row.lr)]
            self._raw += height * width * (row.channels or 1) * {"uint8": 1, "uint16": 2}.get(str(row.dtype), 4)
            if row.hr_kept == "written":
                self._hr_bytes += self._files.written[str(row.hr)]
                self._hr_pixels += height * width
        return []

    def _made(self, outputs: list[PlannedOutput]) -> tuple[float, list[Row]]:
        begun = time.perf_counter()
        with one_torch_thread():
            rows = self._writer.write(outputs)
        return time.perf_counter() - begun, rows

    def room(
        self, sizes: Sequence[_Size], scale: int, copied: bool, layouts: Sequence[str]
    ) -> tuple[int, int, int] | None:
        """Return the bytes of LR files, HR files and layouts; None where nothing was measured."""
        if not self.pixels:
            return None
        lr_rate = self._lr_bytes / self.pixels
        # Where no HR image had to be encoded, take its pixels to need as many bytes as those of LR.
        hr_rate = self._hr_bytes / self._hr_pixels if self._hr_pixels else lr_rate * scale**2
        lr = sum(lr_rate * size.pixels for size in sizes)
        hr = sum(hr_rate * size.pixels if size.written else size.file_bytes if copied else 0 for size in sizes)
        more = 0.0
        for layout in layouts:
            for size in sizes:
                tiff = size.suffix in images.TIFF_SUFFIXES
                png = not tiff and (size.suffix == ".png" or size.written)
                kept = size.file_bytes if png and not size.written else hr_rate * size.pixels
                if layout == "hdf5":
                    more += self._raw / self.pixels * size.pixels * (1 + 1 / scale**2)
                elif layout in CONTAINERS:
                    more += lr_rate * size.pixels + kept
                else:  # PNG files are hard links
                    more += (0 if png else kept) + (lr_rate * size.pixels if tiff else 0)
        return round(lr), round(hr), round(more)

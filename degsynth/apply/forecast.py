"""What a run would do, without writing anything: what it makes, how much room and time that takes, what would fail.

All checks of a run are made. Sizes and kinds (gray or RGB, 8 or 16 bits) come from the headers of the files; bytes
and seconds from a few images of every kind that are degraded and encoded in memory, by the code of the run itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from degsynth.apply.dataset_folder import inspected
from degsynth.apply.layouts.names import PlannedOutput
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.memory_files import MemoryFiles
from degsynth.apply.options import Options
from degsynth.apply.probe import Probe, Size, to_probe
from degsynth.apply.stages import plan, prepared
from degsynth.config import OnProgress, ignore_progress
from degsynth.data import images, srgb
from degsynth.data.decoding import Declared
from degsynth.data.sources import Sources
from degsynth.errors import DataError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.mixture import Mixture
from degsynth.parallel import stream, usable_cores


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
    probe = Probe(PairWriter(degradations, options, sources.root, files), files)
    untried = dict(declared)
    while untried and not probe.measured:  # others are tried where all of some images fail
        for number, name in enumerate(chosen := to_probe(untried, planned, scale)):
            on_progress("probe", number, len(chosen))
            failing += probe.measure(planned[name], declared[name])
            del untried[name]
    failed = {name for name, _ in failing}
    sizes = [
        Size.of(declared[name][output.page], sources.root / name, scale, options.crop)
        for name, outputs in planned.items()
        for output in outputs
        if name not in failed
    ]
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    copied = options.link == "copy" or (options.link == "hard" and place.stat().st_dev != sources.root.stat().st_dev)
    pixels = sum(size.pixels for size in sizes)
    workers = max(1, min(options.workers, usable_cores(), len(planned)))
    room = probe.room(sizes, scale, copied, options.layouts) if probe.measured else None
    return Forecast(
        inputs=len(planned),
        outputs=len(sizes),
        finished=len(finished),
        left_out=sources.others,
        failing=tuple(failing),
        hr_pixels=pixels,
        lr_bytes=None if room is None else room.lr,
        hr_bytes=None if room is None else room.hr,
        layout_bytes=None if room is None else room.layouts,
        free_bytes=shutil.disk_usage(place).free,
        seconds=None if room is None else probe.seconds(sizes) / workers,
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

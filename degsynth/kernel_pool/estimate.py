"""Kernels from a folder of LR photographs: windows are chosen, enlarged to the HR grid, and looked at, many at a time.

Which windows, and what becomes of them, depends on the photographs and the options alone; so a run that was interrupted
ends in the same file as one that was not. What is done is noted line by line (`Journal`), and not done again.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from degsynth import files
from degsynth.data import images
from degsynth.data.opening import find_data_range
from degsynth.errors import ConfigError, DataError, DegsynthError, OutputError
from degsynth.kernel_pool.outliers import flags
from degsynth.methods.kmsr import Config
from degsynth.model.pool_file import NOWHERE, Origin, Pool
from degsynth.ops import dark_channel
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.ops.spread import evenly
from degsynth.ops.subpixel import centred
from degsynth.ops.texture import best_windows, passes_eq6
from degsynth.ops.threads import one_torch_thread
from degsynth.parallel import Stage, stream
from degsynth.seeds import derive

MARGIN = 4
"""LR px about a window that bicubic interpolation reads, with some to spare."""
TRIES = 20
"""Random windows that are tried for each that is wanted, with selection=eq6."""
DECIDING = (
    "prior", "patch", "patches", "max_patches", "selection", "least_texture", "alpha", "kernel_size", "fitted",
)  # fmt: skip
"""Options that kernels depend on."""

Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """A part of a photograph, or why there is none."""

    image: str
    rank: int
    """Which of the photograph's windows; −1: it has none."""
    place: Place = NOWHERE
    """y, x, height, width in the photograph, px."""
    fault: str = ""


@dataclass(frozen=True)
class Look:
    """What became of a window."""

    image: str
    rank: int
    place: Place
    kernel: list[list[float]] | None
    fault: str = ""
    """Why there is no kernel."""


@dataclass(frozen=True)
class Estimated:
    """All kernels of a folder, and what could not be had."""

    pool: Pool
    windows: int
    failed: dict[str, int]
    """Reasons, and how many windows or photographs had them."""
    resumed: int
    """Windows that an earlier run had looked at."""

    def told(self) -> str:
        """In one line."""
        flagged = Counter(origin.flag for origin in self.pool.origins if origin.flag)
        left = [f"{count} flagged ({flag})" for flag, count in sorted(flagged.items())]
        left += [f"{count} failed ({reason})" for reason, count in sorted(self.failed.items())]
        return f"{len(self.pool.usable())} kernels from {self.windows} windows" + "".join(f", {text}" for text in left)


LOOKS = TypeAdapter(Look)


class Journal:
    """What has been looked at, a JSON line each, in a file that a run can go on from."""

    def __init__(self, path: Path | None, header: dict[str, Any], resume: bool) -> None:
        """None: nothing is kept. ConfigError where one of other options is there, or ``resume`` is not asked for."""
        self.path, self.known = path, dict[tuple[str, int], Look]()
        if path is None:
            return
        if path.exists() and not resume:
            raise ConfigError(
                f"{path} is there: an estimation was interrupted; --resume goes on, --overwrite begins anew"
            )
        first, rest = self._read(path)
        if first is not None and first != header:
            differing = [key for key in header if first.get(key) != header[key]]
            raise ConfigError(
                f"{path} was begun with other {' and '.join(differing)}; give the same, or --overwrite in place of "
                "--resume to begin anew"
            )
        self.known = {(look.image, look.rank): look for look in rest}
        lines = [json.dumps(header), *(json.dumps(asdict(look)) for look in rest)]
        try:
            files.write_atomic(path, "\n".join(lines) + "\n")
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}") from None

    @staticmethod
    def _read(path: Path) -> tuple[dict[str, Any] | None, list[Look]]:
        """Header and whole lines; the last may have been cut short by a crash. None where there is no header."""
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        found: list[Look] = []
        try:
            header = json.loads(lines[0]) if lines else None
        except ValueError:
            header = None
        if lines and not isinstance(header, dict):
            raise ConfigError(f"{path} is no record of an estimation; --overwrite in place of --resume begins anew")
        for line in lines[1:]:
            with contextlib.suppress(ValidationError):
                found.append(LOOKS.validate_json(line))
        return header, found

    def add(self, look: Look) -> None:
        """Note one."""
        self.known[look.image, look.rank] = look
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(look)) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}; mend that, then go on with --resume") from None


def fingerprint(folder: Path) -> str:
    """Of all images of a folder, or of one."""
    return files.fingerprint((name, folder if folder.is_file() else folder / name) for name in images.find(folder)[0])


def journal_of(output: Path) -> Path:
    """Where what is done for an output is noted."""
    return output.with_name(f"{output.name}.part")


def estimate(
    folder: Path,
    scale: int,
    config: Config,
    seed: int = 0,
    workers: int = 1,
    journal: Path | None = None,
    resume: bool = False,
    on_window: Callable[[int, int], None] = lambda count, total: None,
) -> Estimated:
    """Kernels of a folder of LR photographs, or of one; ``on_window(count, total)`` hears of every window.

    Raises DataError where not a single kernel could be estimated, ConfigError for a journal of another run.
    """
    names = images.find(folder)[0]
    root = folder if folder.is_dir() else folder.parent
    most = config.patches * len(names)
    most = most if config.max_patches is None else min(most, config.max_patches)
    options = {name: getattr(config, name) for name in DECIDING}
    notes = Journal(journal, {"scale": scale, "seed": seed, "photographs": fingerprint(folder), **options}, resume)
    resumed = count = sum(rank >= 0 for _, rank in notes.known)
    there: dict[str, list[Window]] = {}

    def windows() -> Iterator[Window]:
        """The best of every photograph, then the second of every one, …; of too many photographs some, evenly spread.

        The others take the place of those that have no window. What is done is not looked at again.
        """
        chosen = evenly(len(names), most)
        order = [names[i] for i in chosen + sorted(set(range(len(names))) - set(chosen))]
        handed = 0
        without = {image for image, rank in notes.known if rank < 0}
        for rank in range(config.patches):
            for name in order:
                if handed == most:
                    return
                if (name, rank) in notes.known:
                    handed += 1
                    continue
                if name in without:
                    continue
                if name not in there:
                    there[name] = windows_of(root / name, name, scale, config, seed)
                    if there[name][0].rank < 0:
                        without.add(name)
                        yield there[name][0]
                        continue
                if rank < len(there[name]):
                    handed += 1
                    yield there[name][rank]

    def look(window: Window) -> Look:
        if window.fault:
            return Look(window.image, window.rank, window.place, None, window.fault)
        try:
            pixels = enlarged(gray_of(root / window.image), window.place, scale)
            kernel = centred(dark_channel.estimate(pixels, config.settings()))
        except (ValueError, DataError) as error:
            return Look(window.image, window.rank, window.place, None, str(error))
        return Look(window.image, window.rank, window.place, kernel.tolist())

    def room(name: str) -> int:
        """Windows that a photograph has, as far as that is known."""
        return sum(window.rank >= 0 for window in there[name]) if name in there else config.patches

    with one_torch_thread():
        for done in stream(windows(), [Stage(look, workers)]):
            if done.error is not None:
                raise done.error
            notes.add(done.result)
            count += done.result.rank >= 0
            on_window(count, max(count, min(most, sum(map(room, names)))))
    looks = [notes.known[key] for key in sorted(notes.known)]
    failed = Counter(entry.fault for entry in looks if entry.kernel is None)
    kept = [entry for entry in looks if entry.kernel is not None]
    if not kept:
        if journal is not None:
            journal.unlink(missing_ok=True)  # there is nothing to go on from
        reasons = ", ".join(f"{reason} ({count})" for reason, count in failed.most_common(3))
        raise DataError(
            f"no kernel could be estimated from {folder}: {reasons}; give sharp photographs with texture, or "
            "--set least_texture= a lower level"
        )
    kernels = torch.tensor([entry.kernel for entry in kept], dtype=torch.float64)
    origins = [
        Origin("estimated", entry.image, entry.place, flag) for entry, flag in zip(kept, flags(kernels), strict=True)
    ]
    count = sum(entry.rank >= 0 for entry in looks)
    facts = {"method": "kmsr", "seed": seed, **options, "windows": count, "failed": dict(sorted(failed.items()))}
    return Estimated(Pool(kernels, origins, scale, facts), count, dict(failed), resumed)


def gray_of(path: Path) -> Tensor:
    """Luma (H, W) of a photograph; black and white of 16-bit files are found for each by itself."""
    image = images.read(path)
    black_white = find_data_range(str(image.pixels.dtype), [image], None)
    return luma(images.to_tensor(image.pixels, black_white))[0]


def windows_of(path: Path, name: str, scale: int, config: Config, seed: int) -> list[Window]:
    """All windows of one photograph, best first, or a single one of rank −1 that says why there is none."""
    try:
        gray = gray_of(path)
        side = -(-(config.patch or 256) // scale)
        size = min(side, gray.shape[0]), min(side, gray.shape[1])
        least = 3 * config.kernel_size
        if min(size) * scale < least:
            raise DataError(f"smaller than {-(-least // scale)} px")
    except DegsynthError as error:
        return [Window(name, -1, fault=str(error).removeprefix(f"{path}: "))]
    if config.selection == "texture":
        places = best_windows(gray, size, config.patches, config.least_texture / 255)
    else:
        dice = derive(seed, name, 0, 0, "windows")
        places = _random_windows(gray, size, config.patches, config.alpha, dice)
    if not places:
        return [Window(name, -1, fault="no texture" if config.selection == "texture" else "rejected by Eq. 6")]
    return [Window(name, rank, (y, x, *size)) for rank, (y, x) in enumerate(places)]


def _random_windows(gray: Tensor, size: tuple[int, int], count: int, alpha: float, seed: int) -> list[tuple[int, int]]:
    """As the paper has it: anywhere, and kept if Eq. 6 holds."""
    dice, found = generator(seed), list[tuple[int, int]]()
    for _ in range(TRIES * count):
        y, x = (int(torch.randint(gray.shape[axis] - size[axis] + 1, (1,), generator=dice)) for axis in (0, 1))
        if passes_eq6(gray[y : y + size[0], x : x + size[1]], alpha):
            found.append((y, x))
        if len(found) == count:
            break
    return found


def enlarged(gray: Tensor, place: Place, scale: int) -> Tensor:
    """A window of an image (H, W) as it is in the whole image, enlarged by bicubic interpolation (a = −0.5)."""
    y, x, height, width = place
    top, left = max(0, y - MARGIN), max(0, x - MARGIN)
    part = gray[top : y + height + MARGIN, left : x + width + MARGIN]
    if scale > 1:
        size = [length * scale for length in part.shape]
        part = F.interpolate(part[None, None], size, mode="bicubic", antialias=True, align_corners=False)[0, 0]
    first = (y - top) * scale, (x - left) * scale
    return part[first[0] : first[0] + height * scale, first[1] : first[1] + width * scale].contiguous()

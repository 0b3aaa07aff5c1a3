"""Looking at a whole data set: is every file there that the manifest names, whole and as it was written, and no other?

Nothing is written. `verification` answers a smaller question, for runs that are resumed: which outputs can stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from degsynth.apply.dataset_folder import DATASET_NAME, described
from degsynth.apply.layouts import LAYOUTS, record
from degsynth.apply.manifest import FILE_NAME, Manifest, Row
from degsynth.apply.root import PARTIAL, Root
from degsynth.config import OnProgress, ignore_progress
from degsynth.data import images, writing
from degsynth.data.sources import root_of
from degsynth.errors import ConfigError, DataError, DegsynthError, os_reason, shortened
from degsynth.files import file_digest, open_regular
from degsynth.parallel import stream

Kind = Literal["unfinished", "manifest", "missing", "changed", "damaged", "size", "stray", "orphan", "outdated"]
"""What may be wrong with a data set: its run has not ended; a line of the manifest is no row; a file is missing; it is
not the file that was written or linked; it cannot be decoded; its size is not the one of the row, or HR is not scale ×
LR; no row names it; a row names it, and its partner is missing; or a layout was made of an earlier state."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a data set."""

    file: str
    """Name relative to the folder of the data set."""
    kind: Kind
    reason: str
    source: str | None = None
    """The HR image that the file was made of, where a row tells."""


@dataclass(frozen=True)
class Report:
    """What was found in a data set."""

    pairs: int
    """Number of HR-LR pairs that the manifest names."""
    failed: int
    """Number of outputs that could not be made, by the manifest; they are no problems of the files."""
    problems: list[Problem]


def verify(
    out: Path,
    hr: Path | None = None,
    workers: int = 1,
    max_pixels: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Report:
    """Look at every file of the data set ``out``.

    Where ``hr``, the folder or image that it was made of, is given, linked and copied HR files are compared with it.
    ConfigError where ``out`` is no data set of degsynth, or ``hr`` is missing.
    """
    description = described(out)
    if description is None:
        raise ConfigError(f"{out} holds no data set (no valid {DATASET_NAME}); give a folder that apply has written")
    sources = None if hr is None else root_of(hr)
    manifest = Manifest(out)
    written, damage = manifest.read_what_is_whole()
    rows = list({row.key: row for row in written}.values())
    problems = list(_of_the_run(manifest.path, damage, (out / PARTIAL).exists()))
    root = Root(out)
    scale = description.made_by.get("scale")
    if scale is not None and not (type(scale) is int and scale >= 1):
        reason = f"its scale is {shortened(repr(scale), 50)}, which is no whole number above 0"
        problems.append(Problem(DATASET_NAME, "damaged", reason))
        scale = None
    files = _Files(root, sources, scale, max_pixels)
    pairs = [row for row in rows if row.status == "ok"]
    for count, finished in enumerate(stream(pairs, files.of_row, workers), 1):
        if finished.error is not None:
            raise finished.error
        problems += finished.result or []
        on_progress("verify", count, len(pairs))
    named = {name for row in rows for name in row.names}
    problems += [Problem(name, "stray", "no row of the manifest names it") for name in strays(out, named)]
    made_of = record.fingerprint(rows)
    for name in LAYOUTS:
        if (out / name).exists():
            problems += _of_layout(root, name, made_of)
    problems.sort(key=lambda problem: problem.file)
    return Report(len(pairs), len(rows) - len(pairs), problems)


def strays(out: Path, named: set[str]) -> list[str]:
    """Return the names of files in ``hr/`` and ``lr/`` that are not among the ``named``, sorted."""
    return [name for name in Root(out).files("hr", "lr") if name not in named]


def _of_the_run(manifest: Path, damage: list[str], unfinished: bool) -> Iterator[Problem]:
    """Find out whether a run has come to its end and left a whole manifest."""
    if unfinished:
        yield Problem(PARTIAL, "unfinished", "a run is writing, or was interrupted; go on with `existing=resume`")
    if not manifest.exists():
        yield Problem(FILE_NAME, "missing", "there is no manifest")
    yield from (Problem(FILE_NAME, "manifest", line) for line in damage)


def _of_layout(root: Root, name: str, made_of: str) -> Iterator[Problem]:
    """Yield what is wrong with a layout: its files are compared with its own record."""
    layout = record.read(root, name)
    if layout is None:
        yield Problem(name, "damaged", f"it has the name of a layout, and no valid {record.RECORD_NAME}")
        return
    if layout.made_of != made_of:
        reason = f"it was made before the data set changed; `layout={layout.layout}` with `existing=resume` renews it"
        yield Problem(layout.layout, "outdated", reason)
    for file in layout.files:
        name = f"{layout.layout}/{file.name}"
        try:
            with open_regular(root.path / name) as content:
                if file_digest(content) != file.sha256:
                    yield Problem(name, "changed", "its SHA-256 is not that of the layout's record")
        except FileNotFoundError:
            yield Problem(name, "missing", "the layout's record names it, and no file is there")
        except OSError as error:
            yield Problem(name, "damaged", os_reason(error))
    yield from (Problem(name, "stray", "it is no file of the layout") for name in record.strays(root, layout))


class _Files:
    """The files that rows name."""

    def __init__(self, root: Root, sources: Path | None, scale: int | None, max_pixels: int | None) -> None:
        self._root, self._sources, self._scale, self._max_pixels = root, sources, scale, max_pixels

    def of_row(self, row: Row) -> list[Problem]:
        """Return what is wrong with the files of a row."""
        sides = {row.hr: row.hr_size, row.lr: row.lr_size}
        there = {name: (self._root.path / name).is_file() for name in row.names}
        problems = []
        for name, size in sides.items():
            partner = next((other for other in row.names if other != name), None)
            if name is None:
                problems.append(Problem(FILE_NAME, "manifest", "a row names no file for one side", row.source))
            elif not there[name]:
                problems.append(Problem(name, "missing", "the manifest names it, and no file is there", row.source))
            elif partner is not None and not there[partner]:
                problems.append(Problem(name, "orphan", f"its partner {partner} is missing", row.source))
            else:
                problems += self._of_file(row, name, size)
        if not problems and self._scale is not None and row.lr_size is not None:
            expected = (self._scale * row.lr_size[0], self._scale * row.lr_size[1])
            if row.hr_size != expected:
                reason = f"{_by(row.hr_size)}, and {self._scale} × the size of {row.lr} is {_by(expected)}"
                problems.append(Problem(str(row.hr), "size", reason, row.source))
        return problems

    def _of_file(self, row: Row, name: str, size: tuple[int, int] | None) -> Iterator[Problem]:
        """Yield what is wrong with a file, the most basic fault only."""
        try:
            reason = self._change_of_hr(row, name) if name == row.hr else self._other_bytes(name, row.lr_sha256)
            if reason:
                yield Problem(name, "changed", reason, row.source)
                return
            actual = self._decoded_size(name)
        except (DegsynthError, OSError, MemoryError) as error:
            text = os_reason(error) if isinstance(error, OSError) else str(error) or "memory is too short"
            reason = shortened(text.removeprefix(f"{self._root.path / name}: "), 300)
            yield Problem(name, "damaged", reason, row.source)
            return
        if actual != size:
            yield Problem(name, "size", f"{_by(actual)}, and the manifest says {_by(size)}", row.source)

    def _other_bytes(self, name: str, sha256: str | None) -> str:
        """Say that a file has another SHA-256 than the one given; an empty text where it has not, or none is known."""
        if sha256 is None:
            return ""
        with self._root.open(name, "rb") as file:
            return "" if file_digest(file) == sha256 else "its SHA-256 is not that of the manifest"

    def _change_of_hr(self, row: Row, name: str) -> str:
        """Say what is wrong with an HR file; an empty text where nothing is.

        A file that degsynth wrote has its SHA-256 in the manifest. Linked and copied files have the size of the source;
        they are its bytes, where the source is at hand, and else a link has the source's time of modification. A data
        set that was copied elsewhere has times of its own, and nothing is linked there.
        """
        if row.hr_kept == "written":
            return self._other_bytes(name, row.hr_sha256)
        path = self._root.path / name
        status = path.stat()
        if row.source_bytes not in (None, status.st_size):
            return f"it has {status.st_size} bytes, and the source had {row.source_bytes}"
        if self._sources is not None:
            return _difference(path, self._sources / row.source)
        linked = status.st_nlink > 1 or path.is_symlink()
        if row.hr_kept != "copy" and linked and row.source_mtime_ns not in (None, status.st_mtime_ns):
            return "it was modified after its LR image was made"
        return ""

    def _decoded_size(self, name: str) -> tuple[int, int]:
        """Decode a file to its end, and return height and width."""
        with images.opened(self._root.path / name, self._max_pixels) as picture:
            for _ in writing.bands(picture, picture.height, picture.width):
                pass
            if picture.height * picture.width == 0:
                raise DataError("it has no pixels")
            return picture.height, picture.width


def _by(size: tuple[int, int] | None) -> str:
    """Write a size as height × width."""
    return "no size" if size is None else f"{size[0]}×{size[1]}"


def _difference(path: Path, source: Path) -> str:
    """Say how an HR file differs from its source; an empty text where it does not."""
    if not source.is_file():
        return f"its source {source} is missing"
    if path.samefile(source):
        return ""
    with open_regular(path) as file, open_regular(source) as original:
        same = file_digest(file) == file_digest(original)
    return "" if same else f"it differs from its source {source}"

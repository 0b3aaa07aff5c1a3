"""Aligning the photographs of two folders: which belong together, what is written, and what is said of each pair."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from degsynth.align.crops import Crop
from degsynth.align.pair import Aligned, AlignOptions, align
from degsynth.align.previews import preview
from degsynth.config import OnText, ignore_text
from degsynth.data import images, matching, writing
from degsynth.data.carried import Carried
from degsynth.data.matching import Matching, Pair
from degsynth.data.members import file_of
from degsynth.data.regular import open_regular
from degsynth.errors import ConfigError, DataError, DegsynthError, OutputError, os_reason
from degsynth.files import check_makeable, file_digest, write_atomic
from degsynth.parallel import one_torch_thread, stream

ROWS, SETTINGS = "align.jsonl", "align.json"
"""Names of the files that say what became of each pair, and with which options."""

OnRow = Callable[[dict[str, Any], int], None]
"""Called with the row of every pair and the number of pairs."""


@dataclass(frozen=True)
class Summary:
    """What a run has done."""

    aligned: int
    refused: int
    crops: int
    resumed: int
    """Pairs that an earlier run had done."""
    interrupted: bool = False


def run(
    found: Matching,
    out: Path,
    options: AlignOptions,
    workers: int = 1,
    resume: bool = False,
    on_row: OnRow = lambda row, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: OnText = ignore_text,
) -> Summary:
    """Align pairs of photographs, HR the telephoto and LR the wide one, and write ``HR``, ``LR`` and ``previews``.

    A pair that is refused is a row that says why, and stops nothing. A run that was interrupted goes on with
    ``resume``: pairs whose photographs and options are the same are not done again. ConfigError where ``out`` holds
    something else, OutputError where it cannot be written.
    """
    settings = asdict(options)
    _open(out, settings, resume)
    done = _read_rows(out) if resume else {}
    rows: dict[str, dict[str, Any]] = {}
    waiting: list[Pair] = []
    for pair in found.pairs:
        known = done.get(pair.name)
        if known is not None and _is_done(out, known, pair):
            rows[pair.name] = known
        else:
            waiting.append(pair)
    resumed, stopped = len(rows), False

    def asked() -> Any:
        nonlocal stopped
        for pair in waiting:
            if should_stop():
                stopped = True
                return
            yield pair

    with one_torch_thread():
        for finished in stream(asked(), lambda pair: _write(pair, out, options), workers):
            if isinstance(finished.error, OutputError):
                raise finished.error
            row = finished.result or _refused(finished.item, finished.error)
            rows[finished.item.name] = row
            _write_rows(out, rows)
            for text in row.get("warnings", []):
                on_warning(f"{row['name']}: {text}")
            on_row(row, len(found.pairs))
    _write_rows(out, rows)
    aligned = [row for row in rows.values() if row["status"] == "ok"]
    return Summary(len(aligned), len(rows) - len(aligned), sum(row["crops"] for row in aligned), resumed, stopped)


def _open(out: Path, settings: dict[str, Any], resume: bool) -> None:
    """Make the folder of a run; ConfigError where it holds something else, or was made with other options."""
    if not out.exists():
        check_makeable(out)
    elif not out.is_dir():
        raise ConfigError(f"OUT {out} is a file; give a folder")
    elif any(out.iterdir()):
        known = _read_json(out / SETTINGS)
        if not resume or known is None:
            way = "go on with `resume`, or give another folder" if known is not None else "give another folder"
            raise ConfigError(f"OUT {out} is not empty; {way}")
        if known != settings:
            other = ", ".join(f"{key}={known.get(key)}" for key in settings if known.get(key) != settings[key])
            raise ConfigError(f"OUT {out} was made with other options ({other}); give these, or another folder")
    try:
        for name in ("HR", "LR", "previews"):
            (out / name).mkdir(parents=True, exist_ok=True)
        write_atomic(out / SETTINGS, json.dumps(settings) + "\n")
    except OSError as error:
        raise ConfigError(f"OUT {out}: cannot be written: {os_reason(error)}") from None


def _write(pair: Pair, out: Path, options: AlignOptions) -> dict[str, Any]:
    """Align a pair and write its files; return its row. DataError where it is refused."""
    identity = _identity(pair)
    tele, wide = images.read(pair.hr), images.read(pair.lr)
    try:
        aligned = align(wide, tele, options)
    except np.linalg.LinAlgError:  # nothing determines a map, or levels
        raise DataError("TELE and WIDE have too little in common to be aligned") from None
    try:
        names = [_write_crop(crop, pair, out, wide.meaning.carried) for crop in aligned.crops]
        path = out / "previews" / f"{pair.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, preview(wide.pixels, aligned))
    except OSError as error:
        raise OutputError(f"{error.filename}: {os_reason(error)}; mend that, then go on with `resume`") from None
    return _row(pair, identity, aligned, names)


def _row(pair: Pair, identity: list[str], aligned: Aligned, names: list[str]) -> dict[str, Any]:
    """Return the row of a pair that was aligned."""
    more = {"warnings": aligned.warnings} if aligned.warnings else {}
    return {**_of(pair, "ok"), "sha256": identity, **aligned.facts, "files": names, **more}


def _refused(pair: Pair, error: Exception | None) -> dict[str, Any]:
    """Return the row of a pair that was refused."""
    if not isinstance(error, DegsynthError | OSError | MemoryError | None):
        raise error
    reason = str(error) or type(error).__name__
    for path in (pair.hr, pair.lr):
        reason = reason.removeprefix(f"{path}: ")
    return {**_of(pair, "refused"), "reason": reason}


def _of(pair: Pair, status: str) -> dict[str, Any]:
    return {"name": pair.name, "status": status, "tele": str(pair.hr), "wide": str(pair.lr)}


def _identity(pair: Pair) -> list[str]:
    """Return the SHA-256 of the files of the telephoto and of the wide photograph."""
    digests = []
    for path in (pair.hr, pair.lr):
        with open_regular(file_of(path)) as file:
            digests.append(file_digest(file))
    return digests


def _write_crop(crop: Crop, pair: Pair, out: Path, carried: Carried) -> str:
    """Write both sides of a crop; return its name, which tells its scene and its place in the wide photograph."""
    name = f"{pair.name}__{crop.box.top}_{crop.box.left}.png"
    kept = Carried(icc=carried.icc)
    for side, pixels in (("HR", crop.hr), ("LR", crop.lr)):
        path = out / side / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, writing.encode(images.Image(pixels, meaning=images.Meaning(carried=kept)), ".png"))
    return name


def _is_done(out: Path, row: dict[str, Any], pair: Pair) -> bool:
    """Tell whether a row of an earlier run is of these photographs, and all of its files are there."""
    if row.get("status") != "ok" or row.get("sha256") != _identity(pair):
        return False
    return all((out / side / name).is_file() for name in row["files"] for side in ("HR", "LR"))


def _read_json(path: Path) -> Any:
    """Return what a JSON file says; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _read_rows(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier run by the names of their pairs; those that are damaged are left out."""
    try:
        lines = (out / ROWS).read_text("utf-8").splitlines()
    except OSError:
        return {}
    rows = {}
    for line in lines:
        try:
            row = json.loads(line)
            rows[str(row["name"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return rows


def _write_rows(out: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write all rows, sorted by the names of their pairs."""
    text = "".join(json.dumps(rows[name], ensure_ascii=False) + "\n" for name in sorted(rows))
    try:
        write_atomic(out / ROWS, text)
    except OSError as error:
        raise OutputError(f"{out / ROWS}: {os_reason(error)}; mend that, then go on with `resume`") from None


def find(tele: Path | None, wide: Path | None, table: Path | None) -> Matching:
    """Return which photographs belong together: of two folders or files, matched by name, or of a table.

    DataError or ConfigError as `degsynth.data.matching.find`, in the words of photographs.
    """
    try:
        return matching.find(tele, wide, table)
    except (DataError, ConfigError) as error:
        raise type(error)(error.message.replace("`hr`", "TELE").replace("`lr`", "WIDE"), error.hint) from None

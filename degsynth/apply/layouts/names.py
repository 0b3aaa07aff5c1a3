"""Names of outputs: the place of each LR image, and of its HR image, in ``lr/`` and ``hr/``."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from degsynth.apply.layouts import crops
from degsynth.apply.manifest import Key, Row
from degsynth.data.members import as_file_name

PREFERENCE = [".png", ".tif", ".tiff", ".bmp", ".webp", ".jpg", ".jpeg"]
"""Of two files with equal stems, the one whose ending comes first here (the more faithful format) keeps the stem."""

UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
"""What trainers stumble over in names: dots, spaces, commas, characters beyond ASCII."""
LONGEST_SAFE = 80
"""Characters of the longest safe stem; a tar file has room for 100 in a name."""
LONGEST_NAME = 255
"""Bytes of the longest file name that common file systems take."""


@dataclass(frozen=True)
class PlannedOutput:
    """One LR image that is to be made."""

    source: str
    """POSIX path of the HR image relative to the HR root."""
    draw: int
    """Number of this LR image among those of the HR image."""
    stem: str
    """Path of the output relative to ``lr/`` and ``hr/``, without extension."""
    page: int = 0
    """Number of the HR image in its file, which may hold several."""
    crop: crops.Corner | None = None
    """The part of the HR image that the output is of; None: the whole image."""

    @property
    def key(self) -> Key:
        """What no other output has (`Row.key`)."""
        return self.source, self.page, self.draw, self.crop or ()


def plan_outputs(
    names: Sequence[str],
    draws: int,
    finished: Sequence[Row],
    limit: int | None = None,
    pages: Mapping[str, int] | None = None,
    parts: Mapping[str, Sequence[Sequence[crops.Corner]]] | None = None,
) -> dict[str, list[PlannedOutput]]:
    """Return the outputs that are missing, by source: ``draws`` for each image of the first ``limit`` names.

    ``pages`` are the numbers of images of files that hold several, ``parts`` the crops of each image, by page; an image
    without crops is planned as a whole. Stems are chosen among all names, whatever the limit, so that they do not
    change when more images are made later.
    """
    counts = pages or {}

    def path_of(source: str, page: int, draw: int) -> str:
        """Return the path that an output's stem is made from: the image's, with the numbers of page and draw."""
        path = PurePosixPath(as_file_name(source))
        numbers = f"_p{page:04}" * (counts.get(source, 1) > 1) + f"_{draw}" * (draws > 1)
        return path.with_name(f"{path.stem}{numbers}{path.suffix}").as_posix() if numbers else as_file_name(source)

    wanted = [(name, page, draw) for name in names for page in range(counts.get(name, 1)) for draw in range(draws)]
    paths = _distinct(
        {one: path_of(*one) for one in [*wanted, *((row.source, row.page, row.draw) for row in finished)]}
    )
    keys = {one: paths[one] for one in wanted}
    done = {row.key for row in finished}
    settled = {
        paths[row.source, row.page, row.draw]: PurePosixPath(str(row.lr))
        .relative_to("lr")
        .with_suffix("")
        .as_posix()
        .removesuffix(crops.suffix(row.crop))
        for row in finished
    }
    stems = assign_stems(list(keys.values()), settled, 0 if parts is None else crops.LONGEST_SUFFIX)
    chosen = set(names[:limit])
    missing: dict[str, list[PlannedOutput]] = {}
    for (name, page, draw), path in keys.items():
        of_image: Sequence[crops.Corner | None] = [] if parts is None else parts[name][page]
        for crop in of_image or [None]:
            output = PlannedOutput(name, draw, stems[path] + crops.suffix(crop), page, crop)
            if name in chosen and output.key not in done:
                missing.setdefault(name, []).append(output)
    return missing


def _distinct(paths: Mapping[tuple[str, int, int], str]) -> dict[tuple[str, int, int], str]:
    """Return paths of which no two are equal: page 1 of ``a.tif`` may meet a file ``a_p0001.tif``.

    Of equal ones, the file of that name keeps it, and the others get underscores.
    """
    distinct: dict[tuple[str, int, int], str] = {}
    taken: set[str] = set()
    for one in sorted(paths, key=lambda one: (as_file_name(one[0]) != paths[one], one)):
        path = PurePosixPath(paths[one])
        while path.as_posix() in taken:
            path = path.with_name(f"{path.stem}_{path.suffix}")
        distinct[one] = path.as_posix()
        taken.add(distinct[one])
    return distinct


def assign_stems(names: Sequence[str], settled: Mapping[str, str] | None = None, room: int = 0) -> dict[str, str]:
    """Give every relative path a stem (with sub-folders, without extension) that no other has, ignoring case.

    Of ``dup.png`` and ``dup.jpg`` the first keeps ``dup``, the other becomes ``dup_jpg``; a stem that is taken already
    gets a number. A stem that is too long for a file name ends in a hash instead. ``settled`` are paths that have their
    stem already (from an earlier run); they keep it. ``room`` bytes of a file name are left free. Apart from the
    settled ones the result depends on the set of names only.
    """

    def rank(name: str) -> tuple[int, str]:
        suffix = PurePosixPath(name).suffix.lower()
        return (PREFERENCE.index(suffix) if suffix in PREFERENCE else len(PREFERENCE), name)

    stems = dict(settled or {})
    taken = {stem.casefold() for stem in stems.values()}
    plain = {name: _fitting(PurePosixPath(name).with_suffix("").as_posix(), name, room) for name in names}
    waiting = []
    for name in sorted(set(names) - stems.keys(), key=rank):
        if plain[name].casefold() in taken:
            waiting.append(name)
        else:
            stems[name] = plain[name]
            taken.add(plain[name].casefold())
    for name in waiting:
        wanted = f"{PurePosixPath(name).with_suffix('').as_posix()}_{PurePosixPath(name).suffix[1:].lower()}"
        stem, number = _fitting(wanted, name, room), 2
        while stem.casefold() in taken:
            stem, number = _fitting(f"{wanted}_{number}", name, room), number + 1
        stems[name] = stem
        taken.add(stem.casefold())
    return stems


def _fitting(stem: str, name: str, room: int) -> str:
    """Shorten a stem whose file name would be too long, and let it end in a hash, so that it stays distinct."""
    folder, slash, last = stem.rpartition("/")
    longest = LONGEST_NAME - room - max(len(PurePosixPath(name).suffix.encode("utf-8", "surrogateescape")), len(".png"))
    encoded = last.encode("utf-8", "surrogateescape")
    if len(encoded) <= longest:
        return stem
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    kept = encoded[: longest - len(digest) - 1].decode("utf-8", "ignore")  # no part of a character
    return f"{folder}{slash}{kept}_{digest}"


def safe_stems(names: Sequence[str]) -> dict[str, str]:
    """Give every path a stem of at most `LONGEST_SAFE` ASCII letters, digits, underscores and hyphens.

    The paths are of LR files of a data set (``lr/sub/my photo.png`` becomes ``sub_my_photo``). No two stems are equal,
    ignoring case; a stem that another path has already gets a number, and one that was cut ends in a hash. A path whose
    stem is safe as it is goes first. The result depends on the set of paths only.
    """
    plain = {name: PurePosixPath(name).relative_to("lr").with_suffix("").as_posix() for name in names}
    safe = {name: _safe(stem) for name, stem in plain.items()}
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(plain, key=lambda name: (safe[name] != plain[name], name)):
        stem, number = safe[name], 2
        while stem.casefold() in taken:
            stem, number = f"{safe[name]}_{number}", number + 1
        stems[name] = stem
        taken.add(stem.casefold())
    return stems


def _safe(stem: str) -> str:
    """Return a stem without what is unsafe: accents are dropped, and everything else becomes an underscore."""
    letters = unicodedata.normalize("NFKD", stem)
    ascii_only = "".join(letter for letter in letters if not unicodedata.combining(letter))
    safe = UNSAFE.sub("_", ascii_only).strip("_") or "image"
    longest = LONGEST_SAFE - len("_1000000")
    if len(safe) <= longest:
        return safe
    digest = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{safe[: longest - len(digest) - 1]}_{digest}"

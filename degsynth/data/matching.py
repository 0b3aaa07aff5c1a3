"""Which HR file and which LR file show one scene: told from their names, or from a table."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from degsynth.data import images
from degsynth.data.hdf5_names import split
from degsynth.data.members import file_of, page_of, set_of, within
from degsynth.data.sources import ALL, Choice, Sources, choose
from degsynth.errors import ConfigError, DataError, os_reason, shortened
from degsynth.files import read_bounded

MARKERS = {"hr": "HR|GT|HQ|TELE", "lr": "LR|LQ|WIDE"}
"""Words in names that tell which side of a pair a file is."""
TAKE = "\N{SYMBOL FOR SUBSTITUTE}"
"""Stands for a marker that a number follows, so that a_HR12 goes with a_LR12 and not with a12 or with a1_HR2."""
LARGEST_TABLE = 2**26
"""Most bytes that a table of pairs may have."""
HIGHEST_SCALE = 16
"""A number behind an x is a scale up to this; a higher one is a size (1920x1080)."""


@dataclass(frozen=True)
class Pair:
    """Two files of one scene."""

    name: str
    hr: Path
    lr: Path
    shift: tuple[float, float] | None = None
    """Measured shift (y, x) in LR px: LR pixel i shows what lies at HR block i + shift. None: not measured."""


class Matching(NamedTuple):
    """Which files go together."""

    pairs: list[Pair]
    """In order of name; no file is in two of them."""
    unmatched: list[str]
    """Paths of the files of either side without a partner."""
    left_out: int = 0
    """Number of files of both sides that patterns left out."""


# --- names --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """What a rule makes of a name."""

    key: str
    """Files of both sides with the same key are a pair."""
    scale: int | None = None
    """The scale that the name states."""


_Rule = Callable[[str], _Reading | None]
"""Reads the path of a file without its ending; None where the rule does not apply to it."""


def _plain(stem: str) -> _Reading | None:
    return _Reading(stem)


def _without(pattern: str, replacement: str | Callable[[re.Match[str]], str] = "") -> _Rule:
    """Return the rule that replaces a pattern, whose group ``scale``, if it has one, is a scale.

    It does not apply where the pattern is not found, or where the name of the file, or of a folder, would be empty.
    """
    compiled = re.compile(pattern, re.IGNORECASE)

    def rule(stem: str) -> _Reading | None:
        found = compiled.search(stem)
        if found is None:
            return None
        key = compiled.sub(replacement, stem)
        scale = found.groupdict().get("scale")
        if not all(key.split("/")) or (scale is not None and not 0 < int(scale) <= HIGHEST_SCALE):
            return None
        return _Reading(key, None if scale is None else int(scale))

    return rule


def _then(first: _Rule, second: _Rule) -> _Rule:
    """Return the rule that applies one rule to what another makes of a name."""

    def rule(stem: str) -> _Reading | None:
        outer = first(stem)
        inner = None if outer is None else second(outer.key)
        return None if outer is None or inner is None else _Reading(inner.key, outer.scale or inner.scale)

    return rule


def _marker(words: str) -> _Rule:
    """Return the rule that takes markers out of a name: a_HR, HR_a, a_HR_1, HR/a, aHR.

    A number that follows one directly is a take and is kept (a_HR1, HR1).
    """
    word = f"(?:{words})"
    return _without(
        rf"(?:^|(?<=/)){word}(?:[._/-](?=[^/])|(?=\d))"
        rf"|[._-]{word}(?=[._/-]|$)|/{word}(?=/|$)|(?<=[^/]){word}$"
        rf"|(?P<before>[._-]){word}(?=\d)",
        lambda found: "" if found["before"] is None else found["before"] + TAKE,
    )


_HR, _LR = _marker(MARKERS["hr"]), _marker(MARKERS["lr"])
_SCALE = _without(r"[._-]?x(?P<scale>\d{1,2})$")  # 0001x4, a_x4
_HR_SCALE = _without(rf"(?:[._-]|(?<=\d)|(?<={MARKERS['hr'].replace('|', ')|(?<=')}))x(?P<scale>\d{{1,2}})$")
"""Of HR names an x and a number is cut only where it is clear: box1 is a name."""
_NUMBER = _without(rf"[._-]?(?:{MARKERS['lr']})[._-]?(?P<scale>\d{{1,2}})$")  # a_LR4: the number is the scale

HR_RULES: Sequence[_Rule] = (_plain, _HR, _HR_SCALE, _then(_HR_SCALE, _HR))
LR_RULES: Sequence[_Rule] = (_plain, _SCALE, _LR, _then(_SCALE, _LR), _then(_LR, _SCALE), _NUMBER)
SCHEMES = sorted(product(range(len(HR_RULES)), range(len(LR_RULES))), key=lambda rules: (sum(rules), rules))
"""Pairs of a rule for HR names and one for LR names, simple ones first."""


def _composed(text: str) -> str:
    """Write letters with accents as one character each: file systems store them in either of two forms."""
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    """Leave out the difference between capital and small letters, and between forms of one character."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())


SPELLINGS: Sequence[Callable[[str], str]] = (str, _composed, _folded)
"""How names are compared: as they are, then more and more loosely. A looser one is used for what is left."""


# --- two folders --------------------------------------------------------------------------------------------------


def match(hr: Path, lr: Path, scale: int | None = None, choice: Choice = ALL) -> Matching:
    """Return the pairs of two folders, told from the names of their files, and the files without a partner.

    Sub-folders are part of a name. The whole names are compared first, then names without what tells the sides apart
    (``x4``, ``_HR``, ``LR_``, ``_LR4``); of several rules that which makes most pairs is used first. ``scale``: HR size
    / LR size; it chooses among LR images whose names state several scales. Either side may be one file; two files are a
    pair whatever their names. Either may be a pattern (`degsynth.data.globs`), and ``choice`` holds for the names of
    both. DataError where there is no pair, where a name fits two files, or where several scales are left to choose
    from; ConfigError where ``choice`` leaves no image, or a pattern in it fits none.
    """
    first, second = (side.by_image() for side in choose([Sources.found(hr), Sources.found(lr)], choice))
    if _is_one(hr, first) and _is_one(lr, second):
        (of_hr,), (of_lr,) = first.paths(), second.paths()
        if of_hr.resolve() == of_lr.resolve():
            raise DataError(f"{hr} is given as HR and as LR", "give two images of one scene")
        return Matching([Pair(_stem(within(of_hr.name, Path())), of_hr, of_lr)], [])
    if first.root.resolve() == second.root.resolve():
        second = replace(second, root=first.root)  # so that a file has the same path on both sides
    in_hr, in_lr = (
        path if path.is_file() or split(path) is not None else side.root for path, side in ((hr, first), (lr, second))
    )
    found = _Search(_files(first, in_hr, in_lr), _files(second, in_lr, in_hr), scale)
    for spelling in SPELLINGS:
        found.pair_up(spelling)
    _check_stacks([found.hr, found.lr], found.unmatched())
    if not found.pairs:
        raise _no_pair((hr, first), (lr, second))
    pairs = sorted(found.pairs.values(), key=lambda pair: pair.name)
    return Matching(pairs, found.unmatched(), first.left_out + second.left_out)


def _is_one(asked: Path, side: Sources) -> bool:
    """Tell whether a single image was asked for, whatever its name, and not a folder that happens to hold one."""
    alone = asked.is_file() or split(asked) is not None or page_of(asked) is not None
    return alone and len(side.names) == 1


def _check_stacks(sides: Sequence[dict[str, Path]], unmatched: Sequence[str]) -> None:
    """Raise DataError where a file of one image has the name of a stack, of which no image then has a partner.

    The file may be a stack that is damaged.
    """
    for mine, others in (sides, sides[::-1]):
        stacks = {_stem(page.file.as_posix()): page.file for page in map(page_of, map(Path, mine)) if page is not None}
        for name, path in others.items():
            stack = stacks.get(_stem(name))
            if stack is not None and str(path) in unmatched:
                images.declared(path)
                raise DataError(f"{path} holds one image, and {stack.name} of the other side several")


def _files(side: Sources, place: Path, other: Path) -> dict[str, Path]:
    """Return the images of a side by name; ``place`` and ``other`` are the folders, or files, of both sides.

    The name of an image of several in one file is relative to that file, or to the group of it, that was asked for.
    What lies in the folder of the other side, too, belongs to that.
    """
    files: dict[str, Path] = {}
    for source, path in zip(side.names, side.paths(), strict=True):
        name = within(source, place)
        if name in files:
            raise DataError(f"{files[name]} and {path} have the same name for a pair", "rename one of them")
        files[name] = path
    inner = other.resolve()
    if place.resolve() == inner or not inner.is_relative_to(place.resolve()):
        return files
    return {name: path for name, path in files.items() if not set_of(path).resolve().is_relative_to(inner)}


def _no_pair(of_hr: tuple[Path, Sources], of_lr: tuple[Path, Sources]) -> DataError:
    """Return the error that says why two folders, which are given with their images, have no pair."""
    (hr, first), (lr, second) = of_hr, of_lr
    if hr.resolve() == lr.resolve():
        return DataError(
            f"{hr} is given as HR and as LR, and no names in it tell the two sides apart",
            "give two folders, or name the sides as in a_HR.png and a_LR.png",
        )
    nested = any(a.resolve().is_relative_to(b.resolve()) for a, b in ((hr, lr), (lr, hr)))
    return DataError(
        f"no file of {hr} ({first.names[0]}, …) has the stem of one in {lr} ({second.names[0]}, …)"
        f"{', and one of these folders lies in the other' if nested else ''}",
        "give both sides of a pair the same name, or list the pairs in a table (`pairs`)",
    )


_Keys = dict[str, dict[str, int | None]]
"""Names of files by their keys, each with the scale that it states."""


class _Search:
    """Finds pairs among the files of both sides that have no partner yet."""

    def __init__(self, hr: dict[str, Path], lr: dict[str, Path], scale: int | None) -> None:
        self.hr, self.lr, self.scale = hr, lr, scale
        self.pairs: dict[str, Pair] = {}
        self.used: set[Path] = set()

    def unmatched(self) -> list[str]:
        """Return the files of both sides without a partner."""
        return sorted(str(path) for path in {*self.hr.values(), *self.lr.values()} - self.used)

    def pair_up(self, spelling: Callable[[str], str]) -> None:
        """Find pairs among the files that are left, by the schemes that make most of them."""
        hr_keys = [self._by_key(self.hr, rule, spelling) for rule in HR_RULES]
        lr_keys = [self._of_scale(self._by_key(self.lr, rule, spelling)) for rule in LR_RULES]
        both = [(hr_keys[of_hr], lr_keys[of_lr]) for of_hr, of_lr in SCHEMES]
        for hr, lr in sorted(both, key=lambda sides: -len(sides[0].keys() & sides[1].keys())):
            for key in sorted(hr.keys() & lr.keys()):
                self._use(key, hr[key], lr[key])

    @staticmethod
    def _by_key(names: Iterable[str], rule: _Rule, spelling: Callable[[str], str]) -> _Keys:
        """Return what a rule makes of the names of files."""
        keys: defaultdict[str, dict[str, int | None]] = defaultdict(dict)
        for name in names:
            page = page_of(Path(name))  # the rules are for the name of the file
            reading = rule(spelling(_stem(name if page is None else page.file.as_posix())))
            if reading is not None:
                keys[reading.key + ("" if page is None else f"_p{page.number:04}")][name] = reading.scale
        return dict(keys)

    def _of_scale(self, keys: _Keys) -> _Keys:
        """Leave out the names that state another scale than the wanted one, where some state that."""
        if self.scale is None or not any(self.scale in names.values() for names in keys.values()):
            return keys
        wanted = (None, self.scale)
        kept = {key: {name: s for name, s in names.items() if s in wanted} for key, names in keys.items()}
        return {key: names for key, names in kept.items() if names}

    def _use(self, key: str, hr_names: Mapping[str, int | None], lr_names: Mapping[str, int | None]) -> None:
        """Make a pair of the files of one key, as far as they are left."""
        hr = [name for name in hr_names if self.hr[name] not in self.used]
        own = self.hr[hr[0]] if len(hr) == 1 else None  # a file is never its own partner
        lr = {name: s for name, s in lr_names.items() if self.lr[name] not in self.used and self.lr[name] != own}
        if not hr or not lr:
            return
        _check_scales(lr, hr[0])
        paths = _only(hr, self.hr, next(iter(lr))), _only(list(lr), self.lr, hr[0])
        name = key.replace(TAKE, "")
        name = hr[0] if name in self.pairs else name
        self.pairs[name] = Pair(name, *paths)
        self.used.update(paths)


def _stem(name: str) -> str:
    """Return the path of a file without its ending."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _check_scales(lr: Mapping[str, int | None], hr: str) -> None:
    """Raise DataError where the LR images of one HR image state several scales."""
    scales = sorted({scale for scale in lr.values() if scale is not None})
    if len(scales) > 1:
        raise DataError(
            f"{' and '.join(sorted(lr))} are LR images of {hr} at scales {', '.join(map(str, scales))}",
            "choose one of them by `scale`, or keep each scale in a folder of its own",
        )


def _only(names: Sequence[str], files: Mapping[str, Path], partner: str) -> Path:
    """Return the only file of a list; DataError, which names two of them, where there are more."""
    first, *others = sorted(names)
    if not others:
        return files[first]
    folder = str(files[first]).removesuffix(first).rstrip("/")
    alike = " (the same letters, stored in two forms)" if _composed(first) == _composed(others[0]) else ""
    raise DataError(
        f"{folder} has both {first} and {others[0]}{alike}, and either could be the partner of {partner}",
        "pairs are matched by stem: rename or remove one, or list the pairs in a table (`pairs`)",
    )


# --- a table ------------------------------------------------------------------------------------------------------


def read_table(table: Path) -> Matching:
    """Return the pairs of a CSV file with two columns, the paths of an HR and of an LR image.

    A first line ``hr,lr`` or ``tele,wide`` is passed over. Paths are absolute, or relative to the folder of the table.
    A pair is called by its HR file, without the folder that all HR files lie in. ConfigError names the line that is
    wrong.
    """
    try:
        text = read_bounded(table, LARGEST_TABLE).decode("utf-8-sig")
        rows = list(csv.reader(text.splitlines(), strict=True))
    except OSError as error:
        raise ConfigError(f"`pairs={table}`: {os_reason(error)}; give a CSV file with the columns hr and lr") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"`pairs={table}` is no CSV file in UTF-8 ({shortened(str(error))})") from None
    lines = [(number, row) for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    if lines and [cell.strip().lower() for cell in lines[0][1]] in (["hr", "lr"], ["tele", "wide"]):
        del lines[0]
    if not lines:
        raise ConfigError(f"`pairs={table}` has no pair; give lines of the form HR.png,LR.png")
    seen: dict[Path, int] = {}
    paths = [_row(table, number, row, seen) for number, row in lines]
    root = Path(os.path.commonpath([hr.parent for hr, _ in paths]))
    names = [_stem(_composed(hr.relative_to(root).as_posix())) for hr, _ in paths]
    count = Counter(names)
    pairs = [
        Pair(hr.relative_to(root).as_posix() if count[name] > 1 else name, hr, lr)
        for name, (hr, lr) in zip(names, paths, strict=True)
    ]
    return Matching(sorted(pairs, key=lambda pair: pair.name), [])


def _row(table: Path, number: int, row: Sequence[str], seen: dict[Path, int]) -> tuple[Path, Path]:
    """Return the two files of a line. ``seen`` has the lines in which files stand; it is added to."""
    where = f"`pairs={table}`, line {number}"
    if len(row) != 2:
        raise ConfigError(f"{where} has {len(row)} columns; give two, HR.png,LR.png")
    hr, lr = (Path(os.path.abspath(table.parent / cell.strip())) for cell in row)  # noqa: PTH100 - links keep their names
    for path in (hr, lr):
        if not file_of(path).is_file():
            raise ConfigError(f"{where}: {path}: no such file; paths are relative to the folder of the table")
        if path in seen:
            raise ConfigError(f"{where}: {path} stands in line {seen[path]}, too; give each file once")
        seen[path] = number
    return hr, lr


def find(
    hr: Path | None, lr: Path | None, table: Path | None, scale: int | None = None, choice: Choice = ALL
) -> Matching:
    """Return the pairs of a table, or of two folders, as `match` does; ConfigError where both or neither are given."""
    if table is not None:
        if hr is not None or lr is not None:
            raise ConfigError(f"`pairs={table}` lists both sides of all pairs; leave `hr` and `lr` out, or `pairs`")
        return read_table(table)
    if hr is None or lr is None:
        missing = "hr" if hr is None else "lr"
        raise ConfigError(f"`{missing}` is missing: give `hr` and `lr`, or `pairs`")
    return match(hr, lr, scale, choice)

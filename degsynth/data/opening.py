"""Opening two folders of images, after a check of every image: for a paired or unpaired fit, or for scoring a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from degsynth.config import Interval, OnProgress, OnText, ignore_progress, ignore_text
from degsynth.data import globs, listing
from degsynth.data.cache import Cache
from degsynth.data.folders import ImageSet, inspect_folder
from degsynth.data.images import Image
from degsynth.data.matching import Matching, find
from degsynth.data.members import file_of
from degsynth.data.pair_check import MOVED, Fault, PairCheck, check, size_faults
from degsynth.data.pairs import PairSet
from degsynth.data.ranges import check_range, of_bits
from degsynth.data.sources import ALL, Choice, Sources, choose
from degsynth.errors import ConfigError, DataError
from degsynth.files import file_digest, open_regular
from degsynth.ops.spectra import SIDE
from degsynth.ops.spread import evenly_spaced


@dataclass(frozen=True)
class PairOptions:
    """How `open_for_fit` treats the pairs."""

    scale: int | None = None
    """HR size / LR size; None: the scale that most pairs have."""
    data_range: Interval | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the whole range of the type; None: found from the files."""
    register: bool = False
    """Correct the shift of every pair; otherwise a pair with a large shift cannot be used."""
    skip_bad: bool = False
    """Leave out pairs that cannot be used; otherwise they are an error."""
    cache_bytes: int = 2**31
    """Memory for decoded images."""
    table: Path | None = None
    """CSV file that lists the pairs (`degsynth.data.matching.read_table`), instead of two folders."""
    choice: Choice = ALL
    """Patterns that choose among the images of both folders."""


@dataclass(frozen=True)
class ScoringOptions:
    """What a model that is scored by pairs accepts, and how many pairs are used."""

    scale: int
    """HR size / LR size."""
    channels: Sequence[int] | Literal["any"] = "any"
    """Numbers of channels that the model takes."""
    data_range: Interval | None = None
    """Black and white of 16-bit and float files; None: the whole range of the type."""
    max_pairs: int | None = None
    """Largest number of pairs, evenly spread; None: all."""
    table: Path | None = None
    """CSV file that lists the pairs (`degsynth.data.matching.read_table`), instead of two folders."""
    choice: Choice = ALL
    """Patterns that choose among the images of both folders."""


@dataclass(frozen=True)
class FolderOptions:
    """How `open_folders` treats the images of two unpaired folders."""

    scale: int
    """HR size / LR size."""
    skip_bad: bool = False
    """Leave out images that cannot be used; otherwise they are an error."""
    cache_bytes: int = 2**31
    """Memory for decoded images."""
    choice: Choice = ALL
    """Patterns that choose among the images of both folders."""


def open_for_fit(
    hr: Path | None,
    lr: Path | None,
    options: PairOptions,
    on_progress: OnProgress = ignore_progress,
    on_warning: OnText = ignore_text,
) -> tuple[PairSet, PairCheck]:
    """Return all usable pairs of two folders or of a table, and the result of their check.

    DataError names the pairs that cannot be used where ``options.skip_bad`` is False, or where no usable pair is left.
    """
    found = _matched(hr, lr, options, on_warning)
    matched = found.pairs
    checked = check(matched, options.scale, options.register, on_progress)
    if checked.faults:
        details = _examples([f"{fault.name} ({fault.kind}: {fault.detail})" for fault in checked.faults])
        if not options.skip_bad or not checked.pairs:
            raise DataError(
                f"{len(checked.faults)} of {len(matched)} pairs cannot be used: {details}", _way_out(checked, options)
            )
        on_warning(f"{len(checked.faults)} of {len(matched)} pairs are left out: {details}")
    pairs = PairSet(checked.pairs, checked.scale, checked.channels, None, options.register, options.cache_bytes)
    pairs.left_out = found.left_out
    decoded = (image for pair in pairs.pairs for image in pairs.decoded(pair))
    pairs.data_range = find_data_range(checked.dtype, decoded, options.data_range)
    _warn_of_warps(checked, on_warning)
    return pairs, checked


def _way_out(checked: PairCheck, options: PairOptions) -> str:
    """Say what can be done about pairs that cannot be used."""
    kinds = {fault.kind for fault in checked.faults}
    ways = []
    if "zoomed or turned" in kinds:
        ways.append("align pairs that are zoomed or turned first")
    if "misaligned" in kinds:
        ways.append("`register_pairs=shift` corrects shifts")
    if checked.pairs:
        ways.append("`bad_pairs=skip` leaves them out")
    elif not ways:
        ways.append(f"no pair is left: check the folders{'' if options.scale is None else ' and `scale`'}")
    return ", ".join(ways)


def _warn_of_warps(checked: PairCheck, on_warning: OnText) -> None:
    """Warn of zoom and rotation that are left in the pairs."""
    if text := checked.warp_warning():
        on_warning(text)


def _matched(
    hr: Path | None,
    lr: Path | None,
    options: PairOptions | ScoringOptions,
    on_warning: OnText,
) -> Matching:
    """Return the pairs of two folders or of a table, and warn of files without a partner."""
    _warn_of_videos([hr, lr], on_warning)
    found = find(hr, lr, options.table, options.scale, options.choice)
    if found.unmatched:
        on_warning(f"files without a partner are left out ({len(found.unmatched)}): {_examples(found.unmatched)}")
    return found


def _warn_of_videos(folders: Iterable[Path | None], on_warning: OnText) -> None:
    """Warn of videos in folders, as nobody takes frames from them."""
    for folder in folders:
        films = listing.videos(listing.find(folder)[1]) if folder is not None and folder.is_dir() else []
        if films:
            on_warning(f"videos in {folder} are left out ({len(films)}), e.g. {films[0]}; {listing.TO_FRAMES}")


def _examples(names: Sequence[str], count: int = 3) -> str:
    """Join the first ``count`` names, and say how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def find_data_range(dtype: str, decoded: Iterable[Image], asked: Interval | Literal["dtype"] | None) -> Interval | None:
    """Return black and white of a set of images; None stands for the whole range of the type.

    A range that was asked for is kept. Otherwise white of 16-bit files is the largest value of 10, 12, 14 or 16 bits,
    whichever is the least that holds every value, or that of the bits that the files have a sample, if these are fewer
    than 16 and the same in all; float files must have values from 0 to 1. DataError otherwise.
    """
    if dtype == "uint8" or (asked == "dtype" and dtype != "uint16"):
        return None
    if asked is not None and asked != "dtype":
        black, white = asked
        if not black < white:
            raise ConfigError(f"`data_range={black:g}:{white:g}`: black must be below white")
        return Interval(float(black), float(white))
    bits: set[int] = set()
    ends: list[tuple[float, float]] = []
    for image in decoded:
        bits.add(image.meaning.bits)
        ends.append((float(image.pixels.min()), float(image.pixels.max())))
    packed = sorted(bits - {0})
    if len(packed) > 1:
        raise DataError(
            f"images have {' and '.join(map(str, packed))} bits a sample, so white differs between them",
            "save all of them with 16 bits and one white, which `data_range=BLACK:WHITE` names",
        )
    if packed and bits == {packed[0]}:
        return of_bits(None, packed[0])
    if asked == "dtype":
        return None
    smallest, largest = min(low for low, _ in ends), max(high for _, high in ends)
    if dtype == "uint16":
        return Interval(0.0, float(next(2**bits - 1 for bits in (10, 12, 14, 16) if largest <= 2**bits - 1)))
    if largest > 1.0 or smallest < 0.0:
        values = f"from {smallest:g} to {largest:g}"
        raise DataError(f"float images have values {values}", "give black and white as `data_range=BLACK:WHITE`")
    return None


def open_for_model(
    hr: Path | None,
    lr: Path | None,
    options: ScoringOptions,
    on_progress: OnProgress = ignore_progress,
    on_warning: OnText = ignore_text,
) -> PairSet:
    """Return the pairs of two folders or of a table, for scoring a model.

    DataError names the pairs that do not fit the model.
    """
    matched = _matched(hr, lr, options, on_warning).pairs
    if options.max_pairs is not None:
        matched = [matched[index] for index in evenly_spaced(len(matched), options.max_pairs)]
    _refuse(size_faults(matched, options.scale), len(matched), options)  # before all the others are decoded
    checked = check(matched, options.scale, on_progress=on_progress)
    _refuse(checked.faults, len(matched), options)
    if options.channels != "any" and checked.channels not in options.channels:
        takes = list(options.channels)
        raise DataError(f"the pairs in {hr or options.table} have {checked.channels} channels, the model takes {takes}")
    _warn_of_warps(checked, on_warning)
    pairs = PairSet(checked.pairs, options.scale, checked.channels, options.data_range)
    if checked.dtype != "uint8":
        _check_ranges(pairs)
    return pairs


def _refuse(faults: Sequence[Fault], count: int, options: ScoringOptions) -> None:
    """Raise DataError where some of ``count`` pairs cannot be scored."""
    if not faults:
        return
    first = faults[0]
    advice = f"give LR images of the model's scale, {options.scale}"
    if first.kind in MOVED:
        advice = "align the pairs first"
    raise DataError(
        f"{len(faults)} of {count} pairs cannot be scored: {first.name} ({first.kind}: {first.detail})",
        f"remove them, or {advice}" if len(faults) < count else f"no pair is left: {advice}",
    )


def _check_ranges(pairs: PairSet) -> None:
    """Raise DataError where an image has values above the white of the pairs' data range."""
    for pair in pairs.pairs:
        for path, image in zip((pair.hr, pair.lr), pairs.decoded(pair), strict=True):
            try:
                check_range(image.pixels, pairs.data_range)
            except DataError as error:
                raise DataError(f"{path}: {error.message}", error.hint) from None


def open_folders(
    hr: Path,
    lr: Path,
    options: FolderOptions,
    on_progress: OnProgress = ignore_progress,
    on_warning: OnText = ignore_text,
) -> tuple[ImageSet, ImageSet, list[tuple[str, str]], list[str]]:
    """Return the usable images of two folders without common scenes (HR, LR), the others with reasons, and notes.

    DataError names the images that cannot be used where ``options.skip_bad`` is False, and says where the two sides
    differ in colour or type.
    """
    sides = _apart(hr, lr, options.choice)
    _warn_of_videos([hr, lr], on_warning)
    cache = Cache(options.cache_bytes)
    # The spectrum of an LR image needs this many pixels a side, and HR images must have as many LR pixels.
    hr_images, hr_faults = inspect_folder(sides[0], "HR", options.scale * SIDE, cache, on_progress)
    lr_images, lr_faults = inspect_folder(sides[1], "LR", SIDE, cache, on_progress)
    faults = [
        (str(side.root / name), reason)
        for side, bad in zip(sides, (hr_faults, lr_faults), strict=True)
        for name, reason in bad
    ]
    if faults:
        details = _examples([f"{name} ({reason})" for name, reason in faults])
        if not options.skip_bad:
            raise DataError(f"{len(faults)} images cannot be used: {details}", "`bad_pairs=skip` leaves them out")
        on_warning(f"{len(faults)} images are left out: {details}")
    for what, of_hr, of_lr in (
        ("colour", hr_images.colour, lr_images.colour),
        ("type", hr_images.dtype, lr_images.dtype),
    ):
        if of_hr != of_lr:
            raise DataError(f"the images in {hr} and {lr} differ in {what}: {of_hr} and {of_lr}", "convert one side")
    left_out = sum(side.left_out for side in sides)
    notes = [f"{left_out} images left out by `include` and `exclude`"] if left_out else []
    return hr_images, lr_images, faults, notes + _common_names(hr_images, lr_images)


def _apart(hr: Path, lr: Path, choice: Choice) -> list[Sources]:
    """Return the images of both folders that are chosen; ConfigError where some belong to both."""
    whole = choice == ALL and globs.split(hr) is None and globs.split(lr) is None
    nested = next(((a, b) for a, b in ((hr, lr), (lr, hr)) if a.resolve().is_relative_to(b.resolve())), None)
    if whole and nested is not None:
        raise ConfigError(
            f"{nested[0]} is in {nested[1]}, or is the same folder", "give HR images and LR images in separate folders"
        )
    sides = [side.by_image() for side in choose([Sources.found(hr), Sources.found(lr)], choice)]
    first, second = ({path.resolve() for path in side.paths()} for side in sides)
    if first & second:
        raise ConfigError(
            f"{min(first & second)} is an HR image and an LR image ({len(first & second)} in all)",
            "give HR images and LR images in separate folders, or patterns that fit one side alone",
        )
    of_hr, of_lr = ({file_of(path) for path in side.paths()} for side in sides)
    if copies := _copies(sorted(of_hr - of_lr), sorted(of_lr - of_hr)):
        raise ConfigError(
            f"{copies[0][0]} and {copies[0][1]} are the same file by content ({len(copies)} in all)",
            "an HR photograph is no LR photograph; leave one of them out",
        )
    return sides


def _copies(hr: Sequence[Path], lr: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the HR files that an LR file has the bytes of, each with that file."""
    common = {_length(path) for path in hr} & {_length(path) for path in lr} - {0}
    of_hr, of_lr = ([path for path in side if _length(path) in common] for side in (hr, lr))
    known = {digest: path for path in of_lr for digest in _digest(path)}
    return [(path, known[digest]) for path in of_hr for digest in _digest(path) if digest in known]


def _length(path: Path) -> int:
    """Return the size of a file, bytes; 0 where it cannot be told, which is reported when the file is decoded."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _digest(path: Path) -> list[str]:
    """Return the SHA-256 of a file; nothing where it cannot be read, which is reported when it is decoded."""
    with contextlib.suppress(OSError), open_regular(path) as file:
        return [file_digest(file)]
    return []


def _common_names(hr: ImageSet, lr: ImageSet) -> list[str]:
    """Return a note where most LR images have the name of an HR image: they may be pairs."""
    hr_stems, lr_stems = ({Path(name).stem for name in side.names} for side in (hr, lr))
    if len(hr_stems & lr_stems) <= len(lr_stems) / 2:
        return []
    return [
        "most LR images have the name of an HR image: if they show the same scenes, a paired method (linear, dml, …) "
        "learns much more from them"
    ]

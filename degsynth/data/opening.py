"""Folders of pairs, looked at one by one and opened: for a fit, or for scoring a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from degsynth.data import images
from degsynth.data.pair_check import PairCheck, check
from degsynth.data.pairs import PairSet, evenly, match
from degsynth.errors import ConfigError, DataError


def open_for_fit(
    hr: Path,
    lr: Path,
    scale: int | None,
    data_range: tuple[float, float] | Literal["dtype"] | None,
    register: bool,
    skip_bad: bool,
    cache_bytes: int,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> tuple[PairSet, PairCheck]:
    """All usable pairs of two folders, and what was found when they were checked.

    ``scale`` None: inferred; ``register`` corrects shifts; ``skip_bad`` leaves faulty pairs out. DataError names them
    where that is not asked for.
    """
    found, alone = match(hr, lr)
    if alone:
        on_warning(f"{len(alone)} files have no partner and are left out: {_some(alone)}")
    checked = check(found, scale, register, lambda count: on_progress("checking pairs", count, len(found)))
    if checked.faults:
        details = _some([f"{fault.name} ({fault.kind}: {fault.detail})" for fault in checked.faults])
        if not skip_bad or not checked.pairs:
            shifted = any(fault.kind == "misaligned" for fault in checked.faults)
            way = "--register shift corrects shifts, " if shifted else ""
            raise DataError(
                f"{len(checked.faults)} of {len(found)} pairs cannot be used: {details}; "
                f"{way}--bad-pairs skip leaves them out"
            )
        on_warning(f"{len(checked.faults)} of {len(found)} pairs are left out: {details}")
    pairs = PairSet(checked.pairs, checked.scale, checked.channels, None, register, cache_bytes)
    pairs.data_range = find_data_range(checked, pairs, data_range)
    return pairs, checked


def _some(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def find_data_range(checked: PairCheck, pairs: PairSet, asked: Any) -> tuple[float, float] | None:
    """Black and white: as asked; for 16-bit files the least of 10, 12, 14, 16 bits that holds every value."""
    if asked == "dtype" or checked.dtype == "uint8":
        return None
    if asked is not None:
        black, white = asked
        if not black < white:
            raise ConfigError(f"data range {black:g}:{white:g}: black must be below white")
        return float(black), float(white)
    largest = max(float(image.pixels.max()) for pair in pairs.pairs for image in pairs.decoded(pair))
    if checked.dtype == "uint16":
        return 0.0, float(next(2**bits - 1 for bits in (10, 12, 14, 16) if largest <= 2**bits - 1))
    if largest > 1.0:
        raise DataError(f"float images reach {largest:g}; say what is black and white with --data-range BLACK:WHITE")
    return None


def open_for_model(
    hr: Path,
    lr: Path,
    scale: int,
    channels: Sequence[int] | Literal["any"],
    data_range: tuple[float, float] | None,
    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None,
    on_warning: Callable[[str], None] = lambda text: None,
    most: int | None = None,
) -> PairSet:
    """Pairs of two folders, for scoring a model of that scale and colour; DataError names those that do not fit.

    All of them, or ``most``, evenly spread.
    """
    found, alone = match(hr, lr)
    if most is not None:
        found = [found[index] for index in evenly(len(found), most)]
    if alone:
        on_warning(f"{len(alone)} files have no partner and are left out, e.g. {alone[0]}")
    checked = check(found, scale, on_pair=lambda count: on_progress("checking pairs", count, len(found)))
    if checked.faults:
        first = checked.faults[0]
        raise DataError(
            f"{len(checked.faults)} of {len(found)} pairs cannot be scored: {first.name} "
            f"({first.kind}: {first.detail}); remove them (the model's scale is {scale})"
        )
    if channels != "any" and checked.channels not in channels:
        raise DataError(f"the pairs in {hr} have {checked.channels} channels, the model takes {list(channels)}")
    opened = PairSet(checked.pairs, scale, checked.channels, data_range)
    if checked.dtype != "uint8":
        for pair in checked.pairs:
            for path, image in zip((pair.hr, pair.lr), opened.decoded(pair), strict=True):
                try:
                    images.check_range(image.pixels, data_range)
                except DataError as error:
                    raise DataError(f"{path}: {error}") from None
    return opened

"""The folders of DIV2K, as EDSR-PyTorch and the many programs that followed it read them.

EDSR-PyTorch lists ``DIR/DIV2K/DIV2K_train_HR``, takes the images of ``--data_range`` from the sorted list, and looks
for ``DIR/DIV2K/DIV2K_train_LR_bicubic/X4/0001x4.png``. The folder is called ``bicubic`` whatever the LR images are.
"""

from __future__ import annotations

from collections.abc import Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True
DIGITS = 4
"""Digits of the numbers, where there are no more than 9999 pairs."""


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``DIV2K/DIV2K_train_HR`` and ``DIV2K/DIV2K_train_LR_bicubic``; pairs are counted from 1."""
    digits = max(DIGITS, len(str(len(pairs))))
    numbers = {pair.stem: f"{number:0{digits}d}" for number, pair in enumerate(pairs, 1)}
    scale = place.scale
    place.put_all(
        pairs,
        lambda pair: f"DIV2K/DIV2K_train_HR/{numbers[pair.stem]}.png",
        lambda pair: f"DIV2K/DIV2K_train_LR_bicubic/X{scale}/{numbers[pair.stem]}x{scale}.png",
    )

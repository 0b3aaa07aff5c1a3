"""Tests of trained networks on real pairs, beside the bicubic enlargement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from degsynth.config import Events
from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.data.pairs import PairSet
from degsynth.ops.resample import enlarged
from degsynth.sr.enlarging import TILE, super_resolve
from degsynth.sr.networks import Trained
from degsynth.sr.scores import BORDER, SHIFT, in_8_bits, mean, score

Make = Callable[[Tensor], Tensor]
"""Enlarges an LR image (C, h, w) to (C, s·h, s·w), in [0, 1]."""


def by_network(network: Trained, tile: int = TILE) -> Make:
    """Return the function that super-resolves by a network."""
    return lambda lr: super_resolve(network, lr, tile)


def by_bicubic(scale: int) -> Make:
    """Return the function that enlarges bicubically."""
    return lambda lr: enlarged(lr[None], scale)[0].clamp(0.0, 1.0)


def open_pairs(
    hr: Path | None, lr: Path | None, network: Trained, events: Events, table: Path | None = None
) -> PairSet:
    """Return the test pairs of two folders or of a table; DataError names those that do not fit the network."""
    accepted = ScoringOptions(network.record.scale, (1, 3), network.record.interval, table=table)
    return open_for_model(hr, lr, accepted, events.on_progress, events.on_warning)


def run(
    networks: Mapping[str, Trained],
    pairs: PairSet,
    border: int = BORDER,
    shift: int = SHIFT,
    events: Events | None = None,
) -> dict[str, Any]:
    """Score networks, by name, and the bicubic enlargement on pairs.

    Images are rounded to 8 bits first; ``border`` HR px are left out at each edge, ``shift`` is that of `shifted_psnr`.
    Return a dictionary of ``images`` (a row each), ``mean`` (by name), ``border`` and ``shift``.
    """
    events = events or Events()
    makers = {name: by_network(network) for name, network in networks.items()}
    makers["bicubic"] = by_bicubic(pairs.scale)
    rows: list[dict[str, Any]] = []
    for index, (hr, lr) in enumerate(pairs):
        truth = in_8_bits(hr)
        row: dict[str, Any] = {"name": pairs.pairs[index].name}
        for name, make in makers.items():
            row[name] = score(in_8_bits(make(lr)), truth, border, shift)
        rows.append(row)
        events.on_progress("scoring", index + 1, len(pairs))
    return {"images": rows, "mean": {name: mean(rows, name) for name in makers}, "border": border, "shift": shift}

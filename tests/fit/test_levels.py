"""What a fit says of pairs whose sides have other levels, before it learns anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from degsynth import fit
from degsynth.config import Events
from degsynth.fit.sources.pairs import Pairs
from degsynth.methods import linear
from degsynth.methods.shared.pairs import LevelChange
from degsynth.ops.kernels import gaussian

Folders = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize(
    ("gains", "warning", "change"),
    [
        ([(1.0, 1.0, 1.0)] * 4, "", ""),
        ([(0.8, 0.8, 0.8)] * 4, "", "LR has another level than HR: gain "),
        ([(0.9, 1.0, 1.0)] * 4, "", "LR has a colour cast against HR: the channels have gains "),
        ([(0.7, 0.7, 0.7), (0.9, 0.9, 0.9)] * 2, "levels vary from pair to pair", ""),
    ],
)
def test_levels_of_all_pairs(
    gains: list[tuple[float, ...]], warning: str, change: str, pair_folders: Folders, tmp_path: Path
) -> None:
    hr, lr = pair_folders(gaussian(8, 1.0, 1.0), 2, side=160)
    for path, gain in zip(sorted(lr.iterdir()), gains, strict=True):
        cv2.imwrite(str(path), (cv2.imread(str(path)) * gain).round().astype(np.uint8))
    warnings: list[str] = []
    options = fit.FitOptions(method="linear", hr=str(hr), lr=str(lr))
    pairs = Pairs(options, Events(on_warning=warnings.append), chooses=False)
    assert len(warnings) == bool(warning)
    assert all(text.startswith(warning) and "match the pairs first" in text for text in warnings)
    assert pairs.level_change.text.startswith(change)
    assert bool(pairs.level_change.text) == bool(change)
    assert pairs.level_change.by_channel == ("cast" in change)
    assert pairs.start.level_change == pairs.level_change


@pytest.mark.parametrize(
    ("values", "change", "advice"),
    [
        ({}, LevelChange(), None),
        ({}, LevelChange("another level"), "another level; `gain=apply` and `offset=apply` reproduce it"),
        ({}, LevelChange("a cast", True), "a cast; `per_channel=true`, `gain=apply` and `offset=apply` reproduce it"),
        ({"per_channel": True}, LevelChange("a cast", True), "a cast; `gain=apply` and"),
        ({"gain": "apply"}, LevelChange("another level"), None),
        ({"gain": "apply"}, LevelChange("a cast", True), "a cast; `per_channel=true` fits gain and offset of each"),
        ({"gain": "apply", "per_channel": True}, LevelChange("a cast", True), None),
    ],
)
def test_the_way_out_of_linear(values: dict[str, object], change: LevelChange, advice: str | None) -> None:
    method = linear.Method(linear.Config.model_validate(values), 2, 3)
    method.level_change = change
    assert [text[: len(advice or "")] for text in method.warnings()] == ([] if advice is None else [advice])


def test_the_way_out_of_other_methods() -> None:
    assert LevelChange().held("dml") == []
    assert (
        LevelChange("another level").held("dml")[0].startswith("another level; dml holds the level: match the levels")
    )

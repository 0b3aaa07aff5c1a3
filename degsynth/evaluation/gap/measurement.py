"""The gap between two folders of LR images that show different scenes: all figures, their floors, and the test."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from degsynth.config import Interval, OnProgress, OnText, ignore_progress, ignore_text
from degsynth.evaluation.gap import figures, two_sample
from degsynth.evaluation.gap.figures import FIGURES, Figure
from degsynth.evaluation.gap.folders import open_folders
from degsynth.evaluation.gap.splits import Halves, equal, halves, scenes_of_files
from degsynth.evaluation.gap.summary import Summary, rings, summarise
from degsynth.evaluation.gap.two_sample import Judgement
from degsynth.parallel import one_torch_thread, stream, usable_cores
from degsynth.seeds import derive

SURE_PATCHES = 8
"""Number of patches of each folder that are kept because the networks are surest about them."""
HIGH = 0.95
"""Quantile of the floors of all splits above which a gap counts as one."""


@dataclass(frozen=True)
class GapOptions:
    """How a gap is measured."""

    seed: int = 0
    splits: int = 40
    """Number of random splits into halves over which figures are averaged."""
    steps: int = 200
    """Training steps of each network of the two-sample test."""
    width: int = 16
    """Channels of its layers."""
    limit: int = 100
    """Largest number of images of a folder that are used, evenly spread over it."""
    data_range: Interval | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; None: the whole range of their type."""


@dataclass(frozen=True)
class Curves:
    """What is plotted of one set of images; see the functions of `degsynth.evaluation.gap.figures`."""

    spectrum: Tensor
    noise: Tensor
    detail: Tensor
    gradients: Tensor

    @classmethod
    def of(cls, images: Sequence[Summary]) -> Curves:
        """Compute the curves of a set of images."""
        return cls(
            figures.spectrum(images),
            figures.noise_by_level(images),
            figures.detail_by_contrast(images),
            figures.gradients(images),
        )


@dataclass(frozen=True)
class Gap:
    """A measured gap."""

    record: dict[str, Any]
    """What ``--json`` prints."""
    synthetic: Curves
    real: Curves
    real_halves: tuple[Curves, Curves]
    """Curves of two halves of the real images, whose distance shows how much scenes differ."""
    sure: tuple[list[Tensor], list[Tensor]]
    """Patches (C, h, w), one an image, that the networks are surest to be synthetic, and those surest to be real."""


def run(
    synthetic: Path,
    real: Path,
    options: GapOptions,
    on_progress: OnProgress = ignore_progress,
    on_warning: OnText = ignore_text,
) -> Gap:
    """Measure how far the images below ``synthetic`` are from those below ``real``.

    DataError where a folder has too few images that can be used, or where the two cannot be compared.
    """
    sets = open_folders(synthetic, real, options.limit, options.data_range, on_warning)
    names = [images.names for images in sets]
    with one_torch_thread():
        loaded = [_load(images, on_progress, f"measuring {images.folder.name}") for images in sets]
        summaries = [[summary for summary, _ in side] for side in loaded]
        patches = [[part for _, part in side] for side in loaded]
        splits = [halves(names[0], names[1], options.seed, number) for number in range(options.splits)]
        table = {
            figure.key: measured
            for figure in FIGURES
            if (measured := _measure(figure, summaries, [equal(split) for split in splits])) is not None
        }
        judged, floor = two_sample_test(patches, names, splits[0], options, on_progress)
        scenes = scenes_of_files(*names)
        of_halves = [[scenes[1][index] for index in half] for half in splits[0].real]
        record = {
            "synthetic": str(synthetic),
            "real": str(real),
            "images": {"synthetic": len(names[0]), "real": len(names[1])},
            "common_scenes": len(set(scenes[0]) & set(scenes[1])),
            "seed": options.seed,
            "splits": options.splits,
            "half": len(equal(splits[0]).real[0]),
            "figures": table,
            "two_sample": {
                **_test_record(judged, options.seed, scenes),
                "steps": options.steps,
                "width": options.width,
                "floor": _test_record(floor, options.seed, of_halves),
            },
        }
        curves = [Curves.of(side) for side in summaries]
        first, second = (Curves.of([summaries[1][index] for index in half]) for half in splits[0].real)
    record["curves"] = {
        "frequency": rings()[1].tolist(),
        **{side: _plain(of_side) for side, of_side in zip(("synthetic", "real"), curves, strict=True)},
    }
    return Gap(record, curves[0], curves[1], (first, second), _surest(judged, patches))


def _plain(curves: Curves) -> dict[str, list[float | None]]:
    """Return curves as lists; what is not known (NaN) becomes None, as JSON has no other word for it."""
    return {
        name: [None if math.isnan(value) else value for value in getattr(curves, name).tolist()]
        for name in ("spectrum", "noise", "detail")
    }


def _load(images: Sequence[Tensor], on_progress: OnProgress, stage: str) -> list[tuple[Summary, Tensor]]:
    """Return the summary and the patches of each image."""

    def work(index: int) -> tuple[Summary, Tensor]:
        image = images[index]
        return summarise(image), two_sample.patches(image)

    found: dict[int, tuple[Summary, Tensor]] = {}
    for finished in stream(range(len(images)), work, usable_cores()):
        if finished.error is not None:
            raise finished.error
        assert finished.result is not None
        found[finished.item] = finished.result
        on_progress(stage, len(found), len(images))
    return [found[index] for index in range(len(images))]


def _measure(figure: Figure, summaries: Sequence[Sequence[Summary]], splits: Sequence[Halves]) -> dict[str, Any] | None:
    """Compute a figure between halves of both folders, and its floor between the halves of the real images.

    Return None where the images do not allow it: chroma of gray images, or no flat block.
    """

    def difference(synthetic: list[Summary], real: list[Summary]) -> list[figures.Difference]:
        compared = figure.compare(synthetic, real)
        return [] if compared is None else [compared]

    gaps: list[figures.Difference] = []
    floors: list[figures.Difference] = []
    for split in splits:
        made = [[summaries[0][index] for index in half] for half in split.synthetic]
        real = [[summaries[1][index] for index in half] for half in split.real]
        gaps += [*difference(made[0], real[1]), *difference(made[1], real[0])]
        floors += difference(real[0], real[1])
    if not gaps or not floors:
        return None
    sizes = torch.tensor([floor.size for floor in floors], dtype=torch.float64)
    gap, high = sum(gap.size for gap in gaps) / len(gaps), float(torch.quantile(sizes, HIGH))
    direction = sum(gap.direction for gap in gaps) / len(gaps)
    return {
        "name": figure.name,
        "unit": figure.unit,
        "gap": gap,
        "direction": direction,
        "floor": float(sizes.mean()),
        "floor_high": high,
        "above_floor": gap > high,
        "synthetic_is": figure.words[int(direction > 0)] if gap > high else "",
    }


def two_sample_test(
    patches: Sequence[Sequence[Tensor]],
    names: Sequence[Sequence[str]],
    split: Halves,
    options: GapOptions,
    on_progress: OnProgress = ignore_progress,
) -> tuple[Judgement, Judgement]:
    """Do the two-sample test between the folders, and between two halves of the real images.

    ``patches`` holds, for both folders, the patches (N, C, h, w) of each image.
    """
    parts = [[patches[1][index] for index in half] for half in split.real]
    part_names = [[names[1][index] for index in half] for half in split.real]
    within = halves(part_names[0], part_names[1], options.seed, -1)
    count = 4
    nets = two_sample.networks(count, patches[0][0].shape[1], options.width, options.seed)
    on_step = _Steps(on_progress, count * options.steps)
    test_seed = derive(options.seed, "two-sample")
    work = [
        (training, patches, net) for training, net in zip(_trainings(split, test_seed, options), nets[:2], strict=True)
    ]
    work += [
        (training, parts, net) for training, net in zip(_trainings(within, test_seed, options), nets[2:], strict=True)
    ]

    def judge(number: int) -> Judgement:
        training, sides, net = work[number]
        return two_sample.judge(training, sides[0], sides[1], net, on_step)

    found: dict[int, Judgement] = {}
    for finished in stream(range(count), judge, min(count, usable_cores())):
        if finished.error is not None:
            raise finished.error
        assert finished.result is not None
        found[finished.item] = finished.result
    return two_sample.joined([found[0], found[1]]), two_sample.joined([found[2], found[3]])


def _trainings(split: Halves, seed: int, options: GapOptions) -> list[two_sample.Training]:
    return two_sample.trainings(split, seed, options.steps, options.width)


class _Steps:
    """Counts the steps of all networks, which are trained in threads, and reports them."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self._on_progress, self._total, self._count = on_progress, total, 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._count += 1
            self._on_progress("two-sample test", self._count, self._total)


def _test_record(judged: Judgement, seed: int, scenes: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the figures of a test; ``scenes`` has the scene of each image of its two sides."""
    low, high = judged.interval(seed, (scenes[0], scenes[1]))
    return {"accuracy": judged.accuracy(), "low": low, "high": high, "log_loss_bits": judged.log_loss()}


def _surest(judged: Judgement, patches: Sequence[Sequence[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the patches that the networks rightly are surest about; of each image one at most."""
    sure: list[list[Tensor]] = []
    for side, (logits, sign) in enumerate(((judged.synthetic, -1), (judged.real, 1))):
        best = [
            (float((sign * of_image).max()), index, int((sign * of_image).argmax()))
            for of_image, index in zip(logits, judged.images[side], strict=True)
        ]
        sure.append([patches[side][index][number] for _, index, number in sorted(best, reverse=True)[:SURE_PATCHES]])
    return sure[0], sure[1]

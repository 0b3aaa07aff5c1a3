"""Aligned pairs as the images of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degsynth.config import Events, OnProgress
from degsynth.data import scenes
from degsynth.data.compression import read_files, saved
from degsynth.data.opening import PairOptions, open_for_fit
from degsynth.data.pairs import PairSet
from degsynth.data.patches import Patches, PatchOptions
from degsynth.data.ranges import resolve_range
from degsynth.errors import DataError, FitError
from degsynth.evaluation.held_out import HeldOut, Judge
from degsynth.evaluation.metrics import BORDER, SSIM_WINDOW
from degsynth.evaluation.paired import SHIFT_WARNING_HR_PX, evaluate
from degsynth.evaluation.residual import LeftOut, measure_left_out
from degsynth.fit.export import measured_checkpoint
from degsynth.fit.options import FitOptions
from degsynth.fit.sources import source
from degsynth.fit.sources.source import Batches, Means, check_patch, qualities, shares
from degsynth.methods import linear
from degsynth.methods.protocol import Learned, Method
from degsynth.methods.shared.pairs import LevelChange, Paired, usual_kernel_size
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.tone import Tone
from degsynth.ops.noise import generator
from degsynth.ops.tone_measurement import measure as measure_tone
from degsynth.reports import previews
from degsynth.reports.panels import Panel
from degsynth.seeds import derive

MEASURED_PAIRS = 12
"""Number of fitted pairs, evenly spread, on which is measured what a model leaves out, beside the held-out pairs."""
START_PAIRS = 64
"""Number of pairs, evenly spread, from which a learned method's starting point and its reference, the kernel of
`linear`, are estimated."""


class Pairs(source.Source):
    """Pairs to fit to, and held-out ones, on which weights are chosen and which are reported."""

    def __init__(self, options: FitOptions, events: Events, chooses: bool) -> None:
        """Find, check and split the pairs; DataError names those that cannot be used.

        ``chooses``: the weights are to be chosen on held-out pairs.
        """
        self.options, self.on_note, self.on_warning = options, events.on_note, events.on_warning
        opening = PairOptions(
            options.scale,
            options.data_range,
            register=options.register_pairs == "shift",
            skip_bad=options.bad_pairs == "skip",
            cache_bytes=options.cache_mb * 2**20,
            table=None if options.pairs is None else Path(options.pairs),
            choice=options.choice,
        )
        hr, lr = (None if folder is None else Path(folder) for folder in (options.hr, options.lr))
        self.pairs, self.checked = open_for_fit(hr, lr, opening, events.on_progress, events.on_warning)
        self.scale, self.channels, self.dtype = self.pairs.scale, self.pairs.channels, self.checked.dtype
        self.data_range = self.pairs.data_range
        pattern = None if options.group_scene is None else scenes.compile_pattern(options.group_scene)
        names, doubts = scenes.scenes_of([pair.name for pair in self.pairs.pairs], pattern)
        self.parts = self.pairs.split(names, options.seed, chooses)
        self.train, self.held, self.reported = self.parts.fitted, self.parts.held_out, self.parts.reported
        self.level_change = self._level_change()
        self.start = self._paired(self.train.subset(self.train.spread(START_PAIRS)))
        self.border = _border(self.reported)
        self.notes = [f"scale {self.scale}; {self.parts.note()}"]
        if self.pairs.left_out:
            self.notes.append(f"{self.pairs.left_out} images left out by `include` and `exclude`")
        self._note_compression()
        for text in doubts:
            events.on_warning(text)

    def _note_compression(self) -> None:
        """Note how the LR images were compressed, where most of them are JPEG files."""
        paths = [self.train.pairs[index].lr for index in self.train.spread(START_PAIRS)]
        self.jpeg = shares(read_files(paths))
        if self.jpeg:
            self.notes.append(
                f"the LR images are JPEG files of {qualities(self.jpeg)}: LR will be compressed like them"
            )

    def compression(self) -> Callable[[Tensor], Tensor] | None:
        """Return what does to an LR image (C, h, w) what was done to these most often; None where it was nothing."""
        if not self.jpeg or self.channels not in (1, 3):
            return None
        how = self.jpeg[0].compression
        return lambda image: saved(image, how)

    def fingerprint(self) -> str:  # noqa: D102
        return self.pairs.fingerprint()

    def split_digest(self) -> str:  # noqa: D102
        return self.parts.digest()

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """Prepare a method that learns by steps from some pairs, any other method from all of them.

        Methods see the pairs in light, by the curve that is measured in them first, and never learn of levels.
        """
        wanted = self.options.tone or ("none" if self.options.preset == "paper" else "learned")
        if wanted == "learned" and method.holds_level():
            some = self.train.subset(self.train.spread(START_PAIRS))
            rng = generator(derive(self.options.seed, "tone"))
            self.tone = measure_tone(some, len(some), self.scale, usual_kernel_size(self.scale), rng)
            self.start = self._paired(some)
            if self.tone:
                middle = float(Tone(self.tone).to_light(torch.tensor(0.5)))
                self.on_note(f"the pairs are blurred in light: mid-gray of the files is a light of {middle:.2f}")
        method.prepare(self.start if isinstance(method, Learned) else self._paired(self.train))

    def _paired(self, pairs: PairSet) -> Paired:
        """Return pairs in light, as methods see them."""
        return Paired(_InLight(pairs, Tone(self.tone)), self.scale, self.channels, self.level_change)

    def _level_change(self) -> LevelChange:
        """Return how the levels of all pairs change from HR to LR; warn where that varies from pair to pair."""
        found = self.checked.levels(self.data_range)
        names = [pair.name for pair in self.checked.pairs]
        if text := found.describe_variation(names):
            self.on_warning(f"{text}; no model follows that, and it counts against all of them: match the pairs first")
            return LevelChange()
        return LevelChange(found.describe_change(), found.has_cast)

    def batches(self, method: Learned, device: str) -> Batches:
        """Return batches of aligned patches."""
        config = method.config
        options = PatchOptions(config.batch, method.patch, config.flips, device, method.multiple_of)
        patches = Patches(self.train, self.options.seed, options)
        side = patches.patch * self.scale
        check_patch(side, method, self.options.method, "leave them out")
        tone = Tone(self.tone)

        def batch(step: int) -> dict[str, Tensor]:
            made = patches.batch(step)
            return made | {name: tone.to_light(made[name]) for name in ("hr", "lr")}

        return Batches(batch, side)

    def level_step(self) -> float:
        """Return the difference of two levels of the files, in [0, 1]; 0 for float files."""
        dtype = np.dtype(self.dtype)
        black, white = resolve_range(dtype, self.data_range)
        return 0.0 if dtype.kind == "f" else 1.0 / (white - black)

    def samples(self, count: int) -> Sequence[Tensor]:
        """Return HR images of reported pairs."""
        return [self.reported.tensors(index)[0] for index in self.reported.spread(count)]

    def facts(self) -> dict[str, Any]:
        """Return names, shifts and faults of the pairs, and which part each is in."""
        facts = {
            "scenes": self.parts.scenes,
            "fitted": [pair.name for pair in self.train.pairs],
            "choosing": [pair.name for pair in self.parts.choosing.pairs],
            "reported": [pair.name for pair in self.reported.pairs],
            "held_out": [pair.name for pair in self.held.pairs],
            "left_out": [asdict(fault) for fault in self.checked.faults],
            "shift_lr_px": {pair.name: pair.shift for pair in self.pairs.pairs},
            "median_shift_lr_px": self.checked.median_shift(),
        }
        return {"pairs": facts, "tone": self.tone}

    def scorer(self, method: Method) -> PairScorer:
        """Return a scorer; a learned method is compared with the one kernel of `linear`."""
        references: dict[str, Checkpoint] = {}
        missing = ""
        if isinstance(method, Learned):
            kernel = linear.Method(linear.Config(), self.scale, self.channels)
            try:
                kernel.prepare(self.start)
                references["linear"] = measured_checkpoint("linear", kernel, self)
            except FitError as error:  # a learned method may do with less
                missing = f"no figure of linear to compare with: {error}"
        return PairScorer(self, references, missing)


@dataclass(frozen=True)
class _InLight:
    """Pairs whose levels are turned into light as they are read."""

    pairs: PairSet
    tone: Tone

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((self.tone.to_light(hr), self.tone.to_light(lr)) for hr, lr in self.pairs)


class PairScorer(source.Scorer):
    """Judges a fit by the luma PSNR of its LR against the real LR of held-out pairs.

    Weights are chosen on one part of these, and all that is reported is of the other. What the model leaves out is
    measured on both, and on pairs that were fitted to, as scenes differ much in it.
    """

    def __init__(self, pairs: Pairs, references: dict[str, Checkpoint], missing: str) -> None:
        self.source, self.references, self.missing_reference = pairs, references, missing

    def judge(self, method: Learned, device: str) -> Judge:
        """Return the PSNR on the pairs that choose the weights. Nothing of the reported ones enters."""
        choosing = self.source.parts.choosing
        return HeldOut(choosing, _border(choosing), method.multiple_of, device)

    def left_out(self, method: Method, model: Checkpoint) -> LeftOut | None:
        """Measure what a model leaves out of held-out and fitted pairs; None where it has noise of its own."""
        kernel = self.references.get("linear")
        if model.spec.has_noise:
            return None
        known = kernel is not None or not isinstance(method, Learned)
        train = self.source.train.subset(self.source.train.spread(MEASURED_PAIRS if known else 0))
        held, fitted = (
            HeldOut(pairs, self.source.border, model.spec.multiple_of).parts for pairs in (self.source.held, train)
        )
        left_out = measure_left_out(model, held, fitted, kernel, self.source.level_step(), self.source.compression())
        if left_out is None:
            self.source.on_warning(
                "the model adds no noise: it leaves nothing out of the pairs, or they have too few pixels to measure it"
            )
        return left_out

    def evaluate(self, method: Method, model: Checkpoint, on_progress: OnProgress) -> dict[str, Any]:
        """Return the figures of `degsynth.evaluation.paired` on the reported pairs, without noise.

        ``chose_the_weights`` tells whether these pairs chose the weights, too.
        """
        reported = self.source.reported
        scores = evaluate(
            Degradation(model, Noise(learned=False)),
            reported,
            border=self.source.border,
            beside=self.references,
            on_image=lambda count: on_progress("scoring", count, len(reported)),
        )
        return {**scores, "chose_the_weights": self.source.parts.chooses_what_it_reports()}

    def pictures(self, degrade: previews.Degrade, count: int) -> list[list[Panel]]:
        """Return synthesised LR beside real LR."""
        return previews.rows(degrade, self.source.reported, count)

    def summary(self, mean: Means) -> str:
        """Put the PSNR of each model into one line."""
        figures = ", ".join(f"{name} {figures['psnr_y']:.2f} dB" for name, figures in mean.items())
        also = ", which also chose the weights" if self.source.parts.chooses_what_it_reports() else ""
        return f"held-out pairs{also}, luma PSNR against the real LR: {figures}"

    def warnings(self, mean: Means) -> list[str]:
        """Warn of a shift that all pairs have."""
        pairs, scale = self.source.pairs.pairs, self.source.scale
        shifts = [pair.shift for pair in pairs if pair.shift is not None]
        y, x = (scale * float(np.mean([shift[axis] for shift in shifts])) for axis in (0, 1))
        if self.source.options.register_pairs == "shift" or math.hypot(y, x) < SHIFT_WARNING_HR_PX:
            return []
        return [
            f"the pairs are shifted against each other by ({y:+.2f}, {x:+.2f}) HR px (y, x) on average, and so will be "
            "what the model makes; `register_pairs=shift` takes that out"
        ]


def _border(pairs: PairSet) -> int:
    """Return the usual border, or less where images are small; DataError where they are too small to score."""
    smallest = min(min(lr.shape[1:]) for _, lr in pairs)  # as they are scored: registration crops
    if smallest < SSIM_WINDOW:
        raise DataError(f"an LR image is {smallest} px high or wide; at least {SSIM_WINDOW} are needed to score a fit")
    return min(BORDER, (smallest - SSIM_WINDOW) // 2)

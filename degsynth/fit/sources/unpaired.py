"""Two folders without a common scene as the images of a fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from degsynth.config import Events, OnProgress
from degsynth.data import grouping
from degsynth.data.compression import read_files
from degsynth.data.denoise import non_local_means
from degsynth.data.folders import KEPT, Middles, both
from degsynth.data.opening import FolderOptions, find_data_range, open_folders
from degsynth.data.patches import PatchOptions, UnpairedPatches
from degsynth.data.ranges import resolve_range
from degsynth.errors import ConfigError, DataError, FitError
from degsynth.evaluation.held_out import Judge
from degsynth.evaluation.unpaired import LARGEST_SIDE, MOST_IMAGES, HeldOutSpectra, clean_lr
from degsynth.files import text_digest
from degsynth.fit.export import measured_checkpoint
from degsynth.fit.options import FitOptions
from degsynth.fit.sources import source
from degsynth.fit.sources.source import Batches, Means, assumed_tone, check_patch, jpeg_of, qualities, shares
from degsynth.methods import spectral
from degsynth.methods.protocol import Diagnosed, Learned, Method, Stochastic, Unpaired
from degsynth.methods.shared.measured_noise import agreed, measure
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.inference import inference
from degsynth.model.tone import Tone
from degsynth.ops.noise import generator
from degsynth.ops.noise_level import luma_variance, noise_covariance
from degsynth.ops.resample import luma
from degsynth.ops.spectra import Spectra
from degsynth.ops.spread import evenly_spaced
from degsynth.reports import previews
from degsynth.reports.panels import Panel
from degsynth.seeds import derive

START_IMAGES = 64
"""Number of images of either side, evenly spread, that suffice to know their spectra."""
LEAST_OF_GROUP = 10
"""Number of images taken from each group of LR images, where there are many groups."""
LEAST_IMAGES = 5
"""Smallest number of images of both sides together."""
DIAGNOSIS_BATCHES = 8
"""Number of batches of held-out patches on which a discriminator is tried."""


class Folders(source.Source):
    """HR and LR images to fit to, and held-out ones of both."""

    def __init__(self, options: FitOptions, events: Events) -> None:
        """Find, check and split the images; DataError names those that cannot be used."""
        if options.scale is None:
            raise ConfigError(f"`scale` is missing: method {options.method} cannot infer it from unpaired folders")
        self.options, self.scale = options, options.scale
        opening = FolderOptions(options.scale, options.bad_pairs == "skip", options.cache_mb * 2**20, options.choice)
        folders = Path(str(options.hr)), Path(str(options.lr))
        self.hr, self.lr, self.faults, self.notes = open_folders(
            *folders, opening, events.on_progress, events.on_warning
        )
        self.channels, self.dtype = self.hr.channels, self.hr.dtype
        self.data_range = find_data_range(self.dtype, both(self.hr, self.lr), options.data_range)
        self.hr.data_range = self.lr.data_range = self.data_range
        self._check_count()
        self.noise = self.noise_left = self._lr_noise()
        self._denoise()
        self.train_hr, self.held_hr = self.hr.held_out_split(options.seed, "HR")
        self.train_lr, self.held_lr = self.lr.held_out_split(options.seed, "LR")
        self.notes.append(
            f"scale {self.scale}; {len(self.train_hr)} HR and {len(self.train_lr)} LR images to fit, "
            f"{len(self.held_hr)} and {len(self.held_lr)} held out"
        )
        self.group_of = grouping.group_images(self.train_lr, options.group_by)
        self.group_sizes = {name: self.group_of.count(name) for name in sorted(set(self.group_of))}
        if options.group_by != "none":
            counts = ", ".join(f"{name}: {count}" for name, count in self.group_sizes.items())
            self.notes.append(f"LR images to fit, by {options.group_by}: {counts}")
        self.tone = assumed_tone(self.options, self.dtype, self.notes)
        self.curve = Tone(self.tone)
        self.noise_warnings: list[str] = []
        """What makes noise hard to learn from these images; reported before the fit begins."""
        self._warn = events.on_warning

    def _lr_noise(self) -> Tensor:
        """Return the covariance (C, C) of the noise of the LR images, and note how they were compressed.

        In JPEG files it is that before they were compressed, which hardly leaves any in smooth places.
        """
        some = Middles(self.lr, START_IMAGES, KEPT)
        files = read_files([self.lr.path(index) for index in self.lr.spread(START_IMAGES)])
        self.jpeg = shares(files)
        if self.jpeg:
            self.notes.append(
                f"the LR images are JPEG files of {qualities(self.jpeg)}: their noise is measured as it was before "
                "they were compressed, and LR will be compressed like them"
            )
        jpeg = jpeg_of(files)
        if jpeg is None:
            return noise_covariance(some)
        measured = measure(some, self._level_step(), jpeg)
        return measured.covariance() if measured is not None and agreed(measured) else 0 * noise_covariance(some)

    def _check_count(self) -> None:
        if self.options.lr_denoise == "nlm" and self.dtype != "uint8":
            raise ConfigError(
                f"`lr_denoise=nlm` takes 8-bit images; those in {self.options.lr} are {self.dtype}; use none"
            )
        if min(len(self.hr), len(self.lr)) < 2 or len(self.hr) + len(self.lr) < LEAST_IMAGES:
            raise DataError(
                f"{len(self.hr)} HR and {len(self.lr)} LR images are too few: one of each is held out, and spectra of "
                f"{LEAST_IMAGES - 2} at least must be left; give more, or cut large ones into parts"
            )

    def _denoise(self) -> None:
        """Note the noise of the LR images, and take it off where that is asked for."""
        sigma = 255 * math.sqrt(float(self.noise.diagonal().mean()))
        self.notes.append(f"noise in the LR images: {f'σ {sigma:.1f}/255' if sigma > 0 else 'none was found'}")
        if self.options.lr_denoise != "nlm":
            return
        if sigma <= 0:
            self.notes.append("no noise was found in the LR images: `lr_denoise=nlm` changes nothing")
            return
        self.lr = self.lr.changed("denoised", lambda image: non_local_means(image, sigma))
        self.noise_left = noise_covariance(Middles(self.lr, START_IMAGES, KEPT))

    def fingerprint(self) -> str:  # noqa: D102
        return text_digest(self.hr.fingerprint() + self.lr.fingerprint())

    def split_digest(self) -> str:  # noqa: D102
        return f"in light: {self.tone}" if self.tone else ""

    def start(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return the HR and LR images, or their middles, that estimates are made from."""
        chosen = self.train_lr.subset(self._chosen())
        return Middles(self.train_hr, START_IMAGES, KEPT), Middles(chosen, len(chosen), KEPT)

    def _chosen(self) -> list[int]:
        """Choose the LR images that estimates are made from: some of each group."""
        count = max(LEAST_OF_GROUP, START_IMAGES // len(self.group_sizes))
        chosen: list[int] = []
        for name in self.group_sizes:
            members = [index for index, group in enumerate(self.group_of) if group == name]
            chosen += [members[index] for index in evenly_spaced(len(members), count)]
        return sorted(chosen)

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """Prepare the method from the middles of some images."""
        if isinstance(method, Stochastic) and not self.noise_warnings:
            self.noise_warnings = grouping.noise_warnings(self.train_lr, self.options.group_by)
            for text in self.noise_warnings:
                self._warn(text)
        names = list(self.group_sizes)
        groups = [names.index(self.group_of[index]) for index in self._chosen()]
        noises = self.noise, self.noise_left
        denoised = self.noise_left is not self.noise
        jpeg = None if denoised else jpeg_of(read_files([self.train_lr.path(index) for index in self._chosen()]))
        images = Unpaired(*self.start(), *noises, self._level_step(), groups, self.group_sizes, self.curve, jpeg)
        method.prepare(images)

    def _level_step(self) -> float:
        """Return the step between neighbouring levels of the LR files, on the scale [0, 1]; 0 for float files."""
        if not np.issubdtype(self.dtype, np.integer):
            return 0.0
        black, white = resolve_range(np.dtype(self.dtype), self.data_range)
        return 1 / (white - black)

    def batches(self, method: Learned, device: str) -> Batches:
        """Return batches of patches of either side, which show different scenes."""
        config = method.config
        options = PatchOptions(config.batch, method.patch, config.flips, device)
        patches = UnpairedPatches(
            self.train_hr, self.train_lr, self.scale, self.options.seed, options, float(self.noise_left.mean())
        )
        side = patches.patch * self.scale
        advice = f"leave small images out (sizes of LR count times {self.scale}), or lower `kernel_size=`"
        check_patch(side, method, self.options.method, advice)
        return Batches(lambda step: self.in_light(patches.batch(step)), side)

    def in_light(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch of patches as methods learn from it."""
        return batch | {name: self.curve.to_light(batch[name]) for name in ("hr", "lr")}

    def samples(self, count: int) -> Sequence[Tensor]:
        """Return held-out HR images."""
        return Middles(self.held_hr, count, KEPT)

    def facts(self) -> dict[str, Any]:
        """Return names and faults of the images, and the noise of the LR images."""
        names = {
            side: {"fitted": list(train.names), "held_out": list(held.names)}
            for side, train, held in (("hr", self.train_hr, self.held_hr), ("lr", self.train_lr, self.held_lr))
        }
        faults = [{"name": name, "detail": detail} for name, detail in self.faults]
        noise = {
            "sigma_255": [255 * math.sqrt(max(0.0, float(variance))) for variance in self.noise.diagonal()],
            "sigma_y_255": 255 * math.sqrt(max(0.0, luma_variance(self.noise))),
            "taken_off_by": self.options.lr_denoise,
        }
        folders = {**names, "left_out": faults, "lr_noise": noise, "doubts": self.noise_warnings}
        return {"folders": folders, "tone": self.tone}

    def scorer(self, method: Method) -> FolderScorer:
        """Return a scorer; a learned method is compared with the kernel of `spectral`."""
        references: dict[str, Checkpoint] = {}
        missing = ""
        if isinstance(method, Learned):
            kernel = spectral.Method(spectral.Config(), self.scale, self.channels)
            try:
                self.prepare(kernel)
                references["spectral"] = measured_checkpoint("spectral", kernel, self)
            except FitError as error:
                missing = f"no figure of spectral to compare with: {error}"
        return FolderScorer(self, references, missing)


class FolderScorer(source.Scorer):
    """Judges a fit by the distance of its LR's power spectrum to that of held-out LR images."""

    def __init__(self, folders: Folders, references: dict[str, Checkpoint], missing: str) -> None:
        self.source, self.references, self.missing_reference = folders, references, missing
        self._spectra: dict[str, HeldOutSpectra] = {}

    def _held_out_spectra(self, halo: int, device: str) -> HeldOutSpectra:
        """Return held-out images on a device, judged by how the scenes of the training images scatter."""
        if device not in self._spectra:
            folders = self.source
            hr, lr = folders.start()
            try:
                like = Spectra((luma(image)[0] for image in hr), (luma(image)[0] for image in lr), folders.scale)
                self._spectra[device] = HeldOutSpectra(
                    Middles(folders.held_hr, MOST_IMAGES, LARGEST_SIDE),
                    Middles(folders.held_lr, MOST_IMAGES, KEPT),
                    folders.scale,
                    -(-halo // folders.scale),
                    like,
                    device,
                )
            except ValueError as error:
                raise DataError(f"the images cannot be judged: {error}") from None
        return self._spectra[device]

    def judge(self, method: Learned, device: str) -> Judge:
        """Return the spectral distance of held-out images."""
        return self._held_out_spectra(method.spec().clean_halo, device)

    def evaluate(self, method: Method, model: Checkpoint, on_progress: OnProgress) -> dict[str, Any]:
        """Return spectral distance and drift of colours on held-out images, and how well a discriminator tells them."""
        judge = self._held_out_spectra(model.spec.clean_halo, "cpu")
        mean: dict[str, dict[str, float]] = {}
        for name, which in {"model": model, **self.references}.items():
            drift = judge.colour_drift(clean_lr(which.degrader))
            mean[name] = {
                "spectral_distance": judge.score(which.degrader),
                "colour_drift_255": round(255 * max((abs(value) for value in drift), default=0.0), 6),
            }
            on_progress("scoring", len(mean), 1 + len(self.references))
        mean["bicubic"] = {"spectral_distance": judge.bicubic()}
        hr, lr = (
            [side.names[i] for i in side.spread(MOST_IMAGES)] for side in (self.source.held_hr, self.source.held_lr)
        )
        scores: dict[str, Any] = {"images": hr, "lr_images": lr, "mean": mean, "border": judge.border}
        if isinstance(method, Diagnosed):
            scores["diagnosis"] = self._diagnosis(method)
        return scores

    def _diagnosis(self, method: Diagnosed) -> dict[str, float]:
        """Return the mean figures of the method on held-out patches; none where these are too small."""
        folders = self.source
        options = PatchOptions(method.config.batch, method.patch)
        patches = UnpairedPatches(folders.held_hr, folders.held_lr, folders.scale, folders.options.seed, options)
        if patches.patch * folders.scale < method.least_patch:
            return {}
        seed = folders.options.seed
        rows = [
            method.diagnose(folders.in_light(patches.batch(number)), generator(derive(seed, "diagnosis", number)))
            for number in range(DIAGNOSIS_BATCHES)
        ]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def pictures(self, degrade: previews.Degrade, count: int) -> list[list[Panel]]:
        """Return LR made of held-out HR images, beside real LR of other scenes."""
        folders, scale = self.source, self.source.scale
        hr_images, lr_images = (Middles(side, count, KEPT) for side in (folders.held_hr, folders.held_lr))
        real = "real LR" if folders.noise_left is folders.noise else "real LR, denoised"
        rows = []
        with inference():
            for index, hr in enumerate(hr_images):
                hr = hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]
                name = folders.held_hr.names[folders.held_hr.spread(count)[index]]
                lr = lr_images[index % len(lr_images)]
                rows.append(previews.unpaired_row(name, hr, degrade(hr, name), lr, scale, real))
        return rows

    def summary(self, mean: Means) -> str:
        """Put the distance of each model into one line."""
        figures = ", ".join(f"{name} {figures['spectral_distance']:.2f}" for name, figures in mean.items())
        return f"held-out images, spectral distance to real LR (1: other scenes, same camera): {figures}"

    def warnings(self, mean: Means) -> list[str]:
        """Warn where bicubic LR is as good: the two folders may have been swapped."""
        model, usual = (mean[name]["spectral_distance"] for name in ("model", "bicubic"))
        if model < usual:
            return []
        return [
            f"by its spectra the model's LR is no nearer to the real LR ({model:.2f}) than bicubic LR ({usual:.2f}); "
            "is `hr` the sharp folder, and do both show like scenes?",
        ]

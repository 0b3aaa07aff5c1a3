"""Two folders without a common scene, as a fit is given them (`degsynth.given.Given`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degsynth.data.denoise import non_local_means
from degsynth.data.folders import KEPT, Middles, both
from degsynth.data.grouping import doubts, group_images
from degsynth.data.images import resolve_range
from degsynth.data.opening import find_data_range, open_folders
from degsynth.data.patches import UnpairedPatches
from degsynth.errors import ConfigError, DataError, FitError
from degsynth.evaluation.held_out import Judge
from degsynth.evaluation.unpaired import MOST_IMAGES, HeldOutSpectra, clean
from degsynth.fit import export
from degsynth.fit.options import Events, FitOptions
from degsynth.methods import Diagnosed, Learned, Method, Stochastic, Unpaired
from degsynth.model.checkpoint import Checkpoint
from degsynth.ops.noise_level import luma_variance, noise_covariance
from degsynth.ops.resample import luma
from degsynth.ops.spectra import Spectra
from degsynth.ops.spread import evenly
from degsynth.reports import previews
from degsynth.reports.panels import Panel

START_IMAGES, FEW_OF_GROUP = 64, 10
"""So many images of either side, evenly spread, are enough to know their spectra; where there are many groups, so many
of each."""
LEAST_IMAGES = 5
"""Of both sides together."""
DIAGNOSED = 8
"""Batches of held-out patches that a discriminator is tried on."""


class Folders:
    """HR and LR images to fit to, and held-out ones of both."""

    def __init__(self, options: FitOptions, events: Events) -> None:
        """Find, check and split the images; DataError names those that cannot be used."""
        if options.scale is None:
            raise ConfigError(f"--scale is missing: method {options.method} cannot infer it from unpaired folders")
        self.options, self.scale = options, options.scale
        self.hr, self.lr, self.faults, self.notes = open_folders(
            Path(str(options.hr)),
            Path(options.lr),
            self.scale,
            options.bad_pairs == "skip",
            options.cache_mb * 2**20,
            events.on_progress,
            events.on_warning,
        )
        self.channels, self.dtype = self.hr.channels, self.hr.dtype
        self.data_range = find_data_range(self.dtype, both(self.hr, self.lr), options.data_range)
        self.hr.data_range = self.lr.data_range = self.data_range
        if options.lr_denoise == "nlm" and self.dtype != "uint8":
            raise ConfigError(f"--lr-denoise nlm takes 8-bit images; those in {options.lr} are {self.dtype}; use none")
        if min(len(self.hr), len(self.lr)) < 2 or len(self.hr) + len(self.lr) < LEAST_IMAGES:
            raise DataError(
                f"{len(self.hr)} HR and {len(self.lr)} LR images are too few: one of each is held out, and spectra of "
                f"{LEAST_IMAGES - 2} at least must be left; give more, or cut large ones into parts"
            )
        self.noise = self.noise_left = noise_covariance(Middles(self.lr, START_IMAGES, KEPT))
        sigma = 255 * math.sqrt(float(self.noise.diagonal().mean()))
        if sigma > 0:
            self.notes.append(f"noise in the LR images: σ {sigma:.1f}/255")
        elif options.lr_denoise == "nlm":
            self.notes.append("no noise was found in the LR images: --lr-denoise nlm changes nothing")
        if options.lr_denoise == "nlm" and sigma > 0:
            self.lr = self.lr.changed("denoised", lambda image: non_local_means(image, sigma))
            self.noise_left = noise_covariance(Middles(self.lr, START_IMAGES, KEPT))
        self.train_hr, self.held_hr = self.hr.held_out_split(options.seed, "HR")
        self.train_lr, self.held_lr = self.lr.held_out_split(options.seed, "LR")
        self.notes.append(
            f"scale {self.scale}; {len(self.train_hr)} HR and {len(self.train_lr)} LR images to fit, "
            f"{len(self.held_hr)} and {len(self.held_lr)} held out"
        )
        self.group_of = group_images(self.train_lr, options.group_by)
        self.group_sizes = {name: self.group_of.count(name) for name in sorted(set(self.group_of))}
        if options.group_by != "none":
            counts = ", ".join(f"{name}: {count}" for name, count in self.group_sizes.items())
            self.notes.append(f"LR images to fit, by {options.group_by}: {counts}")
        self.doubts: list[str] = []
        """What makes noise hard to learn from these images: told before the fit begins."""
        self._warn = events.on_warning
        self.references: dict[str, Checkpoint] = {}
        self.no_references = ""
        self._judges: dict[str, HeldOutSpectra] = {}

    def fingerprint(self) -> str:
        """Over all images of both sides, the held-out ones among them."""
        return export.digest(self.hr.fingerprint() + self.lr.fingerprint())

    def _start(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        chosen = self.train_lr.subset(self._chosen())
        return Middles(self.train_hr, START_IMAGES, KEPT), Middles(chosen, len(chosen), KEPT)

    def _chosen(self) -> list[int]:
        """The LR images that are looked at: of each group some."""
        each = max(FEW_OF_GROUP, START_IMAGES // len(self.group_sizes))
        found: list[int] = []
        for name in self.group_sizes:
            own = [index for index, group in enumerate(self.group_of) if group == name]
            found += [own[index] for index in evenly(len(own), each)]
        return sorted(found)

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """From the middles of some images."""
        if isinstance(method, Stochastic) and not self.doubts:
            self.doubts = doubts(self.train_lr, self.options.group_by)
            for text in self.doubts:
                self._warn(text)
        names = list(self.group_sizes)
        groups = [names.index(self.group_of[index]) for index in self._chosen()]
        method.prepare(Unpaired(*self._start(), self.noise, self.noise_left, self._quantum(), groups, self.group_sizes))

    def _quantum(self) -> float:
        """Between two levels of the LR files, in [0, 1]."""
        if not np.issubdtype(self.dtype, np.integer):
            return 0.0
        black, white = resolve_range(np.dtype(self.dtype), self.data_range)
        return 1 / (white - black)

    def keep(self, out: Path) -> None:
        """Nothing takes so long that it must be kept."""

    def refer(self) -> None:
        """What the spectra alone tell of the same images."""
        from degsynth.methods import spectral

        method = spectral.Method(spectral.Config(), self.scale, self.channels)
        try:
            self.prepare(method)
        except FitError as error:
            self.no_references = f"no figure of spectral to compare with: {error}"
            return
        spec = export.spec_of("spectral", method, self, {}, None)
        self.references["spectral"] = export.as_checkpoint(method.degrader(), spec)

    def batches(self, method: Learned, name: str, device: str) -> tuple[Callable[[int], dict[str, Tensor]], int]:
        """Patches of either side, of different scenes."""
        config = method.config
        patches = UnpairedPatches(
            self.train_hr,
            self.train_lr,
            self.scale,
            self.options.seed,
            config.batch,
            method.patch,
            config.flips,
            device,
            float(self.noise_left.mean()),
        )
        side = patches.patch * self.scale
        if side < method.least_patch:
            raise DataError(
                f"{name} learns from patches of at least {method.least_patch} HR px, or that over the scale in LR; the "
                f"smallest images allow {side}: leave them out, or give --set kernel_size= fewer taps"
            )
        return patches.batch, side

    def _spectra(self, halo: int, device: str) -> HeldOutSpectra:
        """Held-out images, judged by how scenes of the training images scatter."""
        if device not in self._judges:
            sharp, real = self._start()
            border = -(-halo // self.scale)
            try:
                like = Spectra((luma(image)[0] for image in sharp), (luma(image)[0] for image in real), self.scale)
                self._judges[device] = HeldOutSpectra(
                    Middles(self.held_hr, MOST_IMAGES, KEPT),
                    Middles(self.held_lr, MOST_IMAGES, KEPT),
                    self.scale,
                    border,
                    like,
                    device,
                )
            except ValueError as error:
                raise DataError(f"the images cannot be judged: {error}") from None
        return self._judges[device]

    def judge(self, method: Learned, device: str) -> Judge:
        """Spectral distance of held-out images."""
        return self._spectra(method.spec()["clean_halo"], device)

    def evaluate(
        self, method: Method, model: Checkpoint, on_progress: Callable[[str, int, int], None]
    ) -> dict[str, Any]:
        """Spectral distance and drift of colours on held-out images; how well a discriminator tells them."""
        judge = self._spectra(model.spec.clean_halo, "cpu")
        mean: dict[str, dict[str, float]] = {}
        for name, which in {"model": model, **self.references}.items():
            degrade = clean(which.degrader)
            drift = judge.colour_drift(degrade)
            mean[name] = {
                "spectral_distance": judge.score(which.degrader),
                "colour_drift_255": round(255 * max((abs(value) for value in drift), default=0.0), 6),
            }
            on_progress("scoring", len(mean), 1 + len(self.references))
        mean["bicubic"] = {"spectral_distance": judge.bicubic()}
        scored = [[side.names[i] for i in side.spread(MOST_IMAGES)] for side in (self.held_hr, self.held_lr)]
        found: dict[str, Any] = {"images": scored[0], "lr_images": scored[1]}
        found |= {"mean": mean, "border": judge.border}
        if isinstance(method, Diagnosed):
            found["diagnosis"] = self._diagnosis(method)
        return found

    def _diagnosis(self, method: Diagnosed) -> dict[str, float]:
        """Means of what the method says of held-out patches; empty where these are too small."""
        patches = UnpairedPatches(
            self.held_hr, self.held_lr, self.scale, self.options.seed, method.config.batch, method.patch
        )
        if patches.patch * self.scale < method.least_patch:
            return {}
        rows = [method.diagnose(patches.batch(number)) for number in range(DIAGNOSED)]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def rows(self, degrade: previews.Degrade, count: int) -> list[list[Panel]]:
        """What is made of held-out HR images, beside real LR of other scenes."""
        sharp, real = (Middles(side, count, KEPT) for side in (self.held_hr, self.held_lr))
        found = []
        with torch.inference_mode():
            for index, hr in enumerate(sharp):
                hr = hr[:, : hr.shape[1] // self.scale * self.scale, : hr.shape[2] // self.scale * self.scale]
                name = self.held_hr.names[self.held_hr.spread(count)[index]]
                whose = "real LR" if self.noise_left is self.noise else "real LR, denoised"
                found.append(
                    previews.unpaired_row(name, hr, degrade(hr, name), real[index % len(real)], self.scale, whose)
                )
        return found

    def samples(self, count: int) -> Sequence[Tensor]:
        """Held-out HR images."""
        return Middles(self.held_hr, count, KEPT)

    def facts(self) -> dict[str, Any]:
        """Names and faults."""
        names = {
            side: {"fitted": list(train.names), "held_out": list(held.names)}
            for side, train, held in (("hr", self.train_hr, self.held_hr), ("lr", self.train_lr, self.held_lr))
        }
        faults = [{"name": name, "detail": detail} for name, detail in self.faults]
        noise: dict[str, Any] = {"sigma_255": [255 * math.sqrt(max(0.0, float(v))) for v in self.noise.diagonal()]}
        noise |= {"sigma_y_255": 255 * math.sqrt(max(0.0, luma_variance(self.noise)))}
        noise |= {"taken_off_by": self.options.lr_denoise}
        return {"folders": {**names, "left_out": faults, "lr_noise": noise, "doubts": self.doubts}}

    def warnings(self, mean: Mapping[str, Mapping[str, float]]) -> list[str]:
        """That bicubic is as good: the sides may have been swapped. What they differ by besides, the method says."""
        model, usual = (mean[which]["spectral_distance"] for which in ("model", "bicubic"))
        if model < usual:
            return []
        return [
            f"by its spectra the model's LR is no nearer to the real LR ({model:.2f}) than bicubic LR ({usual:.2f}); "
            "is --hr the sharp folder, and do both show like scenes?",
        ]

    def told(self, mean: Mapping[str, Mapping[str, float]]) -> str:
        """Distance of each."""
        figures = ", ".join(f"{name} {figures['spectral_distance']:.2f}" for name, figures in mean.items())
        return f"held-out images, spectral distance to real LR (1: other scenes, same camera): {figures}"

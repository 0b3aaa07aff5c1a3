"""LR photographs alone, or kernels that were estimated from them, as the images of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degsynth.config import Events, Interval, OnProgress
from degsynth.data import images
from degsynth.data.compression import read_files
from degsynth.data.sources import Sources
from degsynth.data.split import held_out_indices
from degsynth.errors import ConfigError, DataError
from degsynth.evaluation.effective_kernel import texture
from degsynth.evaluation.held_out import Judge
from degsynth.evaluation.kernel_sets import HeldOutKernels
from degsynth.files import is_pool_name, text_digest
from degsynth.fit.options import FitOptions
from degsynth.fit.sources import source
from degsynth.fit.sources.source import Batches, Means, shares
from degsynth.kernel_pool import estimate
from degsynth.kernel_pool.windows import enlarged, gray_of
from degsynth.methods import kmsr
from degsynth.methods.protocol import Learned, Method
from degsynth.model import pool_file
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.pool_file import Pool
from degsynth.model.pool_model import scale_of
from degsynth.ops.noise import generator
from degsynth.ops.resample import dihedral
from degsynth.ops.spread import evenly_spaced
from degsynth.reports.panels import Panel
from degsynth.reports.previews import Degrade
from degsynth.seeds import derive

ESTIMATED = "estimated.h5"
"""File in the run directory with all kernels that were estimated, flagged ones included."""
EXAMINED = 64
"""Number of photographs, evenly spread, whose compression is looked at."""
SHOWN = 4
"""Number of held-out kernels in the picture of a fit."""


class Photos(source.Source):
    """Kernels to learn from, and held-out ones: those of a tenth of the photographs."""

    def __init__(self, options: FitOptions, events: Events) -> None:
        """Open a pool, or find photographs; kernels are estimated in `prepare`."""
        self.options, self._events = options, events
        self.path = Path(str(options.lr))
        self.channels, self.dtype = 3, "uint8"
        self.data_range: Interval | None = None
        self.notes: list[str] = []
        self.photographs: Sources | None = None
        """The photographs; None where a pool is given."""
        self._pool: Pool | None = None
        self._train_numbers: list[int] = []
        self._held_numbers: list[int] = []
        self.train = self.held = torch.zeros(0, 0, 0, dtype=torch.float64)
        scale = options.scale
        if is_pool_name(self.path):
            self._pool = pool_file.read(self.path)
            scale = scale_of(self._pool, scale, str(self.path))
            self._fingerprint = pool_file.digest(self.path)
        else:
            self.photographs = Sources.of_images(self.path, options.choice)
            if self.photographs.left_out:
                self.notes.append(f"{self.photographs.left_out} images left out by `include` and `exclude`")
            paths = self.photographs.paths()
            self.channels, self.dtype = self._kind(paths)
            self.jpeg = shares(read_files([paths[index] for index in evenly_spaced(len(paths), EXAMINED)]))
            self._fingerprint = estimate.fingerprint(self.photographs)
        if scale is None:
            raise ConfigError(f"`scale` is missing: by how much are the LR images of {self.path} smaller than HR?")
        self.scale = scale
        self.tone = source.assumed_tone(options, self.dtype, self.notes)

    def _kind(self, paths: Sequence[Path]) -> tuple[int, str]:
        """Return channels and type of the first photograph that can be read; DataError where none can."""
        failure: DataError | None = None
        for path in paths:
            try:
                image = images.read(path)
                return image.channels, str(image.pixels.dtype)
            except DataError as error:
                failure = failure or error
        raise DataError(f"no photograph in {self.path} can be read; {failure}")

    @property
    def pool(self) -> Pool:
        """All estimated kernels."""
        assert self._pool is not None, "prepare() comes first"
        return self._pool

    def fingerprint(self) -> str:
        """Return the SHA-256 over all photographs, or over the pool."""
        return text_digest(self._fingerprint)

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """Estimate the kernels, unless they are given or were kept in a run; let the method learn from most of them."""
        config: Any = method.config if isinstance(method, Learned) else kmsr.Config()
        if self._pool is None and kept is not None and (kept / ESTIMATED).is_file():
            self._pool = pool_file.read(kept / ESTIMATED)
        if self._pool is None:
            assert self.photographs is not None  # where there is no pool
            estimated = estimate.estimate(
                self.photographs,
                self.scale,
                config,
                self.options.seed,
                estimate.Pace(torch.get_num_threads()),
                on_progress=self._events.on_progress,
            )
            self._pool = estimated.pool
            self._events.on_note(estimated.summary())
        taps = self._pool.kernels.shape[-1]
        if taps > config.kernel_size:
            raise ConfigError(
                f"{self.path}: kernels of {taps} taps a side, kernel_size is {config.kernel_size}; "
                "give `kernel_size=` up to 31, or import them again with `size=31`"
            )
        self._split(config.kernel_size)
        if len(self.train) < 1:
            raise DataError(
                f"{self.path}: of {len(self.pool)} kernels (flagged ones do not count) one is held out and none is "
                "left to learn from; give more photographs"
            )
        self._events.on_note(f"scale {self.scale}; {len(self.train)} kernels to fit, {len(self.held)} held out")
        method.prepare(self.train)

    def _split(self, size: int) -> None:
        """Hold out all kernels of a tenth of the photographs; where there is one only, a tenth of the kernels."""
        usable = self.pool.usable()
        names = [self.pool.origins[number].image or f"#{number}" for number in usable]
        if len(set(names)) < 2:
            names = [str(number) for number in usable]
        distinct = sorted(set(names))
        held = {distinct[index] for index in held_out_indices(distinct, self.options.seed, "held-out kernels")[1]}
        self._held_numbers = [number for number, name in zip(usable, names, strict=True) if name in held]
        self._train_numbers = [number for number, name in zip(usable, names, strict=True) if name not in held]
        kernels = pool_file.widened(self.pool.kernels, size)
        self.train, self.held = kernels[self._train_numbers], kernels[self._held_numbers]

    def write_estimates(self, out: Path) -> None:
        """Write the estimated kernels into the run directory."""
        pool_file.write(self.pool, out / ESTIMATED)

    def batches(self, method: Learned, device: str) -> Batches:
        """Return sets of kernels, one for every step of the critic."""
        config: Any = method.config
        shape = config.critic_steps, config.batch
        kernels = self.train.float()

        def batch(step: int) -> dict[str, Tensor]:
            rng = generator(derive(self.options.seed, "", 0, step, "kernels"))
            chosen = kernels[torch.randint(len(kernels), shape, generator=rng)]
            if config.flips:
                which = torch.randint(8, shape, generator=rng)
                for number in range(1, 8):
                    chosen[which == number] = dihedral(chosen[which == number], number)
            return {"kernels": chosen.to(device)}

        return Batches(batch, config.kernel_size)

    def samples(self, count: int) -> Sequence[Tensor]:
        """Return textures: there is no HR image."""
        return [texture(3, 96 * self.scale, 96 * self.scale)] * count

    def facts(self) -> dict[str, Any]:
        """Return the photographs, and what became of their windows."""
        facts = {
            "lr": sorted({origin.image for origin in self.pool.origins}),
            "counts": self.pool.counts(),
            "fitted": len(self._train_numbers),
            "held_out": len(self._held_numbers),
            "failed": self.pool.made_by.get("failed", {}),
        }
        return {"kernels": facts}

    def scorer(self, method: Method) -> KernelScorer:
        """Return a scorer: kernels are compared with the estimated ones, and with bicubic."""
        return KernelScorer(self)

    def judge(self, kernels: Tensor) -> HeldOutKernels:
        """Return a judge of generated kernels by their distance to these (N, K, K)."""
        enlarged = self.pool.made_by.get("interpolation", "kept") == "kept"
        return HeldOutKernels(kernels, self.scale, len(self.train), enlarged)

    def held_out_names(self) -> list[str]:
        """Return the photographs whose kernels are held out, or the kernels' numbers where there are no names."""
        return sorted({self.pool.origins[number].image or f"#{number}" for number in self._held_numbers})

    def held_out_panels(self) -> list[Panel]:
        """Return held-out kernels, beside the windows that they were estimated from where these are at hand."""
        panels: list[Panel] = []
        for number in self._held_numbers[:SHOWN]:
            origin = self.pool.origins[number]
            path = None if self.photographs is None else self.photographs.root / origin.image
            if path is not None and origin.patch[2] > 0 and path.is_file():
                window = enlarged(gray_of(path), origin.patch, self.scale)
                panels.append(Panel(f"{origin.image}, enlarged", window[None]))
            panels.append(Panel(f"held out, {origin.image or number}", self.pool.kernels[number]))
        return panels

    def flagged(self) -> int:
        """Return the number of kernels that were flagged and left out."""
        return len(self.pool) - len(self._train_numbers) - len(self._held_numbers)


class KernelScorer(source.Scorer):
    """Judges a fit by the energy distance of its kernels to those of held-out photographs."""

    def __init__(self, photos: Photos) -> None:
        self.source = photos
        self.references: dict[str, Checkpoint] = {}
        self.missing_reference = ""

    def judge(self, method: Learned, device: str) -> Judge:
        """Return the distance to all estimated kernels, held-out ones included: these alone would be too few."""
        photos = self.source
        return photos.judge(torch.cat([photos.train, photos.held]))

    def evaluate(self, method: Method, model: Checkpoint, on_progress: OnProgress) -> dict[str, Any]:
        """Return the distance of generated, estimated and bicubic kernels to held-out ones."""
        photos = self.source
        judge = photos.judge(photos.held)
        mean = {
            "model": {"kernel_distance": judge.score(model.degrader)},
            "estimated": {"kernel_distance": judge.distance(photos.train)},
            "bicubic": {"kernel_distance": judge.bicubic()},
        }
        return {"images": photos.held_out_names(), "kernels": len(photos.held), "mean": mean}

    def pictures(self, degrade: Degrade, count: int) -> list[list[Panel]]:
        """Return a row of held-out kernels."""
        return [self.source.held_out_panels()]

    def summary(self, mean: Means) -> str:
        """Put the distance of each set of kernels into one line."""
        figures = ", ".join(f"{name} {figures['kernel_distance']:.3f}" for name, figures in mean.items())
        return f"energy distance to kernels of held-out photographs (0: the same distribution): {figures}"

    def warnings(self, mean: Means) -> list[str]:
        """Warn where most kernels were flagged, and where bicubic is as near as the generated kernels."""
        warnings = []
        flagged, count = self.source.flagged(), len(self.source.pool)
        if 2 * flagged > count:
            warnings.append(
                f"{flagged} of {count} kernels were flagged and left out: are the photographs sharp, and free "
                "of repeated patterns? look at them: degsynth kernel-pool show RUN/estimated.h5 -o pool.png"
            )
        model, usual = (mean[name]["kernel_distance"] for name in ("model", "bicubic"))
        if model >= usual:
            warnings.append(
                f"generated kernels are no nearer to held-out ones ({model:.3f}) than bicubic is ({usual:.3f})"
            )
        return warnings

"""LR photographs alone, or kernels that were estimated from them, as a fit is given them (`degsynth.given.Given`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degsynth.data import images
from degsynth.errors import ConfigError, DataError
from degsynth.evaluation.effective_kernel import texture
from degsynth.evaluation.kernel_sets import HeldOutKernels
from degsynth.fit import export
from degsynth.fit.options import Events, FitOptions
from degsynth.kernel_pool import estimate
from degsynth.methods import Learned, Method, kmsr
from degsynth.model import pool_file
from degsynth.model.checkpoint import POOL_SUFFIXES, Checkpoint
from degsynth.model.pool_file import Pool
from degsynth.model.pool_model import scale_of
from degsynth.ops.noise import generator
from degsynth.ops.resample import turned
from degsynth.reports import previews
from degsynth.reports.panels import Panel
from degsynth.seeds import derive

ESTIMATED = "estimated.h5"
"""In the run directory: what was estimated, flagged kernels among it."""
HELD_OUT = 0.1
SHOWN = 4


class Photos:
    """Kernels to learn from, and held-out ones: those of a tenth of the photographs."""

    def __init__(self, options: FitOptions, events: Events) -> None:
        """Open a pool, or find photographs; what they hold is found out in `prepare`."""
        self.options, self._events = options, events
        self.source = Path(options.lr)
        self.channels, self.dtype = 3, "uint8"
        self.data_range: tuple[float, float] | None = None
        self.references: dict[str, Checkpoint] = {}
        self.no_references = ""
        self.notes: list[str] = []
        self._pool: Pool | None = None
        scale = options.scale
        if self.source.suffix.lower() in POOL_SUFFIXES:
            self._pool = pool_file.read(self.source)
            scale = scale_of(self._pool, scale, str(self.source))
            self._fingerprint = pool_file.digest(self.source)
        else:
            self.channels, self.dtype = self._kind()
            self._fingerprint = estimate.fingerprint(self.source)
        if scale is None:
            raise ConfigError(f"--scale is missing: by how much are the LR images of {self.source} smaller than HR?")
        self.scale = scale

    def _kind(self) -> tuple[int, str]:
        """Channels and type of the first photograph that can be read; DataError where none can."""
        trouble: DataError | None = None
        for name in images.find(self.source)[0]:
            try:
                image = images.read(self.source if self.source.is_file() else self.source / name)
                return image.channels, str(image.pixels.dtype)
            except DataError as error:
                trouble = trouble or error
        raise DataError(f"no photograph in {self.source} can be read; {trouble}")

    @property
    def pool(self) -> Pool:
        """All estimated kernels."""
        assert self._pool is not None, "prepare() comes first"
        return self._pool

    def fingerprint(self) -> str:
        """Over all photographs, or the pool."""
        return export.digest(self._fingerprint)

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """Estimate kernels, unless they are given, or were kept in a run directory; let the method learn from most."""
        config: Any = method.config if isinstance(method, Learned) else kmsr.Config()
        if self._pool is None and kept is not None and (kept / ESTIMATED).is_file():
            self._pool = pool_file.read(kept / ESTIMATED)
        if self._pool is None:
            found = estimate.estimate(
                self.source,
                self.scale,
                config,
                self.options.seed,
                torch.get_num_threads(),
                on_window=lambda count, total: self._events.on_progress("estimating kernels", count, total),
            )
            self._pool = found.pool
            self._events.on_note(found.told())
        if self._pool.kernels.shape[-1] > config.kernel_size:
            raise ConfigError(
                f"{self.source}: kernels of {self._pool.kernels.shape[-1]} taps a side, kernel_size is "
                f"{config.kernel_size}; give --set kernel_size= up to 31, or import them again with --kernel-size 31"
            )
        self._split(config.kernel_size)
        if len(self.train) < 1:
            raise DataError(
                f"{self.source}: of {len(self.pool)} kernels (flagged ones do not count) one is held out and none is "
                "left to learn from; give more photographs"
            )
        self._events.on_note(f"scale {self.scale}; {len(self.train)} kernels to fit, {len(self.held)} held out")
        method.prepare(self.train)

    def _split(self, size: int) -> None:
        """Hold out all kernels of a tenth of the photographs; where there is one only, a tenth of the kernels."""
        usable = self.pool.usable()
        origins = self.pool.origins
        names = [origins[number].image or f"#{number}" for number in usable]
        if len(set(names)) < 2:
            names = [str(number) for number in usable]
        ranked = sorted(set(names), key=lambda name: derive(self.options.seed, name, 0, 0, "held-out kernels"))
        out = set(ranked[: max(1, round(HELD_OUT * len(ranked)))])
        self._held = [number for number, name in zip(usable, names, strict=True) if name in out]
        self._train = [number for number, name in zip(usable, names, strict=True) if name not in out]
        kernels = pool_file.widened(self.pool.kernels, size)
        self.train, self.held = kernels[self._train], kernels[self._held]

    def keep(self, out: Path) -> None:
        """Write the estimated kernels into the run directory."""
        pool_file.write(self.pool, out / ESTIMATED)

    def refer(self) -> None:
        """There is nothing to compare with but the estimated kernels themselves, and bicubic."""

    def batches(self, method: Learned, name: str, device: str) -> tuple[Callable[[int], dict[str, Tensor]], int]:
        """Sets of kernels, one for every step of the critic."""
        config: Any = method.config
        shape = config.critic_steps, config.batch
        kernels = self.train.float()

        def batch(step: int) -> dict[str, Tensor]:
            dice = generator(derive(self.options.seed, "", 0, step, "kernels"))
            chosen = kernels[torch.randint(len(kernels), shape, generator=dice)]
            if config.flips:
                which = torch.randint(8, shape, generator=dice)
                for number in range(1, 8):
                    chosen[which == number] = turned(chosen[which == number], number)
            return {"kernels": chosen.to(device)}

        return batch, config.kernel_size

    def judge(self, method: Learned, device: str) -> HeldOutKernels:
        """Distance to all estimated kernels, held-out ones among them: few alone would say little."""
        return HeldOutKernels(torch.cat([self.train, self.held]), self.scale, len(self.train))

    def evaluate(
        self, method: Method, model: Checkpoint, on_progress: Callable[[str, int, int], None]
    ) -> dict[str, Any]:
        """Distance of generated, estimated and the usual kernels to held-out ones."""
        judge = HeldOutKernels(self.held, self.scale, len(self.train))
        mean = {
            "model": {"kernel_distance": judge.score(model.degrader)},
            "estimated": {"kernel_distance": judge.distance(self.train)},
            "bicubic": {"kernel_distance": judge.bicubic()},
        }
        names = sorted({self.pool.origins[number].image or f"#{number}" for number in self._held})
        return {"images": names, "kernels": len(self._held), "mean": mean}

    def rows(self, degrade: previews.Degrade, count: int) -> list[list[Panel]]:
        """Held-out kernels, beside the windows that they were estimated from, where these are at hand."""
        row: list[Panel] = []
        for number in self._held[:SHOWN]:
            origin = self.pool.origins[number]
            path = self.source if self.source.is_file() else self.source / origin.image
            if path.suffix.lower() in images.SUFFIXES and origin.patch[2] > 0 and path.is_file():
                gray = estimate.gray_of(path)
                row.append(Panel(f"{origin.image}, enlarged", estimate.enlarged(gray, origin.patch, self.scale)[None]))
            row.append(Panel(f"held out, {origin.image or number}", self.pool.kernels[number]))
        return [row]

    def samples(self, count: int) -> Sequence[Tensor]:
        """There is no HR: a texture."""
        return [texture(3, 96 * self.scale, 96 * self.scale)] * count

    def facts(self) -> dict[str, Any]:
        """Photographs, and what became of their windows."""
        names = sorted({origin.image for origin in self.pool.origins})
        found = {
            "lr": names,
            "counts": self.pool.counts(),
            "fitted": len(self._train),
            "held_out": len(self._held),
            "failed": self.pool.made_by.get("failed", {}),
        }
        return {"kernels": found}

    def warnings(self, mean: Mapping[str, Mapping[str, float]]) -> list[str]:
        """That most kernels were flagged, or the usual one is as near."""
        found = []
        flagged = len(self.pool) - len(self._train) - len(self._held)
        if 2 * flagged > len(self.pool):
            found.append(
                f"{flagged} of {len(self.pool)} kernels were flagged and left out: are the photographs sharp, and free "
                "of repeated patterns? look at them: degsynth kernel-pool show RUN/estimated.h5 -o pool.png"
            )
        model, usual = (mean[which]["kernel_distance"] for which in ("model", "bicubic"))
        if model >= usual:
            found.append(
                f"generated kernels are no nearer to held-out ones ({model:.3f}) than bicubic is ({usual:.3f})"
            )
        return found

    def told(self, mean: Mapping[str, Mapping[str, float]]) -> str:
        """Distance of each."""
        figures = ", ".join(f"{name} {figures['kernel_distance']:.3f}" for name, figures in mean.items())
        return f"energy distance to kernels of held-out photographs (0: the same distribution): {figures}"

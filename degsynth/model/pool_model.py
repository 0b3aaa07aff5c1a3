"""A pool as a model: one of its kernels for every image, exported like what a method has learnt."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import degsynth
from degsynth.errors import ConfigError, DataError
from degsynth.model import checkpoint, pool_file
from degsynth.model.checkpoint import Checkpoint, Spec
from degsynth.model.degrader import Degrader
from degsynth.model.pool_file import Pool
from degsynth.model.pool_optics import PoolOptics
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid

METHOD = "kernel-pool"
LARGEST_SCALE = 16
BYTES_PER_PIXEL = 64
"""What one blur of an RGB image needs (`footprint.bytes_per_pixel`), said here since measuring takes a second."""
CENTRED = 1e-3
"""A centroid farther from the middle than this is told of, HR px."""


def scale_of(pool: Pool, asked: int | None, name: str) -> int:
    """At which scale a pool is applied: its own, 1, or what is asked for where it has none of its own.

    ConfigError where that cannot be: kernels lie on the grid of photographs that were enlarged by a scale.
    """
    if asked is not None and not 1 <= asked <= LARGEST_SCALE:
        raise ConfigError(f"--scale {asked}: give 1 to {LARGEST_SCALE}")
    if asked is None:
        if pool.scale is None:
            raise ConfigError(f"{name}: the kernels suit any scale; give --scale")
        return pool.scale
    if pool.scale is not None and asked not in (1, pool.scale):
        raise ConfigError(
            f"--scale {asked}: the kernels of {name} were estimated at scale {pool.scale}; give {pool.scale}, or 1 for "
            "images at HR size"
        )
    return asked


def as_degrader(pool: Pool, scale: int, name: str) -> tuple[Degrader, Spec]:
    """The pool at a scale; flagged kernels keep their numbers, but are not drawn. DataError where all are flagged."""
    usable = pool.usable()
    if not usable:
        raise DataError(f"{name}: all {len(pool)} kernels are flagged; look at them: degsynth kernel-pool show {name}")
    if pool.kernels.shape[-1] < scale:
        raise ConfigError(f"--scale {scale}: the kernels of {name} have only {pool.kernels.shape[-1]} taps a side")
    optics = PoolOptics(pool.kernels, scale, torch.tensor(usable))
    halo = half_width(optics.kernels.shape[-1], scale)
    places = torch.tensor([centroid(pool.kernels[number]) for number in usable], dtype=torch.float64)
    if float(places.abs().max()) > CENTRED:
        number = usable[int(places.abs().amax(1).argmax())]
        raise DataError(
            f"{name}: kernel {number} is not centred; 'degsynth kernel-pool import {name} -o centred.h5' does that"
        )
    spec = Spec(
        degsynth_version=degsynth.__version__,
        method=METHOD,
        scale=scale,
        clean_halo=halo,
        noise_halo=0,
        halo=halo,
        multiple_of=scale,
        bytes_per_pixel=BYTES_PER_PIXEL,
        stochastic=bool((pool.kernels[usable] != pool.kernels[usable[0]]).any()),
        pool=len(pool),
        config={"pool_scale": pool.scale, "counts": pool.counts(), "made_by": pool.made_by},
    )
    return Degrader(optics, scale), spec


def _opened(path: Path, scale: int | None) -> tuple[Degrader, Spec]:
    pool = pool_file.read(path)
    return as_degrader(pool, scale_of(pool, scale, str(path)), str(path))


def as_checkpoint(path: Path, scale: int | None, device: str = "cpu") -> Checkpoint:
    """A pool file as a loaded checkpoint, whose hash is the file's."""
    degrader, spec = _opened(path, scale)
    with tempfile.TemporaryDirectory() as elsewhere:
        made = Path(elsewhere) / "pool.pt"
        checkpoint.save(degrader, spec, made)
        return replace(checkpoint.load(made, device), sha256=pool_file.digest(path), path=path)


def export(path: Path, scale: int | None, output: Path) -> Checkpoint:
    """Write a pool file as a checkpoint."""
    degrader, spec = _opened(path, scale)
    checkpoint.save(degrader, spec.model_copy(update={"data_fingerprint": pool_file.digest(path)}), output)
    return checkpoint.load(output)

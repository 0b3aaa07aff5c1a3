"""A kernel pool as a model: every image is blurred by one of its kernels. It is exported as fitted models are."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import degsynth
from degsynth.errors import ConfigError, DataError
from degsynth.model import checkpoint, pool_file
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degrader import Degrader
from degsynth.model.pool_file import LARGEST_SCALE as LARGEST_SCALE
from degsynth.model.pool_file import Pool
from degsynth.model.pool_optics import PoolOptics
from degsynth.model.spec import Spec
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid

METHOD = "kernel-pool"
"""The method's name in the spec of a pool's checkpoint."""
BYTES_PER_PIXEL = 64
"""Memory per HR pixel that the blur of an RGB image needs (`degsynth.model.memory.bytes_per_pixel`).

The number is stated here because measuring it takes a second.
"""
LARGEST_OFFSET = 1e-3
"""Kernels whose centroid is farther from the middle than this (HR px) are refused."""


def scale_of(pool: Pool, asked: int | None, name: str) -> int:
    """Return the scale at which a pool is applied: the one asked for, or the pool's own where that is None.

    Kernels that were estimated at a scale lie on the grid of photographs enlarged by that scale, so they suit that
    scale and, for images at HR size, 1. Raises ConfigError for another scale, and where neither is known.
    """
    if asked is not None and not 1 <= asked <= LARGEST_SCALE:
        raise ConfigError(f"`scale={asked}`: give 1 to {LARGEST_SCALE}")
    if asked is None:
        if pool.scale is None:
            raise ConfigError(f"{name}: the kernels suit any scale", "give `scale`")
        return pool.scale
    if pool.scale is not None and asked not in (1, pool.scale):
        raise ConfigError(
            f"`scale={asked}`: the kernels of {name} were estimated at scale {pool.scale}",
            f"give {pool.scale}, or 1 for images at HR size",
        )
    return asked


def as_degrader(pool: Pool, scale: int, name: str) -> tuple[Degrader, Spec]:
    """Return a pool as a degrader at a scale, with its spec; ``name`` is the pool's in errors.

    Flagged kernels keep their numbers but are not drawn. Raises DataError where all are flagged, or one is not centred.
    """
    usable = pool.usable()
    if not usable:
        raise DataError(f"{name}: all {len(pool)} kernels are flagged; look at them: degsynth kernel-pool show {name}")
    if pool.kernels.shape[-1] < scale:
        raise ConfigError(f"`scale={scale}`: the kernels of {name} have only {pool.kernels.shape[-1]} taps a side")
    optics = PoolOptics(pool.kernels, scale, torch.tensor(usable))
    halo = half_width(optics.kernels.shape[-1], scale)
    _check_centres(pool, usable, name)
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


def _check_centres(pool: Pool, usable: list[int], name: str) -> None:
    """Raise DataError, which names the worst, where a usable kernel is not centred."""
    centroids = torch.tensor([centroid(pool.kernels[number]) for number in usable], dtype=torch.float64)
    if float(centroids.abs().max()) > LARGEST_OFFSET:
        number = usable[int(centroids.abs().amax(1).argmax())]
        raise DataError(
            f"{name}: kernel {number} is not centred; 'degsynth kernel-pool import {name} -o centred.h5' does that"
        )


def _read(path: Path, scale: int | None) -> tuple[Degrader, Spec]:
    """Read a pool file as a degrader at a scale (None: the pool's own), with its spec."""
    pool = pool_file.read(path)
    return as_degrader(pool, scale_of(pool, scale, str(path)), str(path))


def as_checkpoint(path: Path, scale: int | None, device: str = "cpu") -> Checkpoint:
    """Read a pool file as a loaded checkpoint, whose hash is that of the pool file."""
    degrader, spec = _read(path, scale)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "pool.pt"
        checkpoint.save(degrader, spec, exported)
        return replace(checkpoint.load(exported, device), sha256=pool_file.digest(path), path=path)


def export(path: Path, scale: int | None, output: Path) -> Checkpoint:
    """Write a pool file as a checkpoint, and load it."""
    degrader, spec = _read(path, scale)
    return checkpoint.save(degrader, spec.model_copy(update={"data_fingerprint": pool_file.digest(path)}), output)

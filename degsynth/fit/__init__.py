"""Fitting: images on the disk in, a run directory with a verified checkpoint out."""

from degsynth.config import Events
from degsynth.fit.export import generated_kernels, open_snapshot
from degsynth.fit.options import FitOptions, resolve
from degsynth.fit.stages import run

__all__ = ["Events", "FitOptions", "generated_kernels", "open_snapshot", "resolve", "run"]

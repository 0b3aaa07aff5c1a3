"""pdm: a distribution of blur kernels and of noise, learnt from two unrelated folders."""

from degsynth.methods.pdm import method
from degsynth.methods.pdm.method import Method
from degsynth.methods.pdm.options import PRESETS, QUICK, Config

__doc__ = method.__doc__  # `degsynth methods pdm` prints it

__all__ = ["PRESETS", "QUICK", "Config", "Method"]

"""pdm: a distribution of blur kernels and of noise, learnt from two unrelated folders."""

from degsynth.methods.pdm.method import PRESETS, QUICK, Config, Method

__all__ = ["PRESETS", "QUICK", "Config", "Method"]

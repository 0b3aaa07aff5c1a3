"""pdm: a distribution of blur kernels and of noise, learnt from two unrelated folders."""

from degsynth.methods.pdm.method import PRESETS, Config, Method

__all__ = ["PRESETS", "Config", "Method"]

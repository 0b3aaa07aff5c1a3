"""Applying: a model and a folder of HR images in, an HR-LR data set out. See the README of this folder."""

from degsynth.apply.options import LINKS, Options, Summary
from degsynth.apply.stages import run

__all__ = ["LINKS", "Options", "Summary", "run"]

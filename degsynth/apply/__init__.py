"""Applying: a model and a folder of HR images in, an HR-LR data set out."""

from degsynth.apply.applier import LINKS, Options, Summary, run

__all__ = ["LINKS", "Options", "Summary", "run"]

"""Applying: a model and a folder of HR images in, an HR-LR data set out. See the README of this folder."""

from degsynth.apply.audit import Problem, Report, verify
from degsynth.apply.options import CHECKS, LINKS, Options, Summary
from degsynth.apply.replay import Replay
from degsynth.apply.stages import run

__all__ = ["CHECKS", "LINKS", "Options", "Problem", "Replay", "Report", "Summary", "run", "verify"]

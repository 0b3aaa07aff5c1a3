"""Applying: a model and a folder of HR images in, an HR-LR data set out. See the README of this folder."""

from degsynth.apply.audit import Problem, Report, verify
from degsynth.apply.forecast import Forecast, forecast
from degsynth.apply.options import CHECKS, LINKS, Options, Summary
from degsynth.apply.preview import Example, preview
from degsynth.apply.replay import Replay
from degsynth.apply.stages import run

__all__ = [
    "CHECKS", "LINKS", "Example", "Forecast", "Options", "Problem", "Replay", "Report", "Summary", "forecast",
    "preview", "run", "verify",
]  # fmt: skip

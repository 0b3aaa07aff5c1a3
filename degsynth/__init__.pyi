from degsynth import apply, fit
from degsynth.config import Interval
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.render import render
from degsynth.model.resolve import open_model as load
from degsynth.seeds import Identity

__all__ = [
    "Checkpoint",
    "Degradation",
    "Degrader",
    "Identity",
    "Interval",
    "Noise",
    "Optics",
    "__version__",
    "apply",
    "fit",
    "load",
    "render",
]

__version__: str

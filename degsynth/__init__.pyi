from degsynth import apply as apply
from degsynth import fit as fit
from degsynth.config import Interval as Interval
from degsynth.model.checkpoint import Checkpoint as Checkpoint
from degsynth.model.degradation import Degradation as Degradation
from degsynth.model.degradation import Noise as Noise
from degsynth.model.degrader import Degrader as Degrader
from degsynth.model.optics import Optics as Optics
from degsynth.model.render import render as render
from degsynth.seeds import Identity as Identity

__version__: str
__all__: list[str]

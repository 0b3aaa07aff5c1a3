"""Learn a camera's real degradation from HR-LR images, export it as one file, apply it to folders of HR images.

The public names below are imported when they are first used; importing this package alone imports nothing heavy::

    import degsynth

    model = degsynth.load("nikon.pt")                       # a checkpoint, a run, or a kernel pool
    lr = model.degrader.degrade(hr, 0)                      # (B, C, H, W) in [0, 1]
    degsynth.apply.run(model, Path("hr/"), Path("trainset/"), degsynth.apply.Options(workers=2))
    degsynth.fit.run(degsynth.fit.FitOptions(method="dml", hr="pairs/HR", lr="pairs/LR"), {}, Path("runs/nikon"))
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
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

_PLACES = {
    "Checkpoint": "degsynth.model.checkpoint",
    "Degradation": "degsynth.model.degradation",
    "Degrader": "degsynth.model.degrader",
    "Identity": "degsynth.seeds",
    "Interval": "degsynth.config",
    "Noise": "degsynth.model.degradation",
    "Optics": "degsynth.model.optics",
    "load": "degsynth.model.resolve:open_model",
    "render": "degsynth.model.render",
}
"""The module that defines each public name; ``module:name`` where the name is a different one there.

The types are declared in ``__init__.pyi``.
"""


def __getattr__(name: str) -> Any:
    if name in ("apply", "fit"):
        return importlib.import_module(f"degsynth.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'degsynth' has no attribute '{name}'")
    module, _, original = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), original or name)


def __dir__() -> list[str]:
    return sorted(__all__)

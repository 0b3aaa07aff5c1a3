"""Where a fit's images come from: aligned pairs, two unpaired folders, or LR photographs alone."""

from __future__ import annotations

from degsynth.config import Events
from degsynth.fit.options import FitOptions
from degsynth.fit.sources.pairs import Pairs
from degsynth.fit.sources.photos import Photos
from degsynth.fit.sources.source import Source
from degsynth.fit.sources.unpaired import Folders
from degsynth.methods.protocol import Data


def open_source(data: Data, options: FitOptions, events: Events, learns: bool) -> Source:
    """Find, check and split the images of a fit; DataError names those that cannot be used.

    ``learns``: the method learns by steps, and the weights of one of them are chosen on held-out images.
    """
    if data == "paired":
        return Pairs(options, events, learns)
    return Folders(options, events) if data == "unpaired" else Photos(options, events)

"""How a data set is laid out.

``names``, ``crops`` and ``pairs`` make the data set itself. Every other module but ``record``, ``place`` and ``build``
is a layout: it makes, of a finished data set, the folder that a certain trainer or library reads. A new layout is such
a module (`LayoutModule`) and one line in `LAYOUTS`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from degsynth.config import nearest
from degsynth.errors import ConfigError

if TYPE_CHECKING:
    from degsynth.apply.layouts.place import Pair, Place

DEFAULT = "pairs"
"""The name of the data set itself, which is always made."""
LAYOUTS = {
    name: f"degsynth.apply.layouts.{name}"
    for name in ("basicsr", "kair", "neosr", "trainner", "div2k", "hf", "webdataset", "lmdb", "hdf5", "deepinv")
}
"""The module of each layout, by the name that users give; the folder of the layout has this name, too."""
EXTRAS = ("lmdb",)
"""Layouts that need a library of the same name, which is an optional extra of this package."""


class LayoutModule(Protocol):
    """What the module of a layout offers."""

    HOLDS_PNG: bool
    """Whether images are stored as PNG, which not every image can be."""

    def write(self, pairs: Sequence[Pair], place: Place) -> None:
        """Write all files of the layout, and note where every pair went (`Place.note`)."""


def get(name: str) -> LayoutModule:
    """Return the module of a layout. ConfigError for an unknown name suggests the most similar one."""
    if name not in LAYOUTS:
        raise ConfigError(f"`layout={name}`: there is no such layout; {nearest(name, [DEFAULT, *LAYOUTS])}")
    return cast(LayoutModule, importlib.import_module(LAYOUTS[name]))


def check(name: str) -> None:
    """Raise ConfigError where there is no such layout, or where the library that it needs is not installed."""
    get(name)
    if name in EXTRAS and importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"`layout={name}` needs the library {name}, which is not installed", f"run: pip install 'degsynth[{name}]'"
        )

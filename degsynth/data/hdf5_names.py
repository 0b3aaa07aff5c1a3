"""Names of images in HDF5 files, ``photos.h5:/hr[17]``: taken apart, without reading a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".h5", ".hdf5"}
NAME = re.compile(
    r"(?P<file>.+\.(?:h5|hdf5)):(?P<inside>(?:/[^:\[\]]*)?)(?::(?P<axes>[A-Za-z]+))?(?:\[(?P<index>[0-9]{1,9})\])?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Place:
    """Where an image, or several, lie in an HDF5 file."""

    file: Path
    inside: str
    """Path of the data set or group in the file; it begins with a slash."""
    axes: str = ""
    """Its axes, such as NCHW; empty where they are not given."""
    index: int | None = None
    """Number of the image; None: all."""

    @property
    def name(self) -> str:
        """The name without the folder of the file."""
        axes, index = f":{self.axes}" * bool(self.axes), "" if self.index is None else f"[{self.index}]"
        return f"{self.file.name}:{self.inside}{axes}{index}"

    @property
    def path(self) -> Path:
        """The name with the folder of the file."""
        return self.file.parent / self.name


def split(path: Path) -> Place | None:
    """Take a name apart; None where it is none of an HDF5 file with a data set."""
    match = NAME.fullmatch(str(path)) if ".h" in str(path).lower() else None
    if match is None:
        return None
    index = match["index"]
    return Place(
        Path(match["file"]),
        match["inside"] or "/",
        (match["axes"] or "").upper(),
        None if index is None else int(index),
    )

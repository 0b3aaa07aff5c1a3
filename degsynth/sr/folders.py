"""Super-resolution of a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from degsynth.data import images, listing, writing
from degsynth.errors import ConfigError, DataError, OutputError, os_reason
from degsynth.files import write_atomic
from degsynth.sr.enlarging import TILE, enlarge_image
from degsynth.sr.networks import Trained

OnImage = Callable[[str, str, int, int], None]
"""Called after every image: its name, what is wrong with it (empty: nothing), the count, and the number of images."""


def run(network: Trained, lr: Path, out: Path, tile: int = TILE, on_image: OnImage = lambda *_: None) -> int:
    """Super-resolve all images below ``lr`` into ``out``, under the same names; return how many failed.

    Files are PNG, or TIFF where the LR file is TIFF. ConfigError where ``out`` is not empty or two images would have
    one name, OutputError where a file cannot be written.
    """
    names, _ = listing.find(lr)
    root = lr.parent if lr.is_file() else lr
    outputs: dict[str, str] = {}
    for name in names:
        target = output_name(name)
        if target in outputs:
            raise ConfigError(f"{lr} has {outputs[target]} and {name}, which would both become {target}; rename one")
        outputs[target] = name
    inside = out.resolve() == root.resolve() or out.resolve().is_relative_to(root.resolve())
    if inside and not lr.is_file():
        raise ConfigError(f"OUT {out} lies in LR {lr}; give OUT a folder of its own")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"OUT {out} is not empty; give another folder")
    failed = 0
    for count, (target, name) in enumerate(outputs.items(), 1):
        try:
            _write(network, root / name, out / target, tile)
            fault = ""
        except DataError as error:
            failed, fault = failed + 1, str(error)
        on_image(name, fault, count, len(outputs))
    return failed


def output_name(name: str) -> str:
    """Return the name of an output: that of the LR file, with the ending of a lossless format."""
    path = PurePosixPath(name)
    return path.as_posix() if path.suffix.lower() in {".png", *images.TIFF_SUFFIXES} else str(path.with_suffix(".png"))


def _write(network: Trained, source: Path, target: Path, tile: int) -> None:
    content = writing.encode(enlarge_image(network, images.read(source), tile), target.suffix.lower())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {os_reason(error)}") from None

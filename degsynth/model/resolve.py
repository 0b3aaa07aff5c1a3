"""From the name of a model to the model: a checkpoint file, a run, a shipped model, or a kernel pool."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from degsynth.errors import CheckpointError, ConfigError, os_reason, shortened
from degsynth.files import is_pool_name
from degsynth.model.checkpoint import Checkpoint, load
from degsynth.model.mixture import Mixture

PACKAGE = Path(__file__).parent.parent
WEIGHT = re.compile(r":([^:,]*)(?:,(?=.)|$)")
"""Behind the name of a model: its weight in a mixture, up to the next name."""


def shipped() -> dict[str, Path]:
    """Return the checkpoints that come with degsynth, by name."""
    folder = PACKAGE / "models" if (PACKAGE / "models").is_dir() else PACKAGE.parent / "models"  # wheel, or checkout
    return {file.stem: file for file in sorted(folder.glob("*.pt"))}


def open_model(name: str, scale: int | None = None, device: str = "cpu") -> Checkpoint:
    """Load the model that a name stands for; a kernel pool becomes the model that draws one of its kernels per image.

    ``scale`` is for kernel pools; of another model it must be the model's own. Raises CheckpointError where there is no
    such model, ConfigError where the scale does not fit.
    """
    if is_pool_name(name):
        from degsynth.model import pool_model  # reads HDF5, which other models need not wait for

        return pool_model.as_checkpoint(Path(name), scale, device)
    model = load(resolve(name), device)
    if scale is not None and scale != model.spec.scale:
        raise ConfigError(f"`scale={scale}`: the model {name} has scale {model.spec.scale}", "leave `scale` out")
    return model


def open_mixture(text: str, scale: int | None = None, device: str = "cpu") -> Mixture:
    """Load a model as `open_model` does, or several with weights: ``a.pt:0.7,b.pt:0.3``.

    Raises ConfigError where the text is no mixture, or the models do not go together (`Mixture.weighted`).
    """
    parts = mixture_parts(text)
    models = [open_model(name, scale, device) for name, _ in parts]
    return Mixture.of(models[0]) if len(parts) == 1 else Mixture.weighted(models, [weight for _, weight in parts])


def mixture_parts(text: str) -> list[tuple[str, float]]:
    """Split ``a.pt:0.7,b.pt:0.3`` into names and weights; a text that names one model has the weight 1.

    Names may hold commas and colons: the whole text, or a longer name within it, is preferred where it exists.
    """
    if _exists(text):
        return [(text, 1.0)]
    parts: list[tuple[str, str]] = []
    at = 0
    while ends := list(WEIGHT.finditer(text, at)):
        end = next((match for match in ends if _exists(os.path.expanduser(text[at : match.start()]))), ends[0])  # noqa: PTH111
        parts.append((text[at : end.start()], end[1]))
        at = end.end()
    rest, shown = text[at:], shortened(text)
    if not parts or (len(parts) == 1 and not rest and math.isnan(_number(parts[0][1]))):
        if "," in text and all(map(_exists, text.split(","))):
            raise ConfigError(f"MODEL {shown}: the models of a mixture have weights", "write a.pt:0.7,b.pt:0.3")
        return [(text, 1.0)]  # nothing but a name, whose error says what is wrong
    if rest:
        raise ConfigError(f"MODEL {shown}: {shortened(rest)} has no weight", "write a.pt:0.7,b.pt:0.3")
    if len(parts) == 1:
        raise ConfigError(f"MODEL {shown}: a single model has no weight", f"give {shortened(parts[0][0])}")
    for name, weight in parts:
        if not 0 < _number(weight) < math.inf:
            raise ConfigError(f"MODEL {shown}: the weight {weight!r} of {shortened(name)} must be a number above 0")
    return [(os.path.expanduser(name), _number(weight)) for name, weight in parts]  # noqa: PTH111 - names stay texts


def _exists(name: str) -> bool:
    """Tell whether a name is that of a file or folder, or of a shipped model."""
    try:
        return Path(name).exists() or name in shipped()
    except (OSError, ValueError):
        return False


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def resolve(name: str) -> Path:
    """Return the file of a checkpoint that is named by its path, its run directory, or its name among the shipped."""
    path = Path(name)
    try:
        path.is_dir()
    except OSError as error:  # too long, or a folder on the way that may not be read
        raise CheckpointError(f"model {shortened(name)}: {os_reason(error)}") from None
    if path.is_dir():
        if not (path / "config.toml").is_file():
            raise CheckpointError(f"{path} is a folder without config.toml: neither a run nor a checkpoint")
        if not (path / "fit.json").is_file():
            raise CheckpointError(
                f"the run {path} has no fit.json: its fit did not end; go on with it "
                f"(degsynth fit --resume --out {path}), or export a snapshot"
            )
        return path / "checkpoint.pt"
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is neither a file nor a folder")
    if path.is_file():
        if is_pool_name(path):
            raise CheckpointError(
                f"{path} is a kernel pool, not a checkpoint; make one: degsynth export {path} -o model.pt --scale 2"
            )
        return path
    if name in shipped():
        return shipped()[name]
    names = ", ".join(shipped()) or "none"
    raise CheckpointError(
        f"model {shortened(name)}: no such file or run, and no shipped model of that name (shipped: {names})"
    )

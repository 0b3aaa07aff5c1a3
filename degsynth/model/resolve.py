"""From the name of a model to the model: a checkpoint file, a run, a shipped model, or a kernel pool."""

from __future__ import annotations

from pathlib import Path

from degsynth.errors import CheckpointError, ConfigError, os_reason, shortened
from degsynth.files import is_pool_name
from degsynth.model.checkpoint import Checkpoint, load

PACKAGE = Path(__file__).parent.parent


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

"""Checkpoints: one TorchScript file that loads without degsynth. The only room that calls `torch.jit`.

``torch.jit`` is deprecated upstream; a move to another format is a change of this file. What a checkpoint needs to be
used (scale, halo, levels, phase, …) travels in it as ``degsynth.json``, read and checked as a `Spec`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from copy import deepcopy as copy_module
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from degsynth.config import Strict
from degsynth.errors import CheckpointError, FitError
from degsynth.files import write_atomic
from degsynth.model.degrader import Degrader
from degsynth.model.memory import bytes_per_pixel

FORMAT_VERSION = 1
SPEC_NAME = "degsynth.json"
POOL_SUFFIXES = (".h5", ".hdf5")
"""How files of kernel pools end, of which checkpoints can be made (`kernel_pool`)."""
VERIFY_TOLERANCE = 1e-6
"""How far a reloaded checkpoint may be from the eager module on the CPU; bit-equal is what is seen."""


class HardwareFactor(Strict):
    """The run-time knob of abl."""

    default: float
    """What `draw` writes into the code unless told otherwise."""
    trained: float
    """The factor at which the model was fitted."""
    entry: int = 0
    """Which column of the code it is."""
    range: tuple[float, float]
    """Factors that the model takes."""


class Spec(Strict):
    """What a checkpoint says of itself: ``degsynth.json`` in its extra files."""

    format_version: int = FORMAT_VERSION
    """Version of this record and of the module's contract."""
    degsynth_version: str
    """The degsynth that wrote it."""
    method: str
    """Name in the table of methods."""
    scale: int = Field(ge=1)
    """HR size / LR size."""
    channels: Literal["any"] | list[int] = "any"
    """Channel counts that it takes."""
    clean_halo: int = Field(ge=0)
    """HR px that `clean` reads beyond an LR pixel's own block, on each side."""
    noise_halo: int = Field(ge=0)
    """LR px that `noise` reads beyond an LR pixel, on each side."""
    halo: int = Field(ge=0)
    """clean_halo + scale × noise_halo, HR px."""
    multiple_of: int = Field(ge=1)
    """Tile origins are multiples of it in absolute HR coordinates."""
    tiling: Literal["exact", "whole_only"] = "exact"
    """Whether tiles with that halo equal the whole image."""
    bytes_per_pixel: int = Field(default=0, ge=0)
    """Memory that it needs for an HR pixel of a window (`footprint`); by it tiles are chosen. 0: unknown."""
    stochastic: bool = False
    """Whether different seeds give different images."""
    pool: int = Field(default=0, ge=0)
    """Kernels that an image's is drawn from, the number of which is the first of its code; 0: it has no such pool."""
    has_noise: bool = False
    """Whether `noise` is anything but zeros."""
    gain: tuple[float, ...] = (1.0,)
    """Contrast change that the model applies on purpose, one for all channels or one each."""
    offset: tuple[float, ...] = (0.0,)
    """Level change that it applies on purpose, in [0, 1] levels, likewise."""
    phase: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    """Where the effective kernel's centroid sits, (y, x) in HR px from the centred phase, one for all channels or one
    each; not 0 where the pairs were shifted."""
    hardware_factor: HardwareFactor | None = None
    """The knob, where the model has one."""
    data_range: tuple[float, float] | None = None
    """Black and white of the images that it was fitted to, in their own units; None: the range of their type."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The resolved configuration of the fit."""
    held_out: dict[str, Any] | None = None
    """Metrics on pairs that the fit never saw, at the factor of the fit where the model has one."""
    data_fingerprint: str | None = None
    """SHA-256 over the names and bytes of all pairs, the held-out ones among them."""
    licence: str = "unknown: that of the training images applies"
    """Under what terms it may be used."""

    def level(self, value: float, channel: int) -> float:
        """What a flat ``value`` becomes in ``channel``."""
        return value * self.gain[channel % len(self.gain)] + self.offset[channel % len(self.offset)]

    def channel_counts(self) -> list[int]:
        """Channel counts to try it with."""
        return [1, 3, 4] if self.channels == "any" else self.channels

    def usual_channels(self) -> int:
        """RGB where it takes that, else the most channels that it takes."""
        return 3 if 3 in self.channel_counts() else max(self.channel_counts())


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    degrader: Any
    """The ScriptModule: draw, field, clean, noise, forward, degrade, set_hardware_factor."""
    spec: Spec
    sha256: str
    """Of the file."""
    path: Path


@contextlib.contextmanager
def _quiet_jit() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*")
        yield


def probe_image(spec: Spec, batch: int = 2) -> Tensor:
    """A seeded noise image that the checkpoint takes: not square, and no multiple of anything but the scale."""
    channels = spec.usual_channels()
    generator = torch.Generator().manual_seed(20)
    return torch.rand(batch, channels, 37 * spec.scale, 29 * spec.scale, generator=generator)


def save(degrader: Degrader, spec: Spec, path: Path) -> Spec:
    """Script, save, load again, compare with eager, and only then move into place. Returns the spec as written.

    How much memory the degrader needs is measured, unless the spec knows.

    Raises CheckpointError, with nothing left behind, where the reloaded module differs from ``degrader``.
    """
    degrader = copy_module(degrader).eval().cpu().requires_grad_(False)  # whoever trains it goes on with the original
    if spec.halo != spec.clean_halo + spec.scale * spec.noise_halo:
        raise CheckpointError(f"halo (={spec.halo}) must be clean_halo + scale × noise_halo of the same spec")
    if spec.bytes_per_pixel == 0:
        needed = bytes_per_pixel(degrader, spec.scale, spec.usual_channels())
        spec = spec.model_copy(update={"bytes_per_pixel": needed})
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(degrader, spec, partial)
        reloaded = load(partial)
        image = probe_image(spec)
        with torch.inference_mode():
            for seed in (0, 1):
                expected, found = degrader.degrade(image, seed), reloaded.degrader.degrade(image, seed)
                if not bool(torch.isfinite(expected).all()):
                    raise FitError(f"{path}: the fitted module gives values that are not finite")
                error = float((expected - found).abs().max())
                if not error <= VERIFY_TOLERANCE:  # NaN must fail, too
                    raise CheckpointError(f"{path}: the exported file differs from the fitted module by {error:.2g}")
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the checkpoint: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return reloaded.spec


def load(path: Path, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint, ready to run on ``device``; CheckpointError names what is wrong with the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror or error}") from None
    if device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # its 10-bit mantissa would eat the lower bits of 16-bit images
    extra = {SPEC_NAME: ""}
    try:
        with _quiet_jit():
            module = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(content), map_location=device, _extra_files=extra
            )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:100]
        raise CheckpointError(
            f"{path} is no degsynth checkpoint (not TorchScript: {reason}); take a file written by 'degsynth export'"
        ) from None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # torch itself does not compare the checksums
        damaged = archive.testzip()
    if damaged:
        raise CheckpointError(f"{path} is damaged ({damaged} does not match its checksum); copy or export it anew")
    if not extra[SPEC_NAME]:
        raise CheckpointError(f"{path} is TorchScript, but no degsynth checkpoint: it holds no {SPEC_NAME}")
    spec = parse_spec(extra[SPEC_NAME], path)
    return Checkpoint(module.eval(), spec, hashlib.sha256(content).hexdigest(), path)


def parse_spec(text: str | bytes, path: Path) -> Spec:
    """Read ``degsynth.json``; a newer format is refused before anything else is looked at."""
    try:
        record = json.loads(text)
        version = int(record.get("format_version", 0))
        if version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format {version}, this degsynth reads up to {FORMAT_VERSION}; upgrade degsynth "
                f"(it was written by {record.get('degsynth_version', 'a newer one')})"
            )
        return Spec.model_validate(record)
    except (ValueError, AttributeError, TypeError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            error = ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise CheckpointError(f"{path}: its {SPEC_NAME} cannot be read ({error})") from None


def copy(checkpoint: Checkpoint, path: Path, overwrite: bool = False) -> None:
    """Copy a checkpoint's file, in one move; CheckpointError where ``path`` exists or cannot be written."""
    check_target(path, overwrite)
    try:
        write_atomic(path, checkpoint.path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_target(path: Path, overwrite: bool = False) -> None:
    """CheckpointError where a checkpoint should not be written to ``path``."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the file to write, e.g. {path / 'model.pt'}")
    if path.suffix != ".pt":
        raise CheckpointError(f"{path}: give a name that ends in .pt")
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists; give another name, or --overwrite")
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: there is no folder {path.parent}; make it, or give another name")


def rewrite(degrader: Any, spec: Spec, path: Path) -> Checkpoint:
    """Write a loaded degrader with another spec, in one move; returns it as loaded again."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(degrader, spec, partial)
        written = load(partial)
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the checkpoint: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return replace(written, path=path)


def write(degrader: nn.Module, spec: Spec, path: Path) -> None:
    """Script a module (a loaded one is scripted already) and write it with its spec, unverified."""
    buffer = io.BytesIO()  # torch's own file writer aborts the process where the disk is full
    with _quiet_jit():
        torch.jit.save(torch.jit.script(degrader), buffer, _extra_files={SPEC_NAME: spec.model_dump_json()})
    path.write_bytes(buffer.getvalue())


def shipped() -> dict[str, Path]:
    """The checkpoints that come with degsynth, by name."""
    here = Path(__file__).parent
    folder = here / "models" if (here / "models").is_dir() else here.parent / "models"  # a wheel, or a checkout
    return {file.stem: file for file in sorted(folder.glob("*.pt"))}


def resolve(model: str) -> Path:
    """A model as the command line names it: a checkpoint file, a run directory, or the name of a shipped one."""
    path = Path(model)
    if path.is_dir():
        if not (path / "config.toml").is_file():
            raise CheckpointError(f"{path} is a folder without config.toml: neither a run nor a checkpoint")
        if not (path / "fit.json").is_file():
            raise CheckpointError(
                f"the run {path} has no fit.json: its fit did not end; go on with it "
                f"(degsynth fit --resume --out {path}), or export a snapshot"
            )
        return path / "checkpoint.pt"
    if path.is_file():
        if path.suffix.lower() in POOL_SUFFIXES:
            raise CheckpointError(
                f"{path} is no checkpoint; of a kernel pool 'degsynth export {path} -o model.pt --scale 2' makes one"
            )
        return path
    if model in shipped():
        return shipped()[model]
    names = ", ".join(shipped()) or "none"
    raise CheckpointError(f"model {model}: no such file or run, and no shipped model of that name (shipped: {names})")

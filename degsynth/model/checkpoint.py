"""Checkpoints: one TorchScript file that loads without degsynth. The only module that calls `torch.jit`.

``torch.jit`` is deprecated upstream; a move to another format changes this file alone. What a user of the checkpoint
needs to know (scale, halo, levels, phase, …) travels in it as ``degsynth.json``, see `degsynth.model.spec`.
"""

from __future__ import annotations

import contextlib
import copy as copying
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from degsynth.errors import CheckpointError, FitError, is_out_of_memory, os_reason, shortened
from degsynth.files import read_bounded, write_atomic
from degsynth.model import archive, operators
from degsynth.model.degrader import Degrader
from degsynth.model.inference import inference
from degsynth.model.memory import bytes_per_pixel
from degsynth.model.spec import SPEC_NAME, Spec, parse_spec
from degsynth.ops.grain import combined
from degsynth.ops.residual_noise import ResidualNoise

VERIFY_TOLERANCE = 1e-6
"""Largest difference that is allowed between a reloaded checkpoint and the eager module on the CPU; in practice they
are equal bit by bit."""
DEEPEST_CALLS = 100
"""Deepest nesting of functions that call each other. The methods of degsynth have fewer than 10."""


CONTRACT = ("optics", "scale", "draw", "field", "clean", "noise", "forward", "degrade", "set_hardware_factor")
"""What every module in a checkpoint has (`LoadedDegrader`)."""


class LoadedDegrader(Protocol):
    """What a loaded checkpoint offers: the contract of `Degrader`, as TorchScript or as the eager module."""

    optics: nn.Module
    scale: int
    multiple_of: int

    def draw(self, seed: int, height: int = 0, width: int = 0) -> Tensor:
        """Return the code (1, G) of an image whose LR plane has this size."""

    def field(self, seed: int, y: int, x: int, height: int, width: int, channels: int) -> Tensor:
        """Return the random numbers (1, F, height, width) of a window of the LR plane."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Blur and decimate."""

    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Return the learned noise for an LR image in [0, 1]."""

    def degrade(self, hr: Tensor, seed: int) -> Tensor:
        """Return the clamped LR image, with everything drawn from the seed."""

    def set_hardware_factor(self, f: float) -> None:
        """Set the hardware factor that `draw` writes into the code."""

    def __call__(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Return `clean` + `noise`, not clamped."""


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to run, and what it says of itself."""

    degrader: LoadedDegrader
    spec: Spec
    sha256: str
    """SHA-256 of the file; empty where the model was never written."""
    path: Path

    def residual(self) -> ResidualNoise | None:
        """Return the noise that stands for what the model leaves out; None where it has none of this kind."""
        module = getattr(self.degrader, "residual", None)  # files of earlier versions have no such module
        if module is None or module.channels == 0:
            return None
        if hasattr(module, "taps"):  # an earlier file, which has no noise along edges
            return ResidualNoise(module.sigma.double(), module.taps.double(), module.mixing.double())
        taps = combined(module.factors.double())
        return ResidualNoise(
            module.sigma.double(),
            taps,
            module.mixing.double(),
            module.share.double(),
            module.across.double(),
            module.tint.double(),
        )

    def planes_of_noise_alone(self, channels: int) -> int:
        """Return how many planes of random numbers an image needs, where `clean` reads none of them; else 0.

        It is 0, too, for files of earlier versions, which do not say it.
        """
        of_residual = getattr(getattr(self.degrader, "residual", None), "planes", None)
        of_optics = getattr(self.degrader.optics, "field_planes", None)
        placed = getattr(self.degrader, "placed", True)
        if of_residual is None or of_optics is None or placed or of_optics(channels) > 0:
            return 0
        return int(of_residual(channels))

    def on(self, device: str) -> Checkpoint:
        """Return the same model on a device; a copy, where it is not there already."""
        if device == "cpu" or not isinstance(self.degrader, nn.Module):
            return self
        return replace(self, degrader=copying.deepcopy(self.degrader).to(device))


def in_memory(degrader: Degrader, spec: Spec) -> Checkpoint:
    """Take a copy of a degrader as the checkpoint that it will be, so that it can be measured before it is written."""
    return Checkpoint(_detached(degrader), spec, "", Path(spec.method))


def _detached(degrader: LoadedDegrader) -> Degrader:
    """Copy an eager degrader, on the CPU and without gradients; the caller may go on training the original."""
    assert isinstance(degrader, Degrader), "a loaded model is compiled already"
    return copying.deepcopy(degrader).eval().cpu().requires_grad_(False)


@contextlib.contextmanager
def _quiet_jit() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*")
        yield


def probe_image(spec: Spec, batch: int = 2) -> Tensor:
    """Return a seeded noise image that the model takes; its sides are no multiples of anything but the scale."""
    channels = spec.usual_channels()
    generator = torch.Generator().manual_seed(20)
    return torch.rand(batch, channels, 37 * spec.scale, 29 * spec.scale, generator=generator)


def check_scriptable(degrader: Degrader) -> None:
    """Compile a degrader without writing it, so that a module that cannot be exported is noticed before training."""
    with _quiet_jit():
        torch.jit.script(degrader)


def save(degrader: LoadedDegrader, spec: Spec, path: Path) -> Checkpoint:
    """Script, save, load again, compare with the eager module, and only then move into place; return it as loaded.

    The memory that the degrader needs is measured, unless the spec has it. Raises CheckpointError, with nothing left
    behind, where the reloaded module differs from ``degrader``.
    """
    degrader = _detached(degrader)
    if spec.halo != spec.clean_halo + spec.scale * spec.noise_halo:
        raise CheckpointError(f"halo (={spec.halo}) must be clean_halo + scale × noise_halo of the same spec")
    if spec.bytes_per_pixel == 0:
        needed = bytes_per_pixel(degrader, spec.scale, spec.usual_channels())
        spec = spec.model_copy(update={"bytes_per_pixel": needed})
    with _written(degrader, spec, path) as reloaded:
        _verify(degrader, reloaded, path)
    return replace(reloaded, path=path)


def _verify(degrader: Degrader, reloaded: Checkpoint, path: Path) -> None:
    image = probe_image(reloaded.spec)
    with inference():
        for seed in (0, 1):
            expected, actual = degrader.degrade(image, seed), reloaded.degrader.degrade(image, seed)
            if not bool(torch.isfinite(expected).all()):
                raise FitError(f"{path}: the fitted module gives values that are not finite")
            error = float((expected - actual).abs().max())
            if not error <= VERIFY_TOLERANCE:  # NaN must fail, too
                raise CheckpointError(f"{path}: the exported file differs from the fitted module by {error:.2g}")


@contextlib.contextmanager
def _written(degrader: LoadedDegrader, spec: Spec, path: Path) -> Iterator[Checkpoint]:
    """Write beside ``path`` and yield the file as loaded; move it into place if the body of the context succeeds."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(degrader, spec, partial)
        yield load(partial)
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the checkpoint: {os_reason(error)}") from None
    finally:
        partial.unlink(missing_ok=True)


def rewrite(degrader: LoadedDegrader, spec: Spec, path: Path) -> Checkpoint:
    """Write a loaded degrader with another spec, in one move; return it as loaded again."""
    with _written(degrader, spec, path) as reloaded:
        pass
    return replace(reloaded, path=path)


def write(degrader: LoadedDegrader, spec: Spec, path: Path) -> None:
    """Script a module (a loaded one is scripted already) and write it with its spec, unverified."""
    path.write_bytes(script_bytes(degrader, SPEC_NAME, spec.model_dump_json()))


def load(path: Path, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint, ready to run on ``device``; CheckpointError names what is wrong with the file.

    The file is checked before torch sees it, and its code before any of it runs.
    """
    content = read_file(path)
    digest, members = hashlib.sha256(content).hexdigest(), archive.read(content, path)
    del content  # weights may be large, and torch makes copies of its own
    record = members.extra(SPEC_NAME)
    if record is None:
        raise CheckpointError(f"{path} is TorchScript, but no degsynth checkpoint: it holds no {SPEC_NAME}")
    spec = parse_spec(record, path)
    if device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # its 10-bit mantissa would lose the lower bits of 16-bit images
    rewritten = members.rewritten()
    del members
    module = _module(rewritten, path, device)
    missing = [name for name in CONTRACT if not hasattr(module, name)]
    if missing or module.scale != spec.scale:
        what = f"has no {missing[0]}" if missing else f"is of scale {shortened(str(module.scale))}, not {spec.scale}"
        raise CheckpointError(f"{path}: its module {what}, as its {SPEC_NAME} promises", "export it anew")
    return Checkpoint(module, spec, digest, path)


def _module(content: bytes, path: Path, device: str) -> Any:
    """Return the module of a checked archive as `torch.jit.load` does, once its operators have been checked.

    Torch's own function makes the unit that holds all functions of the file, but does not return it.
    """
    unit = torch._C.CompilationUnit()
    read: Any = torch._C.import_ir_module_from_buffer  # its declared types are wrong
    try:
        loaded = read(unit, content, torch.device(device), {}, False)
        operators.check(unit, path)
        return torch.jit._recursive.wrap_cpp_module(loaded).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, MemoryError) as error:
        if is_out_of_memory(error):
            raise CheckpointError(f"{path}: memory is too short to load it", "free some") from None
        raise archive.not_torchscript(path, str(error)) from None


@contextlib.contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Raise CheckpointError, which names the model, where its code fails, or what it gives cannot be measured."""
    try:
        yield
    except (torch.jit.Error, RuntimeError, ValueError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]  # TorchScript ends with the cause
        raise CheckpointError(
            f"{path}: the model cannot be measured ({shortened(reason)})", "look at it with 'degsynth selftest'"
        ) from None


def copy(checkpoint: Checkpoint, path: Path, overwrite: bool = False) -> None:
    """Copy a checkpoint's file, in one move; CheckpointError where ``path`` exists or cannot be written."""
    check_target(path, overwrite)
    try:
        write_atomic(path, checkpoint.path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {os_reason(error)}") from None


def compiled(checkpoint: Checkpoint, function: str) -> Any:
    """Return torch's graph of a function of a loaded model, e.g. ``clean``, with all functions that it calls inlined.

    Its first input is the module.
    """
    graph = getattr(checkpoint.degrader, function).graph.copy()
    for _ in range(DEEPEST_CALLS):  # of functions that have run without the optimiser, a pass leaves the inner calls
        torch._C._jit_pass_inline(graph)
        if all(graph.findNode(call) is None for call in ("prim::CallFunction", "prim::CallMethod")):
            break
    return graph


def check_target(path: Path, overwrite: bool = False, suffix: str = ".pt") -> None:
    """Raise CheckpointError where a model must not be written to ``path``, whose name is to end in ``suffix``."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the file to write, e.g. {path / f'model{suffix}'}")
    if path.suffix != suffix:
        raise CheckpointError(f"{path}: give a name that ends in {suffix}")
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists", "give another name, or `overwrite`")
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: there is no folder {path.parent}; make it, or give another name")


# --- other networks ---------------------------------------------------------------------------------------------


def script_bytes(module: LoadedDegrader | nn.Module, name: str, record: str) -> bytes:
    """Return a module as a TorchScript file, with a JSON record under a name and the SHA-256 of its members."""
    buffer = io.BytesIO()  # torch's own file writer aborts the process where the disk is full
    with _quiet_jit():
        torch.jit.save(torch.jit.script(module), buffer, _extra_files={name: record})
    archive.add_sums(buffer)
    return buffer.getvalue()


def read_file(path: Path) -> bytes:
    """Return the content of a checkpoint, unchecked; CheckpointError where it cannot be read."""
    try:
        return read_bounded(path, archive.LARGEST_FILE)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {os_reason(error)}") from None


def load_script(content: bytes, name: str, path: Path, device: str = "cpu") -> tuple[nn.Module, str]:
    """Return the network in a file that `script_bytes` has made, and its record, after the checks of `load`.

    CheckpointError, which names ``path``, where it is not TorchScript or has no record under this name.
    """
    members = archive.read(content, path)
    record = members.extra(name)
    if record is None:
        raise CheckpointError(f"{path} holds no {name}", "take a file written by 'degsynth sr train'")
    return _module(members.rewritten(), path, device), record.decode(errors="replace")

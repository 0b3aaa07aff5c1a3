"""From a method that has learnt to the checkpoint that it makes."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any, Protocol

import degsynth
from degsynth.checkpoint import Checkpoint, Spec, load, save
from degsynth.degrader import Degrader
from degsynth.methods import Method
from degsynth.previews import measured_phase


class Images(Protocol):
    """What a spec says of the images that were fitted to."""

    scale: int
    data_range: tuple[float, float] | None


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def spec_of(name: str, method: Method, images: Images, config: dict[str, Any], fingerprint: str | None) -> Spec:
    """What the checkpoint will say of itself, without scores; ``name`` is the method's in the table."""
    facts = method.spec()
    facts["phase"] = facts["phase"] or [(0.0, 0.0)]  # until it is measured
    return Spec(
        degsynth_version=degsynth.__version__,
        method=name,
        scale=images.scale,
        halo=facts["clean_halo"] + images.scale * facts["noise_halo"],
        data_range=images.data_range,
        config=config,
        data_fingerprint=fingerprint,
        **facts,
    )


def as_checkpoint(degrader: Degrader, spec: Spec) -> Checkpoint:
    """A degrader as the checkpoint that it will be, in memory: to be measured and scored before it is written."""
    with tempfile.TemporaryDirectory() as elsewhere:
        path = Path(elsewhere) / "checkpoint.pt"
        save(degrader, spec, path)
        return load(path)


def as_learnt(spec: Spec, method: Method) -> Spec:
    """The spec of a fit's beginning with what training may have changed: whether there is noise, and its halo."""
    now = method.spec()
    changed: dict[str, Any] = {
        name: now[name] for name in ("channels", "noise_halo", "has_noise", "stochastic") if name in now
    }
    changed["halo"] = now["clean_halo"] + spec.scale * now["noise_halo"]
    return spec.model_copy(update=changed)


def with_phase(spec: Spec, method: Method, model: Checkpoint) -> Spec:
    """The spec with the phase that was measured, where the method cannot tell it."""
    known = method.spec()["phase"] is not None
    return spec if known else spec.model_copy(update={"phase": measured_phase(model)})

"""Options of lfl and adl, and which of them go together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from degsynth.errors import ConfigError
from degsynth.methods.shared.discriminator import Adversarial, check_head_start
from degsynth.ops.blind_kernel import Family

PAPER: dict[str, Any] = {
    "generator": "network", "norm": "instance", "export": "network", "start": "random", "spectra": 0.0,
    "discriminator": "paper", "discriminator_width": 64, "discriminator_rate": 5e-5, "discriminator_first": 0,
    "learning_rate": 5e-5, "schedule": "constant", "warmup": 0, "average": 0.0, "batch": 24, "steps": 139_280,
    "beta": 0.9, "noise": "none",
}  # fmt: skip
"""Options as published: 80 epochs of 1 741 steps.

It differs from the paper as follows. The borders of the downsampler are replicated, and its level is kept (see
`nets.downsampler`). Flat patches are drawn again. The best of 20 states by held-out spectra is exported, not the last
one. Eq. 6 uses parts of 256 px of up to 64 images.
"""


class Config(Adversarial):
    """Options that lfl and adl have in common."""

    steps: int = Field(default=1_500, ge=1, le=10**9)
    """Number of batches to learn from."""
    batch: int = Field(default=32, ge=1, le=2**14)
    """Number of HR patches, and of LR patches, in a batch."""
    learning_rate: float = Field(default=2e-2, gt=0, le=1)
    """Largest learning rate of Adam for the downsampler; a kernel's is in standard deviations of its taps."""
    warmup: int = Field(default=0, ge=0, le=10**9)
    """Number of steps over which the learning rate rises from 0."""
    generator: Literal["kernel", "network"] = "kernel"
    """The downsampler: one kernel, or the network of the paper."""
    norm: Literal["none", "instance"] = "none"
    """Normalisation of the network. With instance norm (paper) its output depends on the whole image, so it is never
    applied in tiles."""
    width: int = Field(default=64, ge=1, le=2**12)
    """Number of feature maps of the network."""
    export: Literal["kernel", "network"] = "kernel"
    """What the checkpoint holds if the downsampler is a network: itself, or the kernel that comes nearest to it."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side: even at even scales, odd at odd ones; unset: 20 or 21, or 9 times the scale if that is more."""
    start: Literal["spectral", "bicubic", "average", "random"] = "spectral"
    """Where training begins: at the kernel that `spectral` finds, at a fixed one, or at random weights (paper), which
    only a network can have."""
    family: Family = "auto"
    """Kernels among which `spectral` searches for the start."""
    spectra: float = Field(default=1.0, ge=0)
    """Weight of the misfit of the spectra per frequency; it must be 0 for a network."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the data loss, for levels in [−1, 1]."""
    images: int = Field(default=50, ge=1, le=10**6)
    """Number of HR images from which a network's kernel is retrieved (N of Eq. 6)."""
    filter: Literal["box", "gaussian"] = "box"
    """Low-pass filter of the data loss of lfl."""
    filter_size: int = Field(default=16, ge=2, le=2**12)
    """Size of that filter, LR px: the side of a box, or four standard deviations of a Gaussian."""
    noise: Literal["match", "none"] = "match"
    """Whether synthetic LR gets the noise of the real LR before the discriminator sees it. The checkpoint adds that
    noise in any case."""
    cascade: bool = False
    """At scale 4: learn a downsampler of scale 2 and apply it twice (Eq. 5). This assumes that LR photographs look like
    their own reductions by 2. It was published for scale 4; preset ``paper`` does not use it either."""


def check_options(config: Config, scale: int, name: str) -> None:
    """Raise ConfigError, with the name of the method, where options do not go together."""
    check_head_start(config, name)
    if config.cascade and scale != 4:
        raise ConfigError(f"method {name}: cascade=true applies a downsampler of scale 2 twice; the scale is {scale}")
    if config.generator == "network" and config.spectra > 0:
        raise ConfigError(
            f"method {name}: spectra (={config.spectra:g}) is for generator=kernel; a network needs `spectra=0`"
        )
    if config.generator == "network" and config.start != "random":
        raise ConfigError(f"method {name}: a network can only begin with `start=random`, not {config.start}")
    if config.generator == "kernel" and (config.start == "random" or config.export == "network"):
        option = "start=random" if config.start == "random" else "export=network"
        raise ConfigError(f"method {name}: {option} is for generator=network; generator is kernel")

"""Options of pdm, their presets, and which of them go together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from degsynth.errors import ConfigError
from degsynth.methods.shared.discriminator import Adversarial, check_head_start

Source = Literal["z", "content", "both", "none"]
"""What a kernel follows from: random numbers z, the content of the picture, both, or nothing."""

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "start": "flat", "noise": "network", "kernel_features": 64, "kernel_blocks": 16, "noise_features": 64,
        "noise_blocks": 16, "discriminator": "paper", "discriminator_width": 64, "discriminator_rate": 2e-4,
        "discriminator_first": 0, "learning_rate": 2e-4, "schedule": "constant", "halve_every": 50_000, "warmup": 0,
        "average": 0.0, "steps": 200_000, "beta": 0.9, "anchor": 0.0, "noise_weight": 100.0,
    },
}  # fmt: skip
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "discriminator_first": 0, "imitation": 150, "signed": False}


class Config(Adversarial):
    """Options of `pdm`."""

    steps: int = Field(default=0, ge=0, le=10**9)
    """Number of batches of adversarial refinement."""
    batch: int = Field(default=32, ge=1, le=2**14)
    """Number of HR patches, and of LR patches, in a batch."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Largest learning rate of Adam in refinement, for the networks that draw kernels and noise."""
    warmup: int = Field(default=0, ge=0, le=10**9)
    """Number of steps over which the learning rate rises from 0."""
    start: Literal["estimated", "flat"] = "estimated"
    """Where refinement begins: at what was estimated and taught, or at flat kernels without noise (paper)."""
    imitation: int = Field(default=1_500, ge=1, le=10**9)
    """Number of steps in which each network is taught what was estimated."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side: even at even scales, odd at odd ones; unset: 20 or 21, or 9 times the scale if that is more; with
    start=flat 20 or 21."""
    numbers: int = Field(default=64, ge=4, le=2**14)
    """Length of z_k, the random numbers from which a kernel is made."""
    kernel_features: int = Field(default=64, ge=1, le=2**12)
    """Number of features of netK, the network that makes kernels."""
    kernel_blocks: int = Field(default=4, ge=0, le=2**10)
    """Number of residual blocks of netK."""
    signed: bool | Literal["auto"] = "auto"
    """Whether taps may be negative, and all kernels have the form of that of `spectral` (true), or are Gaussians
    (false); auto: true where Gaussians do not explain the spectra and that form does."""
    spatial: Literal["none", "independent", "correlated"] = "none"
    """Whether every pixel has its own kernel: no (none); yes, from its own random numbers (independent); or yes, from
    those of its neighbours as well (correlated)."""
    kernel_from: Source = "z"
    """What the kernel follows from: random numbers (z); the picture (content, only with ``spatial``); both; or nothing
    (none), so that there is one kernel for all images."""
    noise: Literal["grain", "network", "none"] = "grain"
    """The noise: measured noise whose strength follows the level (grain), noise from a network (network), or none."""
    noise_from: Literal["both", "z", "content"] = "both"
    """What the noise follows from: random numbers and the picture (both); random numbers alone (z), which makes grain
    equally strong at all levels; or the picture alone (content), which only a network can do."""
    noise_numbers: int = Field(default=3, ge=3, le=2**14)
    """Number of planes of z_n, the random numbers from which a network makes noise."""
    noise_features: int = Field(default=32, ge=1, le=2**12)
    """Number of features of netN, the network that makes noise."""
    noise_blocks: int = Field(default=4, ge=0, le=2**10)
    """Number of residual blocks of netN."""
    noise_weight: float = Field(default=0.0, ge=0)
    """Weight λ, in refinement, of the mean square of the noise that a network draws. It pulls the noise towards 0."""
    anchor: float = Field(default=0.1, ge=0)
    """Weight, in refinement, of the error with which the networks imitate what was estimated."""
    discriminator_first: int = Field(default=80, ge=0, le=10**6)
    """Number of steps at the beginning in which only the discriminator learns."""


def check_options(config: Config) -> None:
    """Raise ConfigError where options do not go together."""
    check_head_start(config, "pdm")
    if config.start == "flat" and config.steps == 0:
        raise ConfigError("method pdm: with start=flat the model learns in refinement only; give it `steps=`")
    if config.minutes is not None and config.steps == 0:
        raise ConfigError(f"method pdm: minutes (={config.minutes:g}) limits refinement; give `steps=` for it, too")
    if config.start == "flat" and config.noise == "grain":
        raise ConfigError(
            "method pdm: noise=grain is estimated, but start=flat estimates nothing; use `noise=network` or "
            "`noise=none`"
        )
    if config.start == "flat" and config.anchor > 0:
        raise ConfigError(
            f"method pdm: anchor (={config.anchor:g}) holds the networks near what was estimated, but start=flat "
            "estimates nothing; give `anchor=0`"
        )
    if config.kernel_from in ("content", "both") and config.spatial == "none":
        raise ConfigError(
            f"method pdm: kernel_from={config.kernel_from} makes a kernel for every pixel; give `spatial=independent` "
            "or `spatial=correlated`"
        )
    if config.kernel_from == "none" and config.spatial != "none":
        raise ConfigError(
            f"method pdm: kernel_from=none is one kernel for all, spatial={config.spatial} is one for every pixel; "
            "give one of the two"
        )
    if config.noise == "grain" and config.noise_from == "content":
        raise ConfigError("method pdm: noise_from=content needs noise=network, because noise=grain is random")

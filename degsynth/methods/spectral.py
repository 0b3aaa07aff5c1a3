"""spectral: one blur kernel and a noise level from the power spectra of two unrelated folders. Unpaired; our own.

Two sets of photographs of like scenes differ, on average, by the blur, the decimation and the noise between them
(`ops.spectra` says how, and what else they differ by). The kernel is looked for in a family::

    box       pixel aperture (s×s HR px) ∗ Gaussian      the physical one: sensor and optics
    gaussian  Gaussian                                   (all Gaussians have any width, ratio and direction)
    bicubic   antialiased bicubic ∗ Gaussian             resized afterwards
    disk      disk ∗ Gaussian                            a lens out of focus
    radial    any function of frequency, stretched       17 knots; a phone's sharpening is in it
    auto      the first of these, or else taps of their own, that none of the others beats beyond doubt

Few parameters are well determined by few images, but may not hold the truth: sharpening by a phone, the flat top of a
good lens. Many hold it but follow the accident. ``auto`` asks the spectra (`ops.blind_kernel`). A plain family that
does not explain them gives the kernel that makes LR nearest to that of ``auto``.

A spectrum knows no phase: the kernel is centred and has the shift and the handedness that the family has.

There is no publication; preset ``paper`` is a plain anisotropic Gaussian, what the field fits to spectra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from torch import Tensor

from degsynth.config import Strict
from degsynth.errors import FitError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data, Unpaired
from degsynth.methods.shared.unpaired_optics import KernelOptics
from degsynth.methods.shared.unpaired_sets import Sets, kernel_facts, taps_per_side
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.ops.blind_kernel import Estimate, Family, estimate
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid


class Config(Strict):
    """Options of `spectral`."""

    family: Family = "box"
    """Among which kernels to look: box, gaussian, bicubic, disk, radial or auto."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side, even at even scales, odd at odd ones; unset: 20, 21, or 10 times the scale if that is more."""


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"family": "gaussian"}}
QUICK: dict[str, Any] = {}


@dataclass(frozen=True)
class Fit:
    """What the two folders tell."""

    sets: Sets
    estimate: Estimate
    """The kernel, its family, and the noise floor of the spectra."""
    noise: Tensor | None
    """Covariance (C, C) of the noise that the model adds; None where it adds none."""


class Method(protocol.Method):
    """`degsynth.methods.Method` for spectral."""

    data: Data = "unpaired"

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Check the options; nothing of this method is random."""
        self.config, self.scale, self.channels = config, scale, channels
        self.kernel_size = taps_per_side(config.kernel_size, scale, "spectral")
        self._fit: Fit | None = None

    def prepare(self, images: Unpaired) -> None:
        """Take the spectra of both sides, and estimate the kernel."""
        sets = Sets(images, self.scale, "spectral")
        try:
            estimated = estimate(sets.spectra, self.config.family, self.kernel_size)
        except ValueError as error:
            raise FitError(f"spectral: {error}") from None
        noise = sets.noise(estimated.kernel)
        self._fit = Fit(sets, estimated, noise if bool(noise.any()) else None)

    @property
    def fit(self) -> Fit:
        """What `prepare` found."""
        assert self._fit is not None, "prepare() comes first"
        return self._fit

    def degrader(self) -> Degrader:
        """Return the kernel, and white noise where the LR images have some."""
        optics = KernelOptics(self.fit.estimate.kernel, self.scale, self.fit.noise)
        return Degrader(optics, self.scale, channels=None if self.fit.noise is None else [self.channels])

    def spec(self) -> MethodSpec:
        """Return a centred kernel with exact tiles, and noise where there is some."""
        noisy = self.fit.noise is not None
        return MethodSpec(
            channels=[self.channels] if noisy else "any",
            clean_halo=half_width(self.kernel_size, self.scale),
            multiple_of=self.scale,
            stochastic=noisy,
            has_noise=noisy,
            phase=(centroid(self.fit.estimate.kernel),),
        )

    def report(self) -> dict[str, Any]:
        """Return the kernel, and how well it explains the spectra."""
        estimated = self.fit.estimate
        return {
            "family": estimated.family,
            "family_plausible": estimated.plausible,
            **kernel_facts(estimated.kernel),
            **self.fit.sets.report(estimated.kernel, estimated.floor),
        }

    def warnings(self) -> list[str]:
        """Warn where the folders differ in content, and where no kernel of the family explains the spectra."""
        warnings = self.fit.sets.warnings(self.fit.estimate.kernel)
        if not self.fit.estimate.plausible:
            hint = (
                "the two folders differ in more than blur and noise"
                if self.config.family == "auto"
                else f"`family=auto` looks beyond {self.config.family}, and fit --method adl refines that"
            )
            warnings.append(f"no kernel of this family explains the spectra: {hint}")
        return warnings

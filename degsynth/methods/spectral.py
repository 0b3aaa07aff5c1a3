"""spectral: one blur kernel and a noise level from the power spectra of two unrelated folders. Unpaired, unpublished.

Two sets of photographs of similar scenes differ, on average, by the blur, the decimation and the noise between them
(`ops.spectra` says how, and in what else they differ). The kernel is searched for in a family::

    box       pixel aperture (s×s HR px) ∗ Gaussian      sensor and optics
    gaussian  Gaussian                                   (all Gaussians have any width, ratio and direction)
    bicubic   antialiased bicubic ∗ Gaussian             images that were resized afterwards
    disk      disk ∗ Gaussian                            a lens out of focus
    radial    any function of frequency, stretched       17 knots; it can express the sharpening of a phone
    auto      the first of these that no other one beats beyond doubt; or free taps, where these beat all of them

A family with few parameters is well determined by few images, but may not contain the true kernel, such as that of a
phone that sharpens, or the flat top of a good lens. A family with many parameters contains it, but follows chance.
``auto`` lets the spectra decide (`ops.blind_kernel`). If a plain family does not explain the spectra, the result is its
kernel whose LR is nearest to the LR of ``auto``.

Power spectra show no phase: the kernel is centred, and it is as symmetric as its family.

As there is no publication, preset ``paper`` is a plain anisotropic Gaussian, which is usual for fits to spectra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from degsynth.config import Strict
from degsynth.errors import FitError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data, Unpaired
from degsynth.methods.shared.measured_noise import Parts, measured_noise, noise_report, noise_warnings
from degsynth.methods.shared.unpaired_optics import KernelOptics
from degsynth.methods.shared.unpaired_sets import Sets, kernel_facts, taps_per_side
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.ops.blind_kernel import Estimate, Family, estimate
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid


class Config(Strict):
    """Options of `spectral`."""

    family: Family = "auto"
    """Family of kernels to search: box, gaussian, bicubic, disk, radial or auto."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side: even at even scales, odd at odd ones; unset: 20 or 21, or 9 times the scale if that is more."""


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"family": "gaussian"}}
QUICK: dict[str, Any] = {}


@dataclass(frozen=True)
class Fit:
    """What `prepare` found in the two folders."""

    sets: Sets
    estimate: Estimate
    """The kernel, its family, and the noise floor of the spectra."""
    noise: Parts | None
    """The noise that the model adds; None where it adds none."""


class Method(protocol.Method):
    """The method `spectral`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "unpaired"

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Check the options; ConfigError for a kernel size that does not suit the scale. Nothing is random."""
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
        noise = measured_noise(images, sets, estimated.kernel)
        self._fit = Fit(sets, estimated, None if noise is None else Parts.of(noise))

    @property
    def fit(self) -> Fit:
        """What `prepare` found."""
        assert self._fit is not None, "prepare() comes first"
        return self._fit

    def degrader(self) -> Degrader:
        """Return the kernel, and noise where the LR images have some, as a checkpoint module."""
        optics = KernelOptics(self.fit.estimate.kernel, self.scale, self.fit.noise)
        return Degrader(optics, self.scale, channels=None if self.fit.noise is None else [self.channels])

    def spec(self) -> MethodSpec:
        """Describe the model: tiles are exact, the kernel is centred, and there is noise if the LR images have some."""
        noisy = self.fit.noise is not None
        return MethodSpec(
            channels=[self.channels] if noisy else "any",
            clean_halo=half_width(self.kernel_size, self.scale),
            noise_halo=0 if self.fit.noise is None else self.fit.noise.reach(),
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
            **noise_report(self.fit.noise),
        }

    def warnings(self) -> list[str]:
        """Warn where contents differ, noise is drawn white for want of more, or no kernel explains the spectra."""
        warnings = self.fit.sets.warnings(self.fit.estimate.kernel) + noise_warnings(self.fit.noise)
        if not self.fit.estimate.plausible:
            hint = (
                "the two folders differ in more than blur and noise"
                if self.config.family == "auto"
                else f"`family=auto` also searches beyond {self.config.family}, and `method=adl` refines its kernel"
            )
            warnings.append(f"no kernel of this family explains the spectra: {hint}")
        return warnings

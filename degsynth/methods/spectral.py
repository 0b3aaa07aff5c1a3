"""spectral: one blur kernel and a noise level from the power spectra of two unrelated folders. Unpaired; our own.

Two sets of photographs of like scenes differ, on average, by the blur, the decimation and the noise between them
(`ops.spectra` says how, and what else they differ by). The kernel is looked for in a family::

    box       pixel aperture (s×s HR px) ∗ Gaussian      the physical one: sensor and optics
    gaussian  Gaussian                                   (all Gaussians have any width, ratio and direction)
    bicubic   antialiased bicubic ∗ Gaussian             resized afterwards
    radial    any function of frequency, stretched       17 knots; sharpening and defocus are in it
    auto      the best of the first three; and where even that would be a rare accident (1 %), taps of their own

Few parameters are well determined by few images, but may not hold the truth: sharpening by a phone, the flat top of a
good lens. Many hold it but follow the accident. ``auto`` asks the spectra: only where no family explains them within
what scenes scatter by do the taps leave the family, each about as far as 0.3 of the highest, and near the centre.

A spectrum knows no phase: the kernel is centred and has the shift and the handedness that the family has.

There is no publication; preset ``paper`` is a plain anisotropic Gaussian, what the field fits to spectra.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from degsynth.config import Strict
from degsynth.degrader import Degrader
from degsynth.errors import ConfigError, FitError
from degsynth.methods.unpaired_optics import KernelOptics
from degsynth.ops.blind_kernel import Family, estimate
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid, gaussian_sigma, second_moment
from degsynth.ops.noise_level import luma_variance
from degsynth.ops.resample import area, luma
from degsynth.ops.spectra import Spectra

COARSE = 4
"""Contents are compared after so much averaging, LR px: a blur of some HR px is then nothing."""
STRANGE_CONTENT = 1.4
"""From this distance on, the folders' contents are called different."""
BRIGHTNESS_WARNING = 0.08
"""Difference of the folders' mean levels that a user is told of."""


class Config(Strict):
    """Options of `spectral`."""

    family: Family = "box"
    """Among which kernels to look: box, gaussian, bicubic, radial or auto."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side, even at even scales, odd at odd ones; unset: 20, 21, or 10 times the scale if that is more."""


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"family": "gaussian"}}


def taps_per_side(kernel_size: int | None, scale: int, method: str) -> int:
    """The option, checked, or what suits the scale."""
    size = kernel_size or max(20 + scale % 2, 10 * scale + (scale % 2 if scale > 2 else 0))
    size = size if (size - scale) % 2 == 0 or kernel_size else size + 1
    try:
        half_width(size, scale)
    except ValueError as error:
        raise ConfigError(f"method {method}: kernel_size: {error}") from None
    return size


class Sets:
    """Two sets of images as unpaired methods look at them: spectra of luma, noise, mean colours."""

    def __init__(self, hr: Iterable[Tensor], lr: Iterable[Tensor], noise: Tensor, scale: int, method: str) -> None:
        """Take images (C, H, W) in [0, 1], and the covariance (C, C) of the LR's noise.

        FitError where they are too few, too small or flat.
        """
        self.means: dict[str, list[Tensor]] = {"hr": [], "lr": []}
        self.coarse: dict[str, list[Tensor]] = {"hr": [], "lr": []}
        self.scale, self.noise = scale, noise
        try:
            self.spectra = Spectra(self._gray(hr, "hr"), self._gray(lr, "lr"), scale)
        except ValueError as error:
            raise FitError(f"{method}: {error}") from None

    def to_cpu(self) -> Sets:
        """Bring the spectra back from where training had them."""
        self.spectra.to("cpu")
        return self

    def _gray(self, images: Iterable[Tensor], side: str) -> Iterable[Tensor]:
        for image in images:
            self.means[side].append(image.double().mean((1, 2)))
            gray = luma(image)
            self.coarse[side].append(area(gray[None], COARSE * (self.scale if side == "hr" else 1))[0, 0])
            yield gray[0]

    def content_distance(self) -> float | None:
        """How far the two sets' scenes are apart where blur has no say: at a quarter of the LR's size.

        Root mean square, 1 being what scenes of one kind scatter by; None where images are too small to tell.
        """
        try:
            spectra = Spectra(self.coarse["hr"], self.coarse["lr"], 1)
        except ValueError:
            return None
        return spectra.least_distance(spectra.of_kernel(torch.ones(1, 1, dtype=torch.float64)))

    def report(self, kernel: Tensor, floor: float) -> dict[str, Any]:
        """How well a kernel explains the spectra, and what the sets differ by besides."""
        content = self.spectra.content(self.spectra.of_kernel(kernel), floor)
        names = ("contrast", "slope", "bend", "direction_0", "direction_45", "direction_4")
        return {
            "images": list(self.spectra.counts),
            "spectral_distance": self.spectra.distance(
                float(self.spectra.misfit(self.spectra.of_kernel(kernel), floor))
            ),
            "content_distance": self.content_distance(),
            "content_difference_sigmas": dict(zip(names, content.tolist(), strict=False)),
            "mean_level_hr": torch.stack(self.means["hr"]).mean(0).tolist(),
            "mean_level_lr": torch.stack(self.means["lr"]).mean(0).tolist(),
            "floor_sigma_255": 255 * math.sqrt(floor),
            "noise_sigma_255": [255 * math.sqrt(max(0.0, float(v))) for v in self.noise.diagonal()],
            "noise_sigma_y_255": 255 * math.sqrt(max(0.0, luma_variance(self.noise))),
        }

    def warnings(self) -> list[str]:
        """That the two sets show different things, which no unpaired method can see through."""
        found = []
        distance = self.content_distance()
        if distance is not None and distance > STRANGE_CONTENT:
            found.append(
                f"the HR and LR folders differ in content: their coarse spectra are {distance:.1f} times as far apart "
                "as those of like scenes; what differs is taken for blur, give images of the same kind on both sides"
            )
        hr, lr = (torch.stack(self.means[side]) for side in ("hr", "lr"))
        apart = float((hr.mean(0) - lr.mean(0)).abs().max())
        if apart > BRIGHTNESS_WARNING:
            found.append(
                f"the HR and LR folders differ in brightness or colour by {255 * apart:.0f}/255 on average: "
                "what is learnt keeps the colours of HR"
            )
        return found


def kernel_facts(kernel: Tensor) -> dict[str, Any]:
    """Width and place of a kernel, for a report."""
    vy, vx = second_moment(kernel)
    at = torch.arange(kernel.shape[-1], dtype=torch.float64) - (kernel.shape[-1] - 1) / 2
    y, x = centroid(kernel)
    across = float(((at - y)[:, None] * (at - x)[None, :] * kernel.double()).sum())
    middle, half = (vy + vx) / 2, math.hypot((vx - vy) / 2, across)
    return {
        "kernel_size": kernel.shape[-1],
        "centroid_px": [y, x],
        "sigma_px": list(gaussian_sigma(kernel)),
        "sigma_axes_px": [math.sqrt(v) if v > 0 else None for v in (middle + half, middle - half)],
        "angle_deg": math.degrees(0.5 * math.atan2(-2 * across, vx - vy)) % 180,
        "negative_mass": float(-kernel.clamp(max=0).sum()),
    }


class Method:
    """`degsynth.methods.Method` for spectral."""

    paired = False

    def __init__(self, config: Config, scale: int, channels: int) -> None:
        self.config, self.scale, self.channels = config, scale, channels
        self.kernel_size = taps_per_side(config.kernel_size, scale, "spectral")

    def prepare(self, images: tuple[Sequence[Tensor], Sequence[Tensor], Tensor]) -> None:
        """Take the spectra of both sides, and find the kernel."""
        self.sets = Sets(*images, self.scale, "spectral")
        try:
            self.found = estimate(self.sets.spectra, self.config.family, self.kernel_size)
        except ValueError as error:
            raise FitError(f"spectral: {error}") from None

    def degrader(self) -> Degrader:
        """The kernel, and white noise where the LR images have some."""
        noise = self.sets.noise if bool(self.sets.noise.any()) else None
        optics = KernelOptics(self.found.kernel, self.scale, noise)
        return Degrader(optics, self.scale, channels=None if noise is None else [self.channels])

    def spec(self) -> dict[str, Any]:
        """Exact tiles; centred; noise where there is some."""
        noisy = bool(self.sets.noise.any())
        return {
            "channels": [self.channels] if noisy else "any",
            "clean_halo": half_width(self.kernel_size, self.scale),
            "noise_halo": 0,
            "multiple_of": self.scale,
            "stochastic": noisy,
            "has_noise": noisy,
            "phase": [centroid(self.found.kernel)],
        }

    def report(self) -> dict[str, Any]:
        """The kernel, and how well it explains the spectra."""
        return {
            "family": self.found.family,
            "family_plausible": self.found.plausible,
            **kernel_facts(self.found.kernel),
            **self.sets.report(self.found.kernel, self.found.floor),
        }

    def warnings(self) -> list[str]:
        """Different contents; a family that does not hold the kernel."""
        found = self.sets.warnings()
        if not self.found.plausible:
            way = (
                "the two folders differ in more than blur and noise"
                if self.config.family == "auto"
                else f"--set family=auto looks beyond {self.config.family}, and fit --method adl refines that"
            )
            found.append(f"no kernel of this family explains the spectra: {way}")
        return found

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

import math
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from degsynth.config import Strict
from degsynth.errors import ConfigError, FitError
from degsynth.methods import Data, Unpaired
from degsynth.methods.shared.unpaired_optics import KernelOptics
from degsynth.model.degrader import Degrader
from degsynth.ops.blind_kernel import Family, estimate
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid, gaussian_shape, gaussian_sigma, transfer
from degsynth.ops.noise_level import beyond, noise_covariance
from degsynth.ops.resample import area, luma
from degsynth.ops.spectra import CONTENT, Spectra

COARSE = 4
"""Contents are compared after so much averaging, LR px: a blur of some HR px is then nothing."""
STRANGE_CONTENT = 1.4
"""From this distance on, the folders' contents are called different."""
BRIGHTNESS_WARNING = 0.08
"""Difference of the folders' mean levels that a user is told of."""


class Config(Strict):
    """Options of `spectral`."""

    family: Family = "box"
    """Among which kernels to look: box, gaussian, bicubic, disk, radial or auto."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side, even at even scales, odd at odd ones; unset: 20, 21, or 10 times the scale if that is more."""


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"family": "gaussian"}}


def taps_per_side(kernel_size: int | None, scale: int, method: str) -> int:
    """The option, checked, or what suits the scale."""
    size = kernel_size or max(20, 10 * scale)
    size += 0 if kernel_size else (size - scale) % 2
    try:
        half_width(size, scale)
    except ValueError as error:
        raise ConfigError(f"method {method}: kernel_size: {error}") from None
    return size


class Sets:
    """Two sets of images as unpaired methods look at them: spectra of luma, noise, mean colours."""

    def __init__(self, images: Unpaired, scale: int, method: str) -> None:
        """Look at all images once. FitError where they are too few, too small or flat."""
        self.means: dict[str, list[Tensor]] = {"hr": [], "lr": []}
        self.coarse: dict[str, list[Tensor]] = {"hr": [], "lr": []}
        self.scale, self.lr_noise, self.lr_noise_left = scale, images.noise, images.noise_left
        self.hr_noise = noise_covariance(images.hr)
        try:
            self.spectra = Spectra(self._gray(images.hr, "hr"), self._gray(images.lr, "lr"), scale)
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

    def noise(self, kernel: Tensor) -> Tensor:
        """Covariance (C, C) of the noise that LR photographs have besides what blur with a kernel leaves of HR's.

        Here and below, of several kernels (N, K, K) the mean power counts.
        """
        return beyond(self.lr_noise, self.hr_noise, kernel.square().sum((-2, -1)).mean().sqrt())

    def noise_left(self, kernel: Tensor) -> Tensor:
        """The same, of the LR images as they are trained on."""
        return beyond(self.lr_noise_left, self.hr_noise, kernel)

    def content_distance(self, kernel: Tensor) -> float | None:
        """How far the two sets' scenes are apart where blur has hardly a say: at a quarter of the LR's size.

        Root mean square, 1 being what scenes of one kind scatter by; None where images are too small to tell. What
        blur with the kernel does there is allowed for.
        """
        try:
            coarse = Spectra(self.coarse["hr"], self.coarse["lr"], 1)
        except ValueError:
            return None
        frequency = torch.fft.fftfreq(coarse.side, dtype=torch.float64) / (COARSE * self.scale)
        passed = torch.stack([transfer(one, frequency).abs().square() for one in _each(kernel)]).mean(0)
        return coarse.least_distance(coarse.bins(coarse.hr_power * passed))

    def report(self, kernel: Tensor, floor: float) -> dict[str, Any]:
        """How well a kernel explains the spectra, and what the sets differ by besides."""
        made = torch.stack([self.spectra.of_kernel(one) for one in _each(kernel)]).mean(0)
        content = self.spectra.content(made, floor)
        return {
            "images": list(self.spectra.counts),
            "spectral_distance": self.spectra.least_distance(made),
            "content_distance": self.content_distance(kernel),
            "content_difference_sigmas": dict(zip(CONTENT, content.tolist(), strict=True)),
            "mean_level_hr": torch.stack(self.means["hr"]).mean(0).tolist(),
            "mean_level_lr": torch.stack(self.means["lr"]).mean(0).tolist(),
            "floor_sigma_255": 255 * math.sqrt(floor),
            "noise_sigma_255": sigmas(self.noise(kernel)),
            "noise_sigma_hr_255": sigmas(self.hr_noise),
            "noise_sigma_lr_255": sigmas(self.lr_noise),
        }

    def warnings(self, kernel: Tensor) -> list[str]:
        """That the two sets show different things, which no unpaired method can see through."""
        found = []
        distance = self.content_distance(kernel)
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


def _each(kernel: Tensor) -> Tensor:
    """One kernel or several, (N, K, K)."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def sigmas(covariance: Tensor) -> list[float]:
    """Standard deviation of each channel, 8-bit levels."""
    return [255 * math.sqrt(max(0.0, float(variance))) for variance in covariance.diagonal()]


def kernel_facts(kernel: Tensor) -> dict[str, Any]:
    """Width and place of a kernel, for a report."""
    along, across, angle = gaussian_shape(kernel)
    return {
        "kernel_size": kernel.shape[-1],
        "centroid_px": list(centroid(kernel)),
        "sigma_px": list(gaussian_sigma(kernel)),
        "sigma_axes_px": [along, across],
        "angle_deg": math.degrees(angle),
        "negative_mass": float(-kernel.clamp(max=0).sum()),
    }


class Method:
    """`degsynth.methods.Method` for spectral."""

    data: Data = "unpaired"

    def __init__(self, config: Config, scale: int, channels: int) -> None:
        self.config, self.scale, self.channels = config, scale, channels
        self.kernel_size = taps_per_side(config.kernel_size, scale, "spectral")

    def prepare(self, images: Unpaired) -> None:
        """Take the spectra of both sides, and find the kernel."""
        self.sets = Sets(images, self.scale, "spectral")
        try:
            self.found = estimate(self.sets.spectra, self.config.family, self.kernel_size)
        except ValueError as error:
            raise FitError(f"spectral: {error}") from None
        noise = self.sets.noise(self.found.kernel)
        self.noise = noise if bool(noise.any()) else None

    def degrader(self) -> Degrader:
        """The kernel, and white noise where the LR images have some."""
        optics = KernelOptics(self.found.kernel, self.scale, self.noise)
        return Degrader(optics, self.scale, channels=None if self.noise is None else [self.channels])

    def spec(self) -> dict[str, Any]:
        """Exact tiles; centred; noise where there is some."""
        noisy = self.noise is not None
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
        found = self.sets.warnings(self.found.kernel)
        if not self.found.plausible:
            way = (
                "the two folders differ in more than blur and noise"
                if self.config.family == "auto"
                else f"--set family=auto looks beyond {self.config.family}, and fit --method adl refines that"
            )
            found.append(f"no kernel of this family explains the spectra: {way}")
        return found

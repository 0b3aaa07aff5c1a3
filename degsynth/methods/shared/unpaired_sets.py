"""Two sets of images as unpaired methods look at them: power spectra of luma, noise, mean colours.

Every unpaired method takes these figures of both folders, reports them, and warns where the folders differ in content.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from degsynth.errors import ConfigError, FitError
from degsynth.methods.protocol import Unpaired
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

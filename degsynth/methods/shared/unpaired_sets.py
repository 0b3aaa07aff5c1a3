"""Statistics of the HR and LR images of an unpaired method: power spectra of luma, noise, mean levels.

Every unpaired method takes these statistics of both folders, reports them, and warns where the folders differ in
content.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from degsynth.errors import ConfigError, FitError
from degsynth.methods.protocol import Unpaired
from degsynth.model.tone import Tone
from degsynth.ops.blur import half_width
from degsynth.ops.kernels import centroid, gaussian_shape, gaussian_sigma, transfer_function
from degsynth.ops.noise_level import noise_covariance, noise_excess
from degsynth.ops.resample import area, luma
from degsynth.ops.spectra import CONTENT, Spectra

COARSE = 4
"""Factor by which LR images are reduced before their contents are compared: a blur of a few HR px then hardly shows."""
CONTENT_WARNING = 1.4
"""A content distance above this causes a warning."""
BRIGHTNESS_WARNING = 0.08
"""A difference of the folders' mean levels above this, in [0, 1], causes a warning."""


def taps_per_side(kernel_size: int | None, scale: int, method: str) -> int:
    """Return the option ``kernel_size`` after checking it, or the default at this scale if it is None.

    ConfigError, with the name of the method, where a kernel of that size cannot be centred.
    """
    size = kernel_size or max(20, 9 * scale)
    size += 0 if kernel_size else (size - scale) % 2
    try:
        half_width(size, scale)
    except ValueError as error:
        raise ConfigError(f"method {method}: kernel_size: {error}") from None
    return size


class Sets:
    """Statistics of the set of HR images and the set of LR images: spectra of luma in light, noise, mean levels."""

    def __init__(self, images: Unpaired, scale: int, method: str) -> None:
        """Measure all images. The HR images are decoded twice, the LR images once.

        FitError, with the name of the method, where they are too few, too small or flat.
        """
        self.means: dict[str, list[Tensor]] = {"hr": [], "lr": []}
        self.coarse: dict[str, list[Tensor]] = {"hr": [], "lr": []}
        self.scale, self.lr_noise, self.lr_noise_left = scale, images.noise, images.noise_left
        self.hr_noise = noise_covariance(images.hr)
        try:
            sides = ((images.hr, "hr"), (images.lr, "lr"))
            hr, lr = (self._gray(of_side, side, images.tone) for of_side, side in sides)
            self.spectra = Spectra(hr, lr, scale)
        except ValueError as error:
            raise FitError(f"{method}: {error}") from None

    def to_cpu(self) -> Sets:
        """Move the spectra back to the CPU from the device of the training; return the same object."""
        self.spectra.to("cpu")
        return self

    def _gray(self, images: Iterable[Tensor], side: str, tone: Tone) -> Iterable[Tensor]:
        """Iterate over the luma (h, w) of images in light, and keep the mean level and the reduced luma of each."""
        for image in images:
            self.means[side].append(image.double().mean((1, 2)))
            gray = luma(tone.to_light(image))
            self.coarse[side].append(area(gray[None], COARSE * (self.scale if side == "hr" else 1))[0, 0])
            yield gray[0]

    def noise(self, kernel: Tensor) -> Tensor:
        """Return the covariance (C, C) of the LR photographs' noise that does not come from the HR images' noise.

        The kernel (K, K) says how much of the HR noise is left after blurring. Here and below, if there are several
        kernels (N, K, K), their mean power is used.
        """
        return noise_excess(self.lr_noise, self.hr_noise, kernel.square().sum((-2, -1)).mean().sqrt())

    def noise_left(self, kernel: Tensor) -> Tensor:
        """Return the same as `noise` for the LR images that the method is trained on, which may have been denoised."""
        return noise_excess(self.lr_noise_left, self.hr_noise, kernel)

    def content_distance(self, kernel: Tensor) -> float | None:
        """Return the distance of the two sets' contents, measured at a quarter of the LR's size.

        It is a root mean square whose unit is the variation between scenes of one kind. What blurring with the kernel
        does at that size is allowed for. The result is None where images are too small to be measured.
        """
        try:
            coarse = Spectra(self.coarse["hr"], self.coarse["lr"], 1)
        except ValueError:
            return None
        frequency = torch.fft.fftfreq(coarse.side, dtype=torch.float64) / (COARSE * self.scale)
        powers = [transfer_function(single, frequency).abs().square() for single in _as_batch(kernel)]
        return coarse.least_distance(coarse.bins(coarse.hr_power * torch.stack(powers).mean(0)))

    def report(self, kernel: Tensor, floor: float) -> dict[str, Any]:
        """Return how well a kernel explains the spectra, and in what else the two sets differ.

        ``floor`` is the variance of white noise in the LR's luma that was fitted together with the kernel.
        """
        blurred = torch.stack([self.spectra.of_kernel(single) for single in _as_batch(kernel)]).mean(0)
        content = self.spectra.content(blurred, floor)
        return {
            "images": list(self.spectra.counts),
            "spectral_distance": self.spectra.least_distance(blurred),
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
        """Warn where the two sets differ in content, brightness or colour, which no unpaired method can allow for."""
        warnings = []
        distance = self.content_distance(kernel)
        if distance is not None and distance > CONTENT_WARNING:
            warnings.append(
                f"the HR and LR folders differ in content: their coarse spectra are {distance:.1f} times as far apart "
                "as those of similar scenes, and the difference is taken for blur; give images of the same kind on "
                "both sides"
            )
        hr, lr = (torch.stack(self.means[side]) for side in ("hr", "lr"))
        difference = float((hr.mean(0) - lr.mean(0)).abs().max())
        if difference > BRIGHTNESS_WARNING:
            warnings.append(
                f"the HR and LR folders differ in brightness or colour by {255 * difference:.0f}/255 on average: "
                "the model keeps the colours of HR"
            )
        return warnings


def _as_batch(kernel: Tensor) -> Tensor:
    """Return one kernel (K, K), or several, as a batch (N, K, K)."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def sigmas(covariance: Tensor) -> list[float]:
    """Return the standard deviation of each channel, in 8-bit levels, from a covariance (C, C)."""
    return [255 * math.sqrt(max(0.0, float(variance))) for variance in covariance.diagonal()]


def kernel_facts(kernel: Tensor) -> dict[str, Any]:
    """Return the size, width and position of a kernel (K, K) for a report."""
    along, across, angle = gaussian_shape(kernel)
    return {
        "kernel_size": kernel.shape[-1],
        "centroid_px": list(centroid(kernel)),
        "sigma_px": list(gaussian_sigma(kernel)),
        "sigma_axes_px": [along, across],
        "angle_deg": math.degrees(angle),
        "negative_mass": float(-kernel.clamp(max=0).sum()),
    }

"""Denoising of LR photographs, for methods that do not model noise."""

from __future__ import annotations

import cv2
import numpy as np

from degsynth.data.images import Image
from degsynth.errors import ConfigError

STRENGTH = 1.0
"""Filter strength h, in standard deviations of the noise: a smaller one leaves noise, a larger one removes texture."""


def non_local_means(image: Image, sigma: float) -> Image:
    """Remove noise of ``sigma`` 8-bit levels by OpenCV's non-local means; ConfigError unless the image is uint8."""
    if image.pixels.dtype != np.uint8:
        raise ConfigError(f"`lr_denoise=nlm` takes 8-bit images, not {image.pixels.dtype}", "use `lr_denoise=none`")
    if image.channels == 1:
        denoised = cv2.fastNlMeansDenoising(image.pixels[..., 0], None, STRENGTH * sigma)[..., None]
    else:
        bgr = np.ascontiguousarray(image.pixels[..., ::-1])  # OpenCV expects BGR
        denoised = cv2.fastNlMeansDenoisingColored(bgr, None, STRENGTH * sigma, STRENGTH * sigma)
        denoised = np.ascontiguousarray(denoised[..., ::-1])
    return Image(denoised, image.alpha, image.remade)

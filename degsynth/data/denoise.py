"""LR photographs with their noise taken off, where a method cannot model it."""

from __future__ import annotations

import cv2
import numpy as np

from degsynth.data.images import Image
from degsynth.errors import ConfigError

STRENGTH = 1.0
"""Filter strength h, in standard deviations of the noise: less leaves noise, more takes texture for it."""


def non_local_means(image: Image, sigma: float) -> Image:
    """OpenCV's non-local means for a noise of ``sigma`` 8-bit levels; ConfigError where the image has not 8 bits."""
    if image.pixels.dtype != np.uint8:
        raise ConfigError(f"--lr-denoise nlm takes 8-bit images, not {image.pixels.dtype}; use none")
    if image.channels == 1:
        cleaned = cv2.fastNlMeansDenoising(image.pixels[..., 0], None, STRENGTH * sigma)[..., None]
    else:
        reverse = np.ascontiguousarray(image.pixels[..., ::-1])  # OpenCV takes BGR
        cleaned = cv2.fastNlMeansDenoisingColored(reverse, None, STRENGTH * sigma, STRENGTH * sigma)
        cleaned = np.ascontiguousarray(cleaned[..., ::-1])
    return Image(cleaned, image.alpha, image.rotated)

"""A scene that is photographed twice: known lenses, a known blur, noise, and other levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from skimage import data

from degsynth.align.lens_map import Points, transformed
from degsynth.data.images import Image

BLUR = 1.2
"""Width of the blur of the wide photograph, px of the telephoto."""


def canvas() -> NDArray[np.float64]:
    """Four photographs in one, (600, 900, 3) in [0, 1]."""
    shots = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    parts = [shot[:300, :450] / 255.0 for shot in shots]
    parts = [
        np.pad(part, ((0, 300 - part.shape[0]), (0, 450 - part.shape[1]), (0, 0)), mode="symmetric") for part in parts
    ]
    return np.concatenate([np.concatenate(parts[:2], 1), np.concatenate(parts[2:], 1)])


@dataclass(frozen=True)
class Shots:
    """Two photographs of a scene."""

    wide: Image
    tele: Image
    truth: Callable[[Points], Points]
    """From px of the wide photograph to px of the telephoto."""


def shots(
    ratio: float = 2.0,
    rotation: float = 1.0,
    perspective: float = 2e-5,
    distortion: float = 0.01,
    sigma: float = 2.0,
    blur: float = BLUR,
    gain: float = 0.9,
    offset: float = 4.0,
    gamma: float = 1.1,
) -> Shots:
    """Photograph the canvas: σ of noise and the offset are of 255, the angle is in degrees."""
    rng, scene = np.random.default_rng(0), canvas()
    height, width = scene.shape[:2]
    top, left, tall, broad = 40, 50, height - 80, width - 100
    tele = scene[top : top + tall, left : left + broad]
    size = int(height / ratio) + 40, int(width / ratio) + 40
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    angle = np.radians(rotation)
    homography = np.array(
        [
            [ratio * np.cos(angle), -ratio * np.sin(angle), (width - 1) / 2 + 1.3],
            [ratio * np.sin(angle), ratio * np.cos(angle), (height - 1) / 2 - 2.1],
            [perspective, -0.7 * perspective, 1.0],
        ]
    )

    def on_canvas(points: Points) -> Points:
        away = points - centre
        far = (away**2).sum(1, keepdims=True) / (centre**2).sum()
        return transformed(homography, away * (1 + distortion * far))

    y, x = np.indices(size, np.float64)
    places = on_canvas(np.stack([x.ravel(), y.ravel()], 1))
    planes = [
        ndi.map_coordinates(ndi.gaussian_filter(plane, blur), places.T[::-1], order=5, mode="mirror").reshape(size)
        for plane in np.moveaxis(scene, 2, 0)
    ]
    wide = gain * np.clip(np.stack(planes, 2), 0, 1) ** gamma + offset / 255 + rng.normal(0, sigma / 255, (*size, 3))
    return Shots(eight_bit(wide), eight_bit(tele), lambda points: on_canvas(points) - (left, top))


def eight_bit(levels: NDArray[np.float64]) -> Image:
    """Return levels (H, W, C) in [0, 1] as an image of 8 bits."""
    return Image(np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8))

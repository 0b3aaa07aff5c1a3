from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from degsynth.ops.blockiness import blockiness
from degsynth.ops.resample import luma


def test_jpeg_shows_its_blocks(photographs: list[Tensor]) -> None:
    for shot in photographs:
        small = torch.nn.functional.avg_pool2d(luma(shot)[None], 2)[0, 0]
        pixels = (255 * small).round().byte().numpy()
        coded = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_GRAYSCALE)
        plain, blocky = (blockiness(torch.from_numpy(np.array(image)) / 255) for image in (pixels, coded))
        assert plain < 1.15 < blocky


def test_too_small_or_flat_images_have_none() -> None:
    assert blockiness(torch.rand(20, 200)) == 1
    assert blockiness(torch.full((64, 64), 0.5)) <= 1

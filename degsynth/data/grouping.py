"""Groups of LR images that are expected to have the same noise, and warnings where their noise is hard to learn."""

from __future__ import annotations

import collections
import math
from pathlib import PurePosixPath
from typing import Literal

from degsynth.data import exif
from degsynth.data.compression import read_files
from degsynth.data.folders import KEPT, ImageSet, Middles
from degsynth.data.members import file_of
from degsynth.ops.blockiness import blockiness
from degsynth.ops.resample import luma

UNKNOWN = "unknown"
"""Group of images whose files do not name their camera."""
MAX_IMAGES_FOR_CAMERAS, MAX_IMAGES_FOR_BLOCKS = 64, 16
"""Largest numbers of images that `noise_warnings` examines: for their cameras, and for JPEG blocks."""
BLOCKY = 1.15
"""An image with a `blockiness` above this is taken for a JPEG: most JPEG of quality 75 or less have more, and few
images that were never compressed."""
Grouping = Literal["none", "exif", "folder"]
"""How LR images are grouped: not at all, by camera and sensitivity (EXIF), or by the folder that they lie in."""


def group_images(lr: ImageSet, by: Grouping) -> list[str]:
    """Return the name of the group of each image."""
    if by == "folder":
        return [str(PurePosixPath(name).parent) for name in lr.names]
    return [camera(lr, index) if by == "exif" else "all" for index in range(len(lr))]


def camera(lr: ImageSet, index: int) -> str:
    """Return camera model and ISO sensitivity of an image as words.

    The sensitivity is rounded to 100 times a power of two, as noise hardly differs between two such steps.
    """
    model, iso = exif.camera(file_of(lr.path(index)))
    stop = f"ISO {100 * 2 ** round(math.log2(iso / 100)):g}" if iso > 0 else ""
    return ", ".join(part for part in (model, stop) if part) or UNKNOWN


def noise_warnings(lr: ImageSet, by: Grouping) -> list[str]:
    """List warnings why the noise learnt from these images may not be a camera's: mixed cameras, and JPEG."""
    return [*_mixed_cameras(lr, by), *_jpeg_blocks(lr)]


def _mixed_cameras(lr: ImageSet, by: Grouping) -> list[str]:
    """Warn of each group that has images of several cameras or sensitivities."""
    if by == "exif":
        return []
    groups = group_images(lr, by)
    cameras = collections.defaultdict[str, set[str]](set)
    for index in lr.spread(MAX_IMAGES_FOR_CAMERAS):
        if (name := camera(lr, index)) != UNKNOWN:
            cameras[groups[index]].add(name)
    warnings = []
    for group, names in cameras.items():
        if len(names) > 1:
            where = "" if by == "none" else f" in group '{group}'"
            examples = "; ".join(sorted(names)[:3]) + ("; …" if len(names) > 3 else "")
            warnings.append(
                f"the LR images{where} come from {len(names)} cameras or sensitivities ({examples}), whose noise "
                "differs; `group_by=exif` learns the noise of each"
            )
    return warnings


def _jpeg_blocks(lr: ImageSet) -> list[str]:
    """Warn where more than half of the images have the 8×8 blocks of JPEG, and are files of another kind."""
    if sum(file is not None for file in read_files([lr.path(i) for i in lr.spread(MAX_IMAGES_FOR_BLOCKS)])) > 0:
        return []  # what is known of their compression is made use of
    sample = Middles(lr, MAX_IMAGES_FOR_BLOCKS, KEPT)
    blocky = sum(blockiness(luma(image)[0]) > BLOCKY for image in sample)
    if 2 * blocky <= len(sample):
        return []
    return [
        f"{blocky} of {len(sample)} LR images that were examined have the 8×8 blocks of JPEG: what JPEG did to noise "
        "and fine detail would be learnt as the camera's; give images that were never compressed"
    ]

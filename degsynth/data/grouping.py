"""LR images that belong together, and what makes their noise hard to learn."""

from __future__ import annotations

import collections
import math
from pathlib import PurePosixPath
from typing import Literal

from degsynth.data import exif
from degsynth.data.folders import KEPT, ImageSet, Middles
from degsynth.ops.blockiness import blockiness
from degsynth.ops.resample import luma

UNKNOWN = "unknown"
"""Group of images that say nothing of their camera."""
ASKED, LOOKED_AT = 64, 16
"""Images whose camera is asked for, and whose blocks are looked at."""
BLOCKY = 1.15
"""From which `ops.blockiness` on an image is taken for JPEG: most are from quality 75 down, few clean ones."""


def group_images(lr: ImageSet, by: Literal["none", "exif", "folder"]) -> list[str]:
    """The group of each image, by name."""
    if by == "folder":
        return [str(PurePosixPath(name).parent) for name in lr.names]
    return [camera(lr, index) if by == "exif" else "all" for index in range(len(lr))]


def camera(lr: ImageSet, index: int) -> str:
    """Model and sensitivity of an image, the latter to the next power of two: noise hardly differs between."""
    model, iso = exif.camera(lr.path(index))
    stop = f"ISO {100 * 2 ** round(math.log2(iso / 100)):g}" if iso > 0 else ""
    return ", ".join(part for part in (model, stop) if part) or UNKNOWN


def doubts(lr: ImageSet, by: Literal["none", "exif", "folder"]) -> list[str]:
    """Why noise that is learnt from these images may be no camera's: several cameras in one group; JPEG."""
    found = []
    mixed = collections.defaultdict[str, set[str]](set)
    groups = group_images(lr, by) if by != "exif" else []
    for index in lr.spread(ASKED) if groups else []:
        if (name := camera(lr, index)) != UNKNOWN:
            mixed[groups[index]].add(name)
    for group, several in mixed.items():
        if len(several) > 1:
            where = "" if by == "none" else f" in group '{group}'"
            some = "; ".join(sorted(several)[:3]) + ("; …" if len(several) > 3 else "")
            found.append(
                f"the LR images{where} are of {len(several)} cameras or sensitivities ({some}): one noise fits none of "
                "them; --group-by exif keeps them apart"
            )
    some_images = Middles(lr, LOOKED_AT, KEPT)
    blocky = sum(blockiness(luma(image)[0]) > BLOCKY for image in some_images)
    if 2 * blocky > len(some_images):
        found.append(
            f"{blocky} of {len(some_images)} LR images looked at have the 8×8 blocks of JPEG: what it did to noise and "
            "fine detail is taken for the camera's; give images that were never compressed"
        )
    return found

"""Which scene a pair shows, told from its name.

Data sets often hold several parts of one photograph. A model that was fitted to one of them knows the others to some
extent, so that a fit must hold out whole scenes.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence

from degsynth.errors import ConfigError, shortened

PARTS = "crop|cropped|patch|tile|part|sub|subimage|subimg"
"""Words that, with a number behind them, name a part of a photograph."""
ENDING = re.compile(
    rf"""(?ix)                       # what is told from a name: its longest end that consists of these
    (?<=[^/])                        # something comes before it
    (?: _s[0-9]{{3,}}                # 0001_s001: BasicSR's extract_subimages
      | __[0-9]+_[0-9]+              # scene__128_64: two underscores, row and column
      | [_-](?:{PARTS})[_-]?[0-9]+(?:[_-][0-9]+)*      # img_01_crop2, img-patch-3, img_tile_0_128
      | [_-](?:y[0-9]+[_-]?x[0-9]+|x[0-9]+[_-]?y[0-9]+|r(?:ow)?[0-9]+[_-]?c(?:ol)?[0-9]+)      # img_y0_x128, img_r1_c2
    )$"""
)
"""The usual endings by which sub-images of one scene are told apart. A number alone is none of them: cameras count
their photographs (IMG_0001), and data sets their scenes (nikon_003)."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile the regular expression that finds the scene in a name; ConfigError where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of syntax that may change in later versions of Python
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        reason = shortened(str(error)) or type(error).__name__
        raise ConfigError(
            f"`group_scene={shortened(text)}` is no regular expression ({reason}); give one whose first group is the "
            "scene, such as `group_scene=^([0-9]+)_`"
        ) from None
    if not text:
        raise ConfigError("`group_scene=` is empty: give a regular expression, or leave it out")
    return pattern


def scene_of(name: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return the scene of a pair, given its name: its path in its folder, with / and without the ending of the file.

    Without a pattern it is the name without the usual endings of sub-images (`ENDING`); sub-folders are part of it.
    A pattern is searched for in the whole name: the scene is what its first group matches, or all that it matches where
    it has no group or the group takes no part. A name in which it is not found is a scene of its own.
    """
    name = unicodedata.normalize("NFC", name)
    if pattern is not None:
        match = pattern.search(name)
        if match is None:
            return name
        first = match.group(1) if pattern.groups else None
        return match.group() if first is None else first
    while (shorter := ENDING.sub("", name)) != name:  # a patch of a crop
        name = shorter
    return name


def scenes_of(names: Sequence[str], pattern: re.Pattern[str] | None = None) -> tuple[list[str], list[str]]:
    """Return the scene of each name, and what a user must not overlook of them, in a line each.

    Where the usual endings would make all names one scene, of which nothing could be held out, each name is a scene.
    """
    scenes = [scene_of(name, pattern) for name in names]
    if pattern is not None:
        other = [name for name in names if not pattern.search(unicodedata.normalize("NFC", name))]
        if not other:
            return scenes, []
        return scenes, [
            f"`group_scene={shortened(pattern.pattern)}` is not found in {len(other)} of {len(names)} names "
            f"({shortened(other[0])}{', …' if len(other) > 1 else ''}), each of which is taken for a scene of its own"
        ]
    if len(names) > 1 and len(set(scenes)) == 1:
        return list(names), [
            f"all {len(names)} pairs seem to show parts of one scene ({shortened(scenes[0])}), of which some are held "
            "out: the scores are too good; give pairs of more scenes, or `group_scene=REGEX` if these are several"
        ]
    return scenes, []

"""What a resumed fit goes on from: the newest snapshot, if options, images and split are as they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from degsynth.errors import ConfigError
from degsynth.fit.run_directory import RunDirectory

MAY_CHANGE = {"steps", "minutes", "device", "cache_mb", "left_out"}
"""Options that may be given anew when a fit is resumed."""


def resumed_snapshot(
    folder: RunDirectory, tables: Mapping[str, Mapping[str, Any]], fingerprint: str, split: str
) -> dict[str, Any]:
    """Return the newest snapshot of a run that was begun with the same options, images and split.

    ``fingerprint`` is that of the images, ``split`` the digest of their parts. ConfigError names what differs.
    """
    before = folder.description()
    for table, now in tables.items():
        for key in now.keys() | before.get(table, {}).keys():
            was, wanted = before.get(table, {}).get(key), now.get(key)
            if key not in MAY_CHANGE and was != wanted:
                raise ConfigError(
                    f"{folder.out} was begun with {key} = {was!r}, not {wanted!r}; `resume` goes on with what was "
                    "begun, only its budget and device may change"
                )
    contents = folder.load_snapshot()
    if contents.get("data_fingerprint") != fingerprint:
        raise ConfigError(f"the images are not those that {folder.out} was begun with; fit them anew")
    if contents.get("split", "") != split:
        raise ConfigError(
            f"{folder.out} was begun by a version of degsynth that held out other pairs or did not blur in light; fit "
            f"anew, or export one of its snapshots (degsynth export {folder.out} --snapshot {contents['step']})"
        )
    return contents

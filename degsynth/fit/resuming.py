"""What a resumed fit goes on from: the newest snapshot, if options, images and split are as they were.

A fit that has ended already, and whose options are as they were, does not go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from degsynth.errors import ConfigError
from degsynth.fit.options import FitOptions, resolve
from degsynth.fit.run_directory import RunDirectory

MAY_CHANGE = {"steps", "minutes", "device", "cache_mb", "left_out"}
"""Options that may be given anew when a fit is resumed."""
WITHOUT_EFFECT = {"device", "cache_mb"}
"""Those that change nothing of a fit that has ended."""


class _HeldOut(BaseModel):
    mean: dict[str, dict[str, float]]
    images: list[Any]


class _Ended(BaseModel):
    """What ``fit.json`` must hold for a fit to have ended; there is more in it."""

    method: str
    scale: int
    held_out: _HeldOut
    seconds: dict[str, float]


def ended_fit(options: FitOptions, values: Mapping[str, Any], folder: RunDirectory) -> dict[str, Any] | None:
    """Return what ``fit.json`` holds of a fit that has ended with the same options; None where something is to be done.

    Images are not looked at. ConfigError where ``folder`` is no run, or its ``fit.json`` is damaged.
    """
    before, record = folder.description(), folder.record()
    if record is None or not folder.checkpoint.is_file():
        return None
    try:
        _Ended.model_validate(record)
    except ValidationError:
        raise ConfigError(f"{folder.out / 'fit.json'} is not as a fit has written it", "fit anew") from None
    now = {
        "fit": with_absolute_paths(options).model_dump(mode="json"),
        "method": resolve(options, values)[1].model_dump(mode="json"),
    }
    # The run has the scale and the range that were found in the images, where none was given.
    found = {name for name in ("scale", "data_range") if now["fit"][name] is None}
    for table, given in now.items():
        for name, value in given.items():
            if before[table].get(name) != value and name not in found | WITHOUT_EFFECT:
                return None
    return record


def with_absolute_paths(options: FitOptions) -> FitOptions:
    """Return options whose paths hold from anywhere, as ``config.toml`` has them."""
    paths = {side: getattr(options, side) for side in ("hr", "lr", "pairs")}
    return options.model_copy(
        update={side: None if path is None else str(Path(path).resolve()) for side, path in paths.items()}
    )


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

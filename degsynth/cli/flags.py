"""Names of options as the command line has them, put into the messages of the library.

A message names an option as Python does, between backticks: ``` `bad_pairs=skip` ```. Here that becomes
``--bad-pairs skip``. An option of a method becomes an argument of ``--set``.
"""

from __future__ import annotations

import re

FLAGS = {
    "assignments": "--set",
    "awgn": "--awgn",
    "bad_pairs": "--bad-pairs",
    "border": "--border",
    "data_range": "--data-range",
    "device": "--device",
    "existing=overwrite": "--overwrite",
    "existing=resume": "--resume",
    "gaussian": "--gaussian",
    "group_by": "--group-by",
    "hardware_factor": "--hardware-factor",
    "hr": "--hr",
    "lr": "--lr",
    "lr_denoise": "--lr-denoise",
    "memory": "--memory",
    "minutes": "--minutes",
    "out": "--out",
    "overwrite": "--overwrite",
    "register_pairs": "--register",
    "resume": "--resume",
    "scale": "--scale",
    "set": "--set",
    "size": "--kernel-size",
    "steps": "--steps",
    "tile": "--tile",
}
"""Options of the library that have a flag of their own, by name."""

_OPTION = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


def with_flags(text: str) -> str:
    """Replace every option in backticks by its flag: ``` `tile=64` ``` by ``--tile 64``, `` `beta=0.5` `` by
    ``--set beta=0.5``.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match.group(1), match.group(2)
        if value is not None and f"{name}={value}" in FLAGS:
            return FLAGS[f"{name}={value}"]
        if name not in FLAGS:
            return f"--set {name}={value or ''}"
        return f"{FLAGS[name]} {value}" if value else FLAGS[name]

    return _OPTION.sub(flag, text)

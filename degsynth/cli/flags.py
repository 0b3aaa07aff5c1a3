"""Replaces the names of options in messages of the library by the flags of the command line.

A message names an option as Python does, between backticks: ``` `bad_pairs=skip` ```. Here that becomes
``--bad-pairs skip``. An option of a method becomes an argument of ``--set``.
"""

from __future__ import annotations

import re

FLAGS = {
    "awgn": "--awgn",
    "awgn_luma": "--awgn-luma",
    "bad_pairs": "--bad-pairs",
    "border": "--border",
    "check": "--check",
    "crop": "--crop",
    "data_range": "--data-range",
    "device": "--device",
    "draws": "--draws",
    "exclude": "--exclude",
    "dry_run": "--dry-run",
    "existing=overwrite": "--overwrite",
    "existing=resume": "--resume",
    "gaussian": "--gaussian",
    "group_by": "--group-by",
    "group_scene": "--group-scene",
    "hardware_factor": "--hardware-factor",
    "hr": "--hr",
    "include": "--include",
    "layout": "--layout",
    "left_out": "--left-out",
    "limit": "--limit",
    "jpeg": "--jpeg",
    "jpeg_files": "--jpeg-files",
    "link": "--link",
    "lr": "--lr",
    "lr_denoise": "--lr-denoise",
    "max_pixels": "--max-pixels",
    "memory": "--memory",
    "method": "--method",
    "minutes": "--minutes",
    "number": "--number",
    "out": "--out",
    "overwrite": "--overwrite",
    "pairs": "--pairs",
    "preset": "--preset",
    "register_pairs": "--register",
    "replay": "--replay",
    "resume": "--resume",
    "preview": "--preview",
    "real_lr": "--real-lr",
    "scale": "--scale",
    "seed": "--seed",
    "set": "--set",
    "shift": "--shift",
    "shot_read": "--shot-read",
    "size": "--kernel-size",
    "step": "--step",
    "steps": "--steps",
    "tile": "--tile",
    "timeout": "--timeout",
    "tone": "--tone",
    "to_srgb": "--to-srgb",
    "train": "--train",
    "workers": "--workers",
}
"""Options of the library that have a flag of their own, by name.

Some methods also have options named ``border``, ``minutes`` or ``steps``. In a message these names mean the flag.
"""

OPTION = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
"""An option in a message: its name and, if there is one, its value."""


def with_flags(text: str) -> str:
    """Replace every option in backticks by its flag.

    ``` `tile=64` ``` becomes ``--tile 64``, and ``` `beta=0.5` ```, an option of a method, becomes ``--set beta=0.5``.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match.group(1), match.group(2)
        if value is not None and f"{name}={value}" in FLAGS:
            return FLAGS[f"{name}={value}"]
        if name not in FLAGS:
            return f"--set {name}={value or ''}"
        return f"{FLAGS[name]} {value}" if value else FLAGS[name]

    return OPTION.sub(flag, text)

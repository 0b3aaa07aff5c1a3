"""``~`` in arguments, which a shell leaves as it is in ``--hr=~/x`` and between quotes, stands for the home folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer


def expanded(value: Any) -> Any:
    """Return the value of an argument, or each of several, with ``~`` and ``~user`` at its beginning replaced.

    Of texts, which may be names of models, only those that begin with ``~/`` are. A user that is not known is left as
    it is, since a name may begin with ``~``.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(expanded(item) for item in value)
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))  # noqa: PTH111 - expanduser() of pathlib raises for unknown users
    if isinstance(value, str) and value.startswith("~/"):
        return os.path.expanduser(value)  # noqa: PTH111
    return value


def in_every_command(app: typer.Typer) -> None:
    """Let all commands of a program, and of its groups, get their arguments `expanded`."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _expanding(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            in_every_command(group.typer_instance)


def _expanding(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def called(**arguments: Any) -> Any:
        return command(**{name: expanded(value) for name, value in arguments.items()})

    return called

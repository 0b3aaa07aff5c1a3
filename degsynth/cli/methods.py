"""``degsynth methods``."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

NAME = "methods"


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Method whose options are shown. Left out: all methods are listed."),
    ] = None,
) -> None:
    """List the methods, or the options and presets of one.

    Example: degsynth methods linear
    """
    from degsynth import methods

    if name is None:
        for method in methods.METHODS:
            typer.echo((methods.get(method).__doc__ or "").splitlines()[0])
        return
    module = methods.get(name)
    typer.echo((module.__doc__ or "").strip() + "\n")
    for field, info in module.Config.model_fields.items():
        default = "unset" if info.default is None else info.default
        text = textwrap.indent(textwrap.fill(" ".join((info.description or "").split()), 76), "    ")
        typer.echo(f"--set {field}=...   (default: {default})\n{text}")
    for preset, values in module.PRESETS.items():
        changes = ", ".join(f"{key}={value}" for key, value in values.items()) or "the values above"
        typer.echo(f"preset {preset}: {changes}")

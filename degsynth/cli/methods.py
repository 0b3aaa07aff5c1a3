"""``degsynth methods``."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import Annotated

import typer

NAME = "methods"

SOURCE_WIDTH = 120
"""Length of the lines of docstrings; they are printed as they are where there is no terminal."""
LIST_ITEM = re.compile(r"(?:- |\d+\. )")
"""How a line begins that starts an item of a list."""


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

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else SOURCE_WIDTH
    if name is None:
        for method in methods.METHODS:
            first = (methods.get(method).__doc__ or "").splitlines()[0]
            typer.echo(textwrap.fill(first, width, subsequent_indent="    "))
        return
    module = methods.get(name)
    typer.echo(rewrapped(module.__doc__ or "", width) + "\n")
    for field, info in module.Config.model_fields.items():
        default = "unset" if info.default is None else info.default
        description = " ".join((info.description or "").split())
        typer.echo(f"--set {field}=...   (default: {default})")
        typer.echo(textwrap.fill(description, width, initial_indent="    ", subsequent_indent="    "))
    for preset, values in module.PRESETS.items():
        changes = ", ".join(f"{key}={value}" for key, value in values.items()) or "the values above"
        typer.echo(textwrap.fill(f"preset {preset}: {changes}", width, subsequent_indent="    "))


def rewrapped(docstring: str, width: int) -> str:
    """Return a docstring with its paragraphs and lists wrapped at ``width`` columns.

    Indented blocks, such as formulas, are kept as they are; the marks of reStructuredText around them are left out.
    """
    blocks = []
    for block in docstring.strip().split("\n\n"):
        lines = [line for line in block.replace("``", "`").splitlines() if line != "::"]
        if not lines or lines[0].startswith(" "):
            blocks += ["\n".join(lines)] if lines else []
            continue
        paragraphs: list[list[str]] = []
        for line in lines:
            if not paragraphs or LIST_ITEM.match(line):
                paragraphs.append([])
            paragraphs[-1].append(line.strip())
        filled = []
        for paragraph in paragraphs:
            marker = LIST_ITEM.match(paragraph[0])
            indent = " " * len(marker.group()) if marker else ""
            filled.append(textwrap.fill(" ".join(paragraph), width, subsequent_indent=indent))
        blocks.append(re.sub("::$", ":", "\n".join(filled)))
    return "\n\n".join(blocks)

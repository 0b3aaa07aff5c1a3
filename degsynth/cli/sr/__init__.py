"""``degsynth sr``: one file per sub-command."""

from __future__ import annotations

import typer

from degsynth.cli.sr import apply, compare, test, train

NAME = "sr"

app = typer.Typer(
    help="""Train and test super-resolution networks on LR of any kind.

    A model of a degradation is as good as the networks that are trained on its LR images. 'compare' trains the same
    network on LR of several kinds and shows in one table how each does on real LR images.
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)
for module in (train, test, apply, compare):
    app.command(module.NAME)(module.command)

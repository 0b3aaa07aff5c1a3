"""``degsynth selftest``."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict

import typer

from degsynth.cli import console, options

NAME = "selftest"


def command(model: options.Model, scale: options.PoolScale = None, json: options.Json = False) -> None:
    """Test a model against known answers.

    For example, a flat image must stay flat, the centroid of the blur kernel must be where the model declares it, the
    same seed must give the same image, and tiles must not change it. The exit code is 1 if a check fails.

    Example: degsynth selftest nikon.pt
    """
    from degsynth.evaluation import selftest
    from degsynth.model.resolve import open_model

    loaded = open_model(model, scale)
    results = selftest.run(loaded)
    failed = [result for result in results if not result.passed]
    if json:
        document = {"model": model, "passed": not failed, "checks": [asdict(result) for result in results]}
        typer.echo(jsonlib.dumps(document, ensure_ascii=False))
    else:
        for result in results:
            console.result(
                f"{'ok    ' if result.passed else 'FAILED'}  {result.name}: {result.measured}  [{result.rule}]"
            )
        console.result(f"{model}: {len(results) - len(failed)} of {len(results)} checks passed")
    if failed:
        raise typer.Exit(1)

"""The two-camera experiment of the ABL paper (Tables 1 to 3) on any two folders of pairs.

Usage: python examples/two_cameras/run.py FIRST_HR FIRST_LR SECOND_HR SECOND_LR OUT [--steps N] [--jobs N]

Fits abl, with groups one and two, at five hardware factors to the first camera's pairs, without its last scenes by
name. Scores each model on the first camera's last scenes (Table 1), and on the second camera's last scenes at every
factor (Tables 2 and 3), beside bicubic. `degsynth calibrate` then chooses the factor in two ways: from three pairs of
the second camera's other scenes; and from HR images of one half and LR images of the other half of these, which have
no scene in common. Prints the tables as Markdown; their figures are L1 of luma. Run again after an interruption, the
script goes on where it stopped.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import begin, degsynth, fit, markdown, split

FACTORS = (0.25, 0.5, 1, 2, 3)
GROUPS = (1, 2)
WAYS = ("three pairs", "unpaired")
"""The ways to calibrate, as the tables name them."""
Folders = tuple[Path, Path]
"""A folder of HR images and a folder of LR images."""
Model = tuple[int, float]
"""The group and the hardware factor of a fit."""


@dataclass(frozen=True)
class Result:
    """What was measured of one model."""

    scores: dict[str, Any]
    """The result of `score_model`."""
    sweep: dict[str, Any]
    """How the model's blur rises with the factor, as ``fit.json`` has it under ``hardware_factor``."""


def score(model: Path, pairs: Folders, factor: float | None = None) -> dict[str, float]:
    """Return L1 of luma for a model and for bicubic."""
    options = [] if factor is None else ["--hardware-factor", factor]
    evaluation = json.loads(degsynth("evaluate", model, "--hr", pairs[0], "--lr", pairs[1], *options, "--json"))
    return {name: evaluation["mean"][name]["l1_y"] for name in ("model", "bicubic")}


def score_model(model: Path, first: Mapping[str, Folders], second: Mapping[str, Folders]) -> dict[str, Any]:
    """Score a model on its own camera (``own``), on the other one at every factor (``other``), and calibrated."""
    scores: dict[str, Any] = {
        "own": score(model, first["test"]),
        "other": {factor: score(model, second["test"], factor) for factor in FACTORS},
    }
    for way, hr, lr, options in (
        ("three pairs", second["three"][0], second["three"][1], []),
        ("unpaired", second["one half"][0], second["other half"][1], ["--unpaired"]),
    ):
        factor = float(degsynth("calibrate", model, "--hr", hr, "--lr", lr, *options))
        scores[way] = (factor, score(model, second["test"], factor)["model"])
    return scores


def table_of_first_camera(results: Mapping[Model, Result]) -> str:
    """Return the paper's Table 1: the models on the camera that they were fitted to."""
    rows = [[f"{f:g}", *(f"{results[g, f].scores['own']['model']:.4f}" for g in GROUPS)] for f in FACTORS]
    bicubic = next(iter(results.values())).scores["own"]["bicubic"]
    rows.append(["bicubic", f"{bicubic:.4f}", ""])
    return "Table 1: L1 on the first camera\n\n" + markdown(["factor", "group one", "group two"], rows)


def table_of_second_camera(results: Mapping[Model, Result], group: int) -> str:
    """Return the paper's Table 2 or 3: the models of a group on the other camera; the least L1 is bold."""
    rows = []
    for factor in FACTORS:
        scores = results[group, factor].scores
        values = [row["model"] for row in scores["other"].values()]
        cells = [f"**{value:.4f}**" if value == min(values) else f"{value:.4f}" for value in values]
        for way in WAYS:
            chosen, l1 = scores[way]
            cells.append(f"{l1:.4f} (at {chosen:.2f})")
        rows.append([f"{factor:g}", *cells])
    bicubic = next(iter(results.values())).scores["other"][FACTORS[0]]["bicubic"]
    rows.append(["bicubic", f"{bicubic:.4f}", *[""] * (len(FACTORS) + 1)])
    title = f"Table {group + 1}: L1 of group {group}'s models on the second camera, by adjusted factor"
    header = ["fitted at", *(f"{f:g}" for f in FACTORS), *(f"calibrated, {way}" for way in WAYS)]
    return title + "\n\n" + markdown(header, rows)


def table_of_blurs(results: Mapping[Model, Result]) -> str:
    """Return how the variance of every model's blur depends on the factor."""
    rows = []
    for (group, factor), result in results.items():
        sweep = result.sweep
        variances = {row["factor"]: row["variance_px2"] for row in sweep["sweep"]}
        cells = [f"{variances[f]:.2f}" for f in FACTORS]
        rows.append([str(group), f"{factor:g}", *cells, f"{100 * sweep['share']:.0f} %", f"{sweep['r_squared']:.3f}"])
    header = ["group", "fitted at", *(f"σ² at {f:g}" for f in FACTORS), "rise", "R²"]
    return "Blur of the model, px² (held-out scenes of the fit, at a period of 8 px)\n\n" + markdown(header, rows)


class Experiment:
    """The fits and scores of all models, which are kept in a folder."""

    def __init__(self, out: Path, steps: int, first: Mapping[str, Folders], second: Mapping[str, Folders]) -> None:
        self.out, self.steps, self.first, self.second = out, steps, first, second

    def run(self, model: Model) -> Result:
        """Fit a model and score it, unless that was done before."""
        group, factor = model
        options = ["--set", f"group={group}", "--set", f"factor={factor}", "--steps", self.steps]
        run = fit(self.out / f"group{group}_factor{factor}", self.first["fit"], "abl", *options)
        stored = run / "two_cameras.json"
        if not stored.is_file():
            text = json.dumps(score_model(run / "checkpoint.pt", self.first, self.second))
            stored.write_text(text)
        scores = json.loads(stored.read_text())
        scores["other"] = {float(key): row for key, row in scores["other"].items()}
        print(f"group {group}, factor {factor:g}: done", file=sys.stderr)
        return Result(scores, json.loads((run / "fit.json").read_text())["hardware_factor"])


def main() -> None:
    """Fit the models, score them, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for camera in ("first", "second"):
        parser.add_argument(f"{camera}_hr", type=Path, help=f"folder of the {camera} camera's HR images")
        parser.add_argument(f"{camera}_lr", type=Path, help=f"folder of the {camera} camera's LR images")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--steps", type=int, default=1000, help="training steps of a fit (default: 1000)")
    parser.add_argument("--held-out", type=int, default=8, help="number of scenes to score on, the last by name")
    parser.add_argument("--jobs", type=int, default=2, help="number of fits at a time, one thread each (default: 2)")
    arguments = parser.parse_args()
    out = arguments.out
    begin(out, **{key: value for key, value in vars(arguments).items() if key not in ("out", "jobs")})
    first = split(arguments.first_hr, arguments.first_lr, arguments.held_out, out / "first")
    second = split(arguments.second_hr, arguments.second_lr, arguments.held_out, out / "second")
    experiment = Experiment(out, arguments.steps, first, second)
    models = [(group, factor) for group in GROUPS for factor in FACTORS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = dict(zip(models, pool.map(experiment.run, models), strict=True))
    tables = [table_of_first_camera(results), *(table_of_second_camera(results, group) for group in GROUPS)]
    print("\n\n".join([*tables, table_of_blurs(results)]))


if __name__ == "__main__":
    main()

"""The two-camera experiment of the ABL paper (Tables 1 to 3) on any two folders of pairs.

Usage: python examples/two_cameras/run.py FIRST_HR FIRST_LR SECOND_HR SECOND_LR OUT [--steps N] [--jobs N]

Fits abl, groups one and two, at five hardware factors to the first camera's pairs; scores each on the first camera's
last scenes by name (Table 1), and on the second camera's last scenes at every factor (Tables 2 and 3), beside bicubic.
Then it lets `degsynth calibrate` choose the factor: from three pairs of the second camera's other scenes, and unpaired,
from HR of one half and LR of the other half of these, which have no scene in common. Prints Markdown; figures are L1 of
luma. A stopped experiment goes on where it was.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))

from experiment import begin, degsynth, fit, markdown, split

FACTORS = (0.25, 0.5, 1, 2, 3)
GROUPS = (1, 2)


def score(model: Path, pairs: tuple[Path, Path], factor: float | None = None) -> dict[str, float]:
    """L1 of luma of a model and of bicubic."""
    turned = [] if factor is None else ["--hardware-factor", factor]
    told = json.loads(degsynth("evaluate", model, "--hr", pairs[0], "--lr", pairs[1], *turned, "--json"))
    return {name: told["mean"][name]["l1_y"] for name in ("model", "bicubic")}


def studied(model: Path, first: dict, second: dict) -> dict:
    """All figures of one model."""
    found = {"own": score(model, first["test"]), "other": {f: score(model, second["test"], f) for f in FACTORS}}
    for way, hr, lr, options in (
        ("three pairs", second["three"][0], second["three"][1], []),
        ("unpaired", second["one half"][0], second["other half"][1], ["--unpaired"]),
    ):
        factor = float(degsynth("calibrate", model, "--hr", hr, "--lr", lr, *options))
        found[way] = (factor, score(model, second["test"], factor)["model"])
    return found


def tables(found: dict[tuple[int, float], dict], knobs: dict[tuple[int, float], dict]) -> str:
    """The paper's three tables, and what the factor does in every model."""
    text = []
    any_model = next(iter(found.values()))
    rows = [[f"{f:g}", *(f"{found[g, f]['own']['model']:.4f}" for g in GROUPS)] for f in FACTORS]
    rows.append(["bicubic", f"{any_model['own']['bicubic']:.4f}", ""])
    text.append("Table 1: L1 on the first camera\n\n" + markdown(["factor", "group one", "group two"], rows))
    for group in GROUPS:
        rows = []
        for factor in FACTORS:
            figures = found[group, factor]
            other = {f: row["model"] for f, row in figures["other"].items()}
            least = min(other.values())
            cells = [f"**{v:.4f}**" if v == least else f"{v:.4f}" for v in other.values()]
            for way in ("three pairs", "unpaired"):
                chosen, l1 = figures[way]
                cells.append(f"{l1:.4f} (at {chosen:.2f})")
            rows.append([f"{factor:g}", *cells])
        rows.append(["bicubic", f"{any_model['other'][FACTORS[0]]['bicubic']:.4f}", *[""] * (len(FACTORS) + 1)])
        title = f"Table {group + 1}: L1 of group {group}'s models on the second camera, by adjusted factor"
        header = ["fitted at", *(f"{f:g}" for f in FACTORS), "calibrated, three pairs", "calibrated, unpaired"]
        text.append(title + "\n\n" + markdown(header, rows))
    rows = []
    for (group, factor), knob in knobs.items():
        sigma2 = {row["factor"]: row["variance_px2"] for row in knob["sweep"]}
        cells = [f"{sigma2[f]:.2f}" for f in FACTORS]
        rows.append([str(group), f"{factor:g}", *cells, f"{100 * knob['share']:.0f} %", f"{knob['r_squared']:.3f}"])
    header = ["group", "fitted at", *(f"σ² at {f:g}" for f in FACTORS), "rise", "R²"]
    text.append("Blur of the model, px² (held-out scenes of the fit, at a period of 8 px)\n\n" + markdown(header, rows))
    return "\n\n".join(text)


def main() -> None:
    """Fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first_hr", "first_lr", "second_hr", "second_lr", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--held-out", type=int, default=8, help="scenes to score on, the last by name")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    given = parser.parse_args()
    begin(given.out, **{key: value for key, value in vars(given).items() if key not in ("out", "jobs")})
    first = split(given.first_hr, given.first_lr, given.held_out, given.out / "first")
    second = split(given.second_hr, given.second_lr, given.held_out, given.out / "second")

    def study(model: tuple[int, float]) -> tuple[dict, dict]:
        group, factor = model
        options = ["--set", f"group={group}", "--set", f"factor={factor}", "--steps", given.steps]
        checkpoint = fit(given.out / f"group{group}_factor{factor}", first["fit"], "abl", *options) / "checkpoint.pt"
        knob = json.loads((checkpoint.parent / "fit.json").read_text())["hardware_factor"]
        stored = checkpoint.with_name("two_cameras.json")
        if not stored.is_file():
            made = json.dumps(studied(checkpoint, first, second))
            stored.write_text(made)
        figures = json.loads(stored.read_text())
        figures["other"] = {float(f): row for f, row in figures["other"].items()}
        print(f"group {group}, factor {factor:g}: done", file=sys.stderr)
        return figures, knob

    models = [(group, factor) for group in GROUPS for factor in FACTORS]
    with ThreadPoolExecutor(given.jobs) as pool:
        studies = dict(zip(models, pool.map(study, models), strict=True))
    print(tables({m: s[0] for m, s in studies.items()}, {m: s[1] for m, s in studies.items()}))


if __name__ == "__main__":
    main()

"""The comparison: the same network, patches, budget and seeds on LR of several kinds, tested on the same real pairs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from degsynth.config import Events
from degsynth.data import images
from degsynth.data.fingerprints import fingerprint
from degsynth.data.opening import ScoringOptions, open_for_model
from degsynth.data.pairs import PairSet
from degsynth.data.sources import Sources
from degsynth.errors import ConfigError, os_reason
from degsynth.evaluation.metrics import score as lr_score
from degsynth.files import check_makeable, text_digest, write_atomic
from degsynth.model.inference import inference
from degsynth.seeds import Identity
from degsynth.sr import jobs, networks
from degsynth.sr.contestants import BICUBIC, ORACLE, Contestant, Folders, short_names
from degsynth.sr.jobs import Job, Test
from degsynth.sr.options import Training
from degsynth.sr.scores import BORDER, FIGURES, SHIFT
from degsynth.sr.sources import bicubic_lr, degrade_by, open_degradation

RESULT = "compare.json"
"""File that holds the whole table."""


@dataclass(frozen=True)
class Comparison:
    """Everything about a comparison but the contestants."""

    folders: Folders
    training: Training
    """The options of all trainings, but for the pairs, the scale and the seed."""
    seeds: int = 3
    """Number of trainings on every kind of LR, with the seeds 0, 1, …"""
    border: int = BORDER
    shift: int = SHIFT
    workers: int = 1
    """Number of trainings at a time."""
    device: str = "cpu"


def run(entrants: list[Contestant], comparison: Comparison, out: Path, events: Events | None = None) -> dict[str, Any]:
    """Train and test on every kind of LR, and return the table; it is in ``compare.json``, too.

    Each finished training is kept below ``out`` and is not repeated. Raises ConfigError and DataError where something
    cannot be used, before anything is trained.
    """
    events = events or Events()
    if not out.is_dir():
        check_makeable(out)
    scale = comparison.folders.scale()
    pairs = _test_pairs(comparison, scale, events)
    lr_figures = {entrant.label: _lr_psnr(entrant, pairs, scale, comparison, events) for entrant in entrants}
    try:
        (out / "trainings").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"`out={out}`: cannot be made: {os_reason(error)}") from None
    work = _jobs(entrants, comparison, scale, out)
    results = jobs.run(work, comparison.workers, events)
    rows: list[dict[str, Any]] = []
    names = short_names([entrant.label for entrant in entrants])
    for index, (entrant, name) in enumerate(zip(entrants, names, strict=True)):
        scores = results[index * comparison.seeds : (index + 1) * comparison.seeds]
        folders = [job.out for job in work[index * comparison.seeds : (index + 1) * comparison.seeds]]
        figures = _row(scores, lr_figures[entrant.label], folders, out)
        rows.append({"train": entrant.label, "name": name, **figures})
    _add_shares(rows)
    table = {
        "scale": scale,
        "test_images": len(pairs),
        "border": comparison.border,
        "shift": comparison.shift,
        "seeds": comparison.seeds,
        "training": comparison.training.model_dump(mode="json", exclude={"pairs", "seed"}),
        "enlargement": {figure: results[0]["mean"]["bicubic"][figure] for figure in FIGURES},
        "rows": rows,
    }
    write_atomic(out / RESULT, json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    return table


def _test_pairs(comparison: Comparison, scale: int, events: Events) -> PairSet:
    folders = comparison.folders
    options = ScoringOptions(scale, (1, 3), table=folders.test_pairs)
    return open_for_model(folders.test_hr, folders.test_lr, options, events.on_progress, events.on_warning)


def _lr_psnr(entrant: Contestant, pairs: PairSet, scale: int, comparison: Comparison, events: Events) -> float | None:
    """Return the mean luma PSNR, dB, of a contestant's LR of the test scenes against the real LR; None for LR files.

    LR images are rounded to 8 bits, and have the noise with which the training has them.
    """
    made = entrant.made
    if made is None:
        return None
    degrade = bicubic_lr(scale)
    if made.model is not None:
        degrade = degrade_by(open_degradation(made, scale, comparison.device))
    figures = []
    with inference():
        for index, (hr, lr) in enumerate(pairs):
            rounded = images.to_tensor(
                images.quantise(degrade(hr, Identity(0, pairs.pairs[index].name)), np.dtype("u1"))
            )
            figures.append(lr_score(rounded, lr)["psnr_y"])
            events.on_progress(f"degrading by {entrant.label}", index + 1, len(pairs))
    return float(np.mean(figures))


def _jobs(entrants: list[Contestant], comparison: Comparison, scale: int, out: Path) -> list[Job]:
    """Return the trainings, in a folder each that is named by all that decides its result."""
    folders, steps = comparison.folders, comparison.training.steps or networks.get(comparison.training.net).steps
    test = Test(folders.test_hr, folders.test_lr, comparison.border, comparison.shift, folders.test_pairs)
    contents: dict[str, str] = {}
    work = []
    for entrant in entrants:
        training = comparison.training.model_copy(update={"pairs": entrant.pairs, "scale": scale, "seed": 0})
        name = f"{_slug(entrant.label)}-{_identity(training, contents)[:10]}"
        for seed in range(comparison.seeds):
            seeded = training.model_copy(update={"seed": seed})
            folder = out / "trainings" / name / f"seed-{seed}"
            work.append(Job(entrant.label, seeded, folder, test, comparison.device, steps))
    return work


def _slug(label: str) -> str:
    """Return a text as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.=+]+", "_", label).strip("._")[-60:] or "model"


def _identity(training: Training, contents: dict[str, str]) -> str:
    """Return a digest of all that decides a training but its seed; ``contents`` keeps the digests of folders."""
    parts = [training.model_dump_json(exclude={"pairs", "seed"})]
    for pairs in training.pairs:
        for folder in (pairs.hr, pairs.lr):
            if folder and folder not in contents:
                sources = Sources.of_images(Path(folder))
                contents[folder] = fingerprint(zip(sources.names, sources.paths(), strict=True))
            parts.append(contents[folder] if folder else "")
        if pairs.pairs is not None:
            found = pairs.matching(training.scale).pairs
            parts.append(fingerprint((pair.name, path) for pair in found for path in (pair.hr, pair.lr)))
        parts += [pairs.noise, str(pairs.awgn)]
        if pairs.model is not None:
            degradation = open_degradation(pairs, training.scale, "cpu")
            parts += [degradation.model.sha256, degradation.noise_model.sha256]
    return text_digest("\n".join(parts))


def _row(scores: list[dict[str, Any]], lr_psnr: float | None, folders: list[Path], out: Path) -> dict[str, Any]:
    """Return the figures of one kind of LR: of every seed, their mean, and the spread of the luma PSNR."""
    figures = [result["mean"]["network"] for result in scores]
    psnr = [figure["psnr_y"] for figure in figures]
    return {
        "lr_psnr_y": lr_psnr,
        "psnr_y": psnr,
        "mean": {figure: float(np.mean([values[figure] for values in figures])) for figure in FIGURES},
        "spread": float(np.std(psnr, ddof=1)) if len(psnr) > 1 else None,
        "seconds": [result["seconds"] for result in scores],
        "networks": [str(folder.relative_to(out) / networks.NETWORK) for folder in folders],
    }


def _add_shares(rows: list[dict[str, Any]]) -> None:
    """Add to every row which share of the way from bicubic LR (0) to the real LR (1) it goes; None where there is none.

    The way is measured by the luma PSNR on the test pairs.
    """
    means = {row["train"]: row["mean"]["psnr_y"] for row in rows}
    low, high = means[BICUBIC], means.get(ORACLE)
    for row in rows:
        there_is_a_way = high is not None and high > low  # real LR that trains worse tells nothing
        row["share"] = (means[row["train"]] - low) / (high - low) if there_is_a_way else None

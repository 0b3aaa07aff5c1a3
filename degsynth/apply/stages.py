"""The stages of a run: check, open the data set, plan the outputs, make them, close.

A worker takes an image from disk to disk (`layouts.pairs`), so images are what is done in parallel (`engines.threads`).
What a file becomes depends on its own identity only. An output is finished when its manifest row is written: files are
made in ``.partial`` and moved into place first. A run that was killed leaves finished outputs and perhaps a few files
without a row, which a resumed run writes again, to the same bytes.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import torch

import degsynth
from degsynth import watching
from degsynth.apply.audit import strays
from degsynth.apply.dataset_folder import Files, opened
from degsynth.apply.engines import threads
from degsynth.apply.jpeg import stage
from degsynth.apply.layouts import crops
from degsynth.apply.layouts.build import build_layouts
from degsynth.apply.layouts.names import PlannedOutput, plan_outputs
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.layouts.place import Callbacks
from degsynth.apply.layouts.record import check_replaceable
from degsynth.apply.manifest import Manifest, Row
from degsynth.apply.options import Options, Summary
from degsynth.apply.root import PARTIAL, Root
from degsynth.config import Interval, OnProgress, OnText, ignore_progress, ignore_text
from degsynth.data import images
from degsynth.data.sources import Sources
from degsynth.errors import DataError, OutputError, os_reason
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.mixture import Degradations, Mixture
from degsynth.ops.noise import RANDOM_VERSION
from degsynth.parallel import stream
from degsynth.watching import History

OnRow = Callable[[Row, int], None]
"""Called with every finished row and the number of rows in all."""


def ignore_row(row: Row, total: int) -> None:
    """Ignore the row: the `OnRow` of callers that do not want any."""


def run(
    model: Checkpoint | Mixture,
    hr: Path | Sources,
    out: Path,
    options: Options | None = None,
    on_row: OnRow = ignore_row,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: OnText = ignore_text,
    on_progress: OnProgress = ignore_progress,
) -> Summary:
    """Degrade the images of ``hr``, a folder, which is searched recursively, an image, or a list, and write ``out``.

    Of a mixture of models, one is drawn for every LR image.
    ``on_row(row, total)`` is called for every output; ``should_stop()`` is asked between inputs;
    ``on_warning(line)`` takes what the user should know; ``on_progress`` follows the making of layouts. Raises
    DataError or ConfigError before anything is written, OutputError where the disk refuses later on; a bad image is a
    failed row.
    """
    options = options or Options()
    degradations, sources, description = prepared(model, hr, out, options)
    board = watching.board()
    existing = options.existing
    if board.history.deaths:  # a process before this one did a part of the work
        existing = "resume"
        board.history.keep((row.source, row.error) for row in Manifest(out).read() if row.status == "failed")
    with opened(out, sources, description, existing, options.check, on_warning) as rows:
        board.open()
        resumed = len(rows)
        planned = plan(sources, options, rows, degradations.scale)
        writer = PairWriter(degradations, options, sources.root, Files(out))
        total = sum(len(outputs) for outputs in planned.values())
        inputs = _Inputs(list(planned), should_stop, board.history)
        manifest = Manifest(out)
        for name, made in _made(writer, planned, inputs, options.workers):
            for row in made:
                _record(manifest.append, row)
                rows.append(row)
                if name not in inputs.reported:
                    on_row(row, total)
        if not inputs.interrupted:
            _record(manifest.write, rows)
            if existing == "resume":
                _warn_of_strays(out, rows, on_warning)
            if build_layouts(out, rows, degradations.scale, options, Callbacks(should_stop, on_progress, on_warning)):
                Root(out).remove_tree(PARTIAL)
            else:
                inputs.interrupted = True
    failed = sum(row.status == "failed" for row in rows)
    differences = options.replay.differences(rows) if options.replay is not None else []
    if options.replay is not None and differences:
        on_warning(options.replay.explain(differences, description["environment"]))
    return Summary(len(rows) - failed, failed, resumed, list(sources.others), inputs.interrupted, len(differences))


def prepared(
    model: Checkpoint | Mixture, hr: Path | Sources, out: Path, options: Options
) -> tuple[Degradations, Sources, dict[str, Any]]:
    """Return how images are degraded, the images, and the content of ``dataset.json``, before ``out`` is looked at.

    DataError or ConfigError where model, options, images or the layouts in ``out`` are unsuitable.
    """
    degradations = options.degradations(model)
    if options.replay is not None:
        options.replay.check_model(degradations.mixture)
    sources = hr if isinstance(hr, Sources) else Sources.of(hr)
    for layout in options.layouts:
        check_replaceable(Root(out), layout)
    return degradations, sources, _description(degradations, options)


def plan(sources: Sources, options: Options, finished: list[Row], scale: int) -> dict[str, list[PlannedOutput]]:
    """Return the outputs that are missing, by source."""
    if options.replay is not None:
        return options.replay.plan(finished, options.limit)
    if options.crop is None:
        counts = {name: images.count(sources.root / name, options.max_pixels) for name in sources.names}
        parts = None
    else:
        parts = _parts(sources, options, options.crop, scale)
        counts = {name: len(of_page) for name, of_page in parts.items()}
    pages = {name: count for name, count in counts.items() if count > 1}
    return plan_outputs(sources.names, options.draws, finished, options.limit, pages, parts)


def _parts(sources: Sources, options: Options, side: int, scale: int) -> dict[str, list[list[crops.Corner]]]:
    """Return the crops of every image, by source and page; none for a file that cannot be read."""

    def of_file(name: str) -> list[list[crops.Corner]]:
        found = images.declared(sources.root / name, options.max_pixels)
        return [crops.places(one.height, one.width, side, options.step or side, scale) for one in found]

    return {done.item: done.result or [[]] for done in stream(sources.names, of_file, options.workers)}


def _made(
    writer: PairWriter, planned: Mapping[str, list[PlannedOutput]], inputs: _Inputs, workers: int
) -> Iterator[tuple[str, list[Row]]]:
    """Make the outputs of all images; yield the name of each image and the rows of what became of it."""
    board = watching.board()

    def work(name: str) -> list[Row]:
        with board.in_hand(name):
            return writer.write(planned[name])

    yield from ((name, writer.failed(planned[name], DataError(why))) for name, why in inputs.given_up())
    for part, number in ((inputs.suspects, 1), (inputs.others, workers)):
        for done in threads.run(work, part(), number, writer.abandon):
            yield done.item, done.result or writer.failed(planned[done.item], done.error)


def _warn_of_strays(out: Path, rows: list[Row], on_warning: OnText) -> None:
    """Name a file that trainers would read, and that no row names."""
    others = strays(out, {name for row in rows for name in row.names})
    if others:
        on_warning(
            f"OUT {out} holds {len(others)} files that its manifest does not name, e.g. {others[0]}; trainers would "
            "read them, and `degsynth verify` lists them"
        )


class _Inputs:
    """The names of the images to be made, until somebody asks to stop.

    Where an earlier process died (see `degsynth.watching`), what it had in hand comes first, or is given up.
    """

    def __init__(self, names: list[str], should_stop: Callable[[], bool], history: History) -> None:
        self._names, self._should_stop, self._history = names, should_stop, history
        self.interrupted = False

    def given_up(self) -> Iterator[tuple[str, str]]:
        """Yield the names of images that are given up, and why."""
        failed = self._history.failed
        yield from ((name, failed[name]) for name in self._names if name in failed)

    @property
    def reported(self) -> set[str]:
        """Names that the user has been told of by an earlier process."""
        return self._history.failed.keys() - self._history.new

    def suspects(self) -> Iterator[str]:
        """Yield the names that may have ended an earlier process."""
        return self._until_asked(set(self._history.suspects))

    def others(self) -> Iterator[str]:
        """Yield the other names."""
        return self._until_asked(set(self._names) - set(self._history.suspects))

    def _until_asked(self, chosen: set[str]) -> Iterator[str]:
        for name in self._names:
            if name in chosen and name not in self._history.failed:
                if self._should_stop():
                    self.interrupted = True
                    return
                yield name


def _record(write: Callable[[Any], None], content: Row | list[Row]) -> None:
    try:
        write(content)
    except OSError as error:
        raise OutputError(f"the manifest: {os_reason(error)}; mend that, then go on with `existing=resume`") from None


def _jpeg(options: Options) -> str | tuple[int, int]:
    """Return what ``dataset.json`` says of compression, where there is any: that it was learnt, or the qualities."""
    return (int(options.jpeg.low), int(options.jpeg.high)) if isinstance(options.jpeg, Interval) else "learned"


def _description(degradations: Degradations, options: Options) -> dict[str, Any]:
    """Return the content of ``dataset.json``.

    ``made_by`` holds all settings that change the bytes of the outputs; a resumed run must have the same.
    """
    factor, noise, mixture = options.hardware_factor, options.noise, degradations.mixture
    drawn = noise.awgn is not None or noise.shot_read is not None or factor is not None or len(mixture.models) > 1
    kinds = {degradation.noise_name for degradation in degradations.each}
    noise_model = None
    if noise.noise_model is not None:
        spec = noise.noise_model.spec
        noise_model = {"sha256": noise.noise_model.sha256, "method": spec.method, "scale": spec.scale}
    description = {
        "made_by": {
            **_models(mixture),
            "scale": mixture.scale,
            "seed": options.seed,
            "hardware_factor": factor,
            "draws": options.draws,
            "noise": next(kind for kind in ("other", "learned", "none") if kind in kinds),
            "noise_model": noise_model,
            "awgn": noise.awgn,
            **({"awgn_luma": True} if noise.awgn_luma else {}),
            **({"shot_read": noise.shot_read} if noise.shot_read is not None else {}),
            **({"random": RANDOM_VERSION} if drawn else {}),
            **({"jpeg": _jpeg(options)} if any(stage(options.jpeg, model.spec) for model in mixture.models) else {}),
            **({"jpeg_files": True} if options.jpeg_files else {}),
            **({"to_srgb": True} if options.to_srgb else {}),
            "data_range": options.levels(degradations),
            **({"crop": options.crop, "step": options.step or options.crop} if options.crop is not None else {}),
        },
        "environment": {
            "degsynth": degsynth.__version__,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            **({"cms": imagecodecs.cms_version()} if options.to_srgb else {}),
            "python": platform.python_version(),
            "system": platform.system(),
            "processor": platform.machine(),
            "device": options.device,
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(description))  # as it will be read back
    return plain


def _models(mixture: Mixture) -> dict[str, Any]:
    """Say which model makes all LR images, or which models make which share of them."""
    if len(mixture.models) == 1:
        (model,) = mixture.models
        return {"model_sha256": model.sha256, "method": model.spec.method}
    shares = zip(mixture.models, mixture.weights, strict=True)
    return {
        "models": [{"sha256": model.sha256, "method": model.spec.method, "weight": weight} for model, weight in shares]
    }

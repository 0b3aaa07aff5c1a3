"""The one applier: a checkpoint and a folder of HR images in, an HR-LR data set out.

A worker takes an image from the disk to the disk: it decodes bands of it, runs the model on tiles of them
(`render.Rendering`), quantises and encodes what comes out, and never holds more than a few bands where the file format
allows that. Workers are threads (`pipeline`): decoders, encoders and torch release the GIL, so they scale over images;
inside an operation torch uses one thread. On a GPU every worker has a stream of its own, and what one copies,
draws or encodes happens while others compute. What a file becomes depends on its own identity only
(`render.Identity`).

An output is finished when its manifest row is written: files are made in ``.partial`` and moved into place first. A run
that was killed has no more than finished outputs and a few strays without a row, which resuming writes again, to the
same bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

import degsynth
from degsynth.apply.dataset_folder import PARTIAL, Existing, Files, Link, opened
from degsynth.apply.layouts.names import assign_stems, drawn_name
from degsynth.apply.manifest import Manifest, Row
from degsynth.data import images
from degsynth.errors import ConfigError, OutputError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.render import DEFAULT_NOISE, Factor, Identity, Noise, Rendering, full_halo, lr_size
from degsynth.model.tiling import fitting, square
from degsynth.ops.resample import area
from degsynth.ops.threads import one_torch_thread
from degsynth.parallel import MOST_WORKERS, Stage, stream

LINKS: tuple[Link, ...] = ("hard", "symlink", "copy")
MEMORY = 0.25e9
"""Bytes for a worker's tiles on a CPU."""
UNKNOWN_BYTES = 1024
"""What a model is taken to need for an HR pixel, if its file does not say."""


@dataclass(frozen=True)
class Options:
    """Everything about a run but the model and the folders."""

    seed: int = 0
    noise: Noise = DEFAULT_NOISE
    factor: Factor | None = None
    """Hardware factor; None: the model's own, where it has one."""
    data_range: tuple[float, float] | Literal["dtype"] | None = None
    """Black and white in the files' units; ``dtype``: the type's; None: the checkpoint's, else the type's."""
    tile: int | None = None
    """Side of a tile in LR px; None: what fits into the memory."""
    memory: float | None = None
    """Bytes that tiles of all workers may need; None: `MEMORY` each, on a GPU half of what is free there."""
    link: Link = "hard"
    """How HR files that need no change get into ``hr/``."""
    workers: int = 2
    """Images that are worked on at a time, each by a thread."""
    device: str = "cpu"
    existing: Existing = "refuse"
    """What to do about a data set that is there."""
    limit: int | None = None
    """Only the first so many images."""
    draws: int = 1
    """So many LR of every HR, each with dice of its own; from 2 on their names end in ``_0``, ``_1``, …"""

    def __post_init__(self) -> None:
        for name in ("workers", "tile", "limit", "draws"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} (={value}) must be at least 1")
        if self.workers > MOST_WORKERS:
            raise ConfigError(f"workers (={self.workers}) must be at most {MOST_WORKERS}")
        if self.memory is not None and not 0 < self.memory < math.inf:
            raise ConfigError(f"memory (={self.memory:g} bytes) must be above 0, and finite")


@dataclass(frozen=True)
class Summary:
    """What became of the inputs."""

    done: int
    failed: int
    resumed: int
    """Outputs that an earlier run had finished."""
    ignored: list[str]
    """Files of the HR folder that are no images by their name."""
    interrupted: bool = False


class _Applier:
    """The work on one image."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        hr: Path,
        out: Path,
        stems: dict[str, str],
        options: Options,
        todo: dict[str, list[int]],
    ) -> None:
        """``stems``: of every output by its `layouts.drawn_name`; ``todo``: which draws of every image are wanted."""
        self.checkpoint, self.stems, self.options, self.todo = checkpoint, stems, options, todo
        self.files = Files(out)
        self.root = hr if hr.is_dir() else hr.parent
        self.warning = options.noise.warning(checkpoint) or None
        self.data_range = images.choose_range(options.data_range, checkpoint.spec.data_range)
        self.pixels = _pixels_at_once(checkpoint, options)
        self.own = threading.local()
        self.left = threading.Event()
        """Set when nobody waits for images any more."""

    def make(self, name: str) -> list[Row]:
        """Both sides of every draw of an image that is wanted: all of them, or none."""
        with images.opened(self.root / name) as picture, self._stream(), torch.inference_mode():
            lr_shape = lr_size(picture.height, picture.width, self.checkpoint.spec.scale)
            rows: list[Row] = []
            placed: list[str] = []
            try:
                for draw in self.todo[name]:
                    rows.append(self._output(name, picture, lr_shape, draw, rows[:1], placed))
            except BaseException:  # never one side without the other
                for each in placed:
                    (self.files.out / each).unlink(missing_ok=True)
                raise
            return rows

    def _output(
        self,
        name: str,
        picture: images.Picture,
        lr_shape: tuple[int, int],
        draw: int,
        before: list[Row],
        placed: list[str],
    ) -> Row:
        """One draw of LR, (height, width), and its HR, which is that of a draw ``before``, if there is one.

        ``placed`` gets the names of what lies in the data set.
        """
        path, scale = self.root / name, self.checkpoint.spec.scale
        height, width = lr_shape
        rendering = self._rendering(picture, height, width, self._identity(name, draw))
        stem = self.stems[drawn_name(name, draw, self.options.draws)]
        lossless = ".tif" if path.suffix.lower() in images.TIFF_SUFFIXES else ".png"
        lr_name = f"lr/{stem}{lossless}"
        lr_file = images.Size(height, width, picture.channels, picture.dtype, picture.has_alpha)
        placed.append(lr_name)
        lr_sha256 = self.files.write(lr_name, lr_file, self._lr_bands(rendering, picture))

        cropped = (picture.height, picture.width) != (scale * height, scale * width)
        if picture.rotated or cropped:  # the file itself cannot serve as HR
            hr_name, kept = f"hr/{stem}{lossless}", "written"
            placed.append(hr_name)
            if before:
                self.files.copy(self.files.out / str(before[0].hr), hr_name)
                hr_sha256 = before[0].hr_sha256
            else:
                hr_file = replace(lr_file, height=scale * height, width=scale * width)
                hr_sha256 = self.files.write(hr_name, hr_file, images.bands(picture, hr_file.height, hr_file.width))
        else:
            hr_name, hr_sha256 = f"hr/{stem}{path.suffix}", None
            placed.append(hr_name)
            kept = self.files.link(path, hr_name, self.options.link)
        return Row(
            source=name,
            source_bytes=path.stat().st_size,
            status="ok",
            draw=draw,
            hr=hr_name,
            lr=lr_name,
            source_size=(picture.height, picture.width),
            hr_size=(scale * height, scale * width),
            lr_size=(height, width),
            cropped=cropped,
            hr_kept=kept,
            channels=picture.channels,
            dtype=str(picture.dtype),
            seed=self._identity(name, draw).seed("kernel"),
            kernel_id=rendering.kernel_id,
            hardware_factor=rendering.hardware_factor,
            noise=_noise_name(self.checkpoint, self.options),
            warning=self.warning,
            awgn_sigma=rendering.awgn_sigma,
            hr_sha256=hr_sha256,
            lr_sha256=lr_sha256,
        )

    def _stream(self) -> contextlib.AbstractContextManager[Any]:
        """Where a worker's work on a GPU is queued: a queue of its own, which keeps its memory to itself."""
        if self.options.device == "cpu":
            return contextlib.nullcontext()
        if not hasattr(self.own, "stream"):
            self.own.stream = torch.cuda.Stream(self.options.device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self.own.stream)

    def _identity(self, name: str, draw: int) -> Identity:
        return Identity(self.options.seed, name, draw=draw)

    def _rendering(self, picture: images.Picture, height: int, width: int, identity: Identity) -> Rendering:
        options, spec = self.options, self.checkpoint.spec

        def source(top: int, bottom: int, left: int, right: int) -> Tensor:
            pixels = picture.window(top, bottom, left, right).pixels
            if options.data_range is None:
                images.check_range(pixels, self.data_range)
            return images.to_tensor(pixels, self.data_range, options.device)

        halo = full_halo(self.checkpoint, options.noise)
        if options.tile is not None:
            tiling = square(options.tile, spec.scale, halo, spec.multiple_of)
        else:
            tiling = fitting(height, width, self.pixels, spec.scale, halo, spec.multiple_of)
        size = picture.channels, height, width
        return Rendering(self.checkpoint, source, size, identity, options.noise, tiling, options.device, options.factor)

    def _lr_bands(self, rendering: Rendering, picture: images.Picture) -> Iterator[images.Image]:
        """LR in the file's type; alpha is the mean over an LR pixel."""
        scale, top = self.checkpoint.spec.scale, 0
        for band in rendering.bands():
            bottom, alpha = top + band.shape[1], None
            if picture.has_alpha:
                above = picture.window(scale * top, scale * bottom, 0, scale * band.shape[2]).alpha
                assert above is not None
                means = area(images.to_tensor(above[..., None])[None], scale)[0]
                alpha = images.quantise(means, above.dtype)[..., 0]
            yield images.Image(images.quantise(band, picture.dtype, self.data_range), alpha)
            top = bottom
            if self.left.is_set():
                raise OutputError("the run has ended")

    def failed(self, name: str, error: Exception) -> list[Row]:
        """What is said of an image that came to nothing."""
        reason = _reason(error, self.root / name)
        return [Row(source=name, status="failed", draw=draw, error=reason) for draw in self.todo[name]]


def _pixels_at_once(checkpoint: Checkpoint, options: Options) -> float:
    """HR pixels that a worker's window may have."""
    memory = options.memory
    if memory is None:
        on_cpu = options.device == "cpu"
        memory = MEMORY * options.workers if on_cpu else torch.cuda.mem_get_info(options.device)[0] / 2
    models = [checkpoint] if options.noise.giver is None else [checkpoint, options.noise.giver]
    each = max(model.spec.bytes_per_pixel or UNKNOWN_BYTES for model in models)
    return memory / options.workers / each


def _noise_name(checkpoint: Checkpoint, options: Options) -> Literal["learned", "other", "none"]:
    if options.noise.learned and options.noise.giver is not None:
        return "other"
    return "learned" if options.noise.learned and checkpoint.spec.has_noise else "none"


def _reason(error: Exception, path: Path) -> str:
    """One line for the manifest, which names the file itself."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    text = str(error).strip().removeprefix(f"{path}: ")
    return text.splitlines()[-1] if text else type(error).__name__


def _describe(checkpoint: Checkpoint, options: Options) -> dict[str, Any]:
    """What ``dataset.json`` says. Resuming demands that ``made_by``, which decides the bytes, is the same."""
    awgn, giver = options.noise.awgn, options.noise.giver
    description = {
        "made_by": {
            "model_sha256": checkpoint.sha256,
            "method": checkpoint.spec.method,
            "scale": checkpoint.spec.scale,
            "seed": options.seed,
            "hardware_factor": None if options.factor is None else [options.factor.low, options.factor.high],
            "draws": options.draws,
            "noise": _noise_name(checkpoint, options),
            "noise_model": None
            if giver is None
            else {"sha256": giver.sha256, "method": giver.spec.method, "scale": giver.spec.scale},
            "awgn": None if awgn is None else list(awgn),
            "data_range": images.choose_range(options.data_range, checkpoint.spec.data_range),
        },
        "environment": {
            "degsynth": degsynth.__version__,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "processor": platform.machine(),
            "device": options.device,
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(description))  # as it will be read back
    return plain


def run(
    checkpoint: Checkpoint,
    hr: Path,
    out: Path,
    options: Options | None = None,
    on_row: Callable[[Row, int], None] = lambda row, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Write the data set. ``on_row(row, total)`` hears of every output; ``should_stop()`` is asked between inputs.

    ``hr`` is a folder, searched recursively, or one image. Raises DataError or ConfigError before anything is written,
    OutputError where the disk refuses later on; a bad image is a failed row.
    """
    options = options or Options()
    if options.factor is not None:
        options.factor.check(checkpoint)
    options.noise.check(checkpoint)
    names, ignored = images.find(hr)
    with opened(out, hr, _describe(checkpoint, options), options.existing) as rows:
        finished = {
            drawn_name(row.source, row.draw, options.draws): str(Path(str(row.lr)).relative_to("lr").with_suffix(""))
            for row in rows
        }
        resumed, draws = len(rows), range(options.draws)
        stems = assign_stems([drawn_name(name, draw, options.draws) for name in names for draw in draws], finished)
        todo: dict[str, list[int]] = {}
        for name in names[: options.limit]:
            wanted = [draw for draw in draws if drawn_name(name, draw, options.draws) not in finished]
            if wanted:
                todo[name] = wanted
        applier = _Applier(checkpoint, hr, out, stems, options, todo)
        total = sum(map(len, todo.values()))
        manifest = Manifest(out)
        interrupted = False

        def inputs() -> Iterator[str]:
            nonlocal interrupted
            for name in todo:
                if should_stop():
                    interrupted = True
                    return
                yield name

        with one_torch_thread():
            for done in stream(inputs(), [Stage(applier.make, options.workers)], applier.left.set):
                for row in done.result if done.error is None else applier.failed(done.item, done.error):
                    _record(manifest.append, row)
                    rows.append(row)
                    on_row(row, total)
        if not interrupted:
            _record(manifest.write, rows)
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
    failed = sum(row.status == "failed" for row in rows)
    return Summary(len(rows) - failed, failed, resumed, ignored, interrupted)


def _record(write: Callable[[Any], None], what: Row | list[Row]) -> None:
    try:
        write(what)
    except OSError as error:
        raise OutputError(f"the manifest: {error.strerror or error}; mend that, then go on with --resume") from None

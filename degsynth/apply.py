"""The one applier: a checkpoint and a folder of HR images in, an HR-LR data set out.

Images pass readers (disk, decode, to tensor), renderers (the model) and writers (quantise, encode, disk), threads
joined by bounded queues (`pipeline`). Decoders, encoders and torch release the GIL, so threads scale over images;
inside an operation torch uses one thread. What a file becomes depends on its own identity only (`render.Identity`).

An output is finished when its manifest row is written: files are made in ``.partial`` and moved into place first. A run
that was killed has no more than finished outputs and a few strays without a row, which resuming writes again, to the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

import degsynth
from degsynth.checkpoint import Checkpoint
from degsynth.data import images
from degsynth.data.dataset import PARTIAL, Existing, opened
from degsynth.data.layouts import assign_stems, drawn_name
from degsynth.data.manifest import Manifest, Row
from degsynth.errors import ConfigError, DataError, OutputError
from degsynth.ops.resample import area
from degsynth.ops.threads import one_torch_thread
from degsynth.pipeline import MOST_WORKERS, Stage, stream
from degsynth.render import DEFAULT_NOISE, Factor, Identity, Noise, Rendered, check_channels, render

LINKS = ("hard", "symlink", "copy")


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
    """Side of a tile in LR px; None: whole images."""
    link: Literal["hard", "symlink", "copy"] = "hard"
    """How HR files that need no change get into ``hr/``."""
    workers: int = 2
    """Threads per stage."""
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


@dataclass(frozen=True)
class _Source:
    """An HR image that has been read."""

    name: str
    image: images.Image
    """Cropped to whole LR pixels."""
    size: tuple[int, int]
    """Of the file, before that."""
    bytes: int
    hr: Tensor

    @property
    def changed(self) -> bool:
        """Whether the file itself can not serve as HR."""
        return self.image.rotated or self.size != (self.image.height, self.image.width)


class _Applier:
    """The work of the three stages."""

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
        self.checkpoint, self.out, self.stems, self.options, self.todo = checkpoint, out, stems, options, todo
        self.root = hr if hr.is_dir() else hr.parent
        self.warning = options.noise.warning(checkpoint) or None
        self.data_range = images.choose_range(options.data_range, checkpoint.spec.data_range)

    def read(self, name: str) -> _Source:
        """Decode, crop to whole LR pixels, convert."""
        path, scale = self.root / name, self.checkpoint.spec.scale
        image = images.read(path)
        check_channels(self.checkpoint, image.channels, self.options.noise)
        height, width = image.height // scale * scale, image.width // scale * scale
        if min(height, width) < scale:
            raise DataError(f"the image is {image.width}×{image.height}, smaller than one LR pixel at scale {scale}")
        if self.options.data_range is None:
            images.check_range(image.pixels, self.data_range)
        cropped = image.crop(height, width)
        size = (image.height, image.width)
        return _Source(name, cropped, size, path.stat().st_size, images.to_tensor(cropped.pixels, self.data_range))

    def render(self, source: _Source) -> tuple[_Source, list[Rendered]]:
        """Run the model, once for every draw that is wanted."""
        with torch.inference_mode():
            return source, [
                render(
                    self.checkpoint,
                    source.hr,
                    self._identity(source.name, draw),
                    self.options.noise,
                    self.options.tile,
                    self.options.device,
                    self.options.factor,
                )
                for draw in self.todo[source.name]
            ]

    def _identity(self, name: str, draw: int) -> Identity:
        return Identity(self.options.seed, name, draw=draw)

    def write(self, made: tuple[_Source, list[Rendered]]) -> list[Row]:
        """Quantise, encode, move both sides of every draw into place: all of an image, or none."""
        source, rendered = made
        image, path, placed = source.image, self.root / source.name, []
        lossless = ".tif" if path.suffix.lower() in images.TIFF_SUFFIXES else ".png"
        alpha = None
        if image.alpha is not None:
            means = area(images.to_tensor(image.alpha[..., None])[None], self.checkpoint.spec.scale)[0]
            alpha = images.quantise(means, image.alpha.dtype)[..., 0]
        hr_content = images.encode(image, lossless) if source.changed else None
        rows = []
        try:
            for draw, drawn in zip(self.todo[source.name], rendered, strict=True):
                stem = self.stems[drawn_name(source.name, draw, self.options.draws)]
                pixels = images.quantise(drawn.lr, image.pixels.dtype, self.data_range)
                lr_content = images.encode(images.Image(pixels, alpha), lossless)
                lr_name = f"lr/{stem}{lossless}"
                hr_name = f"hr/{stem}{path.suffix if hr_content is None else lossless}"
                placed += [lr_name, hr_name]
                self._place(lr_content, lr_name)
                if hr_content is None:
                    kept = self._link(path, hr_name)
                else:
                    self._place(hr_content, hr_name)
                    kept = "written"
                rows.append(
                    Row(
                        source=source.name,
                        source_bytes=source.bytes,
                        status="ok",
                        draw=draw,
                        hr=hr_name,
                        lr=lr_name,
                        source_size=source.size,
                        hr_size=(image.height, image.width),
                        lr_size=(pixels.shape[0], pixels.shape[1]),
                        cropped=source.size != (image.height, image.width),
                        hr_kept=kept,
                        channels=image.channels,
                        dtype=str(image.pixels.dtype),
                        seed=self._identity(source.name, draw).seed("kernel"),
                        kernel_id=drawn.kernel_id,
                        hardware_factor=drawn.hardware_factor,
                        noise=_noise_name(self.checkpoint, self.options),
                        warning=self.warning,
                        awgn_sigma=drawn.awgn_sigma,
                        hr_sha256=None if hr_content is None else hashlib.sha256(hr_content).hexdigest(),
                        lr_sha256=hashlib.sha256(lr_content).hexdigest(),
                    )
                )
        except BaseException:  # never one side without the other
            for name in placed:
                (self.out / name).unlink(missing_ok=True)
            raise
        return rows

    def failed(self, name: str, error: Exception) -> list[Row]:
        """What is said of an image that came to nothing."""
        reason = _reason(error, self.root / name)
        return [Row(source=name, status="failed", draw=draw, error=reason) for draw in self.todo[name]]

    def _link(self, path: Path, name: str) -> str:
        """Bring an HR file into the data set; says how it went."""
        partial, kept = self._partial(name), str(self.options.link)
        if kept == "symlink":
            partial.symlink_to(path.resolve())
        elif kept == "hard":
            try:
                os.link(path.resolve(), partial)
            except OSError:  # another file system, or one without hard links
                kept = "copy"
        if kept == "copy":
            shutil.copyfile(path, partial)
        self._move(partial, name)
        return kept

    def _partial(self, name: str) -> Path:
        return self.out / PARTIAL / f"{uuid.uuid4().hex}{Path(name).suffix}"

    def _place(self, content: bytes, name: str) -> None:
        partial = self._partial(name)
        partial.write_bytes(content)
        self._move(partial, name)

    def _move(self, partial: Path, name: str) -> None:
        target = self.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # rename() does nothing where both names are links to one file
        partial.replace(target)


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
        stages = [
            Stage(applier.read, options.workers),
            Stage(applier.render, options.workers if options.device == "cpu" else 1),
            Stage(applier.write, options.workers),
        ]
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
            for done in stream(inputs(), stages):
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

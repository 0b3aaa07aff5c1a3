"""The one applier: a checkpoint and a folder of HR images in, an HR-LR data set out.

Images pass readers (disk, decode, to tensor), renderers (the model) and writers (quantise, encode, disk), threads
joined by bounded queues (`pipeline`). Decoders, encoders and torch release the GIL, so threads scale over images;
inside an operation torch uses one thread. What a file becomes depends on its own identity only (`render.Identity`).

An output is finished when its manifest row is written: files are made in ``.partial`` and moved into place first. A run
that was killed has no more than finished outputs and a few strays without a row, which resuming writes again, to the
same bytes.
"""

from __future__ import annotations

import contextlib
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
from degsynth.data.layouts import assign_stems
from degsynth.data.manifest import Manifest, Row
from degsynth.errors import ConfigError, DataError, OutputError
from degsynth.ops.resample import area
from degsynth.pipeline import Stage, stream
from degsynth.render import DEFAULT_NOISE, Factor, Identity, Noise, Rendered, check_channels, render

LINKS = ("hard", "symlink", "copy")
MOST_WORKERS = 128


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

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("tile", self.tile), ("limit", self.limit)):
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

    def __init__(self, checkpoint: Checkpoint, hr: Path, out: Path, stems: dict[str, str], options: Options) -> None:
        self.checkpoint, self.out, self.stems, self.options = checkpoint, out, stems, options
        self.root = hr if hr.is_dir() else hr.parent
        self.data_range = images.choose_range(options.data_range, checkpoint.spec.data_range)

    def read(self, name: str) -> _Source:
        """Decode, crop to whole LR pixels, convert."""
        path, scale = self.root / name, self.checkpoint.spec.scale
        image = images.read(path)
        check_channels(self.checkpoint, image.channels)
        height, width = image.height // scale * scale, image.width // scale * scale
        if min(height, width) < scale:
            raise DataError(f"the image is {image.width}×{image.height}, smaller than one LR pixel at scale {scale}")
        if self.options.data_range is None:
            images.check_range(image.pixels, self.data_range)
        cropped = image.crop(height, width)
        size = (image.height, image.width)
        return _Source(name, cropped, size, path.stat().st_size, images.to_tensor(cropped.pixels, self.data_range))

    def render(self, source: _Source) -> tuple[_Source, Rendered]:
        """Run the model."""
        identity = Identity(self.options.seed, source.name)
        with torch.inference_mode():
            rendered = render(
                self.checkpoint,
                source.hr,
                identity,
                self.options.noise,
                self.options.tile,
                self.options.device,
                self.options.factor,
            )
        return source, rendered

    def write(self, made: tuple[_Source, Rendered]) -> Row:
        """Quantise, encode, move both sides into place."""
        source, rendered = made
        image, path, stem = source.image, self.root / source.name, self.stems[source.name]
        lossless = ".tif" if path.suffix.lower() in images.TIFF_SUFFIXES else ".png"
        pixels = images.quantise(rendered.lr, image.pixels.dtype, self.data_range)
        alpha = None
        if image.alpha is not None:
            means = area(images.to_tensor(image.alpha[..., None])[None], self.checkpoint.spec.scale)[0]
            alpha = images.quantise(means, image.alpha.dtype)[..., 0]
        lr_name, lr_content = f"lr/{stem}{lossless}", images.encode(images.Image(pixels, alpha), lossless)
        self._place(lr_content, lr_name)
        hr_name = f"hr/{stem}{lossless if source.changed else path.suffix}"
        hr_sha256 = None
        try:
            if source.changed:
                hr_content = images.encode(image, lossless)
                self._place(hr_content, hr_name)
                kept, hr_sha256 = "written", hashlib.sha256(hr_content).hexdigest()
            else:
                kept = self._link(path, hr_name)
        except BaseException:  # never one side without the other
            (self.out / lr_name).unlink(missing_ok=True)
            raise
        return Row(
            source=source.name,
            source_bytes=source.bytes,
            status="ok",
            hr=hr_name,
            lr=lr_name,
            source_size=source.size,
            hr_size=(image.height, image.width),
            lr_size=(pixels.shape[0], pixels.shape[1]),
            cropped=source.size != (image.height, image.width),
            hr_kept=kept,
            channels=image.channels,
            dtype=str(image.pixels.dtype),
            seed=Identity(self.options.seed, source.name).seed("kernel"),
            hardware_factor=rendered.hardware_factor,
            noise=_noise_name(self.checkpoint, self.options),
            awgn_sigma=rendered.awgn_sigma,
            hr_sha256=hr_sha256,
            lr_sha256=hashlib.sha256(lr_content).hexdigest(),
        )

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


def _noise_name(checkpoint: Checkpoint, options: Options) -> Literal["learned", "none"]:
    return "learned" if options.noise.learned and checkpoint.spec.has_noise else "none"


def _reason(error: Exception, path: Path) -> str:
    """One line for the manifest, which names the file itself."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    text = str(error).strip().removeprefix(f"{path}: ")
    return text.splitlines()[-1] if text else type(error).__name__


def _describe(checkpoint: Checkpoint, options: Options) -> dict[str, Any]:
    """What ``dataset.json`` says. Resuming demands that ``made_by``, which decides the bytes, is the same."""
    awgn = options.noise.awgn
    description = {
        "made_by": {
            "model_sha256": checkpoint.sha256,
            "method": checkpoint.spec.method,
            "scale": checkpoint.spec.scale,
            "seed": options.seed,
            "hardware_factor": None if options.factor is None else [options.factor.low, options.factor.high],
            "noise": _noise_name(checkpoint, options),
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
    names, ignored = images.find(hr)
    with opened(out, hr, _describe(checkpoint, options), options.existing) as rows:
        finished = {row.source: str(Path(str(row.lr)).relative_to("lr").with_suffix("")) for row in rows}
        todo = [name for name in names[: options.limit] if name not in finished]
        applier = _Applier(checkpoint, hr, out, assign_stems(names, finished), options)
        stages = [
            Stage(applier.read, options.workers),
            Stage(applier.render, options.workers if options.device == "cpu" else 1),
            Stage(applier.write, options.workers),
        ]
        manifest = Manifest(out)
        interrupted = False

        def wanted() -> Iterator[str]:
            nonlocal interrupted
            for name in todo:
                if should_stop():
                    interrupted = True
                    return
                yield name

        with _one_torch_thread():
            for done in stream(wanted(), stages):
                row = done.result
                if done.error is not None:
                    row = Row(source=done.item, status="failed", error=_reason(done.error, applier.root / done.item))
                _record(manifest.append, row)
                rows.append(row)
                on_row(row, len(todo))
        if not interrupted:
            _record(manifest.write, rows)
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
    failed = sum(row.status == "failed" for row in rows)
    return Summary(len(rows) - failed, failed, len(finished), ignored, interrupted)


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Parallel over images, not inside operations."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _record(write: Callable[[Any], None], what: Row | list[Row]) -> None:
    try:
        write(what)
    except OSError as error:
        raise OutputError(f"the manifest: {error.strerror or error}; mend that, then go on with --resume") from None

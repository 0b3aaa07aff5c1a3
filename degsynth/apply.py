"""The one applier: a checkpoint and a folder of HR images in, an HR-LR data set out.

Images pass three groups of threads joined by bounded queues: readers (disk, decode, to tensor), renderers (the model)
and writers (quantise, encode, disk, manifest). Decoders, encoders and torch release the GIL, so threads scale over
images; inside an operation torch uses one thread. What a file becomes depends on its own identity only
(`render.Identity`).

An output is finished when its manifest row is written: files are made in ``.partial`` and moved into place first. A
run that was killed has no more than finished outputs and a few strays without a row, which resuming writes again, to
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import queue
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
import torch

import degsynth
from degsynth.checkpoint import Checkpoint
from degsynth.data import images
from degsynth.data.layouts import assign_stems
from degsynth.data.manifest import Manifest, Row
from degsynth.errors import ConfigError, DataError, DegsynthError, OutputError
from degsynth.ops.resample import area
from degsynth.render import DEFAULT_NOISE, Identity, Noise, Rendered, check_channels, render

DATASET_NAME = "dataset.json"
PARTIAL = ".partial"
LINKS = ("hard", "symlink", "copy")


@dataclass(frozen=True)
class Options:
    """Everything about a run but the model and the folders."""

    seed: int = 0
    noise: Noise = DEFAULT_NOISE
    data_range: tuple[float, float] | Literal["dtype"] | None = None
    """Black and white in the files' units; ``dtype``: the type's; None: the checkpoint's, else the type's."""
    tile: int | None = None
    """Side of a tile in LR px; None: whole images."""
    link: Literal["hard", "symlink", "copy"] = "hard"
    workers: int = 2
    device: str = "cpu"
    existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    limit: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("tile", self.tile), ("limit", self.limit)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} (={value}) must be at least 1")


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


@dataclass
class _Item:
    """One image on its way through the threads."""

    source: str
    stem: str
    image: images.Image | None = None
    hr: torch.Tensor | None = None
    rotated_or_cropped: bool = False
    source_size: tuple[int, int] = (0, 0)
    rendered: Rendered | None = None
    row: Row | None = None
    error: Exception | None = None


class _Applier:
    """Paths and options that all three stages need."""

    def __init__(self, checkpoint: Checkpoint, hr: Path, out: Path, options: Options) -> None:
        self.checkpoint, self.out, self.options = checkpoint, out, options
        self.root = hr if hr.is_dir() else hr.parent
        self.data_range = images.choose_range(options.data_range, checkpoint.spec.data_range)
        self.learned = options.noise.learned and checkpoint.spec.has_noise

    def read(self, item: _Item) -> None:
        """Decode, crop to whole LR pixels, convert."""
        image = images.read(self.root / item.source)
        item.source_size = (image.height, image.width)
        scale = self.checkpoint.spec.scale
        check_channels(self.checkpoint, image.channels)
        height, width = image.height // scale * scale, image.width // scale * scale
        if min(height, width) < scale:
            raise DataError(f"the image is {image.width}×{image.height}, smaller than one LR pixel at scale {scale}")
        item.rotated_or_cropped = image.rotated or (height, width) != item.source_size
        item.image = image.crop(height, width)
        item.hr = images.to_tensor(item.image.pixels, self.data_range)

    def render(self, item: _Item) -> None:
        """Run the model."""
        assert item.hr is not None
        identity = Identity(self.options.seed, item.source)
        with torch.inference_mode():
            item.rendered = render(
                self.checkpoint, item.hr, identity, self.options.noise, self.options.tile, self.options.device
            )

    def write(self, item: _Item) -> None:
        """Quantise, encode, move into place; fill the manifest row."""
        image, rendered = cast(images.Image, item.image), cast(Rendered, item.rendered)
        source = self.root / item.source
        lossless = ".tif" if source.suffix.lower() in images.TIFF_SUFFIXES else ".png"
        pixels = images.quantise(rendered.lr, image.pixels.dtype, self.data_range)
        alpha = None
        if image.alpha is not None:
            means = area(images.to_tensor(image.alpha[..., None])[None], self.checkpoint.spec.scale)[0]
            alpha = images.quantise(means, image.alpha.dtype)[..., 0]
        lr_name = f"lr/{item.stem}{lossless}"
        lr_content = images.encode(images.Image(pixels, alpha), lossless)
        kept, hr_name, hr_sha256 = self._keep_hr(item, source, image, lossless)
        self._place(lr_content, lr_name)
        identity = Identity(self.options.seed, item.source)
        factor = self.checkpoint.spec.hardware_factor
        item.row = Row(
            source=item.source,
            status="ok",
            hr=hr_name,
            lr=lr_name,
            source_size=item.source_size,
            hr_size=(image.height, image.width),
            lr_size=(pixels.shape[0], pixels.shape[1]),
            cropped=item.source_size != (image.height, image.width),
            hr_kept=kept,
            channels=image.channels,
            dtype=str(image.pixels.dtype),
            seed=identity.seed("kernel"),
            hardware_factor=None if factor is None else factor.default,
            noise="learned" if self.learned else "none",
            awgn_sigma=rendered.awgn_sigma,
            hr_sha256=hr_sha256,
            lr_sha256=hashlib.sha256(lr_content).hexdigest(),
        )

    def _keep_hr(
        self, item: _Item, source: Path, image: images.Image, lossless: str
    ) -> tuple[Literal["hard", "symlink", "copy", "written"], str, str | None]:
        if item.rotated_or_cropped:
            name, content = f"hr/{item.stem}{lossless}", images.encode(image, lossless)
            self._place(content, name)
            return "written", name, hashlib.sha256(content).hexdigest()
        name = f"hr/{item.stem}{source.suffix}"
        partial = self._partial(name)
        kept = self.options.link
        if kept == "symlink":
            partial.symlink_to(source.resolve())
        elif kept == "hard":
            try:
                os.link(source.resolve(), partial)
            except OSError:  # another file system, or one without hard links
                kept = "copy"
        if kept == "copy":
            shutil.copyfile(source, partial)
        self._move(partial, name)
        return kept, name, None

    def _partial(self, name: str) -> Path:
        return self.out / PARTIAL / f"{uuid.uuid4().hex}{Path(name).suffix}"

    def _place(self, content: bytes, name: str) -> None:
        partial = self._partial(name)
        partial.write_bytes(content)
        self._move(partial, name)

    def _move(self, partial: Path, name: str) -> None:
        target = self.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # rename() does nothing where both names are links to one file, so an earlier link has to go first.
        if target.exists() and partial.samefile(target):
            target.unlink()
        partial.replace(target)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, DegsynthError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    text = str(error).strip()
    return text.splitlines()[-1] if text else type(error).__name__


def _describe(checkpoint: Checkpoint, options: Options) -> dict[str, Any]:
    """What ``dataset.json`` says. All of ``made_by`` decides the bytes; resuming demands that it is the same."""
    noise = options.noise
    return {
        "made_by": {
            "model_sha256": checkpoint.sha256,
            "method": checkpoint.spec.method,
            "scale": checkpoint.spec.scale,
            "seed": options.seed,
            "noise": "learned" if noise.learned and checkpoint.spec.has_noise else "none",
            "awgn": None if noise.awgn is None else list(noise.awgn),
            "data_range": images.choose_range(options.data_range, checkpoint.spec.data_range),
        },
        "versions": {
            "degsynth": degsynth.__version__,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "machine": {"system": platform.system(), "processor": platform.machine(), "device": options.device},
    }


def _prepare_folder(out: Path, hr: Path, description: dict[str, Any], existing: str) -> list[Row]:
    """Make or reopen the data set's folder, or refuse; returns the rows of outputs that are still there."""
    source, target = hr.resolve(), out.resolve()
    if target == source or target.is_relative_to(source) or source.is_relative_to(target):
        raise ConfigError(f"OUT {out} and HR {hr} lie inside each other; give OUT a folder of its own")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"OUT {out} is a file; give a folder")
    filled = out.is_dir() and any(out.iterdir())
    ours = (out / DATASET_NAME).is_file()
    if filled and existing == "refuse":
        way = "use --resume to go on, --overwrite to begin anew, or another folder" if ours else "give another folder"
        raise ConfigError(f"OUT {out} is not empty; {way}")
    if filled and not ours:
        raise ConfigError(
            f"OUT {out} is not empty and was not written by degsynth (no {DATASET_NAME}); give another folder"
        )
    rows: list[Row] = []
    if filled and existing == "resume":
        try:
            before = json.loads((out / DATASET_NAME).read_text(encoding="utf-8"))["made_by"]
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{out / DATASET_NAME} cannot be read; use --overwrite to begin anew") from None
        now = json.loads(json.dumps(description["made_by"]))
        for name in now:
            if before.get(name) != now[name]:
                raise ConfigError(
                    f"OUT {out} was made with {name} {before.get(name)}, now it is {now[name]}; "
                    "resume with the same, or use --overwrite"
                )
        rows = [row for row in Manifest(out).read() if row.status == "ok" and _still_there(out, row)]
    elif filled:
        for name in ("hr", "lr"):
            shutil.rmtree(out / name, ignore_errors=True)
        Manifest(out).path.unlink(missing_ok=True)
    try:
        for name in ("hr", "lr", PARTIAL):
            (out / name).mkdir(parents=True, exist_ok=True)
        (out / DATASET_NAME).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        Manifest(out).write(rows)
    except OSError as error:
        raise ConfigError(f"OUT {out}: cannot be written: {error.strerror}") from None
    return rows


def _still_there(out: Path, row: Row) -> bool:
    return row.hr is not None and row.lr is not None and (out / row.hr).is_file() and (out / row.lr).is_file()


class _Stage:
    """Threads that take items from one queue, work on them, and hand them to the next."""

    def __init__(
        self, work: Callable[[_Item], None], inbox: queue.Queue[Any], outbox: queue.Queue[Any], count: int
    ) -> None:
        self._work, self._inbox, self._outbox = work, inbox, outbox
        self._left = count
        self._lock = threading.Lock()
        for _ in range(count):
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None:
            if item.error is None:
                try:
                    self._work(item)
                except Exception as error:  # a bad image becomes a row, never the end of the run
                    item.error = error
            self._outbox.put(item)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        # The end mark wakes the brothers one by one; the last one hands it on.
        if last:
            self._outbox.put(None)
        else:
            self._inbox.put(None)


def run(
    checkpoint: Checkpoint,
    hr: Path,
    out: Path,
    options: Options | None = None,
    on_row: Callable[[Row, int], None] = lambda row, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Write the data set. ``on_row(row, total)`` hears of every output; ``should_stop()`` is asked between inputs.

    Raises DataError or ConfigError before anything is written; a bad image later on is a failed row.
    """
    options = options or Options()
    names, ignored = images.find(hr)
    stems = assign_stems(names)
    rows = _prepare_folder(out, hr, _describe(checkpoint, options), options.existing)
    finished = {row.source for row in rows}
    names = names[: options.limit]
    todo = [name for name in names if name not in finished]
    applier = _Applier(checkpoint, hr, out, options)
    manifest = Manifest(out)

    interrupted = False

    def feed() -> Iterator[_Item]:
        nonlocal interrupted
        for name in todo:
            if should_stop():
                interrupted = True
                return
            yield _Item(name, stems[name])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # parallel over images, not inside operations
    try:
        for row in _pipeline(applier, feed(), options):
            manifest.append(row)
            rows.append(row)
            on_row(row, len(todo))
        if not interrupted:
            manifest.write(rows)
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{manifest.path}: {error.strerror or error}; mend that, then go on with --resume") from None
    finally:
        torch.set_num_threads(threads)
    failed = sum(row.status == "failed" for row in rows)
    return Summary(len(rows) - failed, failed, len(finished), ignored, interrupted)


def _pipeline(applier: _Applier, items: Iterator[_Item], options: Options) -> Iterator[Row]:
    """Items through readers, renderers and writers; yields their rows as they are finished."""
    depth = 2 * options.workers
    to_read, to_render, to_write, done = (queue.Queue[Any](depth) for _ in range(4))
    _Stage(applier.read, to_read, to_render, options.workers)
    _Stage(applier.render, to_render, to_write, options.workers if options.device == "cpu" else 1)
    _Stage(applier.write, to_write, done, options.workers)

    def supply() -> None:
        for item in items:
            to_read.put(item)
        to_read.put(None)

    threading.Thread(target=supply, daemon=True).start()
    while (item := done.get()) is not None:
        if item.error is not None:
            item.row = Row(source=item.source, status="failed", error=_reason(item.error))
        yield cast(Row, item.row)

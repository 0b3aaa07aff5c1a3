"""The default layout: ``hr/NAME`` and ``lr/NAME``, with the HR file itself where it needs no change.

An image is decoded in bands, degraded in tiles, quantised and encoded band by band, so that no more than a few bands
are in memory where the file format allows that.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from degsynth.apply.dataset_folder import Link, Written
from degsynth.apply.engines.threads import WorkerStreams
from degsynth.apply.jpeg import stage
from degsynth.apply.layouts import crops
from degsynth.apply.layouts.hr_image import FINEST, HrImage, lossless_suffix
from degsynth.apply.layouts.names import PlannedOutput
from degsynth.apply.manifest import JPEG_SUFFIX, Row
from degsynth.apply.options import Options
from degsynth.config import Interval
from degsynth.data import images, srgb, writing
from degsynth.data.compression import saved
from degsynth.data.members import file_of
from degsynth.data.ranges import check_range, of_bits
from degsynth.errors import DataError, OutputError, is_out_of_memory, os_reason
from degsynth.model.degradation import Degradation, Draw, lr_size
from degsynth.model.inference import inference
from degsynth.model.mixture import Degradations
from degsynth.model.render import Source, render_bands, tiles_of
from degsynth.model.tiling import Tiling, fitting
from degsynth.ops.alpha import filled, pyramid_reach
from degsynth.ops.compression import Compression
from degsynth.ops.resample import area
from degsynth.seeds import Identity


class Target(Protocol):
    """Takes the files of all outputs of one image: a part of a data set (`dataset_folder.Transaction`), or memory."""

    def write(self, name: str, size: writing.Size, bands: Iterable[images.Image]) -> Written:
        """Write an image."""

    def link(self, path: Path, name: str, how: Link) -> Link:
        """Link or copy a file, and return how it was done."""

    def copy(self, earlier: str, name: str) -> None:
        """Copy a file that was written before."""


class Store(Protocol):
    """Makes a `Target` for each image."""

    def transaction(self) -> AbstractContextManager[Target]:
        """Return a context for files of which either all stay or, where its body fails, none."""


@dataclass(frozen=True)
class _Lr:
    """An LR image that is about to be written."""

    bands: Iterable[images.Image]
    """Its rows, from top to bottom."""
    size: tuple[int, int]
    """Height and width."""
    jpeg: Compression | None = None
    """How it is compressed by the file that it is written to; None: that file is lossless."""


class PairWriter:
    """The work on one image: from the HR file on the disk to both sides of every output."""

    def __init__(self, degradations: Degradations, options: Options, root: Path, files: Store) -> None:
        """``root`` is the folder that sources are relative to; ``files`` takes what is written."""
        self.degradations, self.options, self.root, self.files = degradations, options, root, files
        self.scale, self.data_range = degradations.scale, options.levels(degradations)
        self.worker_memory = options.worker_memory()
        self._streams = WorkerStreams(options.device)
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """Stop the work on all images soon, because nobody waits for the results any more."""
        self._abandoned.set()

    def write(self, outputs: list[PlannedOutput]) -> list[Row]:
        """Write the HR and LR files of all outputs of one image, and return their rows. If one fails, none is kept."""
        path = self.root / outputs[0].source
        before = _identity(file_of(path))
        with (
            images.opened_stack(path, self.options.max_pixels) as stack,
            self._streams.current(),
            inference(),
            self.files.transaction() as files,
        ):
            rows: list[Row] = []
            for page, same in itertools.groupby(outputs, lambda output: output.page):
                if page >= len(stack):
                    raise DataError(f"{path}: page {page} of {len(stack)}; the source is another file than it was")
                picture, profile = self.picture(stack, page, path)
                cut = self.options.crop is not None
                source = HrImage.of(picture, path, self.scale, len(stack) == 1, cut, profile)
                siblings: dict[crops.Corner | None, Row] = {}
                for _, of_draw in itertools.groupby(same, lambda output: output.draw):
                    made = self._write_draw(files, list(of_draw), source, siblings)
                    rows += made
                    siblings = {row.crop: row for row in made} | siblings
            if _identity(file_of(path)) != before:  # HR may be of the new image, and LR of the old
                raise DataError("the source was changed while it was read", "do it again with `existing=resume`")
            size, modified, _ = before
            return [row.model_copy(update={"source_bytes": size, "source_mtime_ns": modified}) for row in rows]

    def picture(self, stack: images.Stack, page: int, path: Path) -> tuple[images.Picture, str]:
        """Open an image of a file in the colours that are asked for, as `srgb.converted` returns it."""
        picture = stack.picture(page)
        if not self.options.to_srgb:
            return picture, ""
        return srgb.converted(picture, of_bits(self.data_range, picture.meaning.bits), path)

    def failed(self, outputs: list[PlannedOutput], error: Exception | None) -> list[Row]:
        """Return the rows of outputs that could not be made."""
        reason = _reason(error, self.root / outputs[0].source)
        return [
            Row(
                source=output.source,
                status="failed",
                page=output.page,
                draw=output.draw,
                crop=output.crop,
                error=reason,
            )
            for output in outputs
        ]

    def _write_draw(
        self, files: Target, outputs: list[PlannedOutput], source: HrImage, siblings: Mapping[crops.Corner | None, Row]
    ) -> list[Row]:
        """Write an LR image, or all crops of one, and the HR images; those of ``siblings`` are equal, by their crop."""
        first, picture, asked = outputs[0], source.picture, self.options.data_range
        if isinstance(asked, Interval) and picture.dtype == np.uint8:
            raise DataError(
                f"`data_range={asked.low:g}:{asked.high:g}` is for files of more than 8 bits, and this one has 8",
                "leave it out for 8-bit files",
            )
        height, width = lr_size(picture.height, picture.width, self.scale)
        for output in outputs:
            crops.check_inside(output.crop, self.options.crop, self.scale * height, self.scale * width)
        identity = Identity(self.options.seed, first.source, first.page, first.draw)
        degradation = self.degradations.of(identity)
        draw = degradation.draw(identity, picture.channels, height, width)
        facts = {
            "source": first.source,
            "status": "ok",
            "page": first.page,
            "draw": first.draw,
            "source_size": source.size,
            "cropped": source.size != (self.scale * height, self.scale * width),
            "channels": picture.channels,
            "others": picture.meaning.others,
            "alpha": picture.has_alpha,
            "dtype": str(picture.dtype),
            "bits": picture.meaning.bits or None,
            "seed": identity.seed("kernel"),
            "model_sha256": degradation.model.sha256 if len(self.degradations.each) > 1 else None,
            "kernel_id": draw.kernel_id,
            "hardware_factor": draw.hardware_factor,
            "noise": degradation.noise_name,
            "warning": degradation.row_warning(),
            "position": dict(picture.meaning.carried.position) or None,
            "label": picture.meaning.carried.label or None,
            "left_out": picture.meaning.carried.left_out,
            "converted_from": source.converted_from or None,
            "awgn_sigma": draw.awgn_sigma,
            "shot_read": draw.shot_read,
        }
        bands: Iterable[images.Image] = self._lr_bands(degradation, draw, picture)
        jpeg = stage(self.options.jpeg, degradation.model.spec)
        if jpeg is not None:
            how = jpeg.draw(identity.seed("jpeg"))
            facts["jpeg_quality"] = how.quality()
            self._check_compressible(picture)
            if self.options.jpeg_files:
                (output,) = outputs
                return [self._write_output(files, output, source, _Lr(bands, (height, width), how), facts, siblings)]
            bands = [self._compressed(bands, how, picture)]
        if self.options.crop is not None:  # crops are cut from the LR image of the whole
            bands = [_joined(bands)]
        whole = _Lr(bands, (height, width))
        return [
            self._write_output(files, output, source, self._part(whole, output), facts, siblings) for output in outputs
        ]

    def _part(self, lr: _Lr, output: PlannedOutput) -> _Lr:
        """Return the part of an LR image that an output is of."""
        if output.crop is None or self.options.crop is None:
            return lr
        (whole,), side = lr.bands, self.options.crop // self.scale
        top, left = (edge // self.scale for edge in output.crop)
        return _Lr([whole.window(top, top + side, left, left + side)], (side, side))

    def _write_output(
        self,
        files: Target,
        output: PlannedOutput,
        source: HrImage,
        lr: _Lr,
        facts: dict[str, Any],
        siblings: Mapping[crops.Corner | None, Row],
    ) -> Row:
        """Write an LR image and its HR image; return its row with these facts."""
        picture, (height, width) = source.picture, lr.size
        meaning = picture.meaning
        if output.crop is not None:
            meaning = replace(meaning, carried=meaning.carried.cropped(*output.crop))
        of_lr = replace(meaning, carried=meaning.carried.decimated(self.scale))
        lr_file = writing.Size(height, width, picture.channels, picture.dtype, picture.has_alpha, of_lr, lr.jpeg)
        suffix = JPEG_SUFFIX if lr.jpeg is not None else lossless_suffix(source.path, picture)
        lr_name = f"lr/{output.stem}{suffix}"
        lr_sha256, _ = files.write(lr_name, lr_file, lr.bands)
        hr_size = (self.scale * height, self.scale * width)
        hr_file = replace(lr_file, height=hr_size[0], width=hr_size[1], meaning=meaning, compression=None)
        return Row(
            **facts,
            crop=output.crop,
            lr=lr_name,
            hr_size=hr_size,
            lr_size=(height, width),
            lr_sha256=lr_sha256,
            **self._write_hr(files, output, source, hr_file, siblings.get(output.crop)),
        )

    def _write_hr(
        self, files: Target, output: PlannedOutput, source: HrImage, file: writing.Size, sibling: Row | None
    ) -> dict[str, Any]:
        """Bring an HR image into the data set; return the fields of its row that say how."""
        picture, crop = source.picture, output.crop
        if source.kept:
            name = f"hr/{output.stem}{source.path.suffix}"
            return {"hr": name, "hr_kept": files.link(source.path, name, self.options.link)}
        name = f"hr/{output.stem}{source.suffix}"
        if sibling is not None:
            files.copy(str(sibling.hr), name)
            sha256, size = sibling.hr_sha256, sibling.hr_bytes
        elif crop is not None:
            part = picture.window(crop[0], crop[0] + file.height, crop[1], crop[1] + file.width)
            sha256, size = files.write(name, file, [part])
        elif source.before is not None:
            sha256, size = files.write(name, replace(file, compression=FINEST), [source.before])
        else:
            sha256, size = files.write(name, file, writing.bands(picture, file.height, file.width))
        return {"hr": name, "hr_kept": "written", "hr_sha256": sha256, "hr_bytes": size}

    def _check_compressible(self, picture: images.Picture) -> None:
        """Raise DataError where the LR image of an HR image cannot be compressed, or be a JPEG file."""
        if picture.channels not in (1, 3) or picture.meaning.others:
            raise DataError(
                f"an image of {picture.channels} channels cannot be compressed as JPEG",
                "leave it out, or give `jpeg=none`",
            )
        if self.options.jpeg_files and (picture.dtype != np.uint8 or picture.has_alpha):
            what = "alpha" if picture.has_alpha else "more than 8 bits"
            raise DataError(f"a JPEG file cannot hold {what}", "leave `jpeg_files` out: the LR image is then lossless")

    def _compressed(self, bands: Iterable[images.Image], how: Compression, picture: images.Picture) -> images.Image:
        """Return the LR image as it is read back from a JPEG file of 8 bits, in the type of the source.

        Alpha, which no JPEG file has, stays as it is.
        """
        whole, data_range = _joined(bands), of_bits(self.data_range, picture.meaning.bits)
        levels = saved(images.to_tensor(whole.pixels, data_range), how)
        return images.Image(images.quantise(levels, picture.dtype, data_range), whole.alpha)

    def _tiling(self, degradation: Degradation, height: int, width: int) -> Tiling:
        if self.options.tile is not None:
            return tiles_of(degradation, self.options.tile)
        pixels, spec = self.worker_memory / degradation.bytes_per_pixel, degradation.model.spec
        return fitting(height, width, pixels, self.scale, degradation.halo, spec.multiple_of)

    def _lr_bands(self, degradation: Degradation, draw: Draw, picture: images.Picture) -> Iterator[images.Image]:
        """Yield the LR image in the type of the file; its alpha is the mean over an LR pixel."""
        _, height, width = draw.size
        source = self._source(picture, degradation.model.spec.clean_halo)
        top = 0
        for band in render_bands(degradation, draw, source, self._tiling(degradation, height, width)):
            bottom = top + band.shape[1]
            alpha = self._alpha(picture, top, bottom, width) if picture.has_alpha else None
            if alpha is not None and picture.meaning.premultiplied:
                band = band * images.to_tensor(alpha[..., None])
            data_range = of_bits(self.data_range, picture.meaning.bits)
            yield images.Image(images.quantise(band, picture.dtype, data_range), alpha)
            top = bottom
            if self._abandoned.is_set():
                raise OutputError("the run has ended")

    def _source(self, picture: images.Picture, halo: int) -> Source:
        """Return the function that reads windows of a picture: the colours that are seen, without alpha.

        ``halo`` is that of the blur, HR px.
        """
        reach = pyramid_reach(halo + self.scale) if picture.has_alpha else 0
        data_range = of_bits(self.data_range, picture.meaning.bits)

        def source(top: int, bottom: int, left: int, right: int) -> Tensor:
            rows = max(0, top - reach), min(picture.height, bottom + reach)
            columns = max(0, left - reach), min(picture.width, right + reach)
            window = picture.window(*rows, *columns)
            check_range(window.pixels, data_range)
            colours = images.to_tensor(window.pixels, data_range, self.options.device)
            if window.alpha is not None:
                alpha = images.to_tensor(window.alpha[..., None], device=self.options.device)
                if bool((alpha < 1.0).any()):
                    colours = filled(colours, alpha, reach, picture.meaning.premultiplied)
            return colours[:, top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]

        return source

    def _alpha(self, picture: images.Picture, top: int, bottom: int, width: int) -> images.Array:
        """Return the alpha of rows ``top`` … ``bottom`` − 1 of the LR image."""
        alpha = picture.window(self.scale * top, self.scale * bottom, 0, self.scale * width).alpha
        assert alpha is not None
        means = area(images.to_tensor(alpha[..., None])[None], self.scale)[0]
        return images.quantise(means, alpha.dtype)[..., 0]


def _joined(bands: Iterable[images.Image]) -> images.Image:
    """Put the bands of an image together."""
    parts = list(bands)
    alphas = [part.alpha for part in parts if part.alpha is not None]
    return images.Image(np.concatenate([part.pixels for part in parts]), np.concatenate(alphas) if alphas else None)


def _identity(path: Path) -> tuple[int, int, int]:
    """Return what tells a file from another of the same name: its size in bytes, mtime in ns and inode."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {os_reason(error)}") from None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _reason(error: Exception | None, path: Path) -> str:
    """Return the error in one line for the manifest, without the path of the image, which the row names already."""
    if error is not None and is_out_of_memory(error):
        return "memory is too short for this image; give less `memory`, a smaller `tile` or fewer `workers`"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else os_reason(error)
    text = str(error).strip().removeprefix(f"{path}: ")
    return text.splitlines()[-1] if text else type(error).__name__

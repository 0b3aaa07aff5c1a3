"""Reading windows of a TIFF page without decoding the rest of it, and writing pages strip by strip.

A page is stored as segments (strips or tiles), each compressed by itself. A window is put together from the segments
that it touches. Decoded segments are kept until a window begins below them, so reading from top to bottom decodes each
segment once. Of a strip that is not compressed only the rows that are asked for are read, as one strip may be the whole
page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from degsynth.data import exif, georeference, jpeg
from degsynth.data.carried import Carried, Density, profile
from degsynth.data.headers import MAX_PIXELS, RAISE_LIMIT
from degsynth.data.tiff_pages import Place, places
from degsynth.errors import MORE_MEMORY, DataError, is_out_of_memory

Array = NDArray[Any]
STRIP_BYTES = 2**18
"""Size of the strips that are written, in bytes before compression."""
CLASSIC_BYTES = 2**32 - 2**25
"""Files larger than this are written as BigTIFF, whose offsets have 64 bits."""
PHOTOMETRICS = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
"""Interpretations of the samples that can be read."""
ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
JPEG = (6, 7, 33007, 34892)
"""Codes of the JPEG compressions, whose tables are stored outside the segments."""
RATIOS = {1: 1, 5: 4096, 8: 1032, 32773: 128, 32946: 1032}
"""By how much a compression (its code) makes data shorter at most: none, LZW, Deflate and PackBits.

For others, there is no bound."""
SPREAD = {1: 255, 2: 85, 4: 17}
"""What samples of so few bits are multiplied by: 8-bit samples then have the same levels, from 0 to 255, exactly."""
PARTS = 16
"""A TIFF, which is read by parts, may have so many times the pixels of an image that is decoded as a whole."""
ORIENTATION_TAG, XMP_TAG = 0x0112, 0x02BC
NAME_TAG = 285
"""``PageName``, which holds the place and the name of a plane."""
ICC_TAG, ACROSS_TAG, DOWN_TAG, UNIT_TAG = 34675, 282, 283, 296
UNITS: dict[int, Literal["none", "inch", "centimetre"]] = {1: "none", 2: "inch", 3: "centimetre"}
"""Units of the resolution by their codes."""
LEFT_OUT = {
    270: "description",
    271: "camera",
    272: "camera",
    306: "date",
    315: "artist",
    700: "XMP",
    33432: "copyright",
    33723: "IPTC",
    34377: "Photoshop",
    34665: "EXIF",
    34853: "GPS",
    50839: "metadata of ImageJ (overlays, lookup tables)",
    50844: "RPC (a georeference)",
}
"""Tags that are not carried into files that are made of an image. What program wrote it (305) is not worth a word."""

# tifffile would log its own lines about a damaged file; the DataError raised here says it already.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def find_places(file: BinaryIO, path: Path) -> list[Place]:
    """Return where the images of a TIFF file are; DataError, which names ``path``, where it has none."""
    try:
        return places(file, path)
    except DataError:
        raise
    except Exception as error:  # tifffile raises many kinds of errors for damaged files
        raise damaged(error, path) from None


def damaged(error: Exception, path: Path) -> DataError:
    """Return the error that says that a file is damaged, with the first line of the codec's own error."""
    if is_out_of_memory(error):
        return DataError(f"{path}: memory is too short to decode it", MORE_MEMORY)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path}: cannot be decoded; it is truncated, damaged or no TIFF ({reason[:80]})")


class Page:
    """A full page of a TIFF file, or a plane behind it: gray or RGB, with or without further channels and alpha."""

    def __init__(self, place: Place, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Read the tags of the page; DataError, which names ``path``, where the page cannot be used."""
        self.path, page = path, place.page
        try:
            self.height, self.width, self.samples = page.imagelength, page.imagewidth, page.samplesperpixel
            self.stored = np.dtype(np.uint8 if page.bitspersample == 1 else page.dtype)
            self.bits = page.bitspersample if page.bitspersample in range(9, 16) else 0
            self.spread = SPREAD.get(page.bitspersample, 1)
            extra = tuple(page.extrasamples)
            self.alpha = bool(extra) and extra[-1] in ALPHA
            self.premultiplied = self.alpha and extra[-1] == tifffile.EXTRASAMPLE.ASSOCALPHA
            self.colours = 1 if page.photometric == tifffile.PHOTOMETRIC.MINISBLACK else 3
            nodata = georeference.nodata({tag.code: tag for tag in page.tags})
            self.nodata = None if nodata is None else nodata * self.spread
            self.carried = _carried(place, self.colours)
            tag, xmp = page.tags.get(ORIENTATION_TAG), page.tags.get(XMP_TAG)
            self.orientation = exif.valid_orientation(
                None if tag is None else tag.value, xmp.value if xmp and isinstance(xmp.value, bytes) else b""
            )
            self.separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and self.samples > 1
            self.remade = page.index > 0 or place.plane > 0 or self.separate or page.bitspersample not in (8, 16, 32)
            across, down = (page.tilewidth, page.tilelength) if page.is_tiled else (self.width, page.rowsperstrip)
            self.segment = min(down, self.height), across
            # A damaged file may list fewer segments than the page consists of.
            wanted = -(-self.height // down) * -(-self.width // across) * (self.samples if self.separate else 1)
            if min(self.height, self.width) < 1 or len(page.dataoffsets) < wanted:
                raise ValueError(f"it has {len(page.dataoffsets)} of {wanted} segments")
            self._check_limits(page, wanted, max_pixels)
            self._check_places(page, wanted)
            if page.is_subsampled and page.compression not in JPEG:
                raise ValueError("its colours are subsampled")
            self.raw = (
                page.compression == 1
                and page.predictor == 1 and not page.is_tiled and page.fillorder == 1
                and self.stored.itemsize * 8 == page.bitspersample
            )  # fmt: skip
            # Codecs pass over damage in a JPEG; of the kinds that are rare, it is not found.
            self.strict_jpeg = page.compression == 7 and self.stored == np.uint8 and self.samples in (1, 3)
        except DataError:
            raise
        except Exception as error:  # tifffile and its codecs raise many kinds of errors for damaged files
            raise damaged(error, self.path) from None
        if page.photometric not in PHOTOMETRICS:
            kind = getattr(page.photometric, "name", page.photometric)
            raise DataError(f"{path}: a TIFF of photometric {kind}", "save it as gray or RGB")
        self._check_samples(page)
        if any(sample in ALPHA for sample in extra[:-1]) or self.samples - self.alpha < self.colours:
            raise DataError(
                f"{path}: a TIFF of {self.samples} samples a pixel of which alpha is not the last",
                "save it with one alpha, as the last sample",
            )
        if self.alpha and self.samples - 1 > self.colours:
            raise DataError(
                f"{path}: a TIFF of {self.samples} samples a pixel, colours, others and alpha, which few programs read",
                "save it without alpha, or with colours and alpha alone",
            )
        self._page, self._skipped = page, place.plane * page.nbytes
        self._decoded: dict[int, Array] = {}

    def _check_limits(self, page: tifffile.TiffPage, wanted: int, max_pixels: int) -> None:
        """Raise DataError where the page has too many pixels, or a segment more than its bytes can hold."""
        down, across = self.segment
        sides = f"{self.width}×{self.height} px in parts of {across}×{down} px"
        planes = max(1.0, self.samples / 4)  # more samples than RGB with alpha has count as further pixels
        if down * across * planes > max_pixels or self.height * self.width * planes > PARTS * max_pixels:
            raise DataError(
                f"{self.path}: declares {sides}; the limit is {max_pixels} pixels a part, {PARTS} times that in all",
                RAISE_LIMIT,
            )
        ratio = RATIOS.get(int(page.compression), 0)
        counts = np.minimum(np.asarray(page.databytecounts[:wanted], np.float64), page.parent.filehandle.size)
        rows = np.full(wanted, down)
        if not page.is_tiled:  # the last strip of each plane is shorter
            per_plane = -(-self.height // down)
            rows[per_plane - 1 :: per_plane] = self.height - (per_plane - 1) * down
        row_bytes = across * (1 if self.separate else self.samples) * int(np.min(page.bitspersample)) // 8
        if ratio and np.any((counts > 0) & (counts * ratio < rows * row_bytes)):  # without bytes: never written
            raise DataError(f"{self.path}: declares {sides}, more than its {int(counts.sum())} bytes can hold")

    def _check_places(self, page: tifffile.TiffPage, wanted: int) -> None:
        """Raise ValueError where a segment is empty or lies over the header; neither has one that was never written."""
        offsets, counts = np.asarray(page.dataoffsets[:wanted]), np.asarray(page.databytecounts[:wanted])
        if np.any((offsets < 8) & (counts > 0) | (offsets > 0) & (counts == 0)):
            raise ValueError("a segment has no bytes or no place")

    def _check_samples(self, page: tifffile.TiffPage) -> None:
        """Raise DataError, which names the kind of samples, where tifffile returns other values than are meant."""
        bits, hint = page.bitspersample, "save it with 8 or 16 bits"
        if not isinstance(bits, int):
            raise DataError(f"{self.path}: a TIFF whose samples have different bits {bits}", hint)
        if bits < 8 and (bits not in SPREAD or page.predictor != 1):
            raise DataError(f"{self.path}: a TIFF of {bits} bits a sample", hint)
        if bits not in (8, 16, 32, 64) and (page.predictor != 1 or self.stored.kind == "f"):
            raise DataError(f"{self.path}: a TIFF of {bits} bits a sample with predictor {int(page.predictor)}", hint)
        if self.bits and self.alpha:
            raise DataError(f"{self.path}: a TIFF of {bits} bits a sample with alpha", hint)
        if page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression not in JPEG:
            raise DataError(f"{self.path}: a TIFF of YCbCr without JPEG compression", "save it as RGB")

    def window(self, top: int, bottom: int, left: int, right: int) -> Array:
        """Return the samples (bottom − top, right − left, S) of rows ``top`` … ``bottom`` − 1, as they are stored."""
        shape = (bottom - top, right - left, self.samples)
        try:
            out = np.empty(shape, self.stored.newbyteorder("="))
        except MemoryError:
            size = f"{shape[1]}×{shape[0]} px of the image"
            raise DataError(f"{self.path}: memory is too short for {size}", MORE_MEMORY) from None
        down, across = self.segment
        per_row, per_column = -(-self.width // across), -(-self.height // down)
        for index in [index for index in self._decoded if (index // per_row % per_column + 1) * down <= top]:
            del self._decoded[index]
        try:
            for plane in range(self.samples if self.separate else 1):
                channels = slice(plane, plane + 1) if self.separate else slice(None)
                for row in range(top // down, (bottom - 1) // down + 1):
                    for column in range(left // across, (right - 1) // across + 1):
                        y, x = max(top, row * down), max(left, column * across)
                        y_end, x_end = min(bottom, (row + 1) * down), min(right, (column + 1) * across)
                        index = (plane * per_column + row) * per_row + column
                        rows = slice(y - row * down, y_end - row * down)
                        columns = slice(x - column * across, x_end - column * across)
                        out[y - top : y_end - top, x - left : x_end - left, channels] = (
                            self._page.nodata * self.spread  # the segment was never written
                            if self._page.databytecounts[index] == 0
                            else self._part(index, rows, columns)
                            if self.raw
                            else self._whole(index)[rows, columns]
                        )
        except DataError:
            raise
        except Exception as error:  # as above
            raise damaged(error, self.path) from None
        return out

    def _whole(self, index: int) -> Array:
        """Return a decoded segment (rows, columns, samples)."""
        if index not in self._decoded:
            tables: dict[str, Any] = {}
            if self._page.compression in JPEG:
                tables = {"jpegtables": self._page.jpegtables, "jpegheader": self._page.jpegheader}
            content = self._read(self._page.dataoffsets[index], self._page.databytecounts[index])
            if self.strict_jpeg and (pixels := self._jpeg(content, index)) is not None:
                self._decoded[index] = pixels[..., None] if pixels.ndim == 2 else pixels
                return self._decoded[index]
            segment = cast(Array, self._page.decode(content, index, **tables)[0])
            segment = segment.reshape(segment.shape[-3:])
            self._decoded[index] = segment if self.spread == 1 else segment * np.uint8(self.spread)
        return self._decoded[index]

    def _jpeg(self, content: bytes, index: int) -> Array | None:
        """Return a segment that is a JPEG, as `jpeg.decode_segment` does."""
        down, across = self.segment
        per_row, per_column = -(-self.width // across), -(-self.height // down)
        least = min(down, self.height - index // per_row % per_column * down)
        most = self._page.tilelength if self._page.is_tiled else down
        ycbcr = self._page.photometric == tifffile.PHOTOMETRIC.YCBCR
        return jpeg.decode_segment(
            content, self._page.jpegtables or b"", ycbcr, (range(least, most + 1), across), self.path
        )

    def _part(self, index: int, rows: slice, columns: slice) -> Array:
        """Read rows and columns of a strip whose bytes in the file are as in memory."""
        samples = 1 if self.separate else self.samples
        pixel = samples * self.stored.itemsize
        count = columns.stop - columns.start
        begin = self._page.dataoffsets[index] + self._skipped + columns.start * pixel
        if count == self.width:
            content = self._read(begin + rows.start * self.width * pixel, (rows.stop - rows.start) * count * pixel)
        else:
            parts = (
                self._read(begin + row * self.width * pixel, count * pixel) for row in range(rows.start, rows.stop)
            )
            content = b"".join(parts)
        stored = np.frombuffer(content, self.stored.newbyteorder(self._page.parent.byteorder))
        return stored.reshape(rows.stop - rows.start, count, samples)

    def _read(self, offset: int, count: int) -> bytes:
        """Read ``count`` bytes of the file; ValueError where it ends before."""
        file = self._page.parent.filehandle
        file.seek(offset)
        content: bytes = file.read(count)
        if len(content) < count:
            raise ValueError("it ends in the middle of a segment")
        return content


def _carried(place: Place, colours: int) -> Carried:
    """Return what a page carries into files that are made of it."""
    page, said = place.page, place.said
    tags = {tag.code: tag for tag in page.tags}
    icc = tags.get(ICC_TAG)
    kept, left_out = profile(icc.value if icc is not None and isinstance(icc.value, bytes) else b"", colours)
    across, down, unit = (tags.get(code) for code in (ACROSS_TAG, DOWN_TAG, UNIT_TAG))
    density = None
    if across is not None and down is not None:
        sides = _ratio(across.value), _ratio(down.value)
        if min(sides) > 0:
            density = Density(*sides, UNITS.get(int(unit.value) if unit is not None else 2, "inch"))
    left_out += tuple(dict.fromkeys(name for code, name in LEFT_OUT.items() if code in tags))
    name = tags.get(NAME_TAG)
    return Carried(
        icc=kept,
        density=said.density or density,
        georeference=georeference.read(tags),
        position=said.position,
        label=said.label or ("" if name is None or said.position else " ".join(str(name.value).split())),
        left_out=left_out,
    )


def _ratio(value: Any) -> float:
    """Return a resolution, which is stored as numerator and denominator; 0 where it is none."""
    return float(value[0]) / float(value[1]) if isinstance(value, tuple) and len(value) == 2 and value[1] else 0.0


@dataclass(frozen=True)
class Layout:
    """Size and meaning of the samples of a page that is about to be written."""

    height: int
    width: int
    colours: int
    """1 for gray, 3 for RGB."""
    others: int
    """Number of further channels."""
    alpha: bool
    premultiplied: bool
    """Whether the colours are multiplied by alpha."""
    dtype: np.dtype[Any]


def write(file: Any, layout: Layout, carried: Carried, bands: Iterable[Array]) -> None:
    """Write a page, compressed losslessly, from bands (rows, width, samples) that come from top to bottom.

    ``file`` is a path or a binary file. The bytes written do not depend on the heights of the bands.
    """
    samples = layout.colours + layout.others + layout.alpha
    row_bytes = layout.width * samples * layout.dtype.itemsize
    rows = max(1, min(layout.height, STRIP_BYTES // row_bytes))
    shape = (layout.height, layout.width) if samples == 1 else (layout.height, layout.width, samples)
    extra = ["unspecified"] * layout.others
    if layout.alpha:
        extra.append("assocalpha" if layout.premultiplied else "unassalpha")
    density = carried.density or Density(0, 0, "none")
    tags: list[tuple[Any, ...]] = [(*tag, True) for tag in carried.georeference]
    if carried.page_name:
        tags.append((NAME_TAG, "s", 0, carried.page_name.encode(), True))
    # tifffile accepts strips one by one only if they are compressed already.
    with tifffile.TiffWriter(file, bigtiff=layout.height * row_bytes > CLASSIC_BYTES) as writer:
        writer.write(
            (bytes(imagecodecs.deflate_encode(strip.tobytes())) for strip in regrouped(bands, rows)),
            shape=shape,
            dtype=layout.dtype,
            rowsperstrip=rows,
            photometric="rgb" if layout.colours == 3 else "minisblack",
            planarconfig=None if samples == 1 else "contig",
            extrasamples=extra or None,
            compression="adobe_deflate",
            metadata=None,
            software="",
            iccprofile=carried.icc or None,
            resolution=density[:2] if carried.density else None,
            resolutionunit=next(code for code, unit in UNITS.items() if unit == density.unit),
            extratags=tags,
        )


def regrouped(bands: Iterable[Array], rows: int) -> Iterator[Array]:
    """Yield the same rows in bands of ``rows`` rows each; the last band may have fewer."""
    waiting: list[Array] = []
    count = 0
    for band in bands:
        waiting.append(band)
        count += len(band)
        if count >= rows:
            joined = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            whole = count // rows * rows
            for first in range(0, whole, rows):
                yield np.ascontiguousarray(joined[first : first + rows])
            waiting, count = [joined[whole:]] if count > whole else [], count - whole
    if count:
        yield np.ascontiguousarray(np.concatenate(waiting))

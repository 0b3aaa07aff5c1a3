"""The manifest: one JSON row per output, appended as outputs are finished, read back to resume."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from degsynth.apply.root import Root
from degsynth.config import Strict
from degsynth.errors import DataError, can_be_shown, os_reason, shortened
from degsynth.files import name_parts

FILE_NAME = "manifest.jsonl"
"""Name of the manifest in the folder of a data set."""
LONGEST_LINE = 2**20
"""Bytes of the longest line that is taken for a row."""
LONGEST_NAME, MOST_FOLDERS = 4096, 200
"""Bytes and parts of the longest name of a file: no system opens a longer one, and Python removes no deeper folder."""
WRITTEN_SUFFIXES = (".png", ".tif")
"""Endings of the names of files that degsynth encodes without loss."""
JPEG_SUFFIX = ".jpg"
"""Ending of LR files that are JPEG files."""


NotNegative = Annotated[int, Field(ge=0)]
Key = tuple[str, int, int, tuple[()] | tuple[int, int]]
"""Source, page, draw and crop of an output."""


class Row(Strict):
    """One LR image of the data set, or an image that could not be made."""

    source: str
    """POSIX path of the HR image relative to the HR root; the seeds of the output follow from it."""
    source_bytes: int | None = None
    """Size of that file in bytes; a file of another size is another image."""
    source_mtime_ns: int | None = None
    """When that file was last modified, in ns; None in older manifests."""
    status: Literal["ok", "failed"]
    error: str | None = None
    """Why the image could not be made."""
    page: NotNegative = 0
    """Number of the page or plane, where a TIFF holds several images."""
    position: dict[str, int] | None = None
    """Number of the plane along each axis of its stack that has several, as ImageJ or OME say it: C, Z and T."""
    label: str | None = None
    """Name of the page, of the plane, or of its channel, where the source has one."""
    draw: NotNegative = 0
    """Number of this LR image among several of one HR image."""
    crop: tuple[NotNegative, NotNegative] | None = None
    """Top and left of the part of the HR image that this output is of, px; None: it is of the whole image."""
    hr: str | None = None
    """Path of the HR file relative to the folder of the data set."""
    lr: str | None = None
    """Path of the LR file relative to the folder of the data set."""
    source_size: tuple[int, int] | None = None
    """Height and width of the source, crops included."""
    hr_size: tuple[int, int] | None = None
    """Height and width of the file in ``hr/``: exactly scale × those of the LR file."""
    lr_size: tuple[int, int] | None = None
    """Height and width of the file in ``lr/``."""
    cropped: bool = False
    """Whether rows or columns at the bottom or right of the HR image were cut off."""
    hr_kept: Literal["hard", "symlink", "copy", "written"] | None = None
    """How the file in ``hr/`` was made: linked, copied, or ``written`` anew: cropped, turned, in other colours, or in
    another form than the file (see `degsynth.data.decoding.Decoded.remade`)."""
    channels: int | None = None
    """Number of channels without alpha."""
    others: int = 0
    """How many of them lie behind those of gray or RGB, such as near infrared."""
    alpha: bool | None = None
    """Whether there is alpha beside them; None in older manifests."""
    dtype: str | None = None
    bits: int | None = None
    """Bits of a sample, 9 to 15, where the source has fewer than the 16 of both files: levels go from 0 to 2^bits − 1,
    and that is white, unless the run or its model has a data range."""
    seed: int | None = None
    """``degrade(hr, seed)`` of the checkpoint makes this LR image again, before rounding, if the model's own noise and
    no other was added; where the row has a ``crop``, that of the whole image. Where it has a ``hardware_factor``, call
    ``set_hardware_factor`` with it first."""
    model_sha256: str | None = None
    """SHA-256 of the model that made the image, where one of several was drawn for it."""
    kernel_id: int | None = None
    """Index of the kernel, where the model draws kernels from a pool."""
    hardware_factor: float | None = None
    """Hardware factor of the image, where the model has one: the model's own, or one that was drawn."""
    noise: Literal["learned", "other", "none"] = "none"
    """Learned noise that was added: the model's own, another model's (named in ``dataset.json``), or none."""
    warning: str | None = None
    """What may be wrong with the image."""
    left_out: tuple[str, ...] = ()
    """What the source says beside its pixels that the LR file does not: EXIF, XMP, …"""
    converted_from: str | None = None
    """Name of the ICC profile of the source, where both files were converted from it to sRGB; they have no profile."""
    awgn_sigma: float | None = None
    """σ of the AWGN on the 0–255 scale of the data range; None: none was added."""
    jpeg_quality: int | None = None
    """Quality of libjpeg that is nearest to the compression of the LR image, as which it may be written without further
    loss; None: it was not compressed."""
    shot_read: tuple[float, float] | None = None
    """A and B of white noise whose variance is A·x + B at level x, on the 0–255 scale; None: none was added."""
    hr_bytes: int | None = None
    """Size of the file in ``hr/`` in bytes; None in older manifests."""
    hr_sha256: str | None = None
    """SHA-256 of the file in ``hr/``, where degsynth wrote it."""
    lr_sha256: str | None = None
    """SHA-256 of the file in ``lr/``."""

    @property
    def key(self) -> Key:
        """What no other output of the data set has."""
        return self.source, self.page, self.draw, self.crop or ()

    @property
    def names(self) -> list[str]:
        """Names of the files of the row, relative to the folder of the data set."""
        return [name for name in (self.hr, self.lr) if name is not None]

    @field_validator("source", "hr", "lr")
    @classmethod
    def _stays_below(cls, name: str | None) -> str | None:
        if name is None:
            return name
        if len(name.encode()) > LONGEST_NAME or len(name_parts(name)) > MOST_FOLDERS or not can_be_shown(name):
            raise ValueError(f"{shortened(name)} is no name that degsynth gives to a file")
        return name

    @model_validator(mode="after")
    def _has_its_place(self) -> Row:
        """Check the folder and the ending of both files: only such files are read, replaced or removed."""
        kept = PurePosixPath(self.source).suffix
        for side, name, suffixes in (
            ("hr", self.hr, (*WRITTEN_SUFFIXES, kept)),
            ("lr", self.lr, (*WRITTEN_SUFFIXES, JPEG_SUFFIX)),
        ):
            if name is None:
                continue
            if not name.startswith(f"{side}/"):
                raise ValueError(f"{side} {name!r} does not lie in {side}/")
            if PurePosixPath(name).suffix not in suffixes:
                raise ValueError(f"{side} {name!r} does not end in {' or '.join(filter(None, suffixes))}")
        return self


class Manifest:
    """The manifest of a data set: a file of rows, to which rows are appended while outputs are finished."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._root = Root(folder)

    def read(self) -> list[Row]:
        """Return all rows; a last line that a crash cut short is dropped. DataError where the file is no manifest."""
        rows, damage = self.read_what_is_whole()
        if damage:
            raise DataError(
                f"{self.path}, {damage[0]}",
                "restore it, or begin anew with `existing=overwrite`",
            )
        return rows

    def read_what_is_whole(self) -> tuple[list[Row], list[str]]:
        """Return the rows that are whole, and for every other line its number and what is wrong with it."""
        rows: list[Row] = []
        damage: list[str] = []
        try:
            with self._root.open(FILE_NAME, "rb") as file:
                number, line, following = 0, b"", file.readline(LONGEST_LINE)
                while following:
                    number, line, following = number + 1, following, file.readline(LONGEST_LINE)
                    if line.strip():
                        self._parse(line, f"line {number}", not following, rows, damage)
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise DataError(f"{self.path}: {os_reason(error)}") from None
        return rows, damage

    @staticmethod
    def _parse(line: bytes, place: str, last: bool, rows: list[Row], damage: list[str]) -> None:
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] != "json_invalid":
                where = ".".join(str(part) for part in first["loc"])
                reason = first["msg"].removeprefix("Value error, ")
                damage.append(f"{place}: not a manifest row: {where + ': ' if where else ''}{reason}")
            elif not last:  # the writer of a last line that is not whole died in the middle of it
                damage.append(f"{place}: not a manifest row: no JSON")

    def modified_ns(self) -> int:
        """Return when the file was last written, in ns; 0 where there is none."""
        try:
            return self._root.stat(FILE_NAME).st_mtime_ns
        except FileNotFoundError:
            return 0

    def append(self, row: Row) -> None:
        """Append a row; it has been handed to the operating system when this returns."""
        with self._root.open(FILE_NAME, "ab") as file:
            file.write(f"{row.model_dump_json(exclude_none=True)}\n".encode())

    def write(self, rows: list[Row]) -> None:
        """Replace the file by these rows, sorted by source, page, draw and crop, in one move."""
        ordered = sorted(rows, key=lambda row: row.key)
        self._root.write(FILE_NAME, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in ordered))

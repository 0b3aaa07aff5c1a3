"""The folder of a layout while it is made, and the images that go into it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, cast

from degsynth.apply.layouts.record import PAIRS_NAME, File
from degsynth.apply.manifest import Row
from degsynth.apply.root import Root
from degsynth.config import OnProgress, OnText
from degsynth.data import images, writing
from degsynth.files import file_digest, open_regular
from degsynth.parallel import stream

Side = Literal["hr", "lr"]
SIDES: tuple[Side, Side] = ("hr", "lr")
Result = TypeVar("Result")

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FIRST_CHUNK = 33
"""Bytes of a PNG up to the end of its first chunk, which says what its samples are."""
FACTS = {
    "source", "page", "draw", "hr_size", "lr_size", "channels", "dtype", "seed", "kernel_id", "hardware_factor",
    "noise", "awgn_sigma",
}  # fmt: skip
"""Fields of a manifest row that go with each pair into layouts that have room for them."""


@dataclass(frozen=True)
class Callbacks:
    """What a run says, and what it asks."""

    should_stop: Callable[[], bool]
    on_progress: OnProgress
    on_warning: OnText


class StoppedError(Exception):
    """Somebody has asked to stop; the layout is not whole."""


@dataclass(frozen=True)
class Pair:
    """An HR image and its LR image."""

    row: Row
    stem: str
    """Name without folder and extension that is safe everywhere and unique in the data set: ASCII letters, digits,
    underscores and hyphens."""

    def file(self, side: Side) -> str:
        """Return the name of the image in the data set."""
        return str(self.row.hr if side == "hr" else self.row.lr)

    def size(self, side: Side) -> tuple[int, int]:
        """Return height and width."""
        return (self.row.hr_size if side == "hr" else self.row.lr_size) or (0, 0)


class Place:
    """The folder of a layout, which is made within ``.partial`` and moved into place when it is whole."""

    def __init__(
        self, root: Root, folder: str, scale: int, workers: int, max_pixels: int | None, callbacks: Callbacks
    ) -> None:
        """``root`` is the folder of the data set, ``folder`` the name of a new folder in it."""
        self.root, self.folder, self.scale = root, folder, scale
        self._workers, self._max_pixels = workers, max_pixels
        self._callbacks = callbacks
        self._notes: list[dict[str, Any]] = []
        root.make_folder(folder)

    def each(self, pairs: Sequence[Pair], work: Callable[[Pair], Result]) -> Iterator[tuple[Pair, Result]]:
        """Call ``work`` on every pair, in threads; yield pairs and results in the order of the pairs."""
        step = 2 * self._workers
        for begin in range(0, len(pairs), step):
            if self._callbacks.should_stop():
                raise StoppedError
            part = pairs[begin : begin + step]
            done = {finished.item.stem: finished for finished in stream(part, work, self._workers)}
            for pair in part:
                finished = done[pair.stem]
                if finished.error is not None:
                    raise finished.error
                yield pair, cast(Result, finished.result)
            self._callbacks.on_progress(f"layout {Path(self.folder).name}", begin + len(part), len(pairs))

    def note(self, pair: Pair, hr: str, lr: str, **where: str) -> None:
        """Note where the images of a pair are."""
        row = pair.row
        crop = {} if row.crop is None else {"crop": row.crop}
        names = {"hr": hr, "lr": lr, **where}
        self._notes.append({"source": row.source, "page": row.page, "draw": row.draw, **crop, **names})

    def write_notes(self) -> None:
        """Write what was noted."""
        self.write(PAIRS_NAME, "".join(json.dumps(note, ensure_ascii=False) + "\n" for note in self._notes))

    def facts(self, pair: Pair) -> dict[str, Any]:
        """Return how the LR image of a pair was made; the names are the same for every pair."""
        return {"scale": self.scale, **pair.row.model_dump(mode="json", include=FACTS)}

    def open(self, name: str) -> BinaryIO:
        """Open a new file of the layout for writing and reading."""
        return self.root.open(f"{self.folder}/{name}", "w+b")

    def write(self, name: str, text: str) -> None:
        """Write a text file in UTF-8."""
        with self.open(name) as file:
            file.write(text.encode("utf-8"))

    def put_png(self, pair: Pair, side: Side, name: str) -> None:
        """Bring an image into the layout: by a hard link where it is a plain PNG, else written anew without loss.

        Where the file system has no hard links, it is copied; where it is a symbolic link, that is made again.
        """
        path, target = self.root.path / pair.file(side), f"{self.folder}/{name}"
        with open_regular(path) as file:
            if is_plain_png(file):
                if path.is_symlink():
                    self.root.symlink(path.resolve(), target)
                    return
                try:
                    self.root.link(path, target)
                    return
                except OSError:  # a file system without hard links, or too many of them
                    pass
        with self.open(name) as new:
            new.write(self.png(pair, side))

    def put_all(self, pairs: Sequence[Pair], hr: Callable[[Pair], str], lr: Callable[[Pair], str]) -> None:
        """Bring both images of every pair into the layout as PNG files, under the names given, and note them."""

        def put(pair: Pair) -> None:
            self.put_png(pair, "hr", hr(pair))
            self.put_png(pair, "lr", lr(pair))

        for pair, _ in self.each(pairs, put):
            self.note(pair, hr(pair), lr(pair))

    def put_sides(self, pairs: Sequence[Pair], parent: str = "") -> None:
        """Bring all pairs into two flat folders, ``hr/`` and ``lr/`` below a parent (``train/``), by equal names."""
        self.put_all(pairs, lambda pair: f"{parent}hr/{pair.stem}.png", lambda pair: f"{parent}lr/{pair.stem}.png")

    def png(self, pair: Pair, side: Side) -> bytes:
        """Return an image as a plain PNG: its own bytes where it is one."""
        path = self.root.path / pair.file(side)
        with open_regular(path) as file:
            if is_plain_png(file):
                file.seek(0)
                return file.read()
        buffer = io.BytesIO()
        with images.opened(path, self._max_pixels) as picture:
            image = writing.straight(picture.window(0, picture.height, 0, picture.width))
            size = writing.Size(image.height, image.width, image.channels, image.dtype, image.has_alpha, image.meaning)
            writing.write(buffer, ".png", size, [image])
        return buffer.getvalue()

    def pixels(self, pair: Pair, side: Side) -> images.Array:
        """Return the pixels (H, W, C) of an image, without alpha."""
        with images.opened(self.root.path / pair.file(side), self._max_pixels) as picture:
            return picture.window(0, picture.height, 0, picture.width).pixels

    def files(self) -> list[File]:
        """Return all files of the layout with their hashes, sorted by name."""
        files = []
        for name in self.root.files(self.folder):
            with open_regular(self.root.path / name) as file:
                size = os.fstat(file.fileno()).st_size
                files.append(File(name=name.removeprefix(f"{self.folder}/"), bytes=size, sha256=file_digest(file)))
        return files


def is_plain_png(file: BinaryIO) -> bool:
    """Tell whether a file is a PNG that all readers take for the same samples: no palette and no key colour."""
    head = file.read(FIRST_CHUNK)
    if len(head) < FIRST_CHUNK or not head.startswith(SIGNATURE) or head[24] < 8 or head[25] == 3:
        return False
    while len(chunk := file.read(8)) == 8:
        kind = chunk[4:]
        if kind == b"IDAT":
            return True
        if kind == b"tRNS":
            return False
        file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)
    return False

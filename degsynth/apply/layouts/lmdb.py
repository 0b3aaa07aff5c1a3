"""Two LMDB databases of PNG files, as BasicSR, neosr and traiNNer-redux read them (``io_backend: lmdb``).

The key of an image is its name without extension, in ASCII and without dots. ``meta_info.txt`` in the folder of each
database lists ``name.png (h,w,c) 1``, where 1 was the level of compression. Both databases have the same keys.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from degsynth.apply.layouts.place import SIDES, Pair, Place
from degsynth.errors import OutputError

HOLDS_PNG = True
FIRST_SIZE = 2**26
"""Bytes that a database may have at first; the limit grows with what is put in."""
BATCH_BYTES = 2**26
"""Bytes that are written in one transaction. The bytes of the database depend on this number, not on the workers."""

Item = tuple[bytes, bytes]


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``train_hr.lmdb`` and ``train_lr.lmdb``."""
    databases = [_Database(place, f"train_{side}.lmdb") for side in SIDES]
    try:
        for pair, contents in place.each(pairs, lambda pair: [place.png(pair, side) for side in SIDES]):
            for database, content in zip(databases, contents, strict=True):
                database.put(pair.stem.encode("ascii"), content)
            place.note(pair, f"train_hr.lmdb/{pair.stem}", f"train_lr.lmdb/{pair.stem}")
        for database in databases:
            database.flush()
    finally:
        for database in databases:
            database.close()
    for side in SIDES:
        sizes = ((pair, *pair.size(side), pair.row.channels) for pair in pairs)
        lines = "".join(f"{pair.stem}.png ({h},{w},{c}) 1\n" for pair, h, w, c in sizes)
        place.write(f"train_{side}.lmdb/meta_info.txt", lines)


class _Database:
    """A database that is written from the first key to the last."""

    def __init__(self, place: Place, name: str) -> None:
        self._lmdb = importlib.import_module("lmdb")  # which is an optional extra
        place.root.make_folder(f"{place.folder}/{name}")
        # The library opens the file by its path. The folder was made a moment ago, in one that only this run writes.
        path = str(place.root.path / place.folder / name)
        self._environment = self._lmdb.open(path, map_size=FIRST_SIZE, lock=False, sync=False)
        self._waiting: list[Item] = []
        self._bytes = 0

    def put(self, key: bytes, content: bytes) -> None:
        """Add an entry; its key is above all before it."""
        self._waiting.append((key, content))
        self._bytes += len(content)
        if self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits, in one transaction; where the database is too small for it, it grows."""
        try:
            while self._waiting:
                self._write()
            self._environment.sync(True)
        except self._lmdb.Error as error:  # which is no OSError, even where the disk is full
            raise OutputError(str(error)) from None

    def _write(self) -> None:
        try:
            with self._environment.begin(write=True) as transaction:
                for key, content in self._waiting:
                    transaction.put(key, content, append=True)
            self._waiting, self._bytes = [], 0
        except self._lmdb.MapFullError:
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])

    def close(self) -> None:
        """Close the file."""
        self._environment.close()

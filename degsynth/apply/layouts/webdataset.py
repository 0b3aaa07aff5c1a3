"""Shards of WebDataset: tar files in which the files of one sample follow each other and share a key.

The key is the name up to its first dot, the rest is the field: ``photo.hr.png``, ``photo.lr.png``, ``photo.json``.
Shards are named ``train-000000.tar``, so a set of them is written ``train-{000000..000041}.tar``.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True
SHARD_BYTES = 2**30
"""Bytes that a shard has at most, unless a single pair has more."""


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write the shards, in the order of the stems; the same pairs give the same bytes."""
    with contextlib.ExitStack() as stack:
        shard, name, filled, number = None, "", 0, 0
        for pair, members in place.each(pairs, lambda pair: list(_members(pair, place))):
            size = sum(len(content) for _, content in members)
            if shard is None or filled + size > SHARD_BYTES:
                stack.close()
                name, filled, number = f"train-{number:06d}.tar", 0, number + 1
                file = stack.enter_context(place.open(name))
                shard = stack.enter_context(tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT))
            for member, content in members:
                header = tarfile.TarInfo(member)  # owner, group and time are 0
                header.size = len(content)
                shard.addfile(header, io.BytesIO(content))
            filled += size
            place.note(pair, f"{pair.stem}.hr.png", f"{pair.stem}.lr.png", file=name)


def _members(pair: Pair, place: Place) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a sample."""
    yield f"{pair.stem}.hr.png", place.png(pair, "hr")
    yield f"{pair.stem}.lr.png", place.png(pair, "lr")
    yield f"{pair.stem}.json", json.dumps(place.facts(pair)).encode()

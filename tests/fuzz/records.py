"""Hostile records of data sets: rows of a manifest, ``dataset.json``, and the records of layouts."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fuzz import mutations

PATHS = (
    "../victim/precious.png", "../../victim/b.png", "lr/../../victim/precious.png", "hr/../../HR/a.png",
    "/etc/hostname", "/dev/zero", "lr/./a_0.png", "lr//a_0.png", "lr/a_0.png/", "lr", "..", ".", "", "dataset.json",
    "manifest.jsonl", ".partial/lock", "lr/a\0.png", "lr/\x1b[2J.png", "lr/" + "x" * 300 + ".png",
    "lr/" + "d/" * 3000 + "a.png",
    "hr/link/precious.png", "lr/A_0.PNG", "lr/a_0.tif", "lr/a_0.jpg", "C:\\a.png", "a.h5:/../x[3]", "lr/-\u202e.png",
)  # fmt: skip
"""Names of files that climb out, are absolute, are those of others, or are none."""
VALUES: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**63, -(2**64), 10**400, 0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
    True, False, None, "", "7", "x" * 5000, "nan", [], {}, [1], [0, 0], [-1, -1], [2**40, 2**40], [1, 2, 3], ["a", "b"],
    [float("nan"), 1], {"a": 1}, [[[[1]]]],
)  # fmt: skip
"""What stands where another value was expected."""


def changed(record: Any, names: list[str], rng: random.Random) -> str:
    """Change a record in place, at a place of any depth; return how."""
    places = list(_places(record))
    if not places:
        return "nothing"
    holder, key = rng.choice(places)
    how = rng.choice(("name", "name", "value", "value", "value", "gone", "more", "twice"))
    if how == "name":
        texts = [(at, name) for at, name in places if isinstance(at[name], str)]
        holder, key = rng.choice(texts or places)
        holder[key] = rng.choice((*PATHS, *names)) if rng.random() < 0.8 else rng.choice(PATHS)
    elif how == "value":
        holder[key] = rng.choice(VALUES)
    elif how == "gone":
        del holder[key]
    elif how == "more":
        (holder.append(rng.choice(VALUES)) if isinstance(holder, list) else holder.update(more=rng.choice(VALUES)))
    elif isinstance(holder, list):
        holder.append(holder[key])
    else:  # a number of a size that a program may believe
        holder[key] = rng.choice((3, 7, 10**6, 10**9, 10**15))
    return how


def _places(record: Any) -> list[tuple[Any, Any]]:
    """List the places of values, as what holds them and the key or number there."""
    keys = list(record) if isinstance(record, dict) else range(len(record)) if isinstance(record, list) else ()
    below = [place for key in keys for place in _places(record[key])]
    return [*((record, key) for key in keys), *below]


def other_record(text: str, names: list[str], rng: random.Random) -> tuple[str, bytes]:
    """Change a JSON text in one place or a few, or its bytes."""
    if rng.random() < 0.15:
        return mutations.damaged(text.encode(), rng)
    record = json.loads(text)
    how = [changed(record, names, rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    return " ".join(how), json.dumps(record).encode()


def other_rows(text: str, names: list[str], rng: random.Random) -> tuple[str, bytes]:
    """Change rows of JSON lines, exchange what two of them say, repeat or drop one, or change the bytes."""
    if rng.random() < 0.1:
        return mutations.damaged(text.encode(), rng)
    rows = [json.loads(line) for line in text.splitlines()]
    done = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        roll, row, other = rng.random(), rng.choice(rows), rng.choice(rows)
        if roll < 0.7:
            done.append(changed(row, names, rng))
        elif roll < 0.85 and (common := sorted(row.keys() & other.keys())):
            key = rng.choice(common)
            row[key] = other[key]
            done.append(f"{key} of another")
        else:
            rows.append(json.loads(json.dumps(row)))
            done.append("row twice")
    if rng.random() < 0.1:
        rows.pop(rng.randrange(len(rows)))
        done.append("row gone")
    return " ".join(done), "".join(json.dumps(row) + "\n" for row in rows).encode()

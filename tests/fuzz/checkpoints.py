"""Checkpoints whose archive is written anew after a change, so that its checksums are right."""

from __future__ import annotations

import io
import random
import zipfile

from degsynth.model.checkpoint import SPEC_NAME
from tests.fuzz.mutations import damaged, other_value

Members = dict[str, bytes]


def _members(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(members: Members, packed: str = "") -> bytes:
    """Write members unpacked, as torch does; the one called ``packed`` is packed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED if name == packed else zipfile.ZIP_STORED
            archive.writestr(entry, content)
    return buffer.getvalue()


def record(content: bytes, rng: random.Random) -> bytes:
    """Change a value of the record of degsynth inside, or damage it."""
    members = _members(content)
    name = next(name for name in members if name.endswith(SPEC_NAME))
    text = other_value(members[name].decode(), rng).encode("utf-8", "surrogatepass")
    return _archive(members | {name: text if rng.random() < 0.8 else damaged(members[name], rng)[1]})


def member(content: bytes, rng: random.Random) -> bytes:
    """Damage one member: code, weights, or what joins them."""
    members = _members(content)
    name = rng.choice([name for name, body in members.items() if body])
    return _archive(members | {name: damaged(members[name], rng)[1]})


def arrangement(content: bytes, rng: random.Random) -> bytes:
    """Drop a member, rename one, or exchange the contents of two."""
    members = _members(content)
    one, other = rng.sample(list(members), 2)
    change = rng.choice(("drop", "rename", "exchange"))
    if change == "exchange":
        members[one], members[other] = members[other], members[one]
    else:
        body = members.pop(one)
        if change == "rename":
            members[rng.choice(("../victim/precious.png", "/etc/x", other.upper(), one + "\\x"))] = body
    return _archive(members)


def bomb(content: bytes, rng: random.Random) -> bytes:
    """Pack a giant member: one more, or one that torch reads."""
    members = _members(content)
    name = rng.choice([*members, "archive/data/9", "archive/extra/more"])
    members[name] = members.get(name, b"") + bytes(rng.choice((10**6, 7 * 10**7, 2 * 10**8)))
    return _archive(members, name)


CRAFTED = {"record": record, "member": member, "arrangement": arrangement, "bomb": bomb}
"""All of these, by the name that reports give them."""

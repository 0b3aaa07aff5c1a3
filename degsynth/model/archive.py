"""The zip archive of a checkpoint, checked before torch sees it.

torch itself compares no checksums, and parts of its reader end the process where a file is damaged. So the archive is
read here first: what it declares is bounded before anything is allocated, every checksum is compared, and torch gets
an archive that is written anew from what was checked. Torch's reader and this one can then not differ in what they
take for the contents.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from degsynth.errors import CheckpointError, shortened
from degsynth.model import pickles, sources

LARGEST_FILE = 2**32
"""Largest checkpoint that is read, bytes."""
LARGEST_UNPACKED = 2**26
"""Largest sum of the sizes of compressed members, bytes. Only code and records are compressed, never weights."""
MOST_MEMBERS = 2**16 - 1
"""Largest number of members of an archive."""
END_LENGTH = 22
"""Bytes of the record at the end of an archive; the two from the tenth on are the number of members."""
SUMS_NAME = "sha256sums"
"""Name, among the extra files, of the list of the SHA-256 of all other members. Old checkpoints have none."""
PICKLES = ("data.pkl", "constants.pkl")
"""Members that hold the values of the module, and the constants of its code."""
PLACES = ".debug_pkl"
"""What the names of members end in that say where code stood in its source. Torch is not given them to parse."""


@dataclass(frozen=True)
class Archive:
    """A checked archive."""

    members: Mapping[str, bytes]
    """Contents by name, without the folder that all names begin with."""

    def code(self) -> str:
        """Return all TorchScript source text of the archive."""
        # torch finds members whatever the case of their names
        names = sorted(name for name in self.members if name.lower().startswith("code/") and not name.endswith(PLACES))
        return "\n".join(self.members[name].decode("utf-8", "replace") for name in names)

    def extra(self, name: str) -> bytes | None:
        """Return the contents of an extra file; None where there is none of this name."""
        return self.members.get(f"extra/{name}")

    def rewritten(self) -> bytes:
        """Return a new archive of the same members, for torch to read."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in self.members.items():
                if not name.endswith(PLACES):
                    archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
        return buffer.getvalue()


def add_sums(file: io.BytesIO) -> None:
    """Add the SHA-256 of its members, as one more extra file, to the archive that `torch.jit.save` wrote."""
    with zipfile.ZipFile(file, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        sums = {name.removeprefix(f"{root}/"): _sum(archive.read(name)) for name in archive.namelist()}
        archive.writestr(zipfile.ZipInfo(f"{root}/extra/{SUMS_NAME}"), _listed(sums))


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _listed(sums: Mapping[str, str]) -> str:
    """Return a list of the SHA-256 of members by name, as the program sha256sum writes it."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def read(content: bytes, path: Path) -> Archive:
    """Read the archive of a checkpoint; CheckpointError, which names ``path``, where it is none, or damaged, or a bomb.

    Raises it also where loading the archive would run code that it holds.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _check_declared(entries, len(content), path)
            roots = {entry.filename.partition("/")[0] for entry in entries}
            members = {entry.filename.partition("/")[2]: _member(archive, entry, path) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise not_torchscript(path, str(error)) from None
    end = content[-END_LENGTH:]
    if end.startswith(b"PK\5\6") and len(entries) != int.from_bytes(end[10:12], "little"):
        raise damaged(path, "its table of contents is cut short")
    if len(roots) != 1 or len({name.lower() for name in members}) != len(entries):
        raise not_torchscript(path, "its members are not all in one folder, each once")
    if not {*PICKLES, "version"} <= members.keys() or "model.json" in members:
        raise not_torchscript(path, "its members are others")
    found = Archive(members)
    _check_sums(found, path)
    _check_contents(found, path)
    return found


def not_torchscript(path: Path, reason: str) -> CheckpointError:
    """Return the error for a file that torch could not load."""
    line = shortened(reason.strip()) or "empty"
    return CheckpointError(
        f"{path} is no degsynth checkpoint (not TorchScript: {line})", "take a file written by 'degsynth export'"
    )


def damaged(path: Path, what: str) -> CheckpointError:
    """Return the error for a checkpoint that is not as it was written."""
    return CheckpointError(f"{path} is damaged ({what})", "copy or export it anew")


def _check_declared(entries: list[zipfile.ZipInfo], length: int, path: Path) -> None:
    """Raise CheckpointError where the members are declared larger than a checkpoint's can be."""
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    unpacked = sum(entry.file_size for entry in packed)
    if len(entries) > MOST_MEMBERS or unpacked > LARGEST_UNPACKED:
        raise CheckpointError(
            f"{path} declares {len(entries)} members, and {unpacked} bytes of compressed ones; a checkpoint has at "
            f"most {MOST_MEMBERS} and {LARGEST_UNPACKED}",
            "do not use it",
        )
    if sum(entry.compress_size for entry in entries) > length:  # members on top of each other, or a flipped bit
        raise damaged(path, "its members are declared larger than the file")


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> bytes:
    """Return the contents of a member, after comparing its checksum."""
    if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        raise damaged(path, f"{shortened(entry.filename)} has two sizes")
    try:
        content = archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise damaged(path, f"{shortened(entry.filename)} does not match its checksum") from None
    if len(content) != entry.file_size:
        raise damaged(path, f"{shortened(entry.filename)} is cut short")
    return content


def _check_sums(archive: Archive, path: Path) -> None:
    sums = archive.extra(SUMS_NAME)
    if sums is None:
        return
    found = {name: _sum(content) for name, content in archive.members.items() if name != f"extra/{SUMS_NAME}"}
    if sums.decode("utf-8", "replace") != _listed(found):
        raise damaged(path, "its members do not match their SHA-256")


def _check_contents(archive: Archive, path: Path) -> None:
    """Raise CheckpointError where torch must not parse the code or the pickles."""
    try:
        for name in PICKLES:
            pickles.check(archive.members[name], archive.members)
        sources.check(archive.code())
    except ValueError as error:
        raise CheckpointError(
            f"{path} is no degsynth checkpoint: {shortened(str(error))}", "take a file written by 'degsynth export'"
        ) from None

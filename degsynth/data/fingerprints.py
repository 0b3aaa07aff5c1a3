"""What tells sets of images apart: a hash over their names and their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from degsynth.data.members import file_of
from degsynth.data.regular import open_regular
from degsynth.files import file_digest


def fingerprint(images: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 over the names of images and the bytes of the files that hold them, in the order given."""
    whole, known = hashlib.sha256(), dict[Path, str]()
    for name, path in images:
        file = file_of(path)
        if file not in known:
            with open_regular(file) as opened:
                known[file] = file_digest(opened)
        whole.update(f"{name}:{known[file]}\n".encode())
    return whole.hexdigest()

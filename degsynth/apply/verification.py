"""Which outputs of an earlier run are still true: the files as they were written, the source the same image."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from degsynth.apply.manifest import Row
from degsynth.apply.root import Root
from degsynth.data.members import file_of
from degsynth.errors import ConfigError
from degsynth.files import file_digest

Check = Literal["quick", "full"]
"""How closely finished outputs are looked at: sizes, times and the hash of LR, or the hashes of all files."""


@dataclass(frozen=True)
class Verification:
    """Compares finished outputs with their manifest rows."""

    root: Root
    """The folder of the data set."""
    sources: Path
    """The folder that sources are relative to."""
    check: Check
    since: int
    """When the manifest was last written, ns: a file that changed before that is as the run has left it."""

    def holds(self, row: Row) -> bool:
        """Tell whether both files of a row and its source, where that still exists, are what the row says."""
        if row.status != "ok" or row.hr is None or row.lr is None or row.lr_sha256 is None:
            return False
        try:
            return self._hash(row.lr) == row.lr_sha256 and self._hr_holds(row, row.hr) and self._source_holds(row)
        except (OSError, ConfigError):
            return False

    def _hr_holds(self, row: Row, name: str) -> bool:
        status, path, source = self.root.stat(name), self.root.path / name, self.sources / row.source
        if row.hr_kept in ("hard", "symlink"):
            if stat.S_ISLNK(status.st_mode) != (row.hr_kept == "symlink") or not path.is_file():
                return False
            return not source.exists() or path.samefile(source)
        size = row.source_bytes if row.hr_kept == "copy" else row.hr_bytes
        if not stat.S_ISREG(status.st_mode) or size not in (None, status.st_size):
            return False
        if row.hr_sha256 is None or not self._must_be_read(status.st_ctime_ns):
            return True
        return self._hash(name) == row.hr_sha256

    def _source_holds(self, row: Row) -> bool:
        """Tell whether the source is the same image: by size and times, then by the bytes of HR where HR is a copy."""
        source = file_of(self.sources / row.source)
        if not source.exists():
            return True
        status = source.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != row.source_bytes:
            return False
        if row.source_mtime_ns is None:
            modified = status.st_mtime_ns >= self.since
        else:
            modified = status.st_mtime_ns != row.source_mtime_ns
        if row.hr_kept == "copy" and (modified or self._must_be_read(self.root.stat(str(row.hr)).st_ctime_ns)):
            with source.open("rb") as file:
                return file_digest(file) == self._hash(str(row.hr))
        # Renaming another file into its place changes ctime, whatever mtime says. So do new links to the same file:
        # a hard or symbolic link in hr/ is known to be that file by its inode.
        replaced = status.st_ctime_ns >= self.since and row.hr_kept == "written"
        return not modified and not replaced

    def _must_be_read(self, changed_ns: int) -> bool:
        return self.check == "full" or changed_ns >= self.since

    def _hash(self, name: str) -> str:
        with self.root.open(name, "rb") as file:
            return file_digest(file)


def has_source(sources: Path, row: Row) -> bool:
    """Tell whether the source of a row is in the folder of the sources, so that the output can be made again."""
    try:
        return file_of(sources / row.source).exists()
    except OSError:
        return False

"""What can go wrong because of input: one line that names the thing, its value, the rule and the way out."""

from __future__ import annotations


class DegsynthError(Exception):
    """Base of all errors whose message is meant for the user. `exit_code` is what the command line ends with."""

    exit_code = 2


class ConfigError(DegsynthError):
    """A bad option, preset or configuration file; found before anything is written."""


class DataError(DegsynthError):
    """A missing, unreadable or unsuitable image, folder or pair."""


class CheckpointError(DegsynthError):
    """A file that is no checkpoint, or one of a newer format, or one that failed its verification."""


class OutputError(DegsynthError):
    """The disk refuses in the middle of a run, which can go on once it is mended."""

    exit_code = 1


class FitError(DegsynthError):
    """A fit that has no finite answer."""

    exit_code = 1


class FitStoppedError(DegsynthError):
    """A fit was asked to stop, and left a snapshot."""

    exit_code = 130

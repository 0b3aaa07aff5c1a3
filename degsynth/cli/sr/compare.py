"""``degsynth sr compare``."""

NAME = "compare"


def command() -> None:
    """Compare."""

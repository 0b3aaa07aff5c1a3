"""``python -m degsynth``, and the console script."""

from degsynth.cli.signals import mind_lost_exits, stop_at_once


def main() -> None:
    """Run the command line. From its first moment on, a signal ends it without a traceback."""
    mind_lost_exits()
    stop_at_once()
    from degsynth.cli.app import program

    program()


if __name__ == "__main__":
    main()

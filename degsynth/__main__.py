"""``python -m degsynth``: the same as the console script."""

from degsynth.cli.app import main

if __name__ == "__main__":
    main()

"""``python -m degsynth``: the same as the console script."""

from degsynth.cli.app import program

if __name__ == "__main__":
    program()

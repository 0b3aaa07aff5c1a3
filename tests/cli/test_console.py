"""Tables of the command line: plain text in a file, and as wide as a terminal on one."""

from __future__ import annotations

import io
import sys

import pytest

from degsynth.cli import console

HEADER = ["", "PSNR Y", "SSIM Y"]
ROWS = [["a.png", "31.25 dB", "0.9"], [f"{'long' * 40}[red].png", "7.5 dB", "0.8512"]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_file_a_row_is_a_line_of_plain_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    title = "mean of 2 images, 8 LR px left out at each edge " + "and so on " * 20
    console.table(title, HEADER, ROWS)
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    lines = [line.rstrip() for line in stdout.splitlines()]
    assert lines[0] == title.rstrip()
    assert lines[1].split() == ["PSNR", "Y", "SSIM", "Y"]
    assert [line.split() for line in lines[2:]] == [[*name.split(), *" ".join(rest).split()] for name, *rest in ROWS]
    assert len({len(line) for line in lines[1:]}) == 1, "columns of figures end below each other"
    assert stdout.replace("\n", "").isprintable()


def test_a_note_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.scores("scores", {"linear": {"distance": 0.25}}, is_note=True)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "0.250" in stderr


def test_on_a_terminal_names_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")  # rich then takes it for 80 columns
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    console.table("scores", HEADER, ROWS)
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 6
    assert max(map(len, lines)) <= 80


def test_a_name_is_no_markup_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("[b]:warning:", HEADER, [["[bold]:smiley:\x1b[31m", "1", "2"]])
    stdout = capsys.readouterr().out
    assert "[b]:warning:" in stdout
    assert r"[bold]:smiley:\x1b[31m" in stdout

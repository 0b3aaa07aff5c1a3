"""What a file name or an argument holds does not steer the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from degsynth.cli.text import printable
from tests.conftest import Run

HOSTILE = ["\x1b[31mred", "\x1b]0;title\x07", "a\rb", "a\nb", "\x9b31m", "\u202egnp.exe", "\u2028", "\x7f", "\x08"]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_become_escapes(text: str) -> None:
    assert printable(f"x{text}y").isprintable()
    assert printable("plain, ß 漢 é 👩\u200d🔬") == "plain, ß 漢 é 👩\u200d🔬"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "arguments",
    [
        ["apply", "{}", "hr", "out"],
        ["apply", "m.pt", "hr", "out", "--link", "{}"],
        ["apply", "m.pt", "hr", "out", "--check", "{}"],
        ["apply", "m.pt", "hr", "out", "--seed", "{}"],
        ["apply", "m.pt", "hr", "out", "--{}"],
        ["{}"],
        ["--{}"],
        ["kernel-pool", "{}"],
        ["kernel-pool", "show", "{}"],
        ["kernel-pool", "show", "--{}"],
        ["selftest", "{}"],
        ["fit", "--method", "{}", "--lr", "x", "--out", "y"],
    ],
)
def test_arguments_in_messages(
    arguments: list[str], text: str, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*(argument.replace("{}", text) for argument in arguments))
    assert code == 2
    assert err
    assert all(line.isprintable() for line in err.split("\n"))
    assert "Traceback" not in err

"""What a file name or an argument holds does not steer the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from degsynth.cli.text import printable, with_short_words
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


@pytest.mark.parametrize("option", ["--method", "--preset", "--device"])
def test_values_that_are_too_long_are_cut(option: str, cli: Run) -> None:
    values = {"--method": "linear", "--preset": "default", "--device": "cpu", option: "x" * 5_000}
    arguments = [part for pair in values.items() for part in pair]
    code, _, stderr = cli("fit", *arguments, "--hr", "a", "--lr", "b", "--out", "c")
    assert code == 2
    assert "x…x" in stderr
    assert len(stderr) < 1_000


def test_words_are_kept_up_to_a_length() -> None:
    path = "/".join(["folder"] * 80)
    assert with_short_words(f"{path}: is no image") == f"{path}: is no image"
    assert with_short_words("a " + 700 * "b" + " c") == "a " + 200 * "b" + "…" + 200 * "b" + " c"

"""What the documents say is true: commands exist, options exist, methods have their row, examples run."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from degsynth import __version__
from degsynth.methods import METHODS
from tests.conftest import run_cli

ROOT = Path(__file__).parent.parent
GROUPS = {"kernel-pool"}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def name_of(words: list[str]) -> str:
    """The command, with its sub-command where it has some."""
    return " ".join(words[1:3]) if words[1] in GROUPS else words[1]


def commands() -> list[list[str]]:
    """Every ``degsynth …`` line in a code block of the README, comments cut off."""
    found = []
    for block in re.findall(r"```(?:bash|sh|console)?\n(.*?)```", README, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("degsynth "):
                found.append(shlex.split(line, comments=True))
    return found


def test_the_readme_has_commands() -> None:
    assert {words[1] for words in commands()} >= {"fit", "export", "apply", "evaluate", "selftest", "demo"}


@pytest.mark.parametrize("name", sorted({name_of(words) for words in commands()}))
def test_commands_and_options_of_the_readme_exist(name: str) -> None:
    text = run_cli(*name.split(), "--help").stdout
    for words in commands():
        if name_of(words) == name:
            for option in (word for word in words if word.startswith("--")):
                assert option in text, f"degsynth {name} has no {option}"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE)


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog
    assert f"## [{__version__}]" in changelog or "Unreleased" in changelog


def test_the_test_command_of_the_readme_is_the_one_that_ci_calls() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    command = re.search(r"&& (pip install \S+ \S+) && (python -m pytest.*)$", README, re.MULTILINE)
    assert command
    assert f"{command[1]}\n" in ci
    assert f"\n{command[2].strip()}\n" in ci


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, example, tmp_path / "out"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_python_dash_m(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["degsynth", "--version"])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("degsynth", run_name="__main__")
    assert caught.value.code in (0, None)

"""What the documents say is true: commands, options, links and scripts exist, and examples run."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from degsynth import __version__, methods
from degsynth.cli import app
from degsynth.methods import METHODS
from tests.conftest import flags_by_command

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = [ROOT / "README.md", *sorted((ROOT / "degsynth").rglob("README.md"))]
"""The main README and those of the rooms."""
DOCUMENTS = [*ROOMS, *sorted((ROOT / "examples").rglob("*.md")), *sorted((ROOT / "models").rglob("*.md"))]
COMMANDS = flags_by_command()
ALL_FLAGS = set().union(*COMMANDS.values())
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}
SCRIPTS = [path for path in sorted((ROOT / "examples").rglob("*.py")) if path.parent.name != "common"]
OTHER_PROGRAMS = {"pip", "python", "ruff"}
QUICK = {"known_family.py": ("--kernels", "40", "--steps", "5")}
"""Options with which an example takes seconds, by file name."""


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(document: Path, language: str) -> Iterator[str]:
    """The code blocks of a document in a language."""
    text = document.read_text(encoding="utf-8")
    for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield block.replace("\\\n", " ")


def shell_commands(document: Path, program: str) -> list[list[str]]:
    """Every command of a program in the shell blocks of a document, comments cut off."""
    commands = []
    for block in blocks(document, "(?:bash|sh|console)"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            ends = [index for index, word in enumerate(words) if word == "&&"]
            for begin, end in zip([0, *(index + 1 for index in ends)], [*ends, len(words)], strict=True):
                if words[begin:end][:1] == [program]:
                    commands.append(words[begin:end])
    return commands


def inline_code(document: Path) -> list[str]:
    """Every piece of code within the sentences of a document."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def check_options(name: str, words: list[str]) -> None:
    """Assert that a command has all its options, and kmsr or the method named has those after ``--set``."""
    flags = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    assert set(flags) <= COMMANDS[name], f"degsynth {name}: {words}"
    method = words[words.index("--method") + 1] if "--method" in words else "kmsr" if name in kmsr_commands() else None
    for flag, value in itertools.pairwise(words):
        if flag == "--set":
            check_assignment(value, method)


def kmsr_commands() -> set[str]:
    return {name for name in COMMANDS if name.startswith("kernel-pool")}


def check_assignment(assignment: str, method: str | None) -> None:
    """Assert that a method (None: any) has the option that is set."""
    names = METHODS if method is None else [method]
    options = {option for name in names for option in methods.get(name).Config.model_fields}
    assert assignment.partition("=")[0] in options, f"--set {assignment} ({method})"


PROGRAM_FLAGS = {flag for parameter in typer.main.get_command(app.app).params for flag in parameter.opts}
"""Options of the program itself, before any command."""


def name_of(words: list[str]) -> str:
    """The name of the command that a line calls, with its sub-command if it has some."""
    return " ".join(words[1:3]) if words[1] in GROUPS else words[1]


@pytest.mark.parametrize("document", ROOMS, ids=short)
def test_commands_and_options_exist(document: Path) -> None:
    for words in shell_commands(document, "degsynth"):
        assert name_of(words) in COMMANDS, words
        check_options(name_of(words), words)


@pytest.mark.parametrize("document", ROOMS, ids=short)
def test_commands_and_options_within_sentences_exist(document: Path) -> None:
    """`degsynth fit …` and `fit --steps 9` name a command, `--steps 9` an option of any command."""
    for code in inline_code(document):
        words = code.split()
        if words[0].startswith("--"):
            assert {word for word in words if word.startswith("--")} <= ALL_FLAGS, code
            for flag, value in itertools.pairwise(words):
                if flag == "--set":
                    check_assignment(value, None)
        elif words[0] == "degsynth" or (" --" in code and words[0] not in OTHER_PROGRAMS):
            words = words if words[0] == "degsynth" else ["degsynth", *words]
            if len(words) > 1 and words[1].startswith("--"):
                assert set(words[1:]) <= PROGRAM_FLAGS, code
            elif len(words) > 1 and words[1].islower():  # not `degsynth COMMAND --help`
                assert name_of(words) in COMMANDS, code
                check_options(name_of(words), words)


def test_the_documents_have_every_command() -> None:
    called = {name_of(words) for document in ROOMS for words in shell_commands(document, "degsynth")}
    assert called == set(COMMANDS)
    assert {words[1] for words in shell_commands(ROOT / "README.md", "degsynth")} == {
        name.split()[0] for name in COMMANDS
    }


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=short)
def test_relative_links_resolve(document: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{document} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{document} links to {target}"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE)


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.*?)\](.*)$", changelog, re.MULTILINE)
    assert [version for version, _ in versions[:2]] == ["Unreleased", __version__]
    for _, date in versions[1:]:
        assert re.fullmatch(r" - \d{4}-\d{2}-\d{2}", date)


def test_the_test_command_of_the_readme_is_the_one_that_ci_calls() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    command = re.search(r"&& (pip install \S+ \S+) && (python -m pytest.*)$", README, re.MULTILINE)
    assert command
    assert f"{command[1]}\n" in ci
    assert f"\n{command[2].strip()}\n" in ci


@functools.cache
def help_of(script: Path) -> str:
    """What a script says of itself. It runs in this process, as a new one would have to load torch."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [str(script), "--help"])
        patch.setattr(sys, "path", [str(script.parent), *sys.path])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code in (0, None)
    return said.getvalue()


def positionals(script: Path) -> list[str]:
    """The arguments that a script cannot do without, by its help."""
    found = re.search(r"^positional arguments:\n((?:  .*\n)+)", help_of(script), re.MULTILINE)
    return re.findall(r"^  (\w+)", found[1], re.MULTILINE) if found else []


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=short)
def test_examples_have_help(script: Path) -> None:
    assert positionals(script), "every script has a folder to write into, or data to read"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=short)
def test_examples_that_need_no_data_run(script: Path, tmp_path: Path) -> None:
    if positionals(script) != ["out"]:
        pytest.skip(f"wants {', '.join(positionals(script))}")
    command = [sys.executable, script, tmp_path / "out", *QUICK.get(script.name, ())]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.slow
def test_some_examples_need_no_data() -> None:
    without = {script.name for script in SCRIPTS if positionals(script) == ["out"]}
    assert without >= {"paired_quickstart.py", *QUICK}


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_scripts_in_documents_exist_with_their_options(document: Path) -> None:
    for words in shell_commands(document, "python"):
        if len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), words
            for flag in (word for word in words if word.startswith("--")):
                assert flag in help_of(ROOT / words[1]), words


def test_python_dash_m(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["degsynth", "--version"])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.setattr("degsynth.cli.app.watched", lambda: None)  # it would fork the process of the tests
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("degsynth", run_name="__main__")
    assert caught.value.code in (0, None)

"""Option names in messages of the library, and the flags that the command line puts in their place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import degsynth
from degsynth import methods
from degsynth.cli.flags import FLAGS, OPTION, with_flags
from tests.conftest import flags_by_command

PACKAGE = Path(degsynth.__file__).parent
LIBRARY = sorted(path for path in PACKAGE.rglob("*.py") if "cli" not in path.relative_to(PACKAGE).parts)
METHOD_OPTIONS = {name for method in methods.METHODS for name in methods.get(method).Config.model_fields}
ALL_FLAGS = set().union(*flags_by_command().values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`bad_pairs=skip` leaves them out", "--bad-pairs skip leaves them out"),
        ("give `scale`", "give --scale"),
        ("`data_range=9:1`: black must be below white", "--data-range 9:1: black must be below white"),
        ("`out=runs/a` exists; or `resume` it", "--out runs/a exists; or --resume it"),
        ("`register_pairs=shift`", "--register shift"),
        ("import them again with `size=31`", "import them again with --kernel-size 31"),
        ("go on with `existing=resume`", "go on with --resume"),
        ("begin anew with `existing=overwrite`", "begin anew with --overwrite"),
        ("`set=ridge`: write it as `set=ridge=1`", "--set ridge: write it as --set ridge=1"),
        ("raise `ridge=`", "raise --set ridge="),
        ("a lower `least_texture`", "a lower --set least_texture="),
        ("`family=auto` looks beyond", "--set family=auto looks beyond"),
        ("less `memory`, or a smaller `tile`", "less --memory, or a smaller --tile"),
        ("the module `degsynth.fit`, no option", "the module `degsynth.fit`, no option"),
        ("no option at all", "no option at all"),
    ],
)
def test_options_become_flags(text: str, expected: str) -> None:
    assert with_flags(text) == expected


def test_the_table_names_flags_that_exist() -> None:
    assert set(FLAGS.values()) <= ALL_FLAGS


def test_options_of_methods_are_not_taken_for_those_of_commands() -> None:
    """Of these three the flag is meant; a message about another option of that name would name the wrong one."""
    assert set(FLAGS) & METHOD_OPTIONS == {"border", "minutes", "steps"}


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Strings of a module that are no docstrings, by line; what an f-string fills in is a ``…``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
            if id(node) not in skipped:
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                yield node.lineno, text
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def test_messages_are_found() -> None:
    texts = [text for _, text in messages(PACKAGE / "fit" / "options.py")]
    assert "`hr=…`: method … learns from LR alone; leave `hr` out" in texts
    assert not any(text.startswith("Options that every fit has") for text in texts)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_option_in_a_message_exists(path: Path) -> None:
    for line, text in messages(path):
        for match in OPTION.finditer(text):
            name, value = match.groups()
            if name not in FLAGS and f"{name}={value}" not in FLAGS:
                assert name in METHOD_OPTIONS, f"{path}:{line}: no option `{match.group()}`"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_names_no_flags(path: Path) -> None:
    """Whoever calls it from Python has none. Whole commands, from ``degsynth`` on, are the exception."""
    for line, text in messages(path):
        without_commands = re.sub(r"degsynth [^';)]*", "", text)
        assert not re.search(r"(?<![\w-])--[a-z]", without_commands), f"{path}:{line}: {text}"

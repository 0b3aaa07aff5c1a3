"""The rooms of the package: who imports whom, how long files and functions are, and what the package offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import degsynth

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "degsynth"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 8


def test_the_direction_of_imports() -> None:
    """The contracts of import-linter in pyproject.toml."""
    command = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([command, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_the_contracts_know_every_room_and_method() -> None:
    """A contract that names a list would not notice a newcomer."""
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    from degsynth.methods import METHODS

    for module in METHODS.values():
        assert f'"{module}"' in contracts


def test_apply_needs_neither_methods_nor_networks() -> None:
    """A checkpoint is self-contained: whoever applies it does not load the code that made it."""
    code = (
        "import sys, degsynth.apply\n"
        "loaded = [m for m in sys.modules if m.startswith(('degsynth.methods', 'degsynth.nets', 'degsynth.fit'))]\n"
        "print(loaded)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_only_checkpoint_calls_torch_jit() -> None:
    """Except for how models are run."""
    allowed = {"export", "optimized_execution"}
    for path in FILES:
        if path.name == "checkpoint.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch.jit."):
                assert node.attr in allowed, f"{path.name}: {ast.unparse(node)}"
                assert node.attr == "export" or path.name == "inference.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_can_be_read_in_one_sitting(path: Path) -> None:
    """Commands are excepted: every option of theirs is a parameter, and typer wants its help beside it."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef) or is_command(path, node):
            continue
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        assert len(set(names) - {"self", "cls"}) <= MOST_PARAMETERS, node.name
        assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


def is_command(path: Path, node: ast.FunctionDef) -> bool:
    return PACKAGE / "cli" in path.parents and "typer.Option" in ast.unparse(node.args) + ast.unparse(node.body[0])


def test_public_names_are_there_and_come_late() -> None:
    """Importing the package loads no torch; every public name is found when it is asked for."""
    code = "import sys, degsynth; print('torch' in sys.modules, degsynth.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", degsynth.__version__]
    for name in degsynth.__all__:
        assert getattr(degsynth, name) is not None
    assert set(degsynth.__all__) <= set(dir(degsynth))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = degsynth.nonsense  # type: ignore[attr-defined]


def test_the_stub_names_what_the_package_offers() -> None:
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert {alias.asname or alias.name for alias in imports} | {"__version__"} == set(degsynth.__all__)
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(listed) == degsynth.__all__
    assert (PACKAGE / "py.typed").is_file()

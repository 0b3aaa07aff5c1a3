"""Imports point one way (DESIGN: cli → fit, apply, … → methods, checkpoint, data → nets, losses → ops)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import degsynth

PACKAGE = Path(degsynth.__file__).parent
GROUND = {"errors", "config", "seeds", "files", ""}  # "" is degsynth/__init__.py: the version
KINDS_OF_IMAGES = {
    "ops",
    "methods",
    "data",
    "checkpoint",
    "evaluation",
    "report",
    "previews",
    "exporting",
    "fit_options",
}
ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "seeds": set(),
    "allocator": set(),
    "files": set(),
    "pipeline": set(),
    "ops": {"ops"},
    "nets": {"ops", "nets"},
    "calibrate": {"ops", "data", "checkpoint", "render", "evaluation", "previews"},
    "losses": {"ops", "losses"},
    "degrader": {"ops"},
    "tiling": set(),
    "methods": {"ops", "nets", "losses", "degrader", "methods"},
    "data": {"ops", "data"},
    "footprint": {"degrader"},
    "checkpoint": {"degrader", "footprint"},
    "render": {"ops", "tiling", "checkpoint"},
    "evaluation": {"ops", "methods", "data", "checkpoint", "render", "evaluation"},
    "distribution_sheet": {"ops", "methods", "checkpoint", "evaluation"},
    "previews": {"ops", "data", "checkpoint", "render", "evaluation", "report"},
    "run_folder": set(),
    "fit_options": {"methods"},
    "given": {"methods", "checkpoint", "evaluation", "previews", "report"},
    "kernel_pool": {
        "ops",
        "methods",
        "data",
        "checkpoint",
        "degrader",
        "evaluation",
        "nets",
        "pipeline",
        "run_folder",
        "kernel_pool",
    },
    "fit_photos": {*KINDS_OF_IMAGES, "kernel_pool"},
    "fit_pairs": KINDS_OF_IMAGES,
    "fit_folders": KINDS_OF_IMAGES,
    "exporting": {"methods", "data", "checkpoint", "degrader", "previews"},
    "loop": {"methods", "degrader", "data", "evaluation", "run_folder"},
    "selftest": {"ops", "data", "checkpoint", "render", "evaluation"},
    "apply": {"ops", "data", "tiling", "checkpoint", "render", "pipeline"},
    "report": {"ops", "evaluation"},
    "fit": {
        "ops",
        "methods",
        "degrader",
        "data",
        "checkpoint",
        "evaluation",
        "report",
        "distribution_sheet",
        "previews",
        "loop",
        "run_folder",
        "exporting",
        "given",
        "fit_options",
        "fit_pairs",
        "fit_folders",
        "fit_photos",
    },
    "demo": {"ops", "data", "checkpoint", "render", "evaluation", "report", "previews", "fit", "apply", "selftest"},
}
FOREIGN = {
    "methods": {"rich", "typer", "tqdm", "numpy", "cv2"},
    "ops": {"rich", "typer", "tqdm", "cv2", "pydantic"},
    "tiling": {"torch", "numpy"},
    "fit": {"rich", "typer", "tqdm"},
    "loop": {"rich", "typer", "tqdm", "numpy", "cv2"},
    "nets": {"rich", "typer", "tqdm", "cv2"},
    "calibrate": {"rich", "typer", "tqdm", "cv2"},
    "apply": {"rich", "typer", "tqdm"},
}


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return (
        relative.parts[0].removesuffix(".py").replace("__init__", "") if len(relative.parts) == 1 else relative.parts[0]
    )


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_direction(path: Path) -> None:
    here = room(path)
    if here in ("cli", "__main__", ""):
        return
    rooms = {name.removesuffix(".py") for name in (p.name for p in PACKAGE.iterdir())}
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "degsynth":
            target = parts[1] if len(parts) > 1 and parts[1] in rooms else ""
            assert target in ALLOWED[here] | GROUND, f"{path.name} imports {name}"
        else:
            assert parts[0] not in FOREIGN.get(here, set()), f"{path.name} imports {name}"


def test_only_checkpoint_calls_torch_jit() -> None:
    for path in FILES:
        if path.name == "checkpoint.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch.jit."):
                assert node.attr == "export", f"{path.name}: {ast.unparse(node)}"


def test_files_can_be_read_in_one_sitting() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from degsynth.apply.allocator import keep_freed_memory
from degsynth.parallel import usable_cores
from tests.benchmarks import material

TABLE: list[str] = []
"""What was measured, in lines that are printed at the end."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs in ``HR``. Models are put into it when they are first needed."""
    folder = tmp_path_factory.mktemp("benchmarks")
    material.write_photographs(folder / "HR", 64)
    cv2.setNumThreads(1)
    keep_freed_memory()  # as `degsynth apply` does
    return folder


@pytest.fixture(scope="session")
def few(folder: Path) -> Path:
    """A folder with the first eight photographs, for slow models."""
    (folder / "few").mkdir()
    for path in sorted((folder / "HR").iterdir())[:8]:
        (folder / "few" / path.name).hardlink_to(path)
    return folder / "few"


@pytest.fixture(scope="session")
def workers() -> int:
    return usable_cores()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("in figures")
        for line in TABLE:
            terminalreporter.line(line)
